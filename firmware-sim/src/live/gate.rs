//! Lets programs of this machine into the simulation: listens on loopback, and carries each
//! connection over the simulated cable.
//!
//! Bytes go straight between the two sockets' buffers, and a socket is read only when the other one
//! has room, so back-pressure passes through; so do the ends of a stream and resets. Left out: what
//! the bytes mean.

use crate::board::Programs;
use crate::pc::{CONNECTIONS_MAX, Connection, Pc, is_over};
use crate::time::Nanos;
use log::debug;
use smol::Async;
use smoltcp::socket::tcp::{RecvError, Socket, State};
use smoltcp::time::Duration;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::task::Context;

/// How many ports are tried when the wanted one is taken.
const PORTS_TRIED: u16 = 100;
/// How long the dongle may leave bytes or a handshake without acknowledgement.
const TIMEOUT: Duration = Duration::from_secs(60);

/// This machine does not let the simulation listen there.
#[derive(Debug)]
pub struct GateError {
    address: SocketAddr,
    error: io::Error,
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GateError { address, error } = self;
        match error.kind() {
            ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: somebody does already; give another port")
            }
            _ => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for GateError {}

/// A port of this machine that leads to one of the dongle's.
struct Door {
    listener: Async<TcpListener>,
    port: u16,
    knocking: bool,
}

/// Everything that comes in from this machine.
#[derive(Default)]
pub struct Gate {
    doors: Vec<Door>,
    carried: Vec<Carried>,
    /// Connections without a client any more, whose last segments are still to be exchanged.
    leaving: Vec<Connection>,
}

impl Gate {
    /// Makes a gate without doors.
    pub fn new() -> Self {
        Gate::default()
    }

    /// Listens on an address of this machine, for a port of the dongle's; returns the address, with
    /// the port that port 0 became.
    ///
    /// # Errors
    ///
    /// The port is taken, or the system refuses.
    pub fn open(&mut self, address: SocketAddr, port: u16) -> Result<SocketAddr, GateError> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            let bound = listener.local_addr()?;
            Ok((Async::new(listener)?, bound))
        };
        let (listener, bound) = bind().map_err(|error| GateError { address, error })?;
        self.doors.push(Door { listener, port, knocking: false });
        Ok(bound)
    }

    /// Listens on an address of this machine, or on one of the next ports if that is taken.
    ///
    /// # Errors
    ///
    /// All of them are taken, or the system refuses.
    pub fn open_near(&mut self, address: SocketAddr, port: u16) -> Result<SocketAddr, GateError> {
        let last = address.port().saturating_add(PORTS_TRIED - 1);
        for candidate in address.port()..last {
            match self.open(SocketAddr::new(address.ip(), candidate), port) {
                Err(taken) if taken.error.kind() == ErrorKind::AddrInUse => {}
                opened => return opened,
            }
        }
        self.open(SocketAddr::new(address.ip(), last), port)
    }

    /// Looks which sockets of this machine have become ready, and asks to be woken for the others;
    /// says whether any has.
    pub(crate) fn listen(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ready = false;
        for door in &mut self.doors {
            if !door.knocking && door.listener.poll_readable(cx).is_ready() {
                (door.knocking, ready) = (true, true);
            }
        }
        for carried in &mut self.carried {
            ready |= carried.listen(cx);
        }
        ready
    }

    fn let_in(&mut self, pc: &mut Pc) {
        for door in &mut self.doors {
            while door.knocking && self.carried.len() + self.leaving.len() < CONNECTIONS_MAX {
                // While the dongle has no address clients wait in the listener's queue.
                if pc.dongle_address().is_none() {
                    return;
                }
                let stream = match door.listener.get_ref().accept() {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        if error.kind() != ErrorKind::WouldBlock {
                            debug!("a client was lost at the door: {error}");
                        }
                        door.knocking = false;
                        break;
                    }
                };
                let Ok(stream) = Async::new(stream) else { continue };
                // Pieces go on as they come.
                let _ = stream.get_ref().set_nodelay(true);
                let Some(connection) = pc.connect(door.port) else { continue };
                pc.socket(connection).set_timeout(Some(TIMEOUT));
                self.carried.push(Carried::new(stream, connection));
            }
        }
    }
}

impl Programs for Gate {
    fn poll(&mut self, _: Nanos, pc: &mut Pc) {
        self.let_in(pc);
        self.carried.retain_mut(|carried| {
            let stays = carried.carry(pc.socket(carried.connection));
            if !stays {
                self.leaving.push(carried.connection);
            }
            stays
        });
        self.leaving.retain(|connection| {
            let over = is_over(pc.socket(*connection));
            if over {
                pc.remove(*connection);
            }
            !over
        });
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("carried", &self.carried.len()).finish_non_exhaustive()
    }
}

/// A client's connection, here and over there.
struct Carried {
    stream: Async<TcpStream>,
    connection: Connection,
    /// Worth a try.
    readable: bool,
    writable: bool,
    /// The client has ended its stream, and the dongle knows.
    said_all: bool,
    /// The dongle has ended its stream, and the client knows.
    heard_all: bool,
}

/// One side failed: the other is reset.
struct Broken;

impl Carried {
    fn new(stream: Async<TcpStream>, connection: Connection) -> Self {
        Carried {
            stream,
            connection,
            readable: true,
            writable: true,
            said_all: false,
            heard_all: false,
        }
    }

    fn listen(&mut self, cx: &mut Context<'_>) -> bool {
        let mut ready = false;
        // A stream that has ended is readable for ever.
        if !self.readable && !self.said_all && self.stream.poll_readable(cx).is_ready() {
            (self.readable, ready) = (true, true);
        }
        if !self.writable && self.stream.poll_writable(cx).is_ready() {
            (self.writable, ready) = (true, true);
        }
        ready
    }

    /// Moves what can be moved; `false` when the client's part is over.
    fn carry(&mut self, socket: &mut Socket<'static>) -> bool {
        if self.send(socket).and_then(|()| self.receive(socket)).is_err() {
            socket.abort();
            self.reset_client();
            return false;
        }
        if self.said_all && self.heard_all {
            return false;
        }
        if socket.state() == State::Closed && !socket.can_recv() {
            self.reset_client();
            return false;
        }
        true
    }

    /// From the client to the dongle.
    fn send(&mut self, socket: &mut Socket<'static>) -> Result<(), Broken> {
        while self.readable && !self.said_all && socket.can_send() {
            let mut client = self.stream.get_ref();
            let read = socket.send(|room| {
                let read = client.read(room);
                (read.as_ref().copied().unwrap_or(0), read)
            });
            match read {
                Ok(Ok(0)) => {
                    self.said_all = true;
                    socket.close();
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(_)) => return Err(Broken),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// From the dongle to the client.
    fn receive(&mut self, socket: &mut Socket<'static>) -> Result<(), Broken> {
        while self.writable && socket.can_recv() {
            let mut client = self.stream.get_ref();
            let written = socket.recv(|bytes| {
                let written = client.write(bytes);
                (written.as_ref().copied().unwrap_or(0), written)
            });
            match written {
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(_)) => return Err(Broken),
                Ok(Ok(_)) => {}
                Err(_) => break,
            }
        }
        let ended = matches!(socket.recv(|_| (0, ())), Err(RecvError::Finished));
        if ended && !self.heard_all && !socket.can_recv() {
            self.heard_all = true;
            let _ = self.stream.get_ref().shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Closing the socket resets the connection from now on.
    fn reset_client(&self) {
        let at_once = Some(std::time::Duration::ZERO);
        if let Err(error) = rustix::net::sockopt::set_socket_linger(&self.stream, at_once) {
            debug!("a client sees an end of file instead of a reset: {error}");
        }
    }
}
