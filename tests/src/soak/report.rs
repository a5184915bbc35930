//! Figures of a run and the closing table.

use super::limits::Wait;
use super::tempers::{End, Temper};
use crate::daemon_process::Held;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Most faults that are told in full; a daemon that is dead gives one for each client.
const TOLD: usize = 20;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The number that repeats it.
    pub seed: u64,
    /// Rounds lived.
    pub rounds: u32,
    /// Daemons that were killed, asked to end in mid-traffic, and asked at rest.
    pub ended: [u32; 3],
    /// What must not be, in sentences.
    pub faults: Vec<String>,
    /// Bytes compared.
    pub checked: u64,
    /// The daemon's and our own figures.
    pub memory: Memory,
    clients: BTreeMap<Temper, Ends>,
    cuts: BTreeMap<String, u64>,
    waits: BTreeMap<Wait, Duration>,
    place: String,
}

/// How often clients of a temper ended how.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    whole: u64,
    cut: u64,
    daemon_ended: u64,
    faults: u64,
}

/// What daemon and soak held at rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// A daemon after its first round: of the first life, of the last.
    pub warm: Option<[Held; 2]>,
    /// The last rest.
    pub last: Option<Held>,
    /// The most that a daemon ever held, in bytes.
    pub peak: usize,
    /// The most that a daemon grew between its first rest and its last, in bytes, and in how many rounds.
    pub growth: (i64, u32),
    /// This process after its first round, and at the end.
    pub own: Option<[Held; 2]>,
}

impl Report {
    /// Whether nothing went wrong.
    #[must_use]
    pub fn good(&self) -> bool {
        self.faults.is_empty() && self.rounds > 0
    }

    /// How many clients came, and how many were cut off.
    pub(super) fn clients(&self) -> (u64, u64) {
        let all = |ends: &Ends| ends.whole + ends.cut + ends.daemon_ended + ends.faults;
        let sum = |of: &dyn Fn(&Ends) -> u64| self.clients.values().map(of).sum();
        (sum(&all), sum(&|ends| ends.cut))
    }
}

/// The report while it is being written.
pub(super) struct Tally(RefCell<Report>);

impl Tally {
    pub(super) fn new(seed: u64) -> Tally {
        Tally(RefCell::new(Report { seed, ..Report::default() }))
    }

    /// Says where the run is, for faults.
    pub(super) fn at(&self, place: String) {
        self.0.borrow_mut().place = place;
    }

    /// Something must not be.
    pub(super) fn fault(&self, what: String) {
        let mut report = self.0.borrow_mut();
        let line = format!("seed {}, {}: {what}", report.seed, report.place);
        if report.faults.len() < TOLD {
            println!("soak: FAULT {line}");
        }
        report.faults.push(line);
    }

    pub(super) fn is_good(&self) -> bool {
        self.0.borrow().faults.is_empty()
    }

    pub(super) fn checked(&self, bytes: usize) {
        self.0.borrow_mut().checked += bytes as u64;
    }

    pub(super) fn took(&self, wait: Wait, time: Duration) {
        let mut report = self.0.borrow_mut();
        let most = report.waits.entry(wait).or_default();
        *most = time.max(*most);
    }

    pub(super) fn ended(&self, temper: Temper, end: &End) {
        let mut report = self.0.borrow_mut();
        let ends = report.clients.entry(temper).or_default();
        match end {
            End::Whole => ends.whole += 1,
            End::Cut(reason) => {
                ends.cut += 1;
                *report.cuts.entry(reason.clone()).or_default() += 1;
            }
            End::DaemonEnded => ends.daemon_ended += 1,
            End::Fault(_) => ends.faults += 1,
        }
    }

    /// Changes or reads the rest of the report.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Report) -> T) -> T {
        act(&mut self.0.borrow_mut())
    }
}

fn mib(bytes: impl Into<Option<usize>>) -> f64 {
    bytes.into().unwrap_or_default() as f64 / f64::from(1 << 20)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [killed, terminated, at_rest] = self.ended;
        let (clients, _) = self.clients();
        writeln!(
            f,
            "soak: {:<36} {:>9} {:>7} {:>7} {:>7}",
            "clients", "whole", "cut", "daemon", "faults"
        )?;
        for (temper, Ends { whole, cut, daemon_ended, faults }) in &self.clients {
            let name = temper.name();
            writeln!(f, "soak:   {name:<34} {whole:>9} {cut:>7} {daemon_ended:>7} {faults:>7}")?;
        }
        writeln!(f, "soak: cut off by their phone, as its quirk says")?;
        for (reason, count) in &self.cuts {
            writeln!(f, "soak:   {reason:<50} {count:>9}")?;
        }
        writeln!(
            f,
            "soak: {:<36} {:>9} {:>9} {:>9}",
            "longest wait, seconds", "seen", "timer", "limit"
        )?;
        for (wait, most) in &self.waits {
            let [most, timer, limit] =
                [*most, wait.timer(), wait.limit()].map(|time| time.as_secs_f64());
            writeln!(f, "soak:   {wait:<34} {most:>9.2} {timer:>9.2} {limit:>9.2}")?;
        }
        let Memory { warm, last, peak, growth, own } = self.memory;
        if let (Some([first, latest]), Some(last)) = (warm, last) {
            writeln!(
                f,
                "soak: daemon at rest: memory {:.1} MiB after the first round of the first life, {:.1} of the last, {:.1} \
                 at the end, peak {:.1}; most growth in one life {:+.1} in {} rounds; descriptors {} first, {} last",
                mib(first.resident),
                mib(latest.resident),
                mib(last.resident),
                mib(peak),
                growth.0 as f64 / f64::from(1 << 20),
                growth.1,
                first.descriptors,
                last.descriptors,
            )?;
        }
        if let Some([first, last]) = own {
            writeln!(
                f,
                "soak: itself at rest: memory {:.1} MiB after the first round, {:.1} at the end; descriptors {} and {}",
                mib(first.resident),
                mib(last.resident),
                first.descriptors,
                last.descriptors,
            )?;
        }
        write!(
            f,
            "soak: seed {}: {} rounds, {clients} clients, {:.0} MB compared; daemons ended: {killed} by SIGKILL, \
             {terminated} by SIGTERM in mid-traffic, {at_rest} at rest; {} faults",
            self.seed,
            self.rounds,
            self.checked as f64 / 1e6,
            self.faults.len(),
        )
    }
}
