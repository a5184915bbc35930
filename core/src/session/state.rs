//! The state rules of one client's socket: which form answers take, and when it is closed.
//!
//! ```text
//!            Listen                    any message
//!  Command ─────────► Listening ────────────────────────► Closed   (Result 1 first)
//!     │ ▲                                                   ▲
//!     │ └─ any other result ─┐            any message       │
//!     └──── Connect ─────► Connecting ──────────────────────┘
//!                            └─ OK ─► Connected: raw bytes, no messages any more
//! ```
//!
//! Who waits for the phone, and who keeps the list of listeners, is the shell's business.

use super::header::{Header, MessageKind, ResultCode};
use super::request::Request;

/// Keeps the state of one client's socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Session {
    form: Form,
    state: State,
}

/// Names how messages to a client are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Form {
    /// As records, with version 0.
    #[default]
    Binary,
    /// As XML property lists, with version 1.
    Plist,
}

/// Names what a socket is good for at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// Requests are answered.
    #[default]
    Command,
    /// Events go out; a request is out of place.
    Listening,
    /// A phone has been asked; a request is out of place.
    Connecting,
    /// The socket is the byte stream of a connection.
    Connected,
    /// The socket is to be closed, after what was answered last.
    Closed,
}

/// Says how an answer is to be addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Envelope {
    /// How it is written.
    pub form: Form,
    /// The tag it carries.
    pub tag: u32,
}

/// Says what to do with a message after its header was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// Decode the body from this form into a [`Request`] and carry it out.
    Decode(Form),
    /// Skip the body and answer this.
    Answer(Envelope, ResultCode),
    /// Skip the body, answer this, and close.
    AnswerAndClose(Envelope, ResultCode),
    /// Close at once.
    Close,
}

impl Session {
    /// Begins with a client that has said nothing yet.
    pub const fn new() -> Self {
        Self { form: Form::Binary, state: State::Command }
    }

    /// What the socket is good for at the moment.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Judges a message by its header. The body has to be read in any case.
    pub fn receive(&mut self, header: &Header) -> Verdict {
        if header.body_len().is_none() {
            self.state = State::Closed;
            return Verdict::Close;
        }
        // Version 0 with message 8 is a plist all the same, and so are all answers from here on.
        if header.version <= 1 && header.message == MessageKind::Plist {
            self.form = Form::Plist;
        }
        match self.state {
            State::Command if header.version > 1 => {
                // Binary even for a client that has spoken plist: clients fall back on this number.
                let envelope = Envelope { form: Form::Binary, tag: header.tag };
                Verdict::Answer(envelope, ResultCode::BAD_VERSION)
            }
            State::Command if header.message == MessageKind::Plist => Verdict::Decode(Form::Plist),
            State::Command => Verdict::Decode(Form::Binary),
            State::Listening | State::Connecting => {
                self.state = State::Closed;
                Verdict::AnswerAndClose(self.envelope(header), ResultCode::BAD_COMMAND)
            }
            State::Connected | State::Closed => {
                self.state = State::Closed;
                Verdict::Close
            }
        }
    }

    /// Enters the state a request asks for. Requests that are answered at once change nothing.
    pub fn begin(&mut self, request: &Request<'_>) {
        match request {
            Request::Listen(_) => self.state = State::Listening,
            Request::Connect { .. } => self.state = State::Connecting,
            _ => {}
        }
    }

    /// Ends a Connect that was begun: the socket becomes a stream, or takes requests again.
    pub fn connected(&mut self, result: ResultCode) {
        if self.state == State::Connecting {
            let ok = result == ResultCode::OK;
            self.state = if ok { State::Connected } else { State::Command };
        }
    }

    /// How to address the answer to the message with this header. The form can change with every
    /// message received.
    pub fn envelope(&self, header: &Header) -> Envelope {
        Envelope { form: self.form, tag: header.tag }
    }

    /// The form of events, which all have tag 0.
    pub const fn form(&self) -> Form {
        self.form
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Client, Fault};
    use super::*;

    const LISTEN: Request<'_> =
        Request::Listen(Client { prog_name: None, bundle_id: None, lib_version: 0 });
    const CONNECT: Request<'_> = Request::Connect { device_id: 1, port: 22 };

    fn plist(tag: u32) -> Header {
        Header::new(1, MessageKind::Plist, tag, 100)
    }

    fn binary(message: MessageKind, tag: u32) -> Header {
        Header::new(0, message, tag, 0)
    }

    #[test]
    fn form_is_plist_from_the_first_plist_on() {
        let mut session = Session::new();
        let first = binary(MessageKind::Unknown(77), 5);
        assert_eq!(session.receive(&first), Verdict::Decode(Form::Binary));
        assert_eq!(session.envelope(&first), Envelope { form: Form::Binary, tag: 5 });

        let version_0 = Header { version: 0, ..plist(7) };
        assert_eq!(session.receive(&version_0), Verdict::Decode(Form::Plist));
        assert_eq!(session.envelope(&version_0), Envelope { form: Form::Plist, tag: 7 });

        let later = binary(MessageKind::Listen, 8);
        assert_eq!(session.receive(&later), Verdict::Decode(Form::Binary));
        assert_eq!(session.envelope(&later), Envelope { form: Form::Plist, tag: 8 });
        assert_eq!(session.form(), Form::Plist);
    }

    #[test]
    fn version_1_does_not_make_a_listen_a_plist() {
        let mut session = Session::new();
        let listen = Header { version: 1, ..binary(MessageKind::Listen, 5) };
        assert_eq!(session.receive(&listen), Verdict::Decode(Form::Binary));
        assert_eq!(session.form(), Form::Binary);
    }

    #[test]
    fn later_versions_are_told_so_in_binary() {
        let mut session = Session::new();
        let refused =
            Verdict::Answer(Envelope { form: Form::Binary, tag: 7 }, ResultCode::BAD_VERSION);
        assert_eq!(session.receive(&Header { version: 2, ..plist(7) }), refused);
        assert_eq!(session.form(), Form::Binary, "the message did not count");
        assert_eq!(session.receive(&plist(8)), Verdict::Decode(Form::Plist));
        assert_eq!(session.receive(&Header { version: u32::MAX, ..plist(7) }), refused);
        assert_eq!(session.state(), State::Command);
    }

    #[test]
    fn absurd_lengths_close() {
        for length in [0, 15, 65537, u32::MAX] {
            let mut session = Session::new();
            assert_eq!(session.receive(&Header { length, ..plist(1) }), Verdict::Close);
            assert_eq!(session.state(), State::Closed);
        }
        for length in [16, 65536] {
            let verdict = Session::new().receive(&Header { length, ..plist(1) });
            assert_eq!(verdict, Verdict::Decode(Form::Plist));
        }
    }

    #[test]
    fn further_message_ends_listening_and_connecting() {
        for begun in [LISTEN, CONNECT] {
            for (next, form) in
                [(plist(9), Form::Plist), (binary(MessageKind::Listen, 9), Form::Binary)]
            {
                let mut session = Session::new();
                session.begin(&begun);
                let envelope = Envelope { form, tag: 9 };
                let answer = Verdict::AnswerAndClose(envelope, ResultCode::BAD_COMMAND);
                assert_eq!(session.receive(&next), answer);
                assert_eq!(session.state(), State::Closed);
                assert_eq!(session.receive(&next), Verdict::Close);
            }
        }
    }

    #[test]
    fn refused_connect_takes_requests_again() {
        let mut session = Session::new();
        session.begin(&CONNECT);
        assert_eq!(session.state(), State::Connecting);
        session.connected(ResultCode::REFUSED);
        assert_eq!(session.receive(&plist(2)), Verdict::Decode(Form::Plist));

        session.begin(&CONNECT);
        session.connected(ResultCode::OK);
        assert_eq!(session.state(), State::Connected);
        assert_eq!(session.receive(&plist(3)), Verdict::Close);
    }

    #[test]
    fn ordinary_requests_change_nothing() {
        let mut session = Session::new();
        for request in [Request::ListDevices, Request::ReadBuid, Request::Invalid(Fault::NoPort)] {
            session.begin(&request);
            assert_eq!(session.state(), State::Command);
        }
        session.connected(ResultCode::OK);
        assert_eq!(session.state(), State::Command, "nothing was being connected");
    }
}
