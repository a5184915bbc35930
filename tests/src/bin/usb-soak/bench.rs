//! What all parts of a soak share: the phones, who is listed, what was counted and what went wrong.

use super::phone::Phone;
use super::server::Server;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use usbmux_tests::socket::{Client, Message};

/// The port of the phones that leads to the server.
pub(crate) const SERVER: u16 = 5000;
/// How often one looks at what tells nobody that it changed.
const LOOK: Duration = Duration::from_millis(50);
/// After so many faults more would tell nothing.
const MOST_FAULTS: usize = 8;

/// The phones that the daemon lists.
#[derive(Default)]
pub(crate) struct Listed {
    /// By their device ids.
    pub(crate) phones: BTreeMap<u64, Entry>,
    /// The highest id that ever was.
    highest: u64,
}

/// One of them.
pub(crate) struct Entry {
    pub(crate) udid: String,
    /// USB address.
    pub(crate) address: u64,
}

/// Counts of one manner of client.
#[derive(Clone, Copy, Default)]
struct Count {
    whole: u64,
    cut: u64,
    bytes: u64,
    took: Duration,
}

/// Everything that the threads share.
pub(crate) struct Bench {
    pub(crate) socket: PathBuf,
    pub(crate) phones: Vec<Phone>,
    pub(crate) server: Arc<Server>,
    listed: Arc<(Mutex<Listed>, Condvar)>,
    counts: Mutex<BTreeMap<&'static str, Count>>,
    cycles: AtomicU64,
    /// Notified with each cycle.
    cycled: (Mutex<()>, Condvar),
    pulls: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<Vec<String>>,
    /// Not of our daemon: its faults do not end the run.
    lenient: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats a look until it is satisfied; false if it never was.
pub(crate) fn until(limit: Duration, look: Duration, mut satisfied: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if satisfied() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(look);
    }
}

impl Bench {
    /// Begins to listen, and has phones that are not plugged in.
    pub(crate) fn start(
        socket: &Path,
        simulator: &Path,
        phones: usize,
        lenient: bool,
    ) -> io::Result<Bench> {
        let server = Server::start()?;
        let listed = Arc::<(Mutex<Listed>, Condvar)>::default();
        listen(socket, Arc::clone(&listed))?;
        let ports = format!("{SERVER}={}", server.address);
        let phones = (1..=phones).map(|number| Phone::start(simulator, number, &ports));
        let phones = phones.collect::<io::Result<_>>()?;
        Ok(Bench {
            socket: socket.to_owned(),
            phones,
            server,
            listed,
            counts: Mutex::default(),
            cycles: AtomicU64::new(0),
            cycled: Default::default(),
            pulls: Mutex::default(),
            faults: Mutex::default(),
            lenient,
        })
    }

    pub(crate) fn phone_processes(&self) -> Vec<u32> {
        self.phones.iter().map(Phone::process).collect()
    }

    /// Waits until the list is as wanted, which may depend on more than the list; false if it is not
    /// in time.
    pub(crate) fn wait_listed(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&Listed) -> bool,
    ) -> bool {
        let (list, changed) = &*self.listed;
        let deadline = Instant::now() + limit;
        let mut listed = locked(list);
        while !wanted(&listed) {
            if Instant::now() > deadline {
                return false;
            }
            let waited = changed.wait_timeout(listed, LOOK);
            listed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The highest device id so far.
    pub(crate) fn highest(&self) -> u64 {
        locked(&self.listed.0).highest
    }

    /// Has everybody look again who waits for a phone.
    pub(crate) fn tell_change(&self) {
        let _list = locked(&self.listed.0);
        self.listed.1.notify_all();
    }

    pub(crate) fn count(&self, manner: &'static str, whole: bool, bytes: u64, took: Duration) {
        let mut counts = locked(&self.counts);
        let count = counts.entry(manner).or_default();
        *(if whole { &mut count.whole } else { &mut count.cut }) += 1;
        count.bytes += bytes;
        count.took += took;
        drop(counts);
        let _turn = locked(&self.cycled.0);
        self.cycles.fetch_add(1, Ordering::Relaxed);
        self.cycled.1.notify_all();
    }

    pub(crate) fn cycles(&self) -> u64 {
        self.cycles.load(Ordering::Relaxed)
    }

    /// Waits until there were so many cycles; false if none came for long.
    pub(crate) fn wait_cycles(&self, number: u64, limit: Duration) -> bool {
        let mut turn = locked(&self.cycled.0);
        while self.cycles() < number {
            let waited = self.cycled.1.wait_timeout(turn, limit);
            let (next, over) = waited.unwrap_or_else(PoisonError::into_inner);
            turn = next;
            if over.timed_out() || !self.goes_on() {
                return false;
            }
        }
        true
    }

    pub(crate) fn count_pull(&self, how: &'static str) {
        *locked(&self.pulls).entry(how).or_default() += 1;
    }

    pub(crate) fn pulls(&self) -> u64 {
        locked(&self.pulls).values().sum()
    }

    /// What was before is not counted.
    pub(crate) fn begin_to_count(&self) {
        locked(&self.counts).clear();
        locked(&self.pulls).clear();
        self.cycles.store(0, Ordering::Relaxed);
    }

    pub(crate) fn fault(&self, what: String) {
        println!("soak: FAULT after {} cycles: {what}", self.cycles());
        locked(&self.faults).push(what);
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        locked(&self.faults).clone()
    }

    pub(crate) fn is_good(&self) -> bool {
        locked(&self.faults).is_empty()
    }

    /// Whether it is worth while to go on.
    pub(crate) fn goes_on(&self) -> bool {
        self.lenient || locked(&self.faults).len() < MOST_FAULTS
    }

    /// Uploads that brought other bytes; how many came whole is told, and not judged.
    pub(crate) fn judge_uploads(&self) {
        for (salt, came) in self.server.take_wrong() {
            self.fault(format!("upload {salt}: {came}"));
        }
    }

    /// What was done, as a table.
    pub(crate) fn report(&self) -> String {
        let mut text = format!(
            "soak: {:<48}{:>8}{:>8}{:>10}{:>10}\n",
            "cycles", "whole", "cut off", "MB", "mean ms"
        );
        let row = |name: &str, count: &Count| {
            let Count { whole, cut, bytes, took } = *count;
            let mean = took.as_secs_f64() * 1e3 / (whole + cut).max(1) as f64;
            let megabytes = bytes as f64 / 1e6;
            format!("soak:   {name:<46}{whole:>8}{cut:>8}{megabytes:>10.1}{mean:>10.2}")
        };
        let mut all = Count::default();
        for (manner, count) in locked(&self.counts).iter() {
            all.whole += count.whole;
            all.cut += count.cut;
            all.bytes += count.bytes;
            all.took += count.took;
            let _ = writeln!(text, "{}", row(manner, count));
        }
        let _ = writeln!(text, "{}", row("all", &all));
        let _ = writeln!(text, "soak: unplugs");
        for (how, number) in locked(&self.pulls).iter() {
            let _ = writeln!(text, "soak:   {how:<50}{number:>8}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// Follows the list of phones in a thread of its own.
fn listen(socket: &Path, listed: Arc<(Mutex<Listed>, Condvar)>) -> io::Result<()> {
    let mut client = Client::connect(socket)?;
    client.ask(0, "Listen", &[])?;
    client.stream.set_read_timeout(None)?;
    thread::spawn(move || {
        while let Ok(event) = client.receive() {
            hear(&event, &mut locked(&listed.0));
            listed.1.notify_all();
        }
    });
    Ok(())
}

fn hear(event: &Message, listed: &mut Listed) {
    let Some(id) = event.number("DeviceID") else { return };
    let properties = event.dictionary().get("Properties").and_then(plist::Value::as_dictionary);
    let serial = properties.and_then(|of| of.get("SerialNumber")?.as_string());
    let location = properties.and_then(|of| of.get("LocationID")?.as_unsigned_integer());
    match (event.text("MessageType"), serial) {
        (Some("Attached"), Some(udid)) => {
            let address = location.unwrap_or_default() & 0xffff;
            listed.phones.insert(id, Entry { udid: udid.to_owned(), address });
            listed.highest = listed.highest.max(id);
        }
        (Some("Detached"), _) => drop(listed.phones.remove(&id)),
        _ => {}
    }
}
