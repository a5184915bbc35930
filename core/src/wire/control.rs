//! CONTROL frames: a type byte, then text without a reliable terminator; and the texts that matter.
//!
//! The texts are those of real phones' logs (PROTOCOL §2–3). They are recognised by a part that has
//! no number in it.

/// How grave the phone finds what it says; looks like a syslog severity. Unknown values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ControlKind(pub u8);

impl ControlKind {
    /// An error: a message too large, a service that went away.
    pub const ERROR: ControlKind = ControlKind(3);
    /// A warning: the duplicate-packet text that ends a session.
    pub const WARNING: ControlKind = ControlKind(4);
    /// A notice.
    pub const NOTICE: ControlKind = ControlKind(5);
    /// Debugging talk.
    pub const DEBUG: ControlKind = ControlKind(7);
}

/// Start of the text with which a phone declares a session dead: a frame's number was not the next.
pub const DUPLICATE_PACKET: &[u8] = b"detected duplicate packet";
/// Text of the reset with which a phone ends a connection in the ordinary way.
pub const ORDINARY_CLOSE: &[u8] = b"sessionUpcall connection closed";
/// Text that a phone says (kind 3) before the reset of an ordinary end.
pub const SOCKET_CLOSED: &[u8] = b"socketIsClosed sock_receive returned errno 54";

/// Whether a CONTROL text says that the phone stopped accepting our frames.
pub fn is_duplicate_packet(text: &[u8]) -> bool {
    text.windows(DUPLICATE_PACKET.len()).any(|part| part == DUPLICATE_PACKET)
}

/// Whether a reset's text is the ordinary end of a connection: to a client an end-of-file.
///
/// A reset without text counts as one, since old phones send none.
pub fn is_ordinary_close(text: &[u8]) -> bool {
    text.is_empty() || text.windows(ORDINARY_CLOSE.len()).any(|part| part == ORDINARY_CLOSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_real_phones_are_recognised() {
        assert!(is_duplicate_packet(b"detected duplicate packet. Expected 408 received 410"));
        assert!(!is_duplicate_packet(b"detected duplicate packe"));
        assert!(is_ordinary_close(b"sessionUpcall connection closed"));
        assert!(is_ordinary_close(b"sessionUpcall connection closed\0"));
        assert!(is_ordinary_close(b""));
        assert!(!is_ordinary_close(b"handleMuxTCPInput th.th_flags = 0x18, not TH_ACK(0x10)"));
    }
}
