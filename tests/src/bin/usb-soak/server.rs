//! The program behind a port of the phones: takes a stream whose bytes it knows, and either just
//! counts it, or sends it back and hangs up.
//!
//! A stream begins with nine bytes: its number, its length, and what to do.

use super::clients::bytes;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Just count.
pub(crate) const TAKE: u8 = 0;
/// Send it back and hang up.
pub(crate) const ANSWER: u8 = 1;
/// Bytes in front of a stream.
const HEADER: usize = 9;
/// Bytes moved by one call.
const PIECE: usize = 64 << 10;

/// What precedes a stream.
pub(crate) fn header(salt: u32, length: usize, what: u8) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&salt.to_le_bytes());
    header[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    header[8] = what;
    header
}

/// The server, and what it has seen.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Streams that came to their ends.
    whole: u64,
    /// Streams that carried other bytes, by their numbers.
    wrong: Vec<(u32, String)>,
}

impl Server {
    pub(crate) fn start() -> io::Result<Arc<Server>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Arc::new(Server { address: listener.local_addr()?, seen: Mutex::default() });
        let serving = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&serving);
                // A stream that breaks off has lost its phone or its client, who judges that.
                thread::spawn(move || server.serve(stream));
            }
        });
        Ok(server)
    }

    /// How many streams have arrived whole.
    pub(crate) fn whole(&self) -> u64 {
        self.with(|seen| seen.whole)
    }

    pub(crate) fn take_wrong(&self) -> Vec<(u32, String)> {
        self.with(|seen| std::mem::take(&mut seen.wrong))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (salt, length) = (word(0), word(4) as usize);
        let due = bytes(salt, length);
        let (mut came, mut at) = (vec![0; PIECE], 0);
        while at < length {
            let most = PIECE.min(length - at);
            let count = stream.read(&mut came[..most])?;
            if count == 0 {
                return Ok(());
            }
            if came[..count] != due[at..at + count] {
                let what = format!("byte {at} or one soon after it is wrong");
                self.with(|seen| seen.wrong.push((salt, what)));
                return Ok(());
            }
            at += count;
        }
        self.with(|seen| seen.whole += 1);
        if header[8] == ANSWER {
            stream.write_all(due)?;
        }
        Ok(())
    }
}
