//! Programs of this process behind ports of every phone: they check what arrives and say so.
//!
//! An upload begins with 12 bytes: the salt of its pattern and how much will come. When all of that has come it is
//! acknowledged by the same 12 bytes. Whatever comes and whenever it ends, every byte is compared, and who waits for
//! the end learns how many there were. A download is asked for by the same 12 bytes.

use super::check::{Incoming, Source};
use super::report::Tally;
use super::scene::Gate;
use crate::random::pattern;
use smol::channel::{Receiver, Sender, bounded};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

/// Port of the phones where everything is read and acknowledged.
pub(super) const UPLOAD: u16 = 1001;
/// The same, but nothing is read before the gate opens.
pub(super) const STALLED: u16 = 1002;
/// Port where the phone's program sends and then closes.
pub(super) const DOWNLOAD: u16 = 1003;
/// Port behind which nobody listens.
pub(super) const NOBODY: u16 = 1004;

/// Bytes in front of an upload or download, and of an acknowledgement.
pub(super) const HEADER: usize = 12;
/// Bytes moved at once.
const PIECE: usize = 64 << 10;

/// The header of a stream of `length` bytes.
pub(super) fn header(salt: u32, length: usize) -> Vec<u8> {
    [&salt.to_le_bytes()[..], &(length as u64).to_le_bytes()].concat()
}

/// The servers, and who waits for the end of an upload.
pub(super) struct Servers {
    waiting: RefCell<HashMap<u32, Sender<usize>>>,
    /// Opens when stalled programs may read; another one each round.
    gate: RefCell<Rc<Gate>>,
    tally: Rc<Tally>,
    options: Vec<String>,
}

impl Servers {
    /// Starts them.
    pub(super) fn start(executor: &Rc<LocalExecutor<'static>>, tally: &Rc<Tally>) -> Rc<Servers> {
        let mut options = Vec::new();
        let mut listen = |port: u16| {
            let listener = listener();
            options.push(format!("--phone-port={port}={}", address(&listener)));
            listener
        };
        let listeners = [UPLOAD, STALLED, DOWNLOAD].map(|port| (port, listen(port)));
        options.push(format!("--phone-port={NOBODY}={}", nowhere()));
        let servers = Rc::new(Servers {
            waiting: RefCell::default(),
            gate: RefCell::new(Gate::new()),
            tally: Rc::clone(tally),
            options,
        });
        for (port, listener) in listeners {
            let (servers, hands) = (Rc::clone(&servers), Rc::clone(executor));
            let accept = async move {
                while let Ok((stream, _)) = listener.accept().await {
                    hands.spawn(Rc::clone(&servers).serve(port, stream)).detach();
                }
            };
            executor.spawn(accept).detach();
        }
        servers
    }

    /// The daemon's options for these ports.
    pub(super) fn options(&self) -> &[String] {
        &self.options
    }

    /// Announces an upload; its end is told to the receiver, with the number of bytes that were right.
    pub(super) fn expect(&self, salt: u32) -> Receiver<usize> {
        let (sender, receiver) = bounded(1);
        self.waiting.borrow_mut().insert(salt, sender);
        receiver
    }

    /// A new round: stalled programs wait again.
    pub(super) fn stall(&self) {
        *self.gate.borrow_mut() = Gate::new();
        self.waiting.borrow_mut().clear();
    }

    /// Stalled programs read on.
    pub(super) fn release(&self) {
        self.gate.borrow().open();
    }

    async fn serve(self: Rc<Self>, port: u16, mut stream: Async<TcpStream>) {
        if port == STALLED {
            let gate = Rc::clone(&self.gate.borrow());
            gate.passed().await;
        }
        let mut header = [0; HEADER];
        // Whoever hung up before has said nothing to compare.
        if stream.read_exact(&mut header).await.is_err() {
            return;
        }
        let [a, b, c, d, rest @ ..] = header;
        let salt = u32::from_le_bytes([a, b, c, d]);
        let length = u64::from_le_bytes(rest) as usize;
        if port == DOWNLOAD {
            // A connection may end whenever its client likes.
            let _ = send(&mut stream, salt, length).await;
            return;
        }
        let came = self.collect(&mut stream, salt, length).await;
        if let Some(waiting) = self.waiting.borrow_mut().remove(&salt) {
            let _ = waiting.try_send(came);
        }
    }

    /// Reads an upload to its end; how many bytes were right.
    async fn collect(&self, stream: &mut Async<TcpStream>, salt: u32, length: usize) -> usize {
        let mut incoming = Incoming::new(Source::Pattern(salt));
        let mut buffer = vec![0; PIECE];
        loop {
            let count = match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return incoming.seen(),
                Ok(count) => count,
            };
            let mut right = incoming.take(&buffer[..count]);
            self.tally.checked(count);
            if right.is_ok() && incoming.seen() > length {
                right = incoming.whole(length);
            }
            if let Err(trouble) = right {
                self.tally.fault(format!("the upload of client {salt:#x}: {trouble}"));
                return incoming.seen();
            }
            if incoming.seen() == length {
                let _ = stream.write_all(&header(salt, length)).await;
            }
        }
    }
}

async fn send(stream: &mut Async<TcpStream>, salt: u32, length: usize) -> io::Result<()> {
    for from in (0..length).step_by(PIECE) {
        stream.write_all(&pattern(salt, from, PIECE.min(length - from))).await?;
    }
    Ok(())
}

#[allow(clippy::unwrap_used, reason = "a test helper: a machine without loopback can run no test")]
fn listener() -> Async<TcpListener> {
    Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap()
}

#[allow(clippy::unwrap_used, reason = "a test helper: a bound socket has an address")]
fn address(listener: &Async<TcpListener>) -> std::net::SocketAddr {
    listener.get_ref().local_addr().unwrap()
}

/// An address where nobody listens any more.
fn nowhere() -> std::net::SocketAddr {
    address(&listener())
}
