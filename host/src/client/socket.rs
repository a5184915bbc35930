//! One socket to a daemon in command mode: a question, its answer, and what follows.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smol::io::{AsyncRead, AsyncWriteExt};

use super::error::{ClientError, Garbled};
use super::message::{HEADER, Header, Reply, Request};
use super::stream::DeviceStream;
use crate::address::Address;

/// The tag of the one question that is asked on a socket. Not 0: that is the tag of events.
const TAG: u32 = 1;

/// How much is read at once, and with that the most that is allocated ahead of what arrived.
const CHUNK: usize = 16 << 10;

/// A socket to a daemon. It never reads beyond the message it waits for, because behind the
/// answer to Connect comes what the phone says.
#[derive(Debug)]
pub(super) struct Socket {
    stream: DeviceStream,
    /// What has arrived of the message that comes next.
    message: Vec<u8>,
}

impl Socket {
    pub(super) async fn open(address: &Address) -> Result<Self, ClientError> {
        let stream = DeviceStream::open(address)
            .await
            .map_err(|cause| ClientError::NoDaemon { address: address.clone(), cause })?;
        Ok(Socket { stream, message: Vec::new() })
    }

    /// Asks and waits for the answer, which must carry the question's tag.
    pub(super) async fn ask(&mut self, request: Request) -> Result<Reply, ClientError> {
        self.stream.write_all(&request.emit(TAG)).await.map_err(ClientError::Lost)?;
        let (answered, reply) = poll_fn(|cx| self.poll_message(cx)).await?;
        if answered != TAG {
            return Err(Garbled::Tag { asked: TAG, answered }.into());
        }
        Ok(reply)
    }

    /// The next message with its tag. What has arrived of it is kept here between two calls.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(u32, Reply), ClientError>> {
        loop {
            let length = match self.message.first_chunk() {
                Some(header) => {
                    let header = Header::parse(header)?;
                    if self.message.len() == header.length {
                        let body = self.message.get(HEADER..).unwrap_or_default();
                        let reply = Reply::parse(header.message, body);
                        self.message.clear();
                        return Poll::Ready(Ok((header.tag, reply?)));
                    }
                    header.length
                }
                None => HEADER,
            };
            let mut chunk = [0; CHUNK];
            let missing = length.saturating_sub(self.message.len()).min(CHUNK);
            let room = chunk.get_mut(..missing).unwrap_or_default();
            match ready!(Pin::new(&mut self.stream).poll_read(cx, room)) {
                Ok(0) => return Poll::Ready(Err(ClientError::HungUp)),
                Ok(read) => self.message.extend_from_slice(room.get(..read).unwrap_or_default()),
                Err(cause) => return Poll::Ready(Err(ClientError::Lost(cause))),
            }
        }
    }

    /// The socket as the byte stream that it is after an accepted Connect.
    pub(super) fn into_stream(self) -> DeviceStream {
        self.stream
    }
}
