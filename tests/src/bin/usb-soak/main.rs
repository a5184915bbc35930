//! A daemon on a real USB stack, phones that are pulled out and plugged in, and clients that come and
//! go, many thousand times; at the end a table of what the daemon held meanwhile, and a verdict.
//!
//! Runs in the guest of `tests/real-usb/soak`, with a daemon that is already there. A run is a row of
//! *sections*: clients come and go, hands move the cables, then all leave and the daemon must be back
//! where it was, by kinds of descriptors and threads. In the first sections up to three phones are
//! plugged in, and at the end of each all are pulled out, so that a daemon without phones is looked at too. In
//! the last ones a single phone stays, so that its one session gets old.
//!
//! | file | subject |
//! |---|---|
//! | `bench` | what all parts share: phones, who is listed, counts and faults |
//! | `phone` | a virtual phone and the hand at its cable |
//! | `hands` | the ways to pull phones out and to plug them in |
//! | `clients` | connect, transfer, close: the manners of doing so, and how one is judged |
//! | `server` | the program behind a port of the phones |
//! | `held` | what a process and the kernel hold now |
//! | `verdict` | samples, the table, the bounds |
//!
//! The seed repeats all choices, not the interleaving of the threads.

mod bench;
mod clients;
mod hands;
mod held;
mod phone;
mod server;
mod verdict;

use bench::Bench;
use clap::Parser;
use held::Held;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use usbmux_tests::random::Random;
use verdict::{Moment, Verdict};

/// Sections with unplugging, and those of the one long session.
const PULLING: u32 = 24;
const STAYING: u32 = 8;
/// Of the cycles, five in so many are in the sections with unplugging: of these three.
const SHARE: (u32, u32) = (3, 5);
/// Phones in the sections with unplugging, one after the other.
const PHONES: [usize; 4] = [3, 1, 3, 2];
/// Clients at once.
const CLIENTS: u32 = 8;
/// How long the daemon may take until it holds what it held: half-closed connections linger, and the
/// threads that opened a phone end.
const REST: Duration = Duration::from_secs(40);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(50);
/// Before a section, so that what is made once is made: cycles with each phone.
const WARM_UP: u32 = 40;

/// Soaks a daemon on USB: clients and phones come and go, and nothing may stay behind.
#[derive(Parser, Debug)]
#[command(name = "usb-soak")]
struct Arguments {
    /// The daemon's socket.
    #[arg(long)]
    socket: PathBuf,
    /// The daemon's process.
    #[arg(long, value_name = "PID")]
    daemon: u32,
    /// The program usbmux-sim.
    #[arg(long, value_name = "PROGRAM")]
    simulator: PathBuf,
    /// How often clients connect.
    #[arg(long)]
    cycles: u32,
    /// How often a phone is pulled out.
    #[arg(long)]
    unplugs: u32,
    /// What decides all that is random.
    #[arg(long)]
    seed: u64,
    /// Tell what is wrong, and judge nothing: for daemons that are not ours.
    #[arg(long)]
    beside: bool,
}

fn main() -> ExitCode {
    match Arguments::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("usb-soak: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn run(&self) -> Result<bool, Box<dyn Error>> {
        println!("soak: {} cycles, {} unplugs, seed {}", self.cycles, self.unplugs, self.seed);
        let most = PHONES.into_iter().max().unwrap_or(1);
        let bench = Bench::start(&self.socket, &self.simulator, most, self.beside)?;
        let mut run = Run {
            random: Random::new(self.seed),
            verdict: Verdict::new(self.daemon, bench.phone_processes()),
            bench: &bench,
            salt: AtomicU32::new(0),
            descriptors: Vec::new(),
            sockets: None,
            section: 0,
        };
        run.all(self.cycles, self.unplugs)?;
        println!("{}", bench.report());
        let kept = run.verdict.tell(self.beside);
        for fault in bench.faults() {
            println!("soak: fault: {fault}");
        }
        Ok(self.beside || kept && bench.is_good())
    }
}

struct Run<'b> {
    bench: &'b Bench,
    random: Random,
    verdict: Verdict,
    /// The number of the next cycle.
    salt: AtomicU32,
    /// What the daemon held at the first rest, by the number of phones.
    descriptors: Vec<Option<Held>>,
    /// Of the whole guest, with no phone and no client.
    sockets: Option<u64>,
    section: u32,
}

impl Run<'_> {
    /// All sections, unless there are so many faults that no more can be learnt.
    fn all(&mut self, cycles: u32, unplugs: u32) -> Result<(), Box<dyn Error>> {
        self.begin()?;
        let part = |of: u32, at: u32, all: u32| of * (at + 1) / all - of * at / all;
        let pulling = cycles * SHARE.0 / SHARE.1;
        for section in 0..PULLING {
            if !self.bench.goes_on() {
                return Ok(());
            }
            let phones = PHONES[section as usize % PHONES.len()];
            // Emptying the bench pulls each of them out once.
            let unplugs = part(unplugs, section, PULLING).saturating_sub(phones as u32);
            self.plug_in(phones)?;
            self.section(part(pulling, section, PULLING), unplugs, phones)?;
            self.rest(phones, Moment::Busy)?;
            self.empty()?;
        }
        self.plug_in(1)?;
        for section in 0..STAYING {
            if !self.bench.goes_on() {
                return Ok(());
            }
            self.section(part(cycles - pulling, section, STAYING), 0, 1)?;
            self.rest(1, Moment::Staying)?;
        }
        self.empty()
    }

    /// Has everything happen once that is kept when it has: threads, pools, tables.
    fn begin(&mut self) -> Result<(), Box<dyn Error>> {
        let most = self.bench.phones.len();
        self.descriptors = vec![None; most + 1];
        self.verdict.sample(self.bench, Moment::Start);
        self.plug_in(most)?;
        self.section(WARM_UP * most as u32, 0, most)?;
        self.section = 0;
        for phone in &self.bench.phones {
            hands::pull_and_wait(self.bench, phone)?;
        }
        self.bench.begin_to_count();
        self.rest(0, Moment::Empty)
    }

    fn plug_in(&self, phones: usize) -> Result<(), Box<dyn Error>> {
        Ok(hands::plug_in(self.bench, &self.bench.phones[..phones])?)
    }

    /// Pulls out whatever is plugged in.
    fn empty(&mut self) -> Result<(), Box<dyn Error>> {
        for phone in self.bench.phones.iter().filter(|phone| !phone.is_away()) {
            hands::pull_and_wait(self.bench, phone)?;
        }
        self.rest(0, Moment::Empty)
    }

    /// Has clients come and go, and pulls phones out meanwhile.
    fn section(&mut self, cycles: u32, unplugs: u32, phones: usize) -> Result<(), Box<dyn Error>> {
        self.section += 1;
        let (bench, salt) = (self.bench, &self.salt);
        let begun = bench.cycles();
        let tickets = AtomicU32::new(0);
        let mut pulls: Vec<_> =
            (0..unplugs).map(|_| self.random.below(cycles.max(1) as usize) as u64).collect();
        pulls.sort_unstable();
        let mut random = Random::new(self.random.bits());
        let seeds: Vec<_> = (0..CLIENTS).map(|_| self.random.bits()).collect();
        thread::scope(|scope| {
            for seed in seeds {
                let tickets = &tickets;
                scope.spawn(move || {
                    let mut random = Random::new(seed);
                    while tickets.fetch_add(1, Ordering::Relaxed) < cycles && bench.goes_on() {
                        clients::cycle(bench, &mut random, salt.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
            let phones = &bench.phones[..phones];
            hands::pull_now_and_then(bench, phones, &mut random, begun, &pulls)
        })?;
        Ok(())
    }

    /// Waits until the daemon holds what it held when it was like this for the first time.
    fn rest(&mut self, phones: usize, moment: Moment) -> Result<(), Box<dyn Error>> {
        let bench = self.bench;
        let held = || Held::of(self.verdict.daemon());
        let settled = match &self.descriptors[phones] {
            Some(first) => {
                bench::until(REST, LOOK, || held().is_ok_and(|held| held.is_back(first)))
            }
            // Nothing to compare with: nothing may change for a while.
            None => self.settle()?,
        };
        let held = held()?;
        let first = self.descriptors[phones].get_or_insert_with(|| held.clone());
        if !settled {
            bench.fault(format!(
                "after section {} with {phones} phones the daemon holds {held}; it held {first}",
                self.section
            ));
        }
        bench.judge_uploads();
        if moment == Moment::Empty {
            // Those of the phones' programs, which the daemon does not wait for; judged at the end.
            let first = *self.sockets.get_or_insert_with(held::sockets);
            bench::until(REST, LOOK, || held::sockets() <= first);
        }
        self.verdict.sample(bench, moment);
        if moment != Moment::Empty {
            println!("soak: section {}: {}", self.section, self.verdict.line(bench));
        }
        Ok(())
    }

    /// Waits until nothing changes for longer than anything lingers.
    fn settle(&self) -> Result<bool, Box<dyn Error>> {
        const QUIET_LOOKS: u32 = 100;
        let (mut last, mut quiet) = (Held::of(self.verdict.daemon())?, 0);
        Ok(bench::until(REST, LOOK, || {
            let Ok(now) = Held::of(self.verdict.daemon()) else { return false };
            quiet = if now.is_back(&last) && last.is_back(&now) { quiet + 1 } else { 0 };
            last = now;
            quiet >= QUIET_LOOKS
        }))
    }
}
