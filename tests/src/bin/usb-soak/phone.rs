//! A virtual phone in the kernel's virtual host controller, and the hand at its cable.

use super::bench::until;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the kernel may take to see that a cable is out.
const NOTICED: Duration = Duration::from_secs(10);
/// How often it is asked.
const LOOK: Duration = Duration::from_millis(2);

/// One of the phones.
pub(crate) struct Phone {
    pub(crate) udid: String,
    cable: Mutex<Cable>,
    /// Pulled out, or not listed since.
    away: AtomicBool,
    pulls: AtomicU64,
}

struct Cable {
    simulator: Child,
    hand: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Phone {
    /// Makes a phone that lies beside its cable.
    pub(crate) fn start(simulator: &Path, number: usize, ports: &str) -> io::Result<Phone> {
        let mut command = Command::new(simulator);
        command.args(["phone", "--vhci", "--number", &number.to_string(), "--phone-port", ports]);
        let mut simulator = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ends = (simulator.stdin.take(), simulator.stdout.take());
        let (Some(hand), Some(says)) = ends else { return Err(ErrorKind::BrokenPipe.into()) };
        let mut cable = Cable { simulator, hand, says: BufReader::new(says) };
        cable.hears("plugged into port")?;
        cable.do_and_hear("unplug", "unplugged")?;
        Ok(Phone {
            udid: format!("00008030-{number:016}"),
            cable: Mutex::new(cable),
            away: AtomicBool::new(true),
            pulls: AtomicU64::new(0),
        })
    }

    pub(crate) fn process(&self) -> u32 {
        self.cable.lock().unwrap_or_else(PoisonError::into_inner).simulator.id()
    }

    /// Its USB address, if the kernel has it.
    pub(crate) fn address(&self) -> Option<u64> {
        let serial = self.udid.replace('-', "");
        fs::read_dir("/sys/bus/usb/devices").ok()?.flatten().find_map(|device| {
            let value = |name| fs::read_to_string(device.path().join(name)).ok();
            if value("serial")?.trim() != serial {
                return None;
            }
            value("devnum")?.trim().parse().ok()
        })
    }

    /// Puts the cable in, when the kernel has seen that it was out: its virtual hub, other than a real
    /// one, would take a phone that is back at once for the one it knew.
    pub(crate) fn plug(&self) -> io::Result<()> {
        if !until(NOTICED, LOOK, || self.address().is_none()) {
            return Err(io::Error::other(format!("{} is out and the kernel has it", self.udid)));
        }
        self.with_cable(|cable| cable.do_and_hear("plug", "plugged into port"))
    }

    /// Pulls the cable; whoever is busy with the phone may see it from now on.
    pub(crate) fn pull(&self) -> io::Result<()> {
        self.away.store(true, Ordering::SeqCst);
        self.pulls.fetch_add(1, Ordering::SeqCst);
        self.with_cable(|cable| cable.do_and_hear("unplug", "unplugged"))
    }

    /// It is listed again.
    pub(crate) fn is_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }

    /// How often it was pulled out.
    pub(crate) fn pulls(&self) -> u64 {
        self.pulls.load(Ordering::SeqCst)
    }

    fn with_cable<T>(&self, act: impl FnOnce(&mut Cable) -> T) -> T {
        act(&mut self.cable.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Cable {
    fn do_and_hear(&mut self, word: &str, answer: &str) -> io::Result<()> {
        writeln!(self.hand, "{word}")?;
        self.hears(answer)
    }

    fn hears(&mut self, answer: &str) -> io::Result<()> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        if line.starts_with(answer) {
            return Ok(());
        }
        Err(io::Error::other(format!("the phone says {:?} instead of {answer}", line.trim())))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // Its input ends, and it with that; nothing is to be done where it is gone already.
        let _ = writeln!(self.hand, "quit");
        let _ = self.simulator.wait();
    }
}
