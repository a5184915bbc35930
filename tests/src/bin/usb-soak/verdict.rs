//! Samples over the time of a run, the table of some of them, and the bounds they are held to.

use super::bench::Bench;
use super::held::{self, Held};

/// What the daemon's memory without phones may have grown from the median of the first quarter of a
/// run to that of the last: pages that are touched late, 52 in a run of 480 cycles. A KiB for each of 500
/// unplugs would be 375.
const GROWTH_KIB: u64 = 128;
/// What one session may grow while thousands of connections pass through it: its table of slots is
/// touched by 1 MiB until each of 16,384 was used once.
const SESSION_KIB: u64 = 1024 + GROWTH_KIB;
/// The same for the three phones, which are ours as well, each with tables of its own; they run with
/// glibc's defaults, which keep what was free once.
const PHONE_KIB: u64 = 8192;
/// What of the kernel's memory cannot be got back; caches of file systems outside are in it.
const KERNEL_KIB: u64 = 4096;

/// When a sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before anything was done.
    Start,
    /// After a section with unplugging, phones still there.
    Busy,
    /// All phones are pulled out.
    Empty,
    /// After a section of the one long session.
    Staying,
}

struct Sample {
    moment: Moment,
    cycles: u64,
    pulls: u64,
    held: Held,
    /// What the rows show.
    figures: [u64; ROWS.len()],
}

/// One figure of a sample.
struct Row {
    name: &'static str,
    unit: &'static str,
    read: fn(&Verdict) -> u64,
}

const fn row(name: &'static str, unit: &'static str, read: fn(&Verdict) -> u64) -> Row {
    Row { name, unit, read }
}

const ANONYMOUS: usize = 0;
const USBFS: usize = 5;
const CLAIMED: usize = 6;
const PHONES: usize = 7;
const PHONES_HELD: usize = 8;
const SOCKETS: usize = 9;
const KERNEL: usize = 10;
const ROWS: [Row; 11] = [
    row("anonymous memory", "KiB", |of| held::rollup(of.daemon, "Anonymous")),
    row("resident memory", "KiB", |of| held::status(of.daemon, "VmRSS")),
    row("resident memory, peak", "KiB", |of| held::status(of.daemon, "VmHWM")),
    row("heap, address space", "KiB", |of| held::mapped(of.daemon, "[heap]")),
    row("data, address space", "KiB", |of| held::status(of.daemon, "VmData")),
    row("mapped of usbfs", "KiB", |of| held::mapped(of.daemon, "/dev/bus/usb")),
    row("claimed USB interfaces", "", |_| held::claimed()),
    row("phones' anonymous memory", "KiB", |of| {
        of.phones.iter().map(|phone| held::rollup(*phone, "Anonymous")).sum()
    }),
    row("phones' descriptors", "", |of| {
        of.phones.iter().map(|phone| Held::of(*phone).map_or(0, |held| held.sum())).sum()
    }),
    row("sockets of the guest", "", |_| held::sockets()),
    row("kernel's unreclaimable slab", "KiB", |_| held::kernel("SUnreclaim")),
];

/// All samples of a run.
pub(crate) struct Verdict {
    daemon: u32,
    phones: Vec<u32>,
    samples: Vec<Sample>,
}

impl Verdict {
    pub(crate) fn new(daemon: u32, phones: Vec<u32>) -> Verdict {
        Verdict { daemon, phones, samples: Vec::new() }
    }

    pub(crate) fn daemon(&self) -> u32 {
        self.daemon
    }

    /// Looks at everything.
    pub(crate) fn sample(&mut self, bench: &Bench, moment: Moment) {
        let held = Held::of(self.daemon).unwrap_or_default();
        let figures = ROWS.each_ref().map(|row| (row.read)(self));
        let (cycles, pulls) = (bench.cycles(), bench.pulls());
        self.samples.push(Sample { moment, cycles, pulls, held, figures });
    }

    /// The last sample in a line.
    pub(crate) fn line(&self, bench: &Bench) -> String {
        let Some(last) = self.samples.last() else { return String::new() };
        format!(
            "{} cycles, {} unplugs, {} uploads; anonymous {} KiB, usbfs {} KiB, {}",
            last.cycles,
            last.pulls,
            bench.server.whole(),
            last.figures[ANONYMOUS],
            last.figures[USBFS],
            last.held
        )
    }

    fn of(&self, moment: Moment) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.moment == moment).collect()
    }

    /// Prints tables and bounds; whether all were kept.
    pub(crate) fn tell(&self, beside: bool) -> bool {
        let empty = self.of(Moment::Empty);
        let staying = self.of(Moment::Staying);
        self.table("without phones", &empty);
        self.table("one phone, one session", &staying);
        self.curve(&empty);
        if beside {
            return true;
        }
        let bounds = self.bounds(&empty, &staying);
        println!("soak: {:<52}{:>10}{:>10}{:>10}", "bound", "before", "after", "at most");
        let mut all = true;
        for Bound { what, before, after, most } in bounds {
            let kept = after <= most;
            all &= kept;
            let word = if kept { "kept" } else { "NOT kept" };
            println!("soak:   {what:<50}{before:>10}{after:>10}{most:>10}  {word}");
        }
        all
    }

    /// First, quarters, end.
    fn table(&self, name: &str, samples: &[&Sample]) {
        let Some(last) = samples.len().checked_sub(1) else { return };
        let columns = [0, last / 4, last / 2, last * 3 / 4, last].map(|at| samples[at]);
        let line = |name: &str, unit: &str, values: [u64; 5]| {
            let values = values.map(|value| format!("{value:>10}")).concat();
            println!("soak:   {name:<32}{unit:<6}{values}");
        };
        let heads = ["first", "1/4", "1/2", "3/4", "end"].map(|head| format!("{head:>10}"));
        println!("soak: {name:<40}{}", heads.concat());
        line("cycles", "", columns.map(|sample| sample.cycles));
        line("unplugs", "", columns.map(|sample| sample.pulls));
        for (at, row) in ROWS.iter().enumerate() {
            line(row.name, row.unit, columns.map(|sample| sample.figures[at]));
        }
        line("threads", "", columns.map(|sample| sample.held.threads()));
        line("threads of the pool", "", columns.map(|sample| sample.held.pool()));
        let kinds = columns.iter().flat_map(|sample| sample.held.descriptors.keys());
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let number =
                |sample: &Sample| sample.held.descriptors.get(kind).map_or(0, |n| *n as u64);
            line(&format!("descriptors: {kind}"), "", columns.map(number));
        }
    }

    /// The daemon's memory without phones, each sample a bar.
    fn curve(&self, samples: &[&Sample]) {
        let most = samples.iter().map(|sample| sample.figures[ANONYMOUS]).max().unwrap_or(1);
        println!("soak: anonymous memory without phones, by unplugs");
        for sample in samples {
            let memory = sample.figures[ANONYMOUS];
            let bar = "#".repeat((memory * 50 / most.max(1)) as usize);
            println!("soak:   {:>6} {memory:>7} KiB {bar}", sample.pulls);
        }
    }

    fn bounds(&self, empty: &[&Sample], staying: &[&Sample]) -> Vec<Bound> {
        let mut bounds = Vec::new();
        let mut bound = |what, before, after, most| {
            bounds.push(Bound { what, before, after, most });
        };
        // The last of them is after the long session.
        let (Some(first), Some(last)) = (empty.first(), empty.last()) else { return bounds };
        let pulling = &empty[..empty.len() - 1];
        let median = |samples: &[&Sample], row: usize| {
            let mut values: Vec<_> = samples.iter().map(|sample| sample.figures[row]).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let quarter = (pulling.len() / 4).max(1);
        let of_quarter = |row| {
            let (early, late) = (&pulling[..quarter], &pulling[pulling.len() - quarter..]);
            (median(early, row), median(late, row))
        };
        let (early, late) = of_quarter(ANONYMOUS);
        bound(
            "memory without phones, first and last quarter, KiB",
            early,
            late,
            early + GROWTH_KIB,
        );
        let after = last.figures[ANONYMOUS];
        bound("the same after the long session, KiB", early, after, early + SESSION_KIB);
        if let (Some(young), Some(old)) = (staying.get(staying.len() / 4), staying.last()) {
            let (young, old) = (young.figures[ANONYMOUS], old.figures[ANONYMOUS]);
            bound("memory of one session, 1/4 and end, KiB", young, old, young + SESSION_KIB);
        }
        bound("mapped of usbfs without phones, KiB", 0, last.figures[USBFS], 0);
        let claimed = empty.iter().map(|sample| sample.figures[CLAIMED]).max().unwrap_or(0);
        bound("claimed interfaces without phones", 0, claimed, 0);
        let (early, late) = of_quarter(PHONES);
        bound("phones' memory, first and last quarter, KiB", early, late, early + PHONE_KIB);
        let (early, late) = (first.figures[PHONES_HELD], last.figures[PHONES_HELD]);
        bound("phones' descriptors", early, late, early);
        let (early, late) = (first.figures[SOCKETS], last.figures[SOCKETS]);
        bound("sockets of the guest", early, late, early);
        let (early, late) = of_quarter(KERNEL);
        bound("kernel's slab, first and last quarter, KiB", early, late, early + KERNEL_KIB);
        let (early, late) = (first.held.sum(), last.held.sum());
        bound("descriptors without phones", early, late, early);
        let (early, late) = (first.held.threads(), last.held.threads());
        bound("threads without phones, those of the pool apart", early, late, early);
        let (early, late) = (first.held.pool(), last.held.pool());
        bound("threads of the pool", early, late, 2 * self.phones.len() as u64 + 1);
        bounds
    }
}

struct Bound {
    what: &'static str,
    before: u64,
    after: u64,
    most: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    /// A run of 500 unplugs, with what each unplug leaves behind in KiB.
    fn run(leak: u64) -> Verdict {
        let mut verdict = Verdict::new(0, vec![0; 3]);
        for section in 0..26 {
            let mut figures = [0; ROWS.len()];
            figures[ANONYMOUS] = 700 + section * 20 * leak;
            let moment = if section == 25 { Moment::Staying } else { Moment::Empty };
            let (cycles, pulls) = (section * 2000, section * 20);
            verdict.samples.push(Sample { moment, cycles, pulls, held: Held::default(), figures });
        }
        verdict
    }

    fn broken(verdict: &Verdict) -> Vec<&'static str> {
        let bounds = verdict.bounds(&verdict.of(Moment::Empty), &verdict.of(Moment::Staying));
        bounds.iter().filter(|bound| bound.after > bound.most).map(|bound| bound.what).collect()
    }

    #[test]
    fn a_kib_for_each_unplug_is_found() {
        assert!(broken(&run(0)).is_empty());
        assert_eq!(broken(&run(1)), ["memory without phones, first and last quarter, KiB"]);
    }

    #[test]
    fn what_is_claimed_or_mapped_without_phones_is_found() {
        for row in [USBFS, CLAIMED, PHONES_HELD, SOCKETS] {
            let mut verdict = run(0);
            let last = verdict.samples.iter_mut().rfind(|sample| sample.moment == Moment::Empty);
            last.unwrap().figures[row] += 1;
            assert_eq!(broken(&verdict).len(), 1, "{}", ROWS[row].name);
        }
    }
}
