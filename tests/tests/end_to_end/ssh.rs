//! A real `ssh` session through `iproxy`, to a server of the test's own on a free port.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::tools::{Iproxy, Running, connect, free_port, phone_port, run, tool};

/// Makes a key pair without a passphrase.
fn key(keygen: &Path, file: &Path) {
    let mut command = Command::new(keygen);
    command.args(["-q", "-t", "ed25519", "-N", ""]).arg("-f").arg(file);
    assert!(run(&mut command, b"").status.success());
}

/// Starts sshd in a folder that holds its keys and its configuration; its port.
fn sshd(folder: &Path) -> Option<(Running, u16)> {
    let (sshd, keygen) = (tool("sshd")?, tool("ssh-keygen")?);
    key(&keygen, &folder.join("host_key"));
    key(&keygen, &folder.join("user_key"));
    let authorized = folder.join("authorized_keys");
    fs::copy(folder.join("user_key.pub"), &authorized).unwrap();
    fs::set_permissions(&authorized, fs::Permissions::from_mode(0o600)).unwrap();
    // Where it confines itself when root starts it; the package makes it at boot, a container has no boot.
    let _ = fs::create_dir_all("/run/sshd");
    let port = free_port();
    let path = |name: &str| folder.join(name).display().to_string();
    let configuration = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\n\
         UsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nLogLevel QUIET\n",
        path("host_key"),
        path("authorized_keys"),
    );
    let file = folder.join("sshd_config");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f"]).arg(&file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let server = Running(command.spawn().unwrap());
    // It greets as soon as it is ready.
    let mut greeting = [0; 4];
    connect(([127, 0, 0, 1], port).into()).read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"SSH-");
    Some((server, port))
}

#[test]
fn ssh_runs_a_command_with_a_large_output() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_server, port)) = sshd(folder.path()) else { return };
    let Some(ssh) = tool("ssh") else { return };
    let daemon = Daemon::start(1, &[&phone_port(22, ([127, 0, 0, 1], port).into())]);
    let Some(iproxy) = Iproxy::start(&daemon, 22) else { return };
    // iproxy's own readiness shows in ssh's first connection: let it try as often as needed.
    let session = |command: &str, input: &[u8]| {
        let mut ssh = Command::new(&ssh);
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        ssh.args(["-o", "ConnectionAttempts=20", "-o", "IdentitiesOnly=yes", "-i"]);
        ssh.arg(folder.path().join("user_key"));
        ssh.args(["-p", &iproxy.port().to_string(), "127.0.0.1", command]);
        let output = run(&mut ssh, input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    assert_eq!(session("echo hello from the phone", b""), b"hello from the phone\n");
    let numbers = session("seq 1 2000000", b"");
    let expected: String = (1..=2_000_000).map(|number| format!("{number}\n")).collect();
    assert!(numbers == expected.as_bytes(), "{} of {} bytes", numbers.len(), expected.len());
    // The other way, and back what was counted there.
    let counted = session("wc -c", expected.as_bytes());
    assert_eq!(String::from_utf8_lossy(&counted).trim(), expected.len().to_string());
}
