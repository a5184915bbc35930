//! Why connections ended, for clients that ask afterwards.
//!
//! The socket protocol has no word for it: a connected socket only ends. So a client may send a token
//! of its own choice with its Connect, and after the end ask for the reason by that token. Clients that
//! send none, which are all but ours, cost nothing here. Who has the phone in its own process is told
//! without asking.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use smol::channel::Sender;
use usbmux_core::CloseReason;
use usbmux_core::wire::control::is_ordinary_close;

use super::limits::MAX_REASONS;

/// The reasons of all phones' connections; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ends(Rc<RefCell<VecDeque<(String, String)>>>);

impl Ends {
    /// Tells why a connection ended, now or when it is asked for.
    pub(crate) fn tell(&self, hearer: Hearer, reason: String) {
        match hearer {
            Hearer::Token(token) => self.keep(token, reason),
            // Nobody may be waiting any more.
            Hearer::Waiting(sender) => drop(sender.try_send(reason)),
        }
    }

    /// Keeps why the connection with this token ended.
    fn keep(&self, token: String, reason: String) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= MAX_REASONS {
            kept.pop_front();
        }
        kept.push_back((token, reason));
    }

    /// Tells a reason, once.
    pub(crate) fn take(&self, token: &str) -> Option<String> {
        let mut kept = self.0.borrow_mut();
        let at = kept.iter().position(|(its, _)| its == token)?;
        kept.remove(at).map(|(_, reason)| reason)
    }
}

/// Who is to hear why a connection ended.
pub(crate) enum Hearer {
    /// A client that will ask by this token.
    Token(String),
    /// Somebody in this process. The channel's end is the connection's, and nothing in it means that
    /// there is nothing to say.
    Waiting(Sender<String>),
}

/// What there is to say about an end, with the text of the phone's reset; nothing about an ordinary one.
pub(crate) fn reason(why: CloseReason, text: &[u8]) -> Option<String> {
    match why {
        CloseReason::Drained => None,
        CloseReason::Reset if is_ordinary_close(text) => None,
        CloseReason::Reset => {
            let text = String::from_utf8_lossy(text);
            Some(text.replace(char::is_control, " ").trim().to_owned())
        }
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_and_the_oldest_is_forgotten() {
        let ends = Ends::default();
        for number in 0..=MAX_REASONS {
            ends.keep(format!("token {number}"), format!("reason {number}"));
        }
        assert_eq!(ends.take("token 0"), None);
        assert_eq!(ends.take("token 1"), Some("reason 1".to_owned()));
        assert_eq!(ends.take("token 1"), None);
    }

    #[test]
    fn only_what_is_out_of_the_ordinary_has_a_reason() {
        assert_eq!(reason(CloseReason::Drained, b""), None);
        assert_eq!(reason(CloseReason::Reset, b""), None);
        assert_eq!(reason(CloseReason::Reset, b"sessionUpcall connection closed\0"), None);
        assert_eq!(reason(CloseReason::Reset, b"window\noverrun\0"), Some("window overrun".into()));
        assert_eq!(reason(CloseReason::LinkLost, b""), Some("unplugged".into()));
    }
}
