//! A mapped port: the connection goes on to a TCP server of this machine, as a phone's kernel
//! connects to its own localhost.
//!
//! "Read" means written to the socket: only that is acknowledged to the host. The program itself
//! never waits; what it waits for it notes in [`Readiness`], and a small task, [`watch`], waits in
//! its place and wakes the program. The socket is read only while the host's window is open, so
//! back-pressure reaches the server.

use super::{Input, Next, Program, Turn};
use futures_lite::future;
use log::debug;
use smol::Async;
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long a server may take to accept; below the 5 s after which a host gives up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a server may take to read the last of what it was sent. A socket that is closed with bytes
/// unread makes Linux reset it, and the server would lose what it has not read; a phone's kernel, being
/// BSD's, does not do that.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much a server may say meanwhile; it is thrown away. One that says more waits, and is then reset.
const LAST_WORDS: usize = 64 << 10;

/// What a program waits for, shared between it and its watcher.
#[derive(Default)]
pub(crate) struct Readiness {
    readable: Cell<bool>,
    writable: Cell<bool>,
    over: Cell<bool>,
    watcher: RefCell<Option<Waker>>,
}

impl Readiness {
    fn await_readable(&self) {
        if !self.readable.replace(true) {
            self.wake_watcher();
        }
    }

    fn await_writable(&self) {
        if !self.writable.replace(true) {
            self.wake_watcher();
        }
    }

    fn wake_watcher(&self) {
        if let Some(waker) = self.watcher.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// The program.
pub(crate) struct Mapped {
    stream: Rc<Async<TcpStream>>,
    readiness: Rc<Readiness>,
    input: Input,
}

/// Connects to a server; `None` if there is none or it does not answer in time.
pub(crate) async fn connect(address: SocketAddr) -> Option<Async<TcpStream>> {
    let connect = async {
        Async::<TcpStream>::connect(address).await.inspect_err(|error| {
            debug!("mapped port: {address}: {error}");
        })
    };
    let late = async {
        smol::Timer::after(CONNECT_TIMEOUT).await;
        Err(ErrorKind::TimedOut.into())
    };
    let stream = future::or(connect, late).await.ok()?;
    // Frames are whole pieces already; waiting for more would only delay them.
    let _ = stream.get_ref().set_nodelay(true);
    Some(stream)
}

/// Waits for the socket in the program's place, until the program is over.
pub(crate) async fn watch(
    stream: Rc<Async<TcpStream>>,
    readiness: Rc<Readiness>,
    mut wake: impl FnMut(),
) {
    future::poll_fn(|cx| {
        if readiness.over.get() {
            return Poll::Ready(());
        }
        *readiness.watcher.borrow_mut() = Some(cx.waker().clone());
        let mut happened = false;
        if readiness.readable.get() && stream.poll_readable(cx).is_ready() {
            readiness.readable.set(false);
            happened = true;
        }
        if readiness.writable.get() && stream.poll_writable(cx).is_ready() {
            readiness.writable.set(false);
            happened = true;
        }
        if happened {
            wake();
        }
        Poll::Pending
    })
    .await;
    future::or(farewell(&stream), async { _ = smol::Timer::after(FAREWELL).await }).await;
}

/// Hands the server an end-of-file and waits for its own.
async fn farewell(stream: &Async<TcpStream>) {
    let _ = stream.get_ref().shutdown(Shutdown::Write);
    let mut unwanted = vec![0; LAST_WORDS];
    let mut heard = 0;
    while heard < LAST_WORDS {
        match stream.read_with(|mut socket| socket.read(&mut unwanted)).await {
            Ok(0) | Err(_) => return,
            Ok(count) => heard += count,
        }
    }
    future::pending().await
}

impl Mapped {
    /// A program on this socket, and what its watcher needs.
    pub(crate) fn new(stream: Async<TcpStream>) -> (Self, Rc<Async<TcpStream>>, Rc<Readiness>) {
        let stream = Rc::new(stream);
        let readiness = Rc::new(Readiness::default());
        let program = Mapped {
            stream: stream.clone(),
            readiness: readiness.clone(),
            input: Input::default(),
        };
        (program, stream, readiness)
    }

    /// Writes what arrived to the socket; `false` if the server is gone.
    fn write(&mut self, mut budget: usize) -> bool {
        while budget > 0 && !self.input.is_empty() {
            let front = self.input.front();
            let piece = front.get(..budget).unwrap_or(front);
            match self.stream.get_ref().write(piece) {
                Ok(0) => return false,
                Ok(count) => {
                    self.input.consume(count);
                    budget -= count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.await_writable();
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads from the socket into the frame.
    fn read(&mut self, turn: &mut Turn<'_>) -> Next {
        let start = turn.frame.len();
        turn.frame.resize(start + turn.room, 0);
        let space = turn.frame.get_mut(start..).unwrap_or_default();
        let read = self.stream.get_ref().read(space);
        turn.frame.truncate(start + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => Next::Close,
            Ok(count) if count == turn.room => Next::Again,
            // The socket is empty now, most likely; the watcher finds out.
            Ok(_) => {
                self.readiness.await_readable();
                Next::Wait
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readiness.await_readable();
                Next::Wait
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Next::Again,
            Err(_) => Next::Abort,
        }
    }
}

impl Program for Mapped {
    fn deliver(&mut self, payload: &[u8]) {
        self.input.deliver(payload);
    }

    fn unread(&self) -> usize {
        self.input.len()
    }

    fn has_output(&self) -> bool {
        // While the watcher waits for the socket there is nothing to read.
        !self.readiness.readable.get()
    }

    fn run(&mut self, turn: &mut Turn<'_>) -> Next {
        if !self.write(turn.budget) {
            return Next::Abort;
        }
        if turn.room == 0 { Next::Wait } else { self.read(turn) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.readiness.over.set(true);
        self.readiness.wake_watcher();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::net::TcpListener;

    /// A program and the server's end of its socket.
    fn pair() -> (Mapped, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = smol::block_on(connect(listener.local_addr().unwrap())).unwrap();
        (Mapped::new(stream).0, listener.accept().unwrap().0)
    }

    fn run(program: &mut Mapped, budget: usize, room: usize) -> (Vec<u8>, Next) {
        let mut frame = Vec::new();
        let next = program.run(&mut Turn { budget, room, frame: &mut frame });
        (frame, next)
    }

    #[test]
    fn a_server_that_does_not_read_leaves_bytes_unread() {
        let (mut program, mut server) = pair();
        let piece: Vec<u8> = (0..65_521_u32).map(|i| (i % 251) as u8).collect();
        let mut delivered = 0;
        while program.unread() == 0 {
            assert!(delivered < 256 << 20, "the kernel's buffers are smaller than this");
            program.deliver(&piece);
            delivered += piece.len();
            assert_eq!(run(&mut program, usize::MAX, 0), (vec![], Next::Wait));
        }
        assert!(program.readiness.writable.get());
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all
        });
        while program.unread() > 0 {
            smol::block_on(program.stream.writable()).unwrap();
            run(&mut program, usize::MAX, 0);
        }
        drop(program);
        let all = reader.join().unwrap();
        assert!(all.len() == delivered && all.chunks(piece.len()).all(|chunk| chunk == piece));
    }

    #[test]
    fn a_budget_limits_what_is_written_and_room_what_is_read() {
        let (mut program, mut server) = pair();
        program.deliver(&[1; 100]);
        assert_eq!(run(&mut program, 60, 0), (vec![], Next::Wait));
        assert_eq!(program.unread(), 40);
        server.write_all(&[2; 100]).unwrap();
        smol::block_on(program.stream.readable()).unwrap();
        assert_eq!(run(&mut program, 0, 70), (vec![2; 70], Next::Again));
        assert_eq!(run(&mut program, 0, 70), (vec![2; 30], Next::Wait));
        assert!(!program.has_output(), "its watcher waits");
        server.shutdown(Shutdown::Write).unwrap();
        program.readiness.readable.set(false);
        smol::block_on(program.stream.readable()).unwrap();
        assert_eq!(run(&mut program, 0, 70), (vec![], Next::Close));
    }
}
