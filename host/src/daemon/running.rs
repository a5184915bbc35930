//! A daemon that runs already, found by its pidfile, and what can be asked of it.
//!
//! Whoever holds the pidfile's locks runs, ours or the reference daemon; a number without a lock is
//! left from one that is gone, and nobody is signalled by it. Leaves out: what a daemon does when it is
//! asked, which is the program's.

use std::error::Error;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::places::lock;

/// How long is waited for a daemon's end; it lets its connections drain for a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// More than the digits of a process number.
const MAX_PIDFILE: u64 = 32;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To exit, if there are no phones and it was started so that it may.
    Exit,
    /// To exit.
    ForceExit,
    /// To look for new phones.
    Look,
}

impl Request {
    /// The signal that says so, to the reference daemon too.
    pub fn signal(self) -> Signal {
        match self {
            Self::Exit => Signal::USR1,
            Self::ForceExit => Signal::TERM,
            Self::Look => Signal::USR2,
        }
    }
}

/// Why a daemon could not be asked, or did not do it; displays as one line.
#[derive(Debug)]
pub struct AskError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    NoneRuns,
    NoNumber,
    File(io::Error),
    Signal(Pid, io::Error),
    Stays(Pid, Request),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::NoneRuns => write!(f, "no daemon runs that holds {path}"),
            Why::NoNumber => {
                write!(f, "a daemon holds {path}, and no number is in it: stop it by hand")
            }
            Why::File(error) => write!(f, "cannot see in {path} who runs: {error}"),
            Why::Signal(pid, error) => {
                write!(f, "cannot ask process {}: {error}", pid.as_raw_nonzero())
            }
            Why::Stays(pid, Request::Exit) => write!(
                f,
                "process {} stays: it has phones, or was started without -z; -X ends it",
                pid.as_raw_nonzero()
            ),
            Why::Stays(pid, _) => write!(
                f,
                "process {} was asked and still runs after {} s",
                pid.as_raw_nonzero(),
                PATIENCE.as_secs()
            ),
        }
    }
}

impl Error for AskError {}

/// Asks the daemon that holds this pidfile; of one that was asked to exit, waits for the end.
///
/// # Errors
/// None runs, it cannot be asked, or it stays.
pub fn ask(path: &Path, request: Request) -> Result<(), AskError> {
    let failed = |why| AskError { path: path.to_owned(), why };
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(failed(Why::NoneRuns));
        }
        Err(error) => return Err(failed(Why::File(error))),
    };
    let mut text = String::new();
    file.by_ref()
        .take(MAX_PIDFILE)
        .read_to_string(&mut text)
        .map_err(|it| failed(Why::File(it)))?;
    // After reading: whoever holds it now has written the number.
    if lock(&file).is_ok() {
        return Err(failed(Why::NoneRuns));
    }
    let number = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = number.ok_or_else(|| failed(Why::NoNumber))?;
    kill_process(pid, request.signal()).map_err(|it| failed(Why::Signal(pid, it.into())))?;
    if request == Request::Look || ends(file) {
        return Ok(());
    }
    Err(failed(Why::Stays(pid, request)))
}

/// Waits until nobody holds the locks of this file; not longer than [`PATIENCE`].
fn ends(file: File) -> bool {
    let (tell, told) = mpsc::channel();
    // If it waits for longer than we do, it ends with this process.
    thread::spawn(move || {
        let free = flock(&file, FlockOperation::LockExclusive)
            .and_then(|()| fcntl_lock(&file, FlockOperation::LockExclusive));
        let _ = tell.send(free.is_ok());
    });
    // Neither time that is up nor a thread that could not wait is an end.
    told.recv_timeout(PATIENCE) == Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn number_without_a_lock_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let nobody = format!("no daemon runs that holds {}", path.display());
        assert_eq!(ask(&path, Request::ForceExit).unwrap_err().to_string(), nobody);
        // It would be this test's own end.
        std::fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        assert_eq!(ask(&path, Request::ForceExit).unwrap_err().to_string(), nobody);
    }

    #[test]
    fn lock_without_a_number_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let held = File::create(&path).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        let error = ask(&path, Request::ForceExit).unwrap_err().to_string();
        assert!(error.contains("stop it by hand"), "{error}");
    }
}
