//! Thousands of connections through one daemon, all open and all talking at once.
//!
//! A crowd lives in a process of its own, beside the daemon's: each of them needs a descriptor for each connection.
//! Half of the connections talk to the phone's echo, and every byte is compared; the other half to its discard, and
//! end only when the phone has acknowledged everything. Leaves out: speed, which the benches measure.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper: failing loudly is its job")]

use crate::daemon_process::Daemon;
use crate::random::pattern;
use crate::socket::{CONNECT, message_bytes};
use crate::tools::until;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::lock::Semaphore;
use smol::{Async, LocalExecutor, Timer};
use std::fmt;
use std::net::Shutdown;
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What the daemon must be started with: connections that have nothing more to say end soon.
pub const LINGER: &str = "--linger=0.2";

const ECHO: u16 = 7;
const DISCARD: u16 = 9;

/// Connections that are being opened at the same time.
const OPENING: usize = 256;
/// Bytes that a connection writes at a time.
const PIECE: usize = 4096;
/// How long a crowd may open, or talk and end, before it has failed; none comes near.
const TOO_LONG: Duration = Duration::from_secs(60);
/// Descriptors of a process that are no connections.
const OTHERS: usize = 100;

/// Raises this process's soft limit of descriptors to the hard one; how many connections fit.
#[must_use]
pub fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let most = limit.maximum.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    most.saturating_sub(OTHERS)
}

/// What a crowd has cost and carried.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Connections that were open at once.
    pub connections: usize,
    /// Phones that they were spread over.
    pub phones: usize,
    /// Bytes that were sent, each way over the echo.
    pub bytes: usize,
    /// From the first Connect to the last Result.
    pub opening: Duration,
    /// While all talked.
    pub talking: Duration,
    /// The daemon's memory for each connection that has not talked yet, its phones' side included.
    pub idle: usize,
    /// The same after all have talked.
    pub rested: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: usize| bytes as f64 / 1024.0;
        write!(
            f,
            "crowd: {} connections to {} phone(s), opened in {:.1} s; {:.0} MB sent in {:.1} s, whole; memory of an \
             idle connection {:.1} KiB, after talking {:.1} KiB",
            self.connections,
            self.phones,
            self.opening.as_secs_f64(),
            self.bytes as f64 / 1e6,
            self.talking.as_secs_f64(),
            kib(self.idle),
            kib(self.rested),
        )
    }
}

/// Opens `each` connections to each phone, has all of them send `bytes` at once, and ends them.
///
/// # Panics
///
/// When a connection is refused, loses or changes a byte, or is not over in time.
#[must_use]
pub fn crowd(daemon: &Daemon, phones: RangeInclusive<u32>, each: usize, bytes: usize) -> Figures {
    let descriptors = daemon.descriptors();
    let before = daemon.resident();
    let executor = Rc::new(LocalExecutor::new());
    let began = Instant::now();
    let clients = in_time(&executor, open_all(&executor, daemon, phones.clone(), each));
    let (opening, connections) = (began.elapsed(), clients.len());
    let each_of = |now: usize| now.saturating_sub(before) / connections.max(1);
    let idle = each_of(daemon.resident());
    assert!(daemon.descriptors() > connections, "all are open");

    let began = Instant::now();
    let talks: Vec<_> =
        (0..).zip(clients).map(|(salt, client)| executor.spawn(client.talk(salt, bytes))).collect();
    let (talking, rested) = in_time(&executor, async {
        let mut clients = Vec::new();
        for talk in talks {
            clients.push(talk.await);
        }
        let figures = (began.elapsed(), each_of(daemon.resident()));
        let ends: Vec<_> = clients.into_iter().map(|client| executor.spawn(client.end())).collect();
        for end in ends {
            end.await;
        }
        figures
    });
    until("the daemon has closed everything", || {
        (daemon.descriptors() <= descriptors).then_some(())
    });
    let (phones, bytes) = (phones.count(), bytes * connections);
    Figures { connections, phones, bytes, opening, talking, idle, rested }
}

fn in_time<T>(executor: &LocalExecutor<'_>, work: impl Future<Output = T>) -> T {
    let too_long = async {
        Timer::after(TOO_LONG).await;
        panic!("the crowd hangs");
    };
    smol::block_on(executor.run(smol::future::or(work, too_long)))
}

async fn open_all(
    executor: &Rc<LocalExecutor<'static>>,
    daemon: &Daemon,
    phones: RangeInclusive<u32>,
    each: usize,
) -> Vec<Talker> {
    let places = Rc::new(Semaphore::new(OPENING));
    let opened: Vec<_> = (0..each)
        .flat_map(|number| phones.clone().map(move |phone| (phone, number)))
        .map(|(phone, number)| {
            let (places, socket) = (Rc::clone(&places), daemon.socket.clone());
            executor.spawn(async move {
                let _place = places.acquire().await;
                let port = if number % 2 == 0 { ECHO } else { DISCARD };
                Talker::open(&socket, phone, port).await
            })
        })
        .collect();
    let mut talkers = Vec::new();
    for talker in opened {
        talkers.push(talker.await);
    }
    talkers
}

/// One connection to a phone's echo or discard.
struct Talker {
    stream: Async<UnixStream>,
    port: u16,
}

impl Talker {
    async fn open(socket: &Path, phone: u32, port: u16) -> Talker {
        let mut stream = Async::<UnixStream>::connect(socket).await.unwrap();
        let mut record = phone.to_le_bytes().to_vec();
        record.extend(port.to_be_bytes());
        record.extend([0, 0]);
        stream.write_all(&message_bytes(0, CONNECT, 1, &record)).await.unwrap();
        let mut result = [0; 20];
        stream.read_exact(&mut result).await.unwrap();
        assert_eq!(result[16..], [0; 4], "phone {phone}, port {port}");
        Talker { stream, port }
    }

    /// Sends bytes of its own; those that come back must be the same.
    async fn talk(self, salt: u32, bytes: usize) -> Talker {
        let mut back = Vec::new();
        for at in (0..bytes).step_by(PIECE) {
            let piece = pattern(salt, at, PIECE.min(bytes - at));
            (&self.stream).write_all(&piece).await.unwrap();
            if self.port == ECHO {
                back.resize(piece.len(), 0);
                (&self.stream).read_exact(&mut back).await.unwrap();
                assert!(back == piece, "connection {salt}: other bytes came back behind {at}");
            }
        }
        self
    }

    /// Says that it has no more to say, and waits until the phone has everything.
    async fn end(self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        (&self.stream).read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{} bytes more than were sent", rest.len());
    }
}
