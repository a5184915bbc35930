//! Starts `umuxd` as a process of its own on a socket in a temporary folder, and finds the programs of this workspace.
//!
//! `USBMUX_BIN_DIR` names the folder with the programs (`tests/run` sets it); without it they are built once with the
//! same cargo and profile that built the test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper: failing loudly is its job")]

use crate::socket::{Client, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

/// The path of one of the workspace's programs.
///
/// # Panics
///
/// When it can neither be found nor built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER
        .get_or_init(|| env::var_os("USBMUX_BIN_DIR").map_or_else(build_programs, PathBuf::from));
    let path = folder.join(name);
    assert!(path.exists(), "{} does not exist", path.display());
    path
}

/// Builds umuxd, umux and usbmux-sim beside the running test, `target/<profile>/deps/<test>`, or program, `target/<profile>/<program>`.
fn build_programs() -> PathBuf {
    let itself = env::current_exe().unwrap();
    let folder = itself.parent().unwrap();
    let folder = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let folder = folder.to_path_buf();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "usbmux-host", "-p", "usbmux-firmware-sim", "--bins"]);
    build.arg("--target-dir").arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        build.arg("--release");
    }
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    assert!(build.status().unwrap().success(), "the programs do not build");
    folder
}

/// Lines that a process has written so far, and a way to wait for more.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    /// Reads lines from a process in the background until it closes the stream.
    #[must_use]
    pub fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let shared = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                shared.lock().push(line);
                shared.0.1.notify_all();
            }
        });
        lines
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Panics
    ///
    /// When none has come in time.
    #[must_use]
    pub fn wait_for(&self, text: &str) -> String {
        let mut lines = self.lock();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {text:?} in {lines:#?}");
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// The lines, even where a test failed while it held them.
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    /// Where it listens.
    pub socket: PathBuf,
    /// Its pair records.
    pub config_dir: PathBuf,
    /// What it logs.
    pub log: Lines,
    child: Child,
    folder: Arc<tempfile::TempDir>,
}

impl Daemon {
    /// Starts `umuxd --simulate=<phones>` with further options and waits until it listens and all phones are listed.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(phones: u32, options: &[&str]) -> Daemon {
        Daemon::start_prepared(phones, options, |_| {})
    }

    /// The same, with a chance to put something into its config folder first.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_prepared(phones: u32, options: &[&str], prepare: impl FnOnce(&Path)) -> Daemon {
        let daemon = Daemon::start_unlisted(phones, options, prepare);
        daemon.wait_for_phones(phones as usize);
        daemon
    }

    /// Starts a daemon that lists no phone: its only one does not answer VERSION and is pulled out before the daemon
    /// resets its port, which would cure it.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_without_phones(prepare: impl FnOnce(&Path)) -> Daemon {
        let quirks = ["--phone-quirk=silent-version", "--phone-quirk=unplug=4"];
        Daemon::start_unlisted(1, &quirks, prepare)
    }

    /// The same, without waiting for the phones.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_unlisted(phones: u32, options: &[&str], prepare: impl FnOnce(&Path)) -> Daemon {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Daemon::launch(Command::new(program("umuxd")), &folder, phones, options, prepare)
    }

    /// Starts a daemon in a folder where others may have lived and died, without waiting for the phones.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_in(folder: &Arc<tempfile::TempDir>, phones: u32, options: &[&str]) -> Daemon {
        Daemon::launch(Command::new(program("umuxd")), folder, phones, options, |_| {})
    }

    /// Starts a daemon below what a shell does first, such as lowering a limit, and waits for its phones.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start_after(shell: &str, phones: u32, options: &[&str]) -> Daemon {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{shell}\nexec \"$@\"")).arg("sh").arg(program("umuxd"));
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let daemon = Daemon::launch(command, &folder, phones, options, |_| {});
        daemon.wait_for_phones(phones as usize);
        daemon
    }

    fn launch(
        mut command: Command,
        folder: &Arc<tempfile::TempDir>,
        phones: u32,
        options: &[&str],
        prepare: impl FnOnce(&Path),
    ) -> Daemon {
        let folder = Arc::clone(folder);
        let socket = folder.path().join("usbmuxd");
        let config_dir = folder.path().join("lockdown");
        std::fs::create_dir_all(&config_dir).unwrap();
        prepare(&config_dir);
        command.arg(format!("--simulate={phones}"));
        command.arg("-S").arg(&socket).arg("-C").arg(&config_dir).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Lines::of(child.stderr.take().unwrap());
        let daemon = Daemon { socket, config_dir, log, child, folder };
        let _ = daemon.log.wait_for(&format!("listening on UNIX:{}", daemon.socket.display()));
        daemon
    }

    /// A new connection to it.
    ///
    /// # Panics
    ///
    /// When it does not take one.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    /// Waits until so many phones were announced.
    ///
    /// # Panics
    ///
    /// When they are not in time.
    pub fn wait_for_phones(&self, count: usize) {
        let mut listener = self.client();
        let _ = listener.ask(1, "Listen", &[]).unwrap();
        for _ in 0..count {
            let event = listener.receive();
            let event = event.unwrap_or_else(|error| panic!("{error}: {:#?}", self.log.all()));
            assert_eq!(event.text("MessageType"), Some("Attached"));
        }
    }

    /// The value of `USBMUXD_SOCKET_ADDRESS` for the libimobiledevice family.
    #[must_use]
    pub fn address(&self) -> String {
        format!("UNIX:{}", self.socket.display())
    }

    /// A folder of the test that goes away with the daemon.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many descriptors it holds.
    ///
    /// # Panics
    ///
    /// When it is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        descriptors_of(self.id())
    }

    /// Its memory that is in use now, in bytes.
    ///
    /// # Panics
    ///
    /// When it is gone.
    #[must_use]
    pub fn resident(&self) -> usize {
        memory_of(self.id(), "VmRSS:")
    }

    /// The most memory that it ever had in use, in bytes.
    ///
    /// # Panics
    ///
    /// When it is gone.
    #[must_use]
    pub fn peak(&self) -> usize {
        memory_of(self.id(), "VmHWM:")
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    ///
    /// When it cannot be asked.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Kills it as a crash would: its socket's file stays.
    ///
    /// # Panics
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        let _ = self.child.wait().unwrap();
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[must_use]
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait(&mut self.child, PATIENCE).unwrap_or_else(|| panic!("umuxd did not end at SIGTERM"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log.all().join("\n"));
        }
    }
}

/// What a process holds at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Resident memory in bytes.
    pub resident: usize,
}

/// What a process holds now: descriptors, and memory in use.
///
/// # Panics
///
/// When it is gone.
#[must_use]
pub fn held_by(pid: u32) -> Held {
    Held { descriptors: descriptors_of(pid), resident: memory_of(pid, "VmRSS:") }
}

fn descriptors_of(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// A line of a process's status, in bytes.
fn memory_of(pid: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Waits for a process to end; none when the time is over.
///
/// # Panics
///
/// When the process cannot be waited for.
#[must_use]
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    // The standard library has no wait with a deadline: poll finely, the condition is the process's end.
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}
