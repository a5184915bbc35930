//! What a process and the kernel hold now, by what /proc and /sys tell.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// The threads of the crate `blocking`, which keeps each: there are as many as were ever busy at once.
const POOL: &str = "blocking threads";

/// What a process must give back: descriptors, and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// How many of each kind.
    pub(crate) descriptors: BTreeMap<String, usize>,
    /// How many of each name; of a pool's threads the numbers are left out.
    pub(crate) threads: BTreeMap<String, usize>,
}

impl Held {
    /// Of a process that lives.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(crate) fn of(process: u32) -> io::Result<Held> {
        let mut held = Held::default();
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            // One that ended meanwhile.
            let Ok(name) = fs::read_to_string(thread?.path().join("comm")) else { continue };
            let name = name.trim().trim_end_matches(|end: char| end.is_ascii_digit() || end == '-');
            *held.threads.entry(format!("{name} threads")).or_default() += 1;
        }
        for descriptor in fs::read_dir(format!("/proc/{process}/fd"))? {
            // One that was closed meanwhile.
            let Ok(target) = fs::read_link(descriptor?.path()) else { continue };
            *held.descriptors.entry(kind(&target)).or_default() += 1;
        }
        Ok(held)
    }

    /// Whether it holds no more than it did before, of any kind; threads of the pool apart.
    pub(crate) fn is_back(&self, before: &Held) -> bool {
        let no_more = |now: &BTreeMap<String, usize>, then: &BTreeMap<String, usize>| {
            let then = |kind| then.get(kind).copied().unwrap_or_default();
            now.iter().all(|(kind, number)| kind == POOL || *number <= then(kind))
        };
        no_more(&self.threads, &before.threads) && no_more(&self.descriptors, &before.descriptors)
    }

    /// All descriptors.
    pub(crate) fn sum(&self) -> u64 {
        self.descriptors.values().sum::<usize>() as u64
    }

    /// Threads of the pool.
    pub(crate) fn pool(&self) -> u64 {
        self.threads.get(POOL).copied().unwrap_or_default() as u64
    }

    /// All other threads.
    pub(crate) fn threads(&self) -> u64 {
        self.threads.values().sum::<usize>() as u64 - self.pool()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.descriptors.iter().chain(&self.threads);
        let words: Vec<_> = all.map(|(kind, number)| format!("{number} {kind}")).collect();
        f.write_str(&words.join(", "))
    }
}

fn kind(target: &Path) -> String {
    let text = target.to_string_lossy();
    if text.starts_with("/dev/bus/usb") {
        "USB devices".to_owned()
    } else if let Some(kind) = text.strip_prefix("anon_inode:") {
        format!("{}s", kind.trim_matches(['[', ']']))
    } else if let Some((kind, _)) = text.split_once(":[") {
        format!("{kind}s")
    } else {
        "files".to_owned()
    }
}

/// A number in a file of lines like `Name: 12 kB`; 0 where there is none.
fn number_in(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

/// A line of a process's status: a number, or KiB.
pub(crate) fn status(process: u32, name: &str) -> u64 {
    number_in(&format!("/proc/{process}/status"), name)
}

/// A line of the sums over a process's memory, in KiB.
pub(crate) fn rollup(process: u32, name: &str) -> u64 {
    number_in(&format!("/proc/{process}/smaps_rollup"), name)
}

/// A line of the kernel's memory, in KiB.
pub(crate) fn kernel(name: &str) -> u64 {
    number_in("/proc/meminfo", name)
}

/// Address space that a process has mapped of what a name begins with, in KiB.
pub(crate) fn mapped(process: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let length = |line: &str| {
        let (range, place) = (line.split(' ').next()?, line.split_whitespace().nth(5)?);
        let (from, to) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        place.starts_with(name).then_some((number(to)? - number(from)?) / 1024)
    };
    text.lines().filter_map(length).sum()
}

/// Sockets that exist in the kernel, of all processes.
pub(crate) fn sockets() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let number = text.lines().find_map(|line| line.strip_prefix("sockets: used "));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

/// USB interfaces that programs have claimed.
pub(crate) fn claimed() -> u64 {
    let Ok(driver) = fs::read_dir("/sys/bus/usb/drivers/usbfs") else { return 0 };
    let is_interface = |name: &str| name.contains(':');
    driver.flatten().filter(|entry| is_interface(&entry.file_name().to_string_lossy())).count()
        as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_descriptor_or_thread_more_of_any_kind_is_found() {
        let this = std::process::id();
        let before = Held::of(this).unwrap();
        let mut after = before.clone();
        assert!(after.is_back(&before));
        *after.descriptors.entry("sockets".to_owned()).or_default() += 1;
        assert!(!after.is_back(&before) && before.is_back(&after));
        let mut after = before.clone();
        *after.threads.entry("umuxd threads".to_owned()).or_default() += 1;
        assert!(!after.is_back(&before));
        // A pool keeps its threads; there is a bound for them in the verdict.
        let mut after = before.clone();
        *after.threads.entry(POOL.to_owned()).or_default() += 1;
        assert!(after.is_back(&before));
    }

    #[test]
    fn descriptors_have_kinds() {
        for (target, expected) in [
            ("/dev/bus/usb/001/007", "USB devices"),
            ("socket:[1234]", "sockets"),
            ("anon_inode:[eventpoll]", "eventpolls"),
            ("/dev/null", "files"),
        ] {
            assert_eq!(kind(Path::new(target)), expected);
        }
    }
}
