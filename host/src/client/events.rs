//! What happens to phones, as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use plist::{Dictionary, Value};
use smol::stream::Stream;

use super::error::{ClientError, Garbled};
use super::message::Reply;
use super::phone::{self, Phone};
use super::socket::Socket;

/// Something that happened to a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A phone is there: it was when listening began, or it was plugged in.
    Attached(Phone),
    /// The phone with this device id was unplugged. The id does not come back.
    Detached(u32),
    /// A pair record was stored for the phone with this device id.
    Paired(u32),
}

/// A stream of [`Event`]s. It ends after the first error: to go on, listen again.
pub struct Events {
    /// Gone after the first error.
    socket: Option<Socket>,
}

impl Events {
    pub(super) fn new(socket: Socket) -> Self {
        Events { socket: Some(socket) }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("open", &self.socket.is_some()).finish()
    }
}

impl Stream for Events {
    type Item = Result<Event, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(socket) = self.socket.as_mut() else { return Poll::Ready(None) };
            // Tags are not looked at: nothing is asked here that an answer could belong to.
            let event = ready!(socket.poll_message(cx)).and_then(|(_tag, reply)| match reply {
                Reply::Dictionary(dictionary) => Ok(parse(&dictionary)?),
                Reply::Result(number) => Err(super::general(number)),
            });
            match event {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {}
                Err(error) => {
                    self.socket = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// Reads an event; `None` is one that this client does not know, which daemons may add.
fn parse(event: &Dictionary) -> Result<Option<Event>, ClientError> {
    let kind = event.get("MessageType").and_then(Value::as_string);
    Ok(match kind.ok_or(Garbled::Missing("MessageType"))? {
        "Attached" => Some(Event::Attached(Phone::from_attached(Some(event))?)),
        "Detached" => Some(Event::Detached(phone::device_id(event)?)),
        "Paired" => Some(Event::Paired(phone::device_id(event)?)),
        _ => None,
    })
}
