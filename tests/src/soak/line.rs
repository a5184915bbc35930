//! One client's socket: requests and answers first, then perhaps the bytes of a connection. Every wait has its limit.

use super::check::{Done, Incoming, Trouble, wrong};
use super::limits::Wait;
use super::scene::{Client, Scene};
use crate::socket::{Message, request};
use plist::Value;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Timer};
use std::cell::Cell;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of one read.
const READ: usize = 64 << 10;
/// How long a client waits before it tries a full backlog again.
const AGAIN: Duration = Duration::from_millis(2);

/// A socket to the daemon.
pub(super) struct Line {
    stream: Async<UnixStream>,
    scene: Rc<Scene>,
    /// How many bytes the socket has taken, of a connection those behind its Connect.
    pub(super) written: Cell<usize>,
}

impl Line {
    /// Comes in by the daemon's socket.
    pub(super) async fn open(scene: &Rc<Scene>) -> Done<Line> {
        let connect = async {
            loop {
                match Async::<UnixStream>::connect(&scene.socket).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        Timer::after(AGAIN).await;
                    }
                    Err(error) => return Err(Trouble::from(error)),
                }
            }
        };
        let stream = scene.within(Wait::Answer, "the daemon to accept", connect).await?;
        Ok(Line { stream, scene: Rc::clone(scene), written: Cell::new(0) })
    }

    /// Asks for a port of the client's phone; the socket is the connection then.
    pub(super) async fn connect(client: &Client, port: u16) -> Done<Line> {
        let line = Line::open(&client.scene).await?;
        let device = client.device()?;
        let keys = connect_keys(device, port, &client.token());
        line.send(&request(client.salt, "Connect", &keys)).await?;
        let what = format!("the Result of a Connect to port {port}");
        match line.answer(Wait::Connect, &what, client.salt).await?.number("Number") {
            Some(0) => {
                client.connected.set(true);
                line.written.set(0);
                Ok(line)
            }
            Some(number) => Err(Trouble::Refused(number)),
            None => wrong("a Connect was not answered by a Result"),
        }
    }

    /// Writes all of it.
    pub(super) async fn send(&self, mut bytes: &[u8]) -> Done {
        while !bytes.is_empty() {
            let step = async { Ok((&self.stream).write(bytes).await?) };
            let count = self.scene.within(Wait::Progress, "the daemon to take bytes", step).await?;
            self.written.set(self.written.get() + count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Writes a piece of it; none when nothing was taken within this time.
    pub(super) async fn try_send(&self, bytes: &[u8], patience: Duration) -> Done<Option<usize>> {
        let write = async { Done::Ok(Some((&self.stream).write(bytes).await?)) };
        let give_up = async {
            Timer::after(patience).await;
            Ok(None)
        };
        let taken = futures_lite::future::or(write, give_up).await?;
        self.written.set(self.written.get() + taken.unwrap_or(0));
        Ok(taken)
    }

    /// Reads something; 0 at the end.
    pub(super) async fn read(&self, wait: Wait, what: &str, buffer: &mut [u8]) -> Done<usize> {
        let step = async {
            match (&self.stream).read(buffer).await {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
                other => Ok(other?),
            }
        };
        self.scene.within(wait, what, step).await
    }

    /// Reads `count` bytes more and compares them.
    pub(super) async fn take(&self, incoming: &mut Incoming, count: usize) -> Done {
        let until = incoming.seen() + count;
        let mut buffer = vec![0; READ.min(count)];
        while incoming.seen() < until {
            let most = buffer.len().min(until - incoming.seen());
            let what = format!("byte {} of the stream", incoming.seen());
            let count = self.read(Wait::Progress, &what, &mut buffer[..most]).await?;
            if count == 0 {
                return Err(Trouble::Cut);
            }
            incoming.take(&buffer[..count])?;
            self.scene.tally.checked(count);
        }
        Ok(())
    }

    /// Says that no more comes.
    pub(super) fn half_close(&self) -> Done {
        match self.stream.get_ref().shutdown(Shutdown::Write) {
            Err(error) if error.kind() != ErrorKind::NotConnected => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits for the end, before which nothing may come.
    pub(super) async fn end(&self, wait: Wait) -> Done {
        match self.read(wait, "the end of the stream", &mut [0; 1]).await? {
            0 => Ok(()),
            _ => wrong("more bytes came than were sent"),
        }
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask(&self, tag: u32, what: &str, keys: &[(&str, Value)]) -> Done<Message> {
        self.send(&request(tag, what, keys)).await?;
        self.answer(Wait::Answer, &format!("the answer to {what}"), tag).await
    }

    /// Reads an answer with this tag.
    pub(super) async fn answer(&self, wait: Wait, what: &str, tag: u32) -> Done<Message> {
        let message = self.scene.within(wait, what, self.message()).await?;
        if message.tag == tag { Ok(message) } else { wrong(format!("{what}: tag {}", message.tag)) }
    }

    /// Reads the next message, however long that takes.
    pub(super) async fn message(&self) -> Done<Message> {
        let mut bytes = vec![0; 16];
        (&self.stream).read_exact(&mut bytes).await?;
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        bytes.resize(length.max(16), 0);
        (&self.stream).read_exact(&mut bytes[16..]).await?;
        match Message::read(&mut &bytes[..]) {
            Ok(message) => Ok(message),
            Err(error) => wrong(format!("the daemon's message makes no sense: {error}")),
        }
    }
}

/// The keys of a Connect that will be asked about.
pub(super) fn connect_keys(device: u64, port: u16, token: &str) -> [(&'static str, Value); 3] {
    let swapped = u64::from(port.swap_bytes());
    [("DeviceID", device.into()), ("PortNumber", swapped.into()), ("EndToken", token.into())]
}
