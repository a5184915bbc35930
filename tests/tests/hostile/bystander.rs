//! The client that must not notice anything.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::random::pattern;
use usbmux_tests::socket::Client;
use usbmux_tests::tools::until;

/// Bytes that go to the phone and back in one round.
const ROUND: usize = 3000;
/// Time between two rounds: often enough to notice, seldom enough to leave the machine to others.
const PAUSE: Duration = Duration::from_millis(3);

/// Talks to the phone's echo all the time and compares every byte; and listens.
pub(crate) struct Bystander {
    listener: Client,
    rounds: Arc<AtomicU32>,
    stop: Sender<()>,
    talking: JoinHandle<()>,
}

impl Bystander {
    /// Begins to talk and to listen.
    pub(crate) fn of(daemon: &Daemon) -> Bystander {
        let mut listener = daemon.client();
        assert_eq!(listener.ask(1, "Listen", &[]).unwrap().number("Number"), Some(0));
        assert_eq!(listener.receive().unwrap().text("MessageType"), Some("Attached"));
        let mut client = daemon.client();
        assert_eq!(client.connect_port(1, 7).unwrap(), 0);
        let rounds = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&rounds);
        let (stop, stopped) = mpsc::channel();
        let talking = thread::spawn(move || {
            let mut back = vec![0; ROUND];
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let sent = pattern(counted.fetch_add(1, Ordering::Relaxed), 0, ROUND);
                client.stream.write_all(&sent).unwrap();
                client.stream.read_exact(&mut back).unwrap();
                assert_eq!(back, sent);
            }
        });
        Bystander { listener, rounds, stop, talking }
    }

    /// Waits until it has talked once more from beginning to end.
    pub(crate) fn goes_on(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        until("the bystander goes on", || {
            assert!(!self.talking.is_finished(), "the bystander was disturbed");
            (self.rounds.load(Ordering::Relaxed) > before + 1).then_some(())
        });
    }

    /// Checks that it still talks, that it heard nothing, and that the daemon serves new clients.
    pub(crate) fn was_undisturbed(mut self, daemon: &Daemon) {
        self.goes_on();
        assert!(self.listener.is_silent().unwrap(), "nothing happened to any phone");
        self.stop.send(()).unwrap();
        self.talking.join().unwrap();
        serves(&mut daemon.client());
    }
}

/// Checks that this client's requests are answered.
pub(crate) fn serves(client: &mut Client) {
    let list = client.ask(77, "ListDevices", &[]).unwrap();
    assert_eq!(list.tag, 77);
    let list = list.dictionary().get("DeviceList").and_then(plist::Value::as_array).unwrap();
    assert!(!list.is_empty());
}
