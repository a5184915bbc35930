//! The sockets clients come in by, and the loop that lets them in.
//!
//! A Unix socket's file that nobody serves any more is taken over, one that somebody serves never
//! is; at the end the file is removed if it is still ours. When the process runs out of
//! descriptors, clients that have not made a request for a while make room, the oldest first; when
//! there are none the loop waits and tries again, instead of ending or spinning.
//! What is done with a client is `session`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with};
use smol::future::yield_now;
use smol::{LocalExecutor, Task, Timer};

use super::records::Records;
use super::registry::Registry;
use super::session::{self, Common, UnreadAnswers};
use crate::address::Address;
use crate::reactor::Source;
use crate::stream::ClientStream;

/// The mode of a Unix socket's file unless told otherwise: every local user's tools need it.
pub const DEFAULT_SOCKET_MODE: u32 = 0o666;

/// How many clients may wait to be let in; the kernel caps this (net.core.somaxconn).
const BACKLOG: i32 = 4096;

/// How many ports are tried when the wanted one is taken.
const PORTS_TRIED: u16 = 100;

/// How long the loop waits when it could not let a client in.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a client may be silent before it has to make room: it needs a moment to write its first
/// request.
const GRACE: Duration = Duration::from_millis(200);

/// How often and how far apart the folder's lock is asked for before going on without it.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    // Before the socket: what the reactor knows of it goes first.
    source: Source,
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    /// Without a file that is ours to remove if somebody else made the socket.
    Unix {
        listener: UnixListener,
        file: Option<SocketFile>,
    },
    Tcp(TcpListener),
}

/// Tells what to do when a TCP port is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfTaken {
    /// Give up.
    Fail,
    /// Try the ports above it.
    TryNext,
}

impl Listener {
    /// Listens on a Unix socket whose file gets these permission bits.
    ///
    /// # Errors
    /// Somebody serves this path, something else than a socket is there, or the system refuses.
    pub fn unix(path: &Path, mode: u32) -> Result<Self, ListenError> {
        let address = Address::Unix(path.to_owned());
        let bind = || {
            let _lock = lock_folder_of(path);
            let listener = bind_unix(path)?;
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Trouble::System)?;
            let file = Some(SocketFile::of(path).map_err(Trouble::System)?);
            listener.set_nonblocking(true).map_err(Trouble::System)?;
            // A second call only makes the backlog longer.
            rustix::net::listen(&listener, BACKLOG).map_err(io::Error::from)?;
            Ok(Socket::Unix { listener, file })
        };
        match bind() {
            Ok(socket) => Ok(Self::new(socket, address)),
            Err(trouble) => Err(ListenError { address, trouble }),
        }
    }

    /// Listens on a TCP address; port 0 stands for any free one. An address that other machines
    /// can reach is warned about.
    ///
    /// # Errors
    /// The port is taken, or the system refuses.
    pub fn tcp(address: SocketAddr, if_taken: IfTaken) -> Result<Self, ListenError> {
        let bind = || {
            let listener = bind_tcp(address, if_taken)?;
            let bound = listener.local_addr()?;
            listener.set_nonblocking(true)?;
            rustix::net::listen(&listener, BACKLOG)?;
            Ok((listener, bound))
        };
        let (listener, bound) = bind().map_err(|error: io::Error| ListenError {
            address: tcp_address(address),
            trouble: Trouble::System(error),
        })?;
        Ok(Self::tcp_bound(listener, bound))
    }

    /// Serves a Unix socket that somebody else made and will remove.
    ///
    /// # Errors
    /// The system refuses.
    pub fn passed_unix(listener: UnixListener) -> Result<Self, ListenError> {
        let bound = listener.local_addr().ok();
        let path = bound.as_ref().and_then(std::os::unix::net::SocketAddr::as_pathname);
        // Clients must have been told where a socket without a path is.
        let address = Address::Unix(path.unwrap_or(Path::new("(no path)")).to_owned());
        match listener.set_nonblocking(true) {
            Ok(()) => Ok(Self::new(Socket::Unix { listener, file: None }, address)),
            Err(error) => Err(ListenError { address, trouble: Trouble::System(error) }),
        }
    }

    /// Serves a TCP socket that somebody else made.
    ///
    /// # Errors
    /// The system refuses.
    pub fn passed_tcp(listener: TcpListener) -> Result<Self, ListenError> {
        let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let bound = listener.local_addr().unwrap_or(unknown);
        match listener.set_nonblocking(true) {
            Ok(()) => Ok(Self::tcp_bound(listener, bound)),
            Err(error) => {
                Err(ListenError { address: tcp_address(bound), trouble: Trouble::System(error) })
            }
        }
    }

    fn tcp_bound(listener: TcpListener, bound: SocketAddr) -> Self {
        if !bound.ip().is_loopback() {
            log::warn!("{bound} can be reached by other machines: they can use every phone here");
        }
        Self::new(Socket::Tcp(listener), tcp_address(bound))
    }

    fn new(socket: Socket, address: Address) -> Self {
        Self { source: Source::default(), socket, address }
    }

    /// Where this listens, as clients have to write it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lets no further client find this socket: removes its file, if it is still ours.
    pub fn unlink(&self) {
        if let Socket::Unix { file: Some(file), .. } = &self.socket {
            file.remove();
        }
    }

    async fn accept(&self) -> io::Result<ClientStream> {
        poll_fn(|cx| {
            loop {
                ready!(self.source.poll_readable(self.socket.as_fd(), cx))?;
                match self.socket.accept() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.source.was_read(true);
                    }
                    done => return Poll::Ready(done),
                }
            }
        })
        .await
    }
}

impl Socket {
    /// Lets the next client in, if one is there.
    fn accept(&self) -> io::Result<ClientStream> {
        let accepted = accept_with(self.as_fd(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        Ok(match self {
            Self::Unix { .. } => ClientStream::accepted_unix(accepted.into()),
            Self::Tcp(_) => ClientStream::accepted_tcp(accepted.into()),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix { listener, .. } => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.unlink();
    }
}

/// Serves every client that comes; clones serve the same.
#[derive(Clone)]
pub struct Clients(Rc<Inner>);

struct Inner {
    executor: Rc<LocalExecutor<'static>>,
    common: Common,
    limit: usize,
    present: Cell<usize>,
    last_number: Cell<u32>,
    /// The clients that have not made a request yet, by their numbers: the oldest is the first.
    silent: RefCell<BTreeMap<u32, (Instant, Task<()>)>>,
    grace: Duration,
    /// Whether the log has heard that silent clients have to make room.
    crowded: Cell<bool>,
}

impl Clients {
    /// Serves at most `limit` clients at once, on this executor; `limits::MAX_CLIENTS` in a daemon.
    pub fn new(
        executor: Rc<LocalExecutor<'static>>,
        registry: Registry,
        records: Records,
        limit: usize,
    ) -> Self {
        Self::with_grace(executor, registry, records, limit, GRACE)
    }

    fn with_grace(
        executor: Rc<LocalExecutor<'static>>,
        registry: Registry,
        records: Records,
        limit: usize,
        grace: Duration,
    ) -> Self {
        Self(Rc::new(Inner {
            executor,
            common: Common { registry, records, unread: UnreadAnswers::default() },
            limit,
            present: Cell::new(0),
            last_number: Cell::new(0),
            silent: RefCell::default(),
            grace,
            crowded: Cell::new(false),
        }))
    }

    /// How many clients are served now; a client that became a connection is none any more.
    pub fn present(&self) -> usize {
        self.0.present.get()
    }

    /// Lets clients in as they come, for ever.
    pub async fn accept_from(&self, listener: &Listener) {
        self.accept_by(async || listener.accept().await).await;
    }

    async fn accept_by(&self, mut accept: impl AsyncFnMut() -> io::Result<ClientStream>) {
        let mut in_trouble = false;
        loop {
            match accept().await {
                Ok(client) => {
                    if in_trouble {
                        log::warn!("clients are let in again");
                        in_trouble = false;
                    }
                    self.admit(client);
                }
                // The client gave up before its turn came.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if is_lack_of_descriptors(&error) && self.make_room() => {
                    // Whoever made room is closed before our turn comes again.
                    yield_now().await;
                }
                Err(error) => {
                    if !in_trouble {
                        log::warn!("cannot let clients in, trying on: {error}");
                        in_trouble = true;
                    }
                    Timer::after(PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, client: ClientStream) {
        let Inner { executor, common, limit, present, last_number, silent, .. } = &*self.0;
        if present.get() >= *limit && !self.make_room() {
            log::debug!("hung up on a client: {limit} are here");
            return;
        }
        let number = last_number.get().wrapping_add(1);
        last_number.set(number);
        let presence = Presence::new(self.clone());
        let silence = Silence { clients: self.clone(), number };
        let session = session::serve(client, number, common.clone(), || drop(silence));
        let serve = async move {
            session.await;
            drop(presence);
        };
        silent.borrow_mut().insert(number, (Instant::now(), executor.spawn(serve)));
    }

    /// Hangs up on the client that has been here longest of those that have made no request, if
    /// it had time for one.
    fn make_room(&self) -> bool {
        let oldest = {
            let mut silent = self.0.silent.borrow_mut();
            let oldest = silent.first_entry();
            oldest
                .filter(|oldest| oldest.get().0.elapsed() >= self.0.grace)
                .map(|it| it.remove_entry())
        };
        let Some((number, (_, session))) = oldest else {
            return false;
        };
        if !self.0.crowded.replace(true) {
            log::warn!("too many clients: those that never said anything are hung up on");
        }
        log::debug!("client {number} has to make room");
        drop(session);
        true
    }
}

/// A client that has not made a request yet.
struct Silence {
    clients: Clients,
    number: u32,
}

impl Drop for Silence {
    fn drop(&mut self) {
        let session = self.clients.0.silent.borrow_mut().remove(&self.number);
        if let Some((_, session)) = session {
            session.detach();
        }
    }
}

fn is_lack_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Counts a client while it is served.
struct Presence(Clients);

impl Presence {
    fn new(clients: Clients) -> Self {
        let present = &clients.0.present;
        present.set(present.get().saturating_add(1));
        Self(clients)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let present = &self.0.0.present;
        present.set(present.get().saturating_sub(1));
    }
}

/// Names why a socket could not be listened on.
#[derive(Debug)]
pub struct ListenError {
    address: Address,
    trouble: Trouble,
}

#[derive(Debug)]
enum Trouble {
    /// Somebody answers there.
    Served,
    /// The path is taken by something that is no socket.
    NoSocket,
    /// It cannot be found out whether somebody serves this path.
    Unknown(io::Error),
    System(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.address)?;
        match &self.trouble {
            Trouble::Served => f.write_str(
                "another daemon serves this socket; stop it, or choose another one with --socket",
            ),
            Trouble::NoSocket => {
                f.write_str("a file that is no socket is in the way; remove it, or choose another")
            }
            Trouble::Unknown(error) => write!(
                f,
                "a socket is there, and asking who serves it fails ({error}); if nobody does, \
                 remove the file"
            ),
            Trouble::System(error) => match error.kind() {
                io::ErrorKind::AddrInUse => {
                    f.write_str("the port is taken; choose another one with --socket")
                }
                io::ErrorKind::NotFound => f.write_str("the folder does not exist"),
                io::ErrorKind::PermissionDenied => {
                    f.write_str("permission denied; run as root, or choose another with --socket")
                }
                _ => error.fmt(f),
            },
        }
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.trouble {
            Trouble::Unknown(error) | Trouble::System(error) => Some(error),
            Trouble::Served | Trouble::NoSocket => None,
        }
    }
}

/// The file of a Unix socket of ours. As long as the socket is open the inode's number cannot be
/// given to another file, so comparing it is enough.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        // The working folder may be another one when the file is removed.
        let path = std::path::absolute(path)?;
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }

    fn remove(&self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| metadata.dev() == self.device && metadata.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            // A daemon that became another user leaves it to its successor to take over.
            log::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Binds a Unix socket, in place of a file that nobody serves any more.
fn bind_unix(path: &Path) -> Result<UnixListener, Trouble> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match fs::symlink_metadata(path) {
                Ok(metadata) if !metadata.file_type().is_socket() => return Err(Trouble::NoSocket),
                Ok(_) if is_served(path).map_err(Trouble::Unknown)? => {
                    return Err(Trouble::Served);
                }
                Ok(_) => {
                    log::debug!("{} is left from a daemon that is gone", path.display());
                    fs::remove_file(path)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            Ok(UnixListener::bind(path)?)
        }
        other => Ok(other?),
    }
}

/// Tells whether somebody listens on the Unix socket at this path, without waiting.
fn is_served(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => Ok(true),
        // Its queue is full.
        Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes daemons that start at the same time take over a stale file one after the other. Without
/// the lock, which anybody may hold, only that is lost.
fn lock_folder_of(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

fn bind_tcp(address: SocketAddr, if_taken: IfTaken) -> io::Result<TcpListener> {
    let tries = match if_taken {
        IfTaken::Fail => 0,
        IfTaken::TryNext => PORTS_TRIED,
    };
    let mut address = address;
    for _ in 0..tries {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let Some(next) = address.port().checked_add(1) else { break };
                address.set_port(next);
            }
            other => return other,
        }
    }
    TcpListener::bind(address)
}

fn tcp_address(address: SocketAddr) -> Address {
    Address::Tcp { host: address.ip().to_string(), port: address.port() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use std::collections::VecDeque;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use smol::Async;
    use smol::future::{or, pending};
    use smol::io::AsyncReadExt;

    use crate::daemon::limits::MAX_CLIENTS;
    use crate::daemon::registry::Limits;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usbmuxd");
        (folder, path)
    }

    /// Clients that have to make room at once if they are silent.
    fn clients(limit: usize) -> (Rc<LocalExecutor<'static>>, Clients) {
        clients_with_grace(limit, Duration::ZERO)
    }

    fn clients_with_grace(limit: usize, grace: Duration) -> (Rc<LocalExecutor<'static>>, Clients) {
        let executor = Rc::new(LocalExecutor::new());
        let registry = Registry::new(Rc::clone(&executor), Limits::default()).unwrap();
        let records = Records::new("/nonexistent");
        let clients = Clients::with_grace(executor.clone(), registry, records, limit, grace);
        (executor, clients)
    }

    fn pair() -> (ClientStream, Async<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (ClientStream::unix(ours).unwrap(), Async::new(theirs).unwrap())
    }

    /// Asks for something that is refused, and tells whether an answer comes.
    async fn is_served(client: &mut Async<UnixStream>) -> bool {
        let unknown = [16, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 5, 0, 0, 0];
        let _ = client.get_ref().write(&unknown);
        let mut answer = [0; 20];
        client.read_exact(&mut answer).await.is_ok()
    }

    #[test]
    fn socket_file_has_its_mode_and_goes_with_its_listener() {
        let (_folder, path) = folder();
        for mode in [0o666, 0o600] {
            let listener = Listener::unix(&path, mode).unwrap();
            assert_eq!(listener.address().to_string(), format!("UNIX:{}", path.display()));
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
            drop(listener);
            assert!(!path.exists());
        }
    }

    #[test]
    fn stale_socket_is_taken_over() {
        let (_folder, path) = folder();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = Listener::unix(&path, DEFAULT_SOCKET_MODE).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn served_socket_is_left_alone() {
        let (_folder, path) = folder();
        let _other = UnixListener::bind(&path).unwrap();
        let error = Listener::unix(&path, DEFAULT_SOCKET_MODE).unwrap_err().to_string();
        assert!(error.contains("another daemon serves this socket"), "{error}");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn socket_with_a_full_queue_counts_as_served() {
        let (_folder, path) = folder();
        let other = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&other, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert!(super::is_served(&path).unwrap());
    }

    #[test]
    fn other_files_are_left_alone() {
        let (_folder, path) = folder();
        fs::write(&path, b"precious").unwrap();
        let error = Listener::unix(&path, DEFAULT_SOCKET_MODE).unwrap_err().to_string();
        assert!(error.contains("no socket is in the way"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        let error = Listener::unix(&path.join("x"), DEFAULT_SOCKET_MODE).unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on UNIX:"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn file_of_a_successor_is_not_removed() {
        let (_folder, path) = folder();
        let listener = Listener::unix(&path, DEFAULT_SOCKET_MODE).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        listener.unlink();
        drop(listener);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn taken_port_fails_or_moves_on() {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = Listener::tcp(any, IfTaken::Fail).unwrap();
        let Address::Tcp { host, port } = first.address().clone() else { panic!() };
        assert_eq!(host, "127.0.0.1");
        let taken = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        let error = Listener::tcp(taken, IfTaken::Fail).unwrap_err().to_string();
        assert!(error.contains("the port is taken"), "{error}");
        // Above the last port there is none to move on to.
        if port <= u16::MAX - PORTS_TRIED {
            let second = Listener::tcp(taken, IfTaken::TryNext).unwrap();
            let Address::Tcp { port: moved, .. } = *second.address() else { panic!() };
            assert!(moved > port && moved - port <= PORTS_TRIED, "{port} {moved}");
        }
    }

    #[test]
    fn clients_are_let_in_on_both_kinds_of_sockets() {
        let (_folder, path) = folder();
        let (executor, clients) = clients(MAX_CLIENTS);
        let unix = Listener::unix(&path, DEFAULT_SOCKET_MODE).unwrap();
        let tcp = Listener::tcp("127.0.0.1:0".parse().unwrap(), IfTaken::Fail).unwrap();
        let tcp_address = tcp.address().to_string();
        let story = smol::unblock(move || {
            let unknown = [16, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 5, 0, 0, 0];
            let mut answer = [0; 20];
            let mut client = UnixStream::connect(path).unwrap();
            client.write_all(&unknown).unwrap();
            client.read_exact(&mut answer).unwrap();
            let mut client = std::net::TcpStream::connect(tcp_address).unwrap();
            client.write_all(&unknown).unwrap();
            client.read_exact(&mut answer).unwrap();
        });
        let serving = or(clients.accept_from(&unix), clients.accept_from(&tcp));
        smol::block_on(executor.run(or(serving, story)));
    }

    #[test]
    fn loop_recovers_when_descriptors_ran_out() {
        let (executor, clients) = clients(MAX_CLIENTS);
        let (stream, mut client) = pair();
        let mut script: VecDeque<io::Result<ClientStream>> = VecDeque::from([
            Err(Errno::MFILE.into()),
            Err(Errno::NFILE.into()),
            Err(Errno::CONNABORTED.into()),
            Ok(stream),
        ]);
        let accept = async || match script.pop_front() {
            Some(result) => result,
            None => pending().await,
        };
        let story = async { assert!(is_served(&mut client).await) };
        let before = Instant::now();
        smol::block_on(executor.run(or(clients.accept_by(accept), story)));
        assert!(before.elapsed() >= 2 * PAUSE, "it must not spin");
    }

    #[test]
    fn clients_above_the_limit_are_hung_up_on() {
        let (executor, clients) = clients(2);
        smol::block_on(executor.run(async {
            let (first, mut first_client) = pair();
            let (second, mut second_client) = pair();
            let (third, mut third_client) = pair();
            clients.admit(first);
            clients.admit(second);
            assert!(is_served(&mut first_client).await);
            assert!(is_served(&mut second_client).await);
            clients.admit(third);
            assert!(!is_served(&mut third_client).await);
            drop(first_client);
            while clients.present() == 2 {
                yield_now().await;
            }
            let (fourth, mut fourth_client) = pair();
            clients.admit(fourth);
            assert!(is_served(&mut fourth_client).await);
        }));
    }

    #[test]
    fn oldest_of_those_that_never_spoke_makes_room() {
        let (executor, clients) = clients(3);
        smol::block_on(executor.run(async {
            let (spoke, mut spoke_client) = pair();
            clients.admit(spoke);
            assert!(is_served(&mut spoke_client).await);
            let (oldest, mut oldest_client) = pair();
            let (silent, mut silent_client) = pair();
            let (newest, mut newest_client) = pair();
            for client in [oldest, silent, newest] {
                clients.admit(client);
            }
            assert!(!is_served(&mut oldest_client).await);
            assert!(is_served(&mut newest_client).await);
            assert!(is_served(&mut silent_client).await);
            assert!(is_served(&mut spoke_client).await);
            let (late, mut late_client) = pair();
            clients.admit(late);
            assert!(!is_served(&mut late_client).await, "all others have spoken");
        }));
    }

    #[test]
    fn client_that_has_just_come_need_not_make_room() {
        let (executor, clients) = clients_with_grace(1, Duration::from_secs(3600));
        smol::block_on(executor.run(async {
            let (first, mut first_client) = pair();
            let (second, mut second_client) = pair();
            clients.admit(first);
            clients.admit(second);
            assert!(!is_served(&mut second_client).await);
            assert!(is_served(&mut first_client).await);
        }));
    }

    #[test]
    fn silent_clients_make_room_when_descriptors_ran_out() {
        let (executor, clients) = clients(MAX_CLIENTS);
        let (silent, mut silent_client) = pair();
        let (stream, mut client) = pair();
        let mut script: VecDeque<io::Result<ClientStream>> =
            VecDeque::from([Ok(silent), Err(Errno::MFILE.into()), Ok(stream)]);
        let accept = async || match script.pop_front() {
            Some(result) => result,
            None => pending().await,
        };
        let story = async {
            assert!(is_served(&mut client).await);
            assert!(!is_served(&mut silent_client).await);
        };
        smol::block_on(executor.run(or(clients.accept_by(accept), story)));
    }
}
