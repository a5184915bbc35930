//! The socket protocol with one client, until it hangs up or its socket becomes a byte pipe.
//!
//! No sockets, no clock, no allocation: bytes come and go as slices. For each connection:
//!
//! 1. offer what the socket received to [`Conversation::read`], and take as much of it as that says;
//! 2. give [`Conversation::write`] the room of the socket's transmit buffer, until it writes nothing;
//! 3. do what [`Conversation::poll_action`] says;
//! 4. repeat while something happened, and whenever the phone came or went;
//! 5. [`Conversation::end`] when the socket is closed or has become a pipe.
//!
//! What requests mean is decided in `usbmux_core::session`, as at the daemon. How XML is read
//! without memory for it is in `xml` and `dictionary`, how answers are written in `reply`.
//!
//! Where it differs from `umuxd`, for want of memory: a tag may have 64 bytes, and CDATA is not
//! read (both: Result 1); of a listener its bundle is not kept, and 32 bytes of its name; of a
//! binary pair record only the frame is checked; two clients that save at the same moment disturb
//! each other (the one that began first is answered 16, `EBUSY`); what a reply tells of may go
//! before its last byte is written, which ends the conversation.

use heapless::{String, Vec};
use usbmux_core::session::{
    Client, Envelope, Fault, Form, HEADER_LEN, Header, Request, ResultCode, Session, State,
    Verdict, records,
};

pub use listeners::{Listeners, Listening, MAX_NAME};

use crate::records::{Draft, RecordStore, StoreError};
use dictionary::{Reader, Sink};
use reply::{Progress, Saying, What};

mod dictionary;
mod listeners;
mod reply;
mod shape;
mod xml;

/// Length of the longest serial number: 40 hex digits on old phones, 25 with hyphen on new ones.
pub const MAX_SERIAL: usize = 40;

/// The phone as clients are told of it. It is shown to clients only while its link is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhoneInfo {
    /// The dongle's number for it, above 0, another one after each plugging in.
    pub device_id: u32,
    /// The product id of the USB device.
    pub product_id: u16,
    /// Bus number × 65536 + address.
    pub location_id: u32,
    /// The UDID.
    pub serial: String<MAX_SERIAL, u8>,
    /// Speed of the cable in bit/s.
    pub speed: u32,
}

/// What every conversation needs of the dongle.
#[derive(Debug)]
pub struct Shared<'a, R> {
    /// The phone, if one is here and its link is up.
    pub phone: Option<&'a PhoneInfo>,
    /// The pair records.
    pub store: &'a mut R,
    /// The other clients.
    pub listeners: &'a mut Listeners,
    /// The identity of this dongle: an upper-case UUID, the same for ever.
    pub buid: &'a str,
}

/// What the caller has to do for a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to this port of the phone, then [`Conversation::answer_connect`]. Told once.
    Connect {
        /// The port, as the phone counts it; never 0.
        port: u16,
    },
    /// Everything was said: the socket is the connection's byte stream from here on. What stands in
    /// the socket's receive buffer is its beginning. Told until [`Conversation::end`].
    Pipe,
    /// Everything was said: close the socket, and give up a connection that is being made. Told
    /// until [`Conversation::end`].
    Close,
}

/// What became of an [`Action::Connect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// The phone accepted.
    Connected,
    /// The phone refused or did not answer, or there is no room for another connection.
    Refused,
    /// The phone went.
    NoPhone,
}

/// What one client says on port 27015, and what it is told.
#[derive(Debug)]
pub struct Conversation {
    session: Session,
    hearing: Hearing,
    saying: Option<Saying>,
    /// The Connect that is being carried out, and what to do for it.
    connect: Option<Connect>,
    /// The phone that a listener was told of last, 0 if none.
    told: u32,
    /// How many pairings there had been when a listener was told last.
    pairings: u16,
    /// Its place among the listeners.
    place: Option<u8>,
    /// The client has sent everything it will ever send.
    all_heard: bool,
    /// A message could not be finished.
    broken: bool,
}

// One of these stands in RAM for each connection; most of it is the id of a record, the name of a
// program, and the longest tag.
const _: () = assert!(size_of::<Conversation>() <= 384);

/// Whose answer a Connect waits for.
#[derive(Clone, Copy, Debug)]
struct Connect {
    envelope: Envelope,
    /// Until the caller was told.
    port: Option<u16>,
}

/// What of a message is there.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each connection, and no heap")]
enum Hearing {
    Header(Vec<u8, HEADER_LEN, u8>),
    Body(Body),
}

/// A body that is being read.
#[derive(Debug)]
struct Body {
    header: Header,
    /// Bytes that are missing.
    left: u32,
    reading: Reading,
}

/// What a body is read for.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each connection, and no heap")]
enum Reading {
    Binary(Vec<u8, { records::CONNECT_LEN }, u8>),
    Plist(Reader, Saved),
    /// Not at all; this is to be done behind it.
    Skip(Verdict),
}

/// The pair record that a message carries.
#[derive(Clone, Copy, Debug)]
struct Saved {
    draft: Option<Result<Draft, StoreError>>,
    len: usize,
}

impl Conversation {
    /// Begins with a client that has said nothing yet.
    pub const fn new() -> Self {
        Self {
            session: Session::new(),
            hearing: Hearing::Header(Vec::new()),
            saying: None,
            connect: None,
            told: 0,
            pairings: 0,
            place: None,
            all_heard: false,
            broken: false,
        }
    }

    /// Takes bytes of the client, in any slicing; returns how many. It takes none while something is
    /// to be written, while a Connect is pending, and after it was the last message. (While a
    /// Connect is pending, offer what there is all the same: another request then ends it.)
    pub fn read(&mut self, input: &[u8], shared: &mut Shared<'_, impl RecordStore>) -> usize {
        let mut rest = input;
        // Each round takes at least one byte.
        while let Some((&byte, behind)) = rest.split_first()
            && self.may_hear(rest)
        {
            match &mut self.hearing {
                Hearing::Header(bytes) => {
                    let _room_for_one = bytes.push(byte);
                    if let Some(header) = bytes.first_chunk() {
                        let header = Header::parse(header);
                        self.begin_body(header);
                    }
                }
                Hearing::Body(body) => {
                    body.left = body.left.saturating_sub(1);
                    body.reading.push(byte, shared);
                }
            }
            rest = behind;
            if matches!(self.hearing, Hearing::Body(Body { left: 0, .. })) {
                self.end_body(shared);
            }
        }
        input.len().saturating_sub(rest.len())
    }

    /// Writes what is to be said, as much as there is room for; returns how much. A message longer
    /// than the room goes on with the next call. The first piece has the whole header, because
    /// clients want it in one read: with less than 17 bytes of room nothing is begun.
    pub fn write(&mut self, room: &mut [u8], shared: &mut Shared<'_, impl RecordStore>) -> usize {
        let mut written = 0_usize;
        // Each round writes something, or ends it.
        while let Some(room) = room.get_mut(written..).filter(|room| !room.is_empty()) {
            if self.saying.is_none() && room.len() > HEADER_LEN {
                self.saying = self.news(shared);
            }
            let Some(saying) = &mut self.saying else { break };
            saying.refresh(shared);
            match saying.write(room, shared) {
                Progress::Partly(more) => {
                    written = written.saturating_add(more);
                    break;
                }
                Progress::Done(more) => {
                    written = written.saturating_add(more);
                    self.saying = None;
                }
                Progress::Broken => {
                    self.broken = true;
                    self.saying = None;
                    break;
                }
            }
        }
        written
    }

    /// What the caller has to do; ask after each [`read`](Self::read) and [`write`](Self::write).
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.saying.is_some() {
            return None;
        }
        let gone =
            self.all_heard && matches!(self.session.state(), State::Command | State::Listening);
        if self.broken || gone {
            return Some(Action::Close);
        }
        match self.session.state() {
            State::Command | State::Listening => None,
            State::Connecting => {
                let port = self.connect.as_mut()?.port.take()?;
                Some(Action::Connect { port })
            }
            State::Connected => Some(Action::Pipe),
            // A message that came too late is read to its end before it is answered.
            State::Closed if self.is_amid_message() && !self.all_heard => None,
            State::Closed => Some(Action::Close),
        }
    }

    /// Answers [`Action::Connect`].
    pub fn answer_connect(&mut self, outcome: ConnectOutcome) {
        if self.session.state() != State::Connecting {
            return;
        }
        let Some(connect) = self.connect.take() else { return };
        let code = match outcome {
            ConnectOutcome::Connected => ResultCode::OK,
            ConnectOutcome::Refused => ResultCode::REFUSED,
            ConnectOutcome::NoPhone => ResultCode::BAD_DEVICE,
        };
        self.session.connected(code);
        self.say(connect.envelope, What::Result(code));
    }

    /// The client has sent everything it will ever send: what it asked is still answered, then
    /// [`Action::Close`] comes (or [`Action::Pipe`], if it asked for that).
    pub fn end_of_input(&mut self) {
        self.all_heard = true;
    }

    /// Gives back what this conversation holds in [`Shared`], and begins anew for the next client.
    pub fn end(&mut self, shared: &mut Shared<'_, impl RecordStore>) {
        if let Hearing::Body(Body { reading: Reading::Plist(_, saved), .. }) = &self.hearing {
            saved.abandon(shared.store);
        }
        if let Some(place) = self.place {
            shared.listeners.leave(place);
        }
        *self = Self::new();
    }

    /// Whether the client listens for events: call [`write`](Self::write) when the phone came or
    /// went, or another client was served.
    pub fn is_listening(&self) -> bool {
        self.session.state() == State::Listening
    }

    /// Whether the client is in the middle of a message: it may be hung up on if nothing comes for
    /// long.
    pub fn is_amid_message(&self) -> bool {
        match &self.hearing {
            Hearing::Header(bytes) => !bytes.is_empty(),
            Hearing::Body(_) => true,
        }
    }

    /// Whether bytes may be taken now, of which these are the next.
    fn may_hear(&self, next: &[u8]) -> bool {
        if self.saying.is_some() || self.broken {
            return false;
        }
        match self.session.state() {
            State::Command | State::Listening => true,
            // What stands behind a Connect is the beginning of the stream, unless it is a request.
            State::Connecting => {
                self.is_amid_message()
                    || next
                        .first_chunk()
                        .is_some_and(|next| Header::parse(next).looks_like_request())
            }
            State::Connected => false,
            State::Closed => matches!(self.hearing, Hearing::Body(_)),
        }
    }

    fn begin_body(&mut self, header: Header) {
        let reading = match self.session.receive(&header) {
            Verdict::Decode(Form::Binary) => Reading::Binary(Vec::new()),
            Verdict::Decode(Form::Plist) => {
                Reading::Plist(Reader::new(), Saved { draft: None, len: 0 })
            }
            verdict => Reading::Skip(verdict),
        };
        let left = header.body_len().and_then(|left| u32::try_from(left).ok()).unwrap_or(0);
        self.hearing = Hearing::Body(Body { header, left, reading });
    }

    /// A whole message is there.
    fn end_body(&mut self, shared: &mut Shared<'_, impl RecordStore>) {
        let hearing = core::mem::replace(&mut self.hearing, Hearing::Header(Vec::new()));
        let Hearing::Body(Body { header, reading, .. }) = hearing else { return };
        match reading {
            Reading::Binary(body) => {
                let request = Request::from_binary(header.message, &body);
                self.carry_out(&header, &request, None, shared);
            }
            Reading::Plist(reader, saved) => {
                let request = reader.request();
                let saving = matches!(request, Request::SavePairRecord { .. });
                self.carry_out(&header, &request, saving.then_some(saved), shared);
                if !saving {
                    saved.abandon(shared.store);
                }
            }
            Reading::Skip(Verdict::Answer(envelope, code))
            | Reading::Skip(Verdict::AnswerAndClose(envelope, code)) => {
                self.say(envelope, What::Result(code));
            }
            Reading::Skip(_) => {}
        }
    }

    fn carry_out<R: RecordStore>(
        &mut self,
        header: &Header,
        request: &Request<'_>,
        saved: Option<Saved>,
        shared: &mut Shared<'_, R>,
    ) {
        let envelope = self.session.envelope(header);
        self.session.begin(request);
        let store = &mut *shared.store;
        let what = match *request {
            Request::Listen(client) => {
                self.listen(&client, shared.listeners);
                What::Result(ResultCode::OK)
            }
            Request::Connect { device_id, port } => {
                self.connect = Some(Connect { envelope, port: Some(port) });
                let phone = shared.phone.filter(|phone| phone.device_id == device_id);
                match phone {
                    None => self.answer_connect(ConnectOutcome::NoPhone),
                    Some(_) if port == 0 => self.answer_connect(ConnectOutcome::Refused),
                    Some(_) => {}
                }
                return;
            }
            Request::ListDevices => What::Devices(shared.phone.map_or(0, |phone| phone.device_id)),
            Request::ListListeners => What::Listeners,
            Request::ReadBuid => What::Buid,
            Request::ReadPairRecord { id } => {
                store.find(id).map_or(What::Result(ResultCode::NO_RECORD), What::Record)
            }
            Request::SavePairRecord { id, device_id, .. } => {
                let code = saved.map_or(Fault::RecordData.code(), |saved| saved.keep(id, store));
                let here = shared.phone.map(|phone| phone.device_id);
                if code == ResultCode::OK && device_id.is_some() && device_id == here {
                    shared.listeners.pairings = shared.listeners.pairings.wrapping_add(1);
                }
                What::Result(code)
            }
            Request::DeletePairRecord { id } => {
                What::Result(store.delete(id).map_or_else(StoreError::code, |()| ResultCode::OK))
            }
            Request::Invalid(fault) => What::Result(fault.code()),
        };
        self.say(envelope, what);
    }

    fn listen(&mut self, client: &Client<'_>, listeners: &mut Listeners) {
        self.place = listeners.join(client);
        self.pairings = listeners.pairings;
        self.told = 0;
    }

    fn say(&mut self, envelope: Envelope, what: What) {
        self.saying = Some(Saying::new(envelope, what));
    }

    /// The next thing to tell a listener: the difference between what it knows and what is.
    fn news<R>(&mut self, shared: &Shared<'_, R>) -> Option<Saying> {
        if self.session.state() != State::Listening {
            return None;
        }
        let here = shared.phone.map_or(0, |phone| phone.device_id);
        let what = if self.told != 0 && self.told != here {
            What::Detached(core::mem::take(&mut self.told))
        } else if self.told != here {
            self.told = here;
            What::Attached(here)
        } else if here != 0 && self.pairings != shared.listeners.pairings {
            self.pairings = shared.listeners.pairings;
            What::Paired(here)
        } else {
            return None;
        };
        Some(Saying::new(Envelope { form: self.session.form(), tag: 0 }, what))
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl Reading {
    fn push(&mut self, byte: u8, shared: &mut Shared<'_, impl RecordStore>) {
        match self {
            Self::Binary(body) => {
                // Nobody asks for what stands behind the record of a Connect.
                let _behind = body.push(byte);
            }
            Self::Plist(reader, saved) => {
                let phone = shared.phone.map(|phone| phone.serial.as_str());
                reader.push(byte, &mut Saving { saved, store: shared.store, phone });
            }
            Self::Skip(_) => {}
        }
    }
}

impl Saved {
    /// Makes the draft a record; the code to answer.
    fn keep(self, id: &str, store: &mut impl RecordStore) -> ResultCode {
        let draft = match self.draft {
            Some(Ok(draft)) => draft,
            Some(Err(error)) => return error.code(),
            None => return Fault::RecordData.code(),
        };
        if store.read_draft(draft, 0, &mut [0; 1]) == 0 && self.len > 0 {
            return StoreError::Displaced.code();
        }
        if !shape::is_pair_record(store, draft, self.len) {
            store.abandon(draft);
            return Fault::RecordData.code();
        }
        store.commit(draft, id).map_or_else(StoreError::code, |()| ResultCode::OK)
    }

    fn abandon(self, store: &mut impl RecordStore) {
        if let Some(Ok(draft)) = self.draft {
            store.abandon(draft);
        }
    }
}

/// Takes a pair record out of a message into the store.
struct Saving<'a, R> {
    saved: &'a mut Saved,
    store: &'a mut R,
    /// Whose record it is most likely, where the message says it only behind the data.
    phone: Option<&'a str>,
}

impl<R: RecordStore> Sink for Saving<'_, R> {
    fn begin(&mut self, id: Option<&str>) {
        *self.saved = Saved { draft: Some(self.store.begin(id.or(self.phone))), len: 0 };
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(Ok(draft)) = self.saved.draft {
            self.saved.len = self.saved.len.saturating_add(bytes.len());
            if let Err(error) = self.store.append(draft, bytes) {
                self.store.abandon(draft);
                self.saved.draft = Some(Err(error));
            }
        }
    }
}
