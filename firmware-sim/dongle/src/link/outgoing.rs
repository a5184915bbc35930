//! The frame that is on its way to USB, piece by piece.
//!
//! Numbering a frame and handing it to USB are one step (PROTOCOL §2): a frame once begun is
//! finished before anything else goes out, whatever becomes of its connection.

use usbmux_core::ConnId;

/// What is left of the frame under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// Whose payload it is; none if nothing is to follow but a zero-length packet.
    payload: Option<(ConnId, usize)>,
    /// Whether a zero-length packet must follow.
    needs_zlp: bool,
}

impl Outgoing {
    /// No frame is under way.
    pub(crate) const IDLE: Outgoing = Outgoing { payload: None, needs_zlp: false };

    /// A frame of which `left` bytes of payload must follow.
    pub(crate) fn new(conn: ConnId, left: usize, needs_zlp: bool) -> Self {
        Outgoing { payload: (left > 0).then_some((conn, left)), needs_zlp }
    }

    /// What the next piece takes, of at most `room` bytes.
    pub(crate) fn next(&mut self, room: usize) -> Next {
        match self.payload {
            Some((conn, left)) => {
                let piece = left.min(room);
                self.payload = (left > piece).then(|| (conn, left - piece));
                Next::Payload(conn, piece)
            }
            None if core::mem::take(&mut self.needs_zlp) => Next::ZeroLength,
            None => Next::Frame,
        }
    }
}

/// What goes to USB next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// So many bytes of this connection's payload.
    Payload(ConnId, usize),
    /// A zero-length packet.
    ZeroLength,
    /// Another frame.
    Frame,
}
