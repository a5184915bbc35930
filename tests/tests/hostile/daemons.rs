//! Two daemons in one place, and one with too little to live on.

use super::bystander::{Bystander, serves};
use rustix::process::Signal;
use std::process::{Command, Stdio};
use usbmux_tests::daemon_process::{Daemon, Lines, program};
use usbmux_tests::socket::Client;
use usbmux_tests::tools::Running;

fn umuxd_at(daemon: &Daemon) -> Command {
    let mut command = Command::new(program("umuxd"));
    command.arg("--simulate").arg("-S").arg(&daemon.socket).arg("-C").arg(&daemon.config_dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[test]
fn second_daemon_ends_with_one_line_and_disturbs_nobody() {
    let daemon = Daemon::start(1, &[]);
    let bystander = Bystander::of(&daemon);
    let output = umuxd_at(&daemon).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("another daemon serves this socket"), "{text}");
    assert!(text.contains(&daemon.socket.display().to_string()), "{text}");
    bystander.was_undisturbed(&daemon);
}

#[test]
fn daemon_that_does_not_answer_is_alive_all_the_same() {
    let daemon = Daemon::start(1, &[]);
    let mut before = daemon.client();
    daemon.signal(Signal::STOP);
    let output = umuxd_at(&daemon).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    daemon.signal(Signal::CONT);
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("another daemon serves this socket"), "{text}");
    serves(&mut before);
    serves(&mut daemon.client());
}

#[test]
fn socket_file_of_a_killed_daemon_is_taken_over() {
    let mut daemon = Daemon::start(1, &[]);
    serves(&mut daemon.client());
    daemon.kill();
    assert!(daemon.socket.exists());
    assert!(Client::connect(&daemon.socket).is_err());
    let mut successor = Running(umuxd_at(&daemon).spawn().unwrap());
    let lines = Lines::of(successor.0.stderr.take().unwrap());
    let _ = lines.wait_for("listening on");
    daemon.wait_for_phones(1);
    serves(&mut daemon.client());
}

#[test]
fn daemon_without_descriptors_ends_with_one_line() {
    let daemon = Daemon::start(1, &[]);
    let folder = daemon.folder().join("other");
    for most in [5, 31] {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {most}; exec \"$@\"")).arg("sh");
        shell.arg(program("umuxd")).arg("--simulate").arg("-S").arg(&folder);
        let output = shell.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.contains("ulimit -n"), "{text}");
    }
}
