//! Starts `usbmux-sim dongle` as a process of its own: firmware and phone on the simulated board, in real time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper: failing loudly is its job")]

use crate::daemon_process::{Lines, program, wait};
use crate::socket::PATIENCE;
use crate::tools::{Server, client, until};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// A running dongle; dropping it kills it.
#[derive(Debug)]
pub struct Dongle {
    address: SocketAddr,
    /// What it says on stderr.
    pub log: Lines,
    /// What it prints on stdout: one line for each forward.
    pub output: Lines,
    child: Child,
}

impl Dongle {
    /// Starts it on a free port with further options, and waits until it knows its phone.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(options: &[&str]) -> Dongle {
        let mut command = Command::new(program("usbmux-sim"));
        command.args(["dongle", "--listen", "127.0.0.1:0"]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Lines::of(child.stderr.take().unwrap());
        let output = Lines::of(child.stdout.take().unwrap());
        let line = log.wait_for("listening on ");
        let address = line.trim_start_matches("listening on ").parse().unwrap();
        let dongle = Dongle { address, log, output, child };
        dongle.wait_for_phone();
        dongle
    }

    /// Waits until a client gets a list with a phone in it.
    fn wait_for_phone(&self) {
        until("the phone is listed", || {
            let mut command = Command::new(program("umux"));
            command.args(["--socket", &self.address.to_string(), "list"]);
            let output = crate::tools::run(&mut command, b"");
            (!output.stdout.is_empty()).then_some(())
        });
    }

    /// Where it listens.
    #[must_use]
    pub fn socket_address(&self) -> SocketAddr {
        self.address
    }

    /// Where this machine finds a port of the phone's that is forwarded.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[must_use]
    pub fn forward(&self, device_port: u16) -> SocketAddr {
        let line = self.output.wait_for(&format!("-> {device_port}"));
        let address = line.trim_start_matches("forwarding ").split(' ').next().unwrap();
        address.parse().unwrap()
    }

    /// Where its status page is.
    ///
    /// # Panics
    ///
    /// When it has none.
    #[must_use]
    pub fn page(&self) -> String {
        let line = self.log.wait_for("status page: ");
        line.trim_start_matches("status page: ").to_owned()
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[must_use]
    pub fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        wait(&mut self.child, PATIENCE).unwrap_or_else(|| panic!("it did not end"))
    }

    /// Runs a client of the libimobiledevice family; its text, when the program is there.
    #[must_use]
    pub fn client(&self, name: &str, arguments: &[&str]) -> Option<(ExitStatus, String)> {
        client(self, name, arguments)
    }
}

impl Server for Dongle {
    fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Dongle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the dongle's log:\n{}", self.log.all().join("\n"));
        }
    }
}
