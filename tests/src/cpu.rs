//! The CPU time of a process, threads that have ended not counted.

use std::time::Duration;
use std::{fs, io};

/// What the threads of a process have spent so far: exact for those that sleep, and up to a tick of the
/// scheduler (a few milliseconds) old for one that runs.
///
/// # Errors
///
/// When there is no such process, or the kernel does not tell.
pub fn cpu_time(process: u32) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let times = fs::read_to_string(thread?.path().join("schedstat"))?;
        let spent = times.split(' ').next().and_then(|spent| spent.parse().ok());
        sum += Duration::from_nanos(spent.ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(sum)
}
