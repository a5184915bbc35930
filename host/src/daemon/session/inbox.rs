//! Cuts what a client sends into messages, however the bytes arrive.
//!
//! Holds at most one message and what came with it. What a message means is left out.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use smol::io::AsyncRead;
use usbmux_core::session::{HEADER_LEN, Header, MAX_MESSAGE};

use crate::stream::ClientStream;

/// How much is read at once; a request is around 500 bytes.
const READ_LEN: usize = 2 * 1024;

/// Holds what a client has sent and nobody has looked at.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
}

/// One message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) header: Header,
    /// Empty if the header's length is absurd.
    pub(super) body: Vec<u8>,
}

impl Inbox {
    /// Waits for the next message; `None` when the client has nothing more to send.
    pub(super) async fn next(&mut self, client: &mut ClientStream) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            if poll_fn(|cx| self.poll_fill(cx, client)).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The header of the next message, once it is there.
    pub(super) fn header(&self) -> Option<Header> {
        self.bytes.first_chunk::<HEADER_LEN>().map(Header::parse)
    }

    /// Takes the next message out, once it is whole.
    pub(super) fn take(&mut self) -> Option<Message> {
        let header = self.header()?;
        let length = HEADER_LEN + header.body_len().unwrap_or(0);
        let body = self.bytes.get(HEADER_LEN..length)?.to_vec();
        self.bytes.drain(..length);
        Some(Message { header, body })
    }

    /// Reads once from the client; 0 means that it has nothing more to send.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientStream,
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(client.poll_readable(cx))?;
        let mut chunk = [0; READ_LEN];
        let read = std::task::ready!(Pin::new(client).poll_read(cx, &mut chunk))?;
        self.bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        Poll::Ready(Ok(read))
    }

    /// Whether a whole message, or as much as one, is waiting: nothing more should be read.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= MAX_MESSAGE
    }

    /// What is left, as plain bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use usbmux_core::session::MessageKind;

    fn message(tag: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Header::new(1, MessageKind::Plist, tag, body.len()).emit().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn any_slicing_gives_the_same_messages() {
        let mut sent = message(1, b"first");
        sent.extend(message(2, b""));
        sent.extend(message(3, b"third"));
        for slice in 1..=sent.len() {
            let mut inbox = Inbox::default();
            let mut tags = Vec::new();
            for piece in sent.chunks(slice) {
                inbox.bytes.extend_from_slice(piece);
                while let Some(message) = inbox.take() {
                    tags.push((message.header.tag, message.body));
                }
            }
            let expected = [(1, b"first".to_vec()), (2, vec![]), (3, b"third".to_vec())];
            assert_eq!(tags, expected, "slices of {slice}");
            assert!(inbox.into_bytes().is_empty());
        }
    }

    #[test]
    fn absurd_length_is_handed_on_by_its_header_alone() {
        for length in [0_u32, 15, 65537, u32::MAX] {
            let mut inbox = Inbox::default();
            inbox.bytes.extend(message(1, b"body"));
            inbox.bytes[..4].copy_from_slice(&length.to_le_bytes());
            let message = inbox.take().unwrap();
            assert_eq!(message.header.length, length);
            assert_eq!(message.header.body_len(), None);
            assert!(message.body.is_empty());
        }
    }
}
