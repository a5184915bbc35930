//! A dongle as its conversations see it, with the sockets of clients played by vectors.

use usbmux_dongle::records::{RamStore, RecordStore};
use usbmux_dongle::talk::{
    Action, ConnectOutcome, Conversation, Listeners, Listening, PhoneInfo, Shared,
};
use usbmux_tests::socket::Message;

pub(crate) const BUID: &str = "91884CAA-23C3-9BA1-FEFF-07109DAB2C02";

/// Two records of 10 KiB each, whatever happens.
pub(crate) type Store = RamStore<2, { 3 * 10 * 1024 }>;

/// Longest that a conversation may go on without a pause; more is an endless loop.
const MAX_TURNS: usize = 100_000;

#[derive(Clone)]
pub(crate) struct Desk<R = Store> {
    pub(crate) phone: Option<PhoneInfo>,
    pub(crate) store: R,
    pub(crate) listeners: Listeners<[Listening; 4]>,
    /// Ports of the phone that accept.
    pub(crate) ports: Vec<u16>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::keeping(Store::new())
    }

    pub(crate) fn with_phone() -> Self {
        Self { phone: Some(phone(1)), ..Self::new() }
    }
}

impl<R: RecordStore> Desk<R> {
    /// With another store.
    pub(crate) fn keeping(store: R) -> Self {
        let listeners = Listeners::new();
        Self { phone: None, store, listeners, ports: vec![7, 9, 19, 22, 62078] }
    }

    pub(crate) fn shared(&mut self) -> Shared<'_, R> {
        Shared {
            phone: self.phone.as_ref(),
            store: &mut self.store,
            listeners: &mut self.listeners,
            buid: BUID,
        }
    }
}

pub(crate) fn phone(device_id: u32) -> PhoneInfo {
    PhoneInfo {
        device_id,
        product_id: 0x12a8,
        location_id: 0x1_0001,
        serial: "00008030-0000000000000001".try_into().unwrap(),
        speed: 480_000_000,
    }
}

/// What became of a socket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It takes requests.
    Open,
    Listening,
    Piped,
    Closed,
}

/// A client's socket and the conversation at its other end.
pub(crate) struct Socket {
    pub(crate) conversation: Conversation,
    /// What the client sent and nobody took.
    pub(crate) unread: Vec<u8>,
    /// What the client received.
    pub(crate) received: Vec<u8>,
    /// How much the conversation can write at once.
    pub(crate) room: usize,
    /// Whether a Connect is answered at once, by [`Desk::ports`].
    pub(crate) answers_connect: bool,
    pub(crate) connects: Vec<u16>,
    pub(crate) fate: Fate,
}

impl Socket {
    pub(crate) fn new() -> Self {
        Self {
            conversation: Conversation::new(),
            unread: Vec::new(),
            received: Vec::new(),
            room: 4096,
            answers_connect: true,
            connects: Vec::new(),
            fate: Fate::Open,
        }
    }

    /// Sends bytes in pieces of this length.
    pub(crate) fn send(&mut self, desk: &mut Desk<impl RecordStore>, bytes: &[u8], slice: usize) {
        for piece in bytes.chunks(slice.max(1)) {
            self.unread.extend(piece);
            self.run(desk);
        }
    }

    /// Lets the conversation go on until it rests.
    pub(crate) fn run(&mut self, desk: &mut Desk<impl RecordStore>) {
        for _ in 0..MAX_TURNS {
            let read = self.conversation.read(&self.unread, &mut desk.shared());
            self.unread.drain(..read);
            let mut room = vec![0; self.room];
            let written = self.conversation.write(&mut room, &mut desk.shared());
            self.received.extend(&room[..written]);
            let action = self.conversation.poll_action();
            match action {
                Some(Action::Connect { port }) => {
                    self.connects.push(port);
                    if self.answers_connect {
                        let open = desk.ports.contains(&port);
                        self.conversation.answer_connect(if open {
                            ConnectOutcome::Connected
                        } else {
                            ConnectOutcome::Refused
                        });
                    }
                    continue;
                }
                Some(Action::Pipe) => self.fate = Fate::Piped,
                Some(Action::Close) => self.fate = Fate::Closed,
                None => {}
            }
            if read == 0 && written == 0 {
                return;
            }
        }
        panic!("the conversation does not come to rest");
    }

    /// What the client received since it was asked last.
    pub(crate) fn messages(&mut self) -> Vec<Message> {
        Message::all(&std::mem::take(&mut self.received)).unwrap()
    }

    pub(crate) fn end(mut self, desk: &mut Desk<impl RecordStore>) {
        self.conversation.end(&mut desk.shared());
    }
}

/// Says one thing on a new socket and hears the answers.
pub(crate) fn ask(
    desk: &mut Desk<impl RecordStore>,
    bytes: &[u8],
    slice: usize,
) -> (Vec<Message>, Fate) {
    let mut socket = Socket::new();
    socket.send(desk, bytes, slice);
    if socket.conversation.is_listening() {
        socket.fate = Fate::Listening;
    }
    let answers = (socket.messages(), socket.fate);
    socket.end(desk);
    answers
}
