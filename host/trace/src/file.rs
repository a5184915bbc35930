//! A trace in a file: a thread writes it, so that nobody who traces waits for a disk.
//!
//! Records wait in a queue of bounded size. The thread takes them a fifth of a second after the
//! first, all at once; whoever kills the program loses no more than that. When they come faster than the
//! disk takes them, frames are left out, counted, and the trace says so; what happened to the
//! cable never is. When the disk is full or the limit is reached, the trace ends and the log says so;
//! the program goes on.
//! Leaves out: what is in the file (`write`).

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::write::record::{Attachment, Record, What};
use crate::write::{Sender, Tap, Writer};

/// How long records are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// Bytes that may wait. What a busy phone says in that time fits several times over.
const MOST_WAITING: usize = 32 << 20;
/// Bytes at which the thread is woken early.
const MANY_WAITING: usize = MOST_WAITING / 8;

/// How a program is asked to trace, as options of its command line.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Traces")]
pub struct TraceOptions {
    /// Write what passes on USB to this file, which Wireshark, tshark -r and umux trace read; an
    /// existing one is overwritten
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// End the trace at this size (K, M, G: times 1024) [default: 100M]
    #[arg(long, value_name = "BYTES", requires = "trace")]
    pub trace_limit: Option<Size>,

    /// Trace payload too, not headers alone: what is not encrypted can then be read
    #[arg(long, requires = "trace")]
    pub trace_payload: bool,
}

impl TraceOptions {
    /// Opens the file if one was asked for; `program` is who writes it, and `tell` is given the line
    /// that says why the trace ended, if it ends before the program.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin(
        &self,
        program: &str,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Result<Option<TraceFile>, TraceError> {
        let Some(path) = &self.trace else { return Ok(None) };
        let limit = self.trace_limit.unwrap_or_default();
        TraceFile::create(path, program, limit, self.trace_payload, tell).map(Some)
    }
}

/// A number of bytes, as it is written on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    /// The least that is worth a trace.
    pub const LEAST: Size = Size(4096);
}

impl Default for Size {
    fn default() -> Self {
        Size(100 << 20)
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, shift) = match text.strip_suffix(['K', 'k', 'M', 'm', 'G', 'g']) {
            Some(digits) => (
                digits,
                match text.as_bytes().last() {
                    Some(b'K' | b'k') => 10,
                    Some(b'M' | b'm') => 20,
                    _ => 30,
                },
            ),
            None => (text, 0),
        };
        let number =
            Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
        let size = number.and_then(|digits| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
        match size {
            Some(size) if size >= Self::LEAST.0 => Ok(Size(size)),
            Some(_) => Err("at least 4K, or nothing of a session is in it"),
            None => Err("write a number of bytes, such as 500000, 64K, 100M or 2G"),
        }
    }
}

/// Why there is no trace; displays as one line.
#[derive(Debug)]
pub struct TraceError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write a trace to {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for TraceError {}

/// A trace that is being written; the file is complete when this is dropped.
#[derive(Debug)]
pub struct TraceFile {
    trace: Trace,
    thread: Option<JoinHandle<()>>,
}

impl TraceFile {
    /// Makes the file, or empties it, and starts the thread. It can be read by its owner alone, since
    /// it may hold secrets; an existing one keeps its permissions. `tell` is given the line that says
    /// why the trace ended early.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(
        path: &Path,
        program: &str,
        limit: Size,
        payload: bool,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, TraceError> {
        let failed = |error| TraceError { path: path.to_owned(), error };
        let file = open(path).map_err(failed)?;
        let writer = Writer::new(file, program, limit.0).map_err(failed)?;
        let trace = Trace(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            over: AtomicBool::new(false),
            payload,
            origin: (SystemTime::now(), Instant::now()),
        }));
        let (shared, name) = (Arc::clone(&trace.0), path.to_owned());
        let work = move || {
            if let Some(why) = shared.write_all(writer) {
                tell(&format!("the trace {} ends: {why}", name.display()));
            }
        };
        let thread = thread::Builder::new().name("usbmux-trace".to_owned());
        let thread = thread.spawn(work).map_err(failed)?;
        Ok(Self { trace, thread: Some(thread) })
    }

    /// Returns what phones are traced with.
    pub fn trace(&self) -> Trace {
        self.trace.clone()
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        self.trace.end();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell: what went wrong is in the log.
            let _ = thread.join();
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A trace, as those see it who have something to tell; clones are the same trace.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Shared>);

impl Trace {
    /// Begins to trace a phone that was plugged in.
    pub fn plugged_in(&self, attachment: Attachment) -> PhoneTrace {
        self.plugged_in_at(self.now(), attachment)
    }

    /// As [`plugged_in`](Self::plugged_in), of a phone that was plugged in then.
    pub fn plugged_in_at(&self, at: Duration, attachment: Attachment) -> PhoneTrace {
        let mut queue = self.0.lock();
        let phone = queue.phones;
        queue.phones += 1;
        self.0.push(queue, Record { phone, at, what: What::Attached(attachment) });
        PhoneTrace { trace: self.clone(), phone, tap: Tap::new(self.0.payload) }
    }

    /// Tells of each phone that is still there that nothing more will be told, and ends the thread.
    fn end(&self) {
        let at = self.now();
        let mut queue = self.0.lock();
        for phone in mem::take(&mut queue.present) {
            self.0.push(queue, Record { phone, at, what: What::Ended });
            queue = self.0.lock();
        }
        queue.closing = true;
        drop(queue);
        self.0.wake.notify_all();
    }

    /// Returns the time by a clock that was right when the trace began and never goes back.
    pub fn now(&self) -> Duration {
        let (_, began) = self.0.origin;
        self.began() + began.elapsed()
    }

    /// Returns when the trace began, since 1970.
    pub fn began(&self) -> Duration {
        self.0.origin.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// The trace of one phone.
#[derive(Debug)]
pub struct PhoneTrace {
    trace: Trace,
    phone: u32,
    tap: Tap,
}

impl PhoneTrace {
    fn now(&self) -> Duration {
        self.trace.now()
    }

    /// Takes a USB transfer, or a part of one; `ended` says whether the transfer ended with it.
    pub fn carried(&mut self, sender: Sender, bytes: &[u8], ended: bool) {
        self.carried_at(self.now(), sender, bytes, ended);
    }

    /// As [`carried`](Self::carried), of something that was then.
    pub fn carried_at(&mut self, at: Duration, sender: Sender, bytes: &[u8], ended: bool) {
        let shared = &self.trace.0;
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        self.tap.carried(sender, bytes, ended, |what| {
            shared.push(shared.lock(), Record { phone: self.phone, at, what });
        });
    }

    /// Takes what happened around the frames.
    pub fn happened(&mut self, what: What) {
        self.happened_at(self.now(), what);
    }

    /// As [`happened`](Self::happened), of something that was then.
    pub fn happened_at(&mut self, at: Duration, what: What) {
        if matches!(what, What::Reset) {
            self.tap.reset();
        }
        let shared = &self.trace.0;
        shared.push(shared.lock(), Record { phone: self.phone, at, what });
    }
}

/// What the thread shares with those who trace.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Whether the trace has ended, so that nobody needs to listen any more.
    over: AtomicBool,
    payload: bool,
    origin: (SystemTime, Instant),
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Record>,
    /// How much memory they take.
    bytes: usize,
    /// How many did not fit since the last one that did, and when and where that began.
    lost: Option<(u64, Record)>,
    /// Phones that were plugged in so far.
    phones: u32,
    /// Those of them that are not gone.
    present: BTreeSet<u32>,
    closing: bool,
}

impl Queue {
    fn lose(&mut self, record: Record) {
        let first = || (0, Record { what: What::Lost(0), ..record });
        self.lost.get_or_insert_with(first).0 += 1;
    }

    fn tell_lost(&mut self) {
        if let Some((number, first)) = self.lost.take() {
            self.records.push(Record { what: What::Lost(number), ..first });
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nobody panics while holding it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, record: Record) {
        if self.over.load(Ordering::Relaxed) {
            return;
        }
        match record.what {
            What::Attached(_) => drop(queue.present.insert(record.phone)),
            What::Detached(_) => drop(queue.present.remove(&record.phone)),
            _ => {}
        }
        let (bytes, frame) = match &record.what {
            What::Frame(frame) => (frame.body.len(), true),
            What::Garbage(_) | What::Zlp(_) => (0, true),
            _ => (0, false),
        };
        let bytes = bytes + size_of::<Record>();
        if frame && queue.bytes + bytes > MOST_WAITING {
            queue.lose(record);
            return;
        }
        queue.tell_lost();
        let before = queue.bytes;
        queue.bytes += bytes;
        queue.records.push(record);
        let woken =
            queue.records.len() == 1 || before < MANY_WAITING && queue.bytes >= MANY_WAITING;
        drop(queue);
        if woken {
            self.wake.notify_one();
        }
    }

    /// The thread: writes records until the trace ends. Returns why, if that is before the program's end.
    fn write_all(&self, mut writer: Writer<File>) -> Option<String> {
        let mut records = Vec::new();
        loop {
            let closing = self.take(&mut records);
            let written = records.iter().try_for_each(|record| writer.write(record));
            let why = match written.and_then(|()| writer.flush()) {
                Ok(()) if !writer.is_full() && closing => return None,
                Ok(()) if !writer.is_full() => continue,
                Ok(()) => "its limit is reached".to_owned(),
                Err(error) => error.to_string(),
            };
            self.over.store(true, Ordering::Relaxed);
            *self.lock() = Queue::default();
            return Some(why);
        }
    }

    /// Waits for records and takes them all; says whether they are the last.
    fn take(&self, records: &mut Vec<Record>) -> bool {
        records.clear();
        let idle = |queue: &mut Queue| queue.records.is_empty() && !queue.closing;
        let queue = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let few = |queue: &mut Queue| queue.bytes < MANY_WAITING && !queue.closing;
        let waited = self.wake.wait_timeout_while(queue, GATHER, few);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.tell_lost();
        mem::swap(&mut queue.records, records);
        queue.bytes = 0;
        queue.closing
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::write::record::{Garbage, Place};

    #[test]
    fn sizes_have_units_and_bounds() {
        let sizes = [("4096", 4096), ("4K", 4096), ("100M", 100 << 20), ("2g", 2 << 30)];
        for (text, size) in sizes {
            assert_eq!(text.parse(), Ok(Size(size)));
        }
        for wrong in ["", "K", "4095", "3K", "0", "-1", "+5000", "5T", "1.5M", "99999999999999G"] {
            wrong.parse::<Size>().unwrap_err();
        }
    }

    fn shared() -> Shared {
        Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            over: AtomicBool::new(false),
            payload: true,
            origin: (SystemTime::now(), Instant::now()),
        }
    }

    fn record(at: u64, what: What) -> Record {
        Record { phone: 0, at: Duration::from_nanos(at), what }
    }

    fn garbage() -> What {
        let place = Place { sender: Sender::Phone, transfer: 1, at: 0, slices: 1 };
        What::Garbage(Garbage { place, why: None, bytes: 1, first: Vec::new() })
    }

    #[test]
    fn what_does_not_fit_is_counted_where_it_is_missing_and_events_always_fit() {
        let shared = shared();
        let most = MOST_WAITING / size_of::<Record>();
        for at in 0..most as u64 + 7 {
            shared.push(shared.lock(), record(at, garbage()));
        }
        shared.push(shared.lock(), record(u64::MAX, What::Reset));
        let mut records = Vec::new();
        assert!(!shared.take(&mut records));
        let lost = record(most as u64, What::Lost(7));
        assert_eq!(records[most..], [lost, record(u64::MAX, What::Reset)]);
        // There is room again.
        shared.push(shared.lock(), record(1, garbage()));
        shared.lock().closing = true;
        assert!(shared.take(&mut records));
        assert_eq!(records, [record(1, garbage())]);
    }

    #[test]
    fn last_records_are_missed_too() {
        let shared = shared();
        shared.lock().bytes = MOST_WAITING;
        shared.push(shared.lock(), record(5, garbage()));
        shared.lock().closing = true;
        let mut records = Vec::new();
        assert!(shared.take(&mut records));
        assert_eq!(records, [record(5, What::Lost(1))]);
    }
}
