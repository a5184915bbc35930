//! The program `umuxd` from outside: its options, what it prints, its files, signals and exit
//! status. What it serves is tested elsewhere.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running daemon, killed at the test's end at the latest.
struct Umuxd {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Drop for Umuxd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with a folder of the test's as its runtime folder's parent.
fn umuxd(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umuxd"));
    command.args(arguments).env("XDG_RUNTIME_DIR", folder.path()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG");
    command
}

fn start(folder: &TempDir, arguments: &[&str]) -> Umuxd {
    let mut child = umuxd(folder, arguments).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Umuxd { child, stderr }
}

fn output(folder: &TempDir, arguments: &[&str]) -> Output {
    umuxd(folder, arguments).output().unwrap()
}

impl Umuxd {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn listening_on(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned()
    }

    /// Ends it with a signal and returns its exit status.
    fn end_with(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The folder a daemon makes in its runtime folder's parent.
fn made_in(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join(format!("umuxd-{}", rustix::process::getuid().as_raw()))
}

fn one_line(output: &Output) -> &str {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end()
}

/// Whether a device of Apple's vendor number is on this machine's USB.
fn has_apple_device() -> bool {
    let devices = fs::read_dir("/sys/bus/usb/devices").into_iter().flatten().flatten();
    let vendors = devices.map(|device| fs::read_to_string(device.path().join("idVendor")));
    vendors.flatten().any(|vendor| vendor.trim() == "05ac")
}

#[test]
fn machine_without_usb_is_told_in_one_line_and_waits() {
    if has_apple_device() {
        return;
    }
    let folder = folder();
    let path = folder.path().join("usbmuxd");
    let socket = path.to_str().unwrap();
    for (option, what) in [("-f", "waiting for phones"), ("-n", "no phone is waited for")] {
        let mut umuxd = start(&folder, &["-S", socket, "-C", socket, option]);
        assert_eq!(umuxd.listening_on(), format!("UNIX:{socket}"));
        let line = umuxd.line();
        assert!(line.contains("USB") && line.contains(what), "{line}");
        UnixStream::connect(&path).unwrap();
        assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
        let mut rest = String::new();
        umuxd.stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(rest.lines().filter(|line| !line.contains("signal")).count(), 0, "{rest}");
    }
}

#[test]
fn wrong_usage_is_one_line_and_exit_status_2() {
    let folder = folder();
    for line in [
        "--nonsense",
        "extra",
        "-n x",
        "-z=1",
        "-x -X",
        "-X -P NONE",
        "-U",
        "-S",
        "-S host:99999",
        "-C",
        "-P",
        "-l",
        "--linger -1",
        "--socket-mode 999",
        "--simulate=0",
        "--phone-port 22=127.0.0.1:22",
        "--simulate --phone-quirk none",
        "--trace-limit 64K",
        "--simulate --trace x --trace-limit 64",
    ] {
        let output = output(&folder, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(one_line(&output).starts_with("umuxd: "), "{line}");
    }
}

#[test]
fn what_cannot_be_used_is_named_in_one_line() {
    let folder = folder();
    for (line, what) in [
        ("-S /nonexistent/socket", "/nonexistent/socket"),
        ("-S 127.0.0.1:0 -P /nonexistent/pid", "/nonexistent/pid"),
        ("-S 127.0.0.1:0 -l /nonexistent/log", "/nonexistent/log"),
        ("--simulate -S 127.0.0.1:0 --trace /nonexistent/trace", "/nonexistent/trace"),
        ("-S 127.0.0.1:0 -U nosuch", "there is no user nosuch"),
        ("-X -P /nonexistent/pid", "no daemon runs that holds /nonexistent/pid"),
    ] {
        let output = output(&folder, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(one_line(&output).contains(what), "{line}: {}", one_line(&output));
    }
}

#[test]
fn quirk_of_a_phone_that_is_not_there_is_wrong_usage() {
    let folder = folder();
    let output = output(&folder, &["--simulate=2", "--phone-quirk", "3:v1", "-S", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(one_line(&output).contains("phone 3"));
}

#[test]
fn simulating_daemon_listens_on_both_kinds_and_says_what_to_try() {
    let folder = folder();
    let mut umuxd = start(&folder, &["--simulate"]);
    let path = made_in(&folder).join("usbmuxd");
    assert_eq!(umuxd.listening_on(), format!("UNIX:{}", path.display()));
    let address = umuxd.listening_on();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    umuxd.line();
    assert_eq!(umuxd.line().trim(), format!("export USBMUXD_SOCKET_ADDRESS={address}"));
    assert_eq!(fs::metadata(made_in(&folder)).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    UnixStream::connect(&path).unwrap();
    TcpStream::connect(&address).unwrap();
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert!(!path.exists());
    TcpStream::connect(&address).unwrap_err();
}

#[test]
fn second_simulating_daemon_takes_the_next_free_port() {
    let (first, second) = (folder(), folder());
    let mut one = start(&first, &["--simulate"]);
    let mut two = start(&second, &["--simulate"]);
    let addresses = [&mut one, &mut two].map(|umuxd| {
        umuxd.listening_on();
        umuxd.listening_on()
    });
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        TcpStream::connect(address).unwrap();
    }
}

#[test]
fn socket_that_somebody_serves_is_not_taken() {
    let folder = folder();
    let path = folder.path().join("mine");
    let socket = path.to_str().unwrap();
    let mut first = start(&folder, &["--simulate", "-S", socket]);
    first.listening_on();
    let second = output(&folder, &["--simulate", "-S", socket]);
    assert_eq!(second.status.code(), Some(1));
    assert!(one_line(&second).contains(socket));
    UnixStream::connect(&path).unwrap();
}

#[test]
fn given_socket_is_the_only_one() {
    let folder = folder();
    let path = folder.path().join("mine");
    let arguments = ["--simulate", "-S", path.to_str().unwrap(), "--socket-mode", "600"];
    let mut umuxd = start(&folder, &arguments);
    assert_eq!(umuxd.listening_on(), format!("UNIX:{}", path.display()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(umuxd.end_with(Signal::INT), Some(0));
    let mut rest = String::new();
    umuxd.stderr.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("listening"), "{rest}");
}

#[test]
fn pidfile_is_there_while_it_runs() {
    let folder = folder();
    let path = folder.path().join("pid");
    let arguments = ["--simulate", "-S", "127.0.0.1:0", "-P", path.to_str().unwrap()];
    let mut umuxd = start(&folder, &arguments);
    umuxd.listening_on();
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), umuxd.child.id().to_string());
    let second = output(&folder, &arguments);
    assert_eq!(second.status.code(), Some(1));
    assert!(one_line(&second).contains("another daemon"));
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert!(!path.exists());
}

#[test]
fn log_goes_to_its_file() {
    let folder = folder();
    let path = folder.path().join("log");
    let arguments = ["--simulate", "-v", "-S", "127.0.0.1:0", "-l", path.to_str().unwrap()];
    let mut umuxd = start(&folder, &arguments);
    umuxd.listening_on();
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert!(fs::read_to_string(&path).unwrap().contains("plugged in"));
}

#[test]
fn open_connection_is_drained_before_the_exit() {
    let folder = folder();
    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let mapping = format!("1000={}", program.local_addr().unwrap());
    let mut umuxd = start(&folder, &["--simulate", "-S", "127.0.0.1:0", "--phone-port", &mapping]);
    let mut client = connect(Path::new(&umuxd.listening_on()), 1, 1000);
    let mut program = program.accept().unwrap().0;
    client.write_all(&[7; 100_000]).unwrap();
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    let mut received = Vec::new();
    program.read_to_end(&mut received).unwrap();
    assert_eq!(received, [7; 100_000]);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
}

/// Connects to a port of a phone with a binary Connect (PROTOCOL §5), once the phone is visible.
fn connect(address: &Path, device_id: u32, port: u16) -> TcpStream {
    loop {
        let mut client = TcpStream::connect(address.to_str().unwrap()).unwrap();
        let mut request: Vec<u8> =
            [24, 0, 2, 1, device_id].into_iter().flat_map(u32::to_le_bytes).collect();
        request.extend(port.to_be_bytes());
        request.extend([0, 0]);
        client.write_all(&request).unwrap();
        let mut result = [0; 20];
        client.read_exact(&mut result).unwrap();
        match result[16] {
            0 => return client,
            2 => {}
            other => panic!("result {other}"),
        }
    }
}

/// What `umux` gets at a socket.
fn umux(socket: &Path, command: &str) -> Output {
    let mut umux = Command::new(env!("CARGO_BIN_EXE_umux"));
    umux.arg(command).arg("--socket").arg(socket).output().unwrap()
}

/// A pidfile's path in the test's folder, and its spelling.
fn pidfile(folder: &TempDir) -> (std::path::PathBuf, String) {
    let path = folder.path().join("pid");
    let text = path.to_str().unwrap().to_owned();
    (path, text)
}

/// Reads the log until a line has this in it.
fn log_until(umuxd: &mut Umuxd, what: &str) -> String {
    let mut log = String::new();
    loop {
        let line = umuxd.line();
        assert!(!line.is_empty(), "it ended without saying {what:?}:\n{log}");
        if line.contains(what) {
            return line;
        }
        log += &line;
    }
}

#[test]
fn exit_is_asked_in_vain_where_none_runs() {
    let folder = folder();
    let (path, pid) = pidfile(&folder);
    for option in ["-x", "-X"] {
        let asked = output(&folder, &[option, "-P", &pid]);
        assert_eq!(asked.status.code(), Some(1));
        assert_eq!(one_line(&asked), format!("umuxd: no daemon runs that holds {pid}"));
    }
    // Left from a daemon that was killed; by now the number may be anybody's.
    fs::write(&path, std::process::id().to_string()).unwrap();
    let asked = output(&folder, &["-X", "-P", &pid]);
    assert_eq!(one_line(&asked), format!("umuxd: no daemon runs that holds {pid}"));
}

#[test]
fn exit_by_force_ends_a_daemon_with_a_phone() {
    let folder = folder();
    let (path, pid) = pidfile(&folder);
    let mut umuxd = start(&folder, &["--simulate", "-S", "127.0.0.1:0", "-P", &pid]);
    log_until(&mut umuxd, "is there");
    let asked = output(&folder, &["-X", "-P", &pid]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    assert!(!path.exists(), "it has ended when -X returns");
    assert_eq!(umuxd.child.wait().unwrap().code(), Some(0));
}

#[test]
fn exit_is_obeyed_only_with_z_and_without_phones() {
    let folder = folder();
    let (_, pid) = pidfile(&folder);
    let common = ["-S", "127.0.0.1:0", "-P", &pid];
    let stays = |umuxd: &mut Umuxd, why: &str| {
        let asked = output(&folder, &["-x", "-P", &pid]);
        assert_eq!(asked.status.code(), Some(1));
        let complaint = one_line(&asked);
        assert!(complaint.contains(&format!("process {} stays", umuxd.child.id())), "{complaint}");
        log_until(umuxd, why);
    };
    let mut umuxd = start(&folder, &[&common[..], &["--simulate", "-z"]].concat());
    log_until(&mut umuxd, "is there");
    stays(&mut umuxd, "has phones");
    drop(umuxd);

    let unplug = ["--simulate", "--phone-quirk", "unplug=0"];
    let mut umuxd = start(&folder, &[&common[..], &unplug].concat());
    log_until(&mut umuxd, "is gone");
    stays(&mut umuxd, "started without -z");
    drop(umuxd);

    let mut umuxd = start(&folder, &[&common[..], &unplug, &["-s"]].concat());
    log_until(&mut umuxd, "is gone");
    let asked = output(&folder, &["-x", "-P", &pid]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    assert_eq!(umuxd.child.wait().unwrap().code(), Some(0));
    assert!(umuxd.line().contains("signal Usr1"));
}

#[test]
fn daemon_ends_with_its_last_phone_if_asked_to() {
    let folder = folder();
    let arguments = ["--simulate=2", "--phone-quirk", "1:unplug=0", "--phone-quirk", "2:unplug=1"];
    let mut umuxd = start(&folder, &[&arguments[..], &["-z", "-S", "127.0.0.1:0"]].concat());
    for _ in 0..2 {
        log_until(&mut umuxd, "is gone");
    }
    log_until(&mut umuxd, "ending without phones");
    assert_eq!(umuxd.child.wait().unwrap().code(), Some(0));
}

#[test]
fn phone_that_comes_back_at_once_keeps_the_daemon() {
    let folder = folder();
    let quirks = ["--phone-quirk", "unplug=0.2", "--phone-quirk", "replug=0.1"];
    let arguments = [&["--simulate", "-z", "-S", "127.0.0.1:0"][..], &quirks].concat();
    let mut umuxd = start(&folder, &arguments);
    for _ in 0..40 {
        let line = log_until(&mut umuxd, "phone ");
        assert!(!line.contains("ending"), "{line}");
    }
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
}

#[test]
fn udev_s_mode_ends_where_there_is_no_phone() {
    if has_apple_device() {
        return;
    }
    let folder = folder();
    let socket = folder.path().join("usbmuxd");
    let mut umuxd = start(&folder, &["-u", "-S", socket.to_str().unwrap()]);
    log_until(&mut umuxd, "ending without phones");
    assert_eq!(umuxd.child.wait().unwrap().code(), Some(0));
}

#[test]
fn second_start_without_hotplug_has_the_first_look_again() {
    let folder = folder();
    let (_, pid) = pidfile(&folder);
    let arguments = ["-n", "-S", "127.0.0.1:0", "-C", &pid, "-P", &pid];
    let mut first = start(&folder, &arguments);
    first.listening_on();
    for _ in 0..2 {
        let second = output(&folder, &arguments);
        assert_eq!(second.status.code(), Some(0), "{second:?}");
        assert!(one_line(&second).contains("looks for phones"));
    }
    assert_eq!(first.end_with(Signal::TERM), Some(0));
}

/// The values of a line of a process's or thread's status.
#[cfg(target_os = "linux")]
fn status(status: &str, key: &str) -> Vec<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Somebody who is on every system, and may do nothing.
#[cfg(target_os = "linux")]
fn nobody() -> nix::unistd::User {
    nix::unistd::User::from_name("nobody").unwrap().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn other_user_leaves_no_rights_in_any_thread() {
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (path, pid) = pidfile(&folder);
    let socket = folder.path().join("usbmuxd");
    let records = folder.path().join("lockdown");
    let mut arguments = vec!["--simulate", "-S", socket.to_str().unwrap(), "-P", &pid];
    arguments.extend(["-C", records.to_str().unwrap(), "-U", "nobody"]);
    if !rustix::process::geteuid().is_root() {
        let output = output(&folder, &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(one_line(&output).contains("only root can become nobody"));
        return;
    }
    let mut umuxd = start(&folder, &arguments);
    log_until(&mut umuxd, "is there");

    // One that works on another thread, and writes what is the user's.
    assert!(umux(&socket, "buid").status.success());
    let (uid, gid) = (nobody().uid.to_string(), nobody().gid.to_string());
    let threads = fs::read_dir(format!("/proc/{}/task", umuxd.child.id())).unwrap();
    let threads: Vec<_> = threads.map(|thread| thread.unwrap().path().join("status")).collect();
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        let text = fs::read_to_string(thread).unwrap();
        assert_eq!(status(&text, "Uid"), vec![uid.clone(); 4]);
        assert_eq!(status(&text, "Gid"), vec![gid.clone(); 4]);
        assert!(!status(&text, "Groups").contains(&"0".to_owned()));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(&text, set), ["0000000000000000"], "{set}");
        }
        assert_eq!(status(&text, "NoNewPrivs"), ["1"]);
    }
    use std::os::unix::fs::MetadataExt;
    for file in [&records, &records.join("SystemConfiguration.plist")] {
        assert_eq!(fs::metadata(file).unwrap().uid().to_string(), uid);
    }
    assert_eq!(fs::metadata(&path).unwrap().uid(), 0);

    // What it may not remove from root's folder is emptied, and taken over.
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    let mut next = start(&folder, &arguments);
    log_until(&mut next, "is there");
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), next.child.id().to_string());
    assert_eq!(next.end_with(Signal::TERM), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn folder_of_records_that_another_user_could_not_use_is_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    let records = folder.path().to_str().unwrap();
    let output = output(&folder, &["-S", "127.0.0.1:0", "-C", records, "-U", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(one_line(&output).contains(&format!("chown -R nobody {records}")));
}

/// A daemon that is given its standard input and output as passed sockets 3 and 4.
fn start_with_sockets(folder: &TempDir, stdin: Stdio, stdout: Stdio, arguments: &[&str]) -> Umuxd {
    const LAUNCHER: &str =
        r#"export LISTEN_PID=$$; exec "$0" "$@" 3<&0 4<&1 </dev/null >/dev/null"#;
    let daemon = umuxd(folder, arguments);
    let mut launcher = Command::new("sh");
    launcher.args(["-c", LAUNCHER]).arg(daemon.get_program()).args(daemon.get_args());
    launcher.env("XDG_RUNTIME_DIR", folder.path()).env("LISTEN_FDS", "2");
    launcher.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
    let mut child = launcher.spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Umuxd { child, stderr }
}

#[test]
fn passed_sockets_are_served_and_left_as_they_are() {
    use std::os::fd::OwnedFd;
    let folder = folder();
    let path = folder.path().join("passed");
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let [stdin, stdout] = [OwnedFd::from(unix), OwnedFd::from(tcp)].map(Stdio::from);
    let mut umuxd = start_with_sockets(&folder, stdin, stdout, &["--simulate"]);
    assert_eq!(umuxd.listening_on(), format!("UNIX:{}", path.display()));
    assert_eq!(umuxd.listening_on(), address.to_string());
    assert!(!made_in(&folder).join("usbmuxd").exists(), "they stand for the default ones");
    connect(Path::new(&address.to_string()), 1, 7);
    let list = String::from_utf8(umux(&path, "list").stdout).unwrap();
    assert!(list.contains("00008030-"), "{list}");
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert!(path.exists(), "it is its maker's");
}

/// A daemon for a socket at which clients may be waiting already.
fn start_for(path: &Path, folder: &TempDir, arguments: &[&str]) -> Umuxd {
    use std::os::fd::OwnedFd;
    let unix = std::os::unix::net::UnixListener::bind(path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let [stdin, stdout] = [OwnedFd::from(unix), OwnedFd::from(tcp)].map(Stdio::from);
    start_with_sockets(folder, stdin, stdout, arguments)
}

#[test]
fn first_client_waits_for_phones_that_are_plugged_in() {
    let folder = folder();
    let (path, log) = (folder.path().join("passed"), folder.path().join("log"));
    // It is asked for its version again after 2.5 seconds.
    let slow = ["--simulate=2", "--phone-quirk", "2:silent-version=1", "-l", log.to_str().unwrap()];
    let _umuxd = start_for(&path, &folder, &slow);
    let mut listener = UnixStream::connect(&path).unwrap();
    let listen: Vec<u8> = [16, 0, 3, 1].into_iter().flat_map(u32::to_le_bytes).collect();
    listener.write_all(&listen).unwrap();
    let lister = thread::spawn(move || umux(&path, "list"));
    listener.read_exact(&mut [0; 20]).unwrap();
    assert!(fs::read_to_string(&log).unwrap().contains("phone 2 is there"));
    let list = String::from_utf8(lister.join().unwrap().stdout).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
}

#[test]
fn first_client_of_a_silent_phone_gets_its_answer_in_time() {
    let folder = folder();
    let path = folder.path().join("passed");
    let silent = ["--simulate=2", "--phone-quirk", "2:silent-version"];
    let _umuxd = start_for(&path, &folder, &silent);
    let before = Instant::now();
    let list = String::from_utf8(umux(&path, "list").stdout).unwrap();
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(before.elapsed() < Duration::from_secs(5), "a client's patience is at its end");
}

#[test]
fn passed_socket_that_is_none_is_told() {
    let folder = folder();
    let mut umuxd = start_with_sockets(&folder, Stdio::null(), Stdio::null(), &["--simulate"]);
    let line = umuxd.line();
    assert!(line.contains("passed socket 1") && line.contains("ListenStream="), "{line}");
    assert_eq!(umuxd.child.wait().unwrap().code(), Some(1));
}

#[test]
fn service_manager_is_told_of_the_beginning_and_the_end() {
    let folder = folder();
    let path = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let told = || {
        let mut text = [0; 100];
        let length = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let mut command = umuxd(&folder, &["--simulate", "-S", "127.0.0.1:0"]);
    let mut child = command.env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut umuxd = Umuxd { child, stderr };
    assert_eq!(told(), "READY=1\n");
    TcpStream::connect(umuxd.listening_on()).unwrap();
    assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
    assert_eq!(told(), "STOPPING=1\n");
}

#[test]
fn rust_log_chooses_where_v_does_not() {
    let folder = folder();
    for (filter, verbose, plugged_in) in [
        ("debug", None, true),
        ("usbmux_host=debug", None, true),
        ("error", None, false),
        ("error", Some("-v"), true),
        ("usbmux_host=error", Some("-v"), false),
    ] {
        let arguments = ["--simulate", "-S", "127.0.0.1:0"].into_iter().chain(verbose);
        let mut command = umuxd(&folder, &arguments.collect::<Vec<_>>());
        let mut child = command.env("RUST_LOG", filter).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut umuxd = Umuxd { child, stderr };
        connect(Path::new(&umuxd.listening_on()), 1, 7);
        assert_eq!(umuxd.end_with(Signal::TERM), Some(0));
        let mut log = String::new();
        umuxd.stderr.read_to_string(&mut log).unwrap();
        assert_eq!(log.contains("plugged in"), plugged_in, "{filter} {verbose:?}\n{log}");
    }
}
