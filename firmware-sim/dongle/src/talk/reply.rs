//! What a client is told, written from templates into whatever room there is.
//!
//! A message is written from the state of things, again for each piece of it, and a window shows
//! through the piece that is due. If the state changed in the middle of a message so that it cannot
//! be finished, that is said, and the conversation has to end.

use usbmux_core::session::names::{UNKNOWN_PROGRAM, USB, key, message};
use usbmux_core::session::{Device, Envelope, Form, HEADER_LEN, Header, MessageKind, ResultCode};

use super::{PhoneInfo, Shared};
use crate::records::{Record, RecordStore};
use crate::text::Window;

/// One message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Saying {
    pub(super) envelope: Envelope,
    pub(super) what: What,
    /// Bytes that were written.
    said: u32,
    /// Length of the message; 0 until its first byte is written.
    length: u32,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Result(ResultCode),
    /// The list with this phone in it; 0 for an empty one.
    Devices(u32),
    Listeners,
    Buid,
    Record(Record),
    Attached(u32),
    Detached(u32),
    Paired(u32),
}

/// How far a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// So many bytes were written, and there is more to come.
    Partly(usize),
    /// So many bytes were written, which was the last of it.
    Done(usize),
    /// What it tells of is gone.
    Broken,
}

impl Saying {
    pub(super) fn new(envelope: Envelope, what: What) -> Self {
        Self { envelope, what, said: 0, length: 0 }
    }

    /// Says what is true now, as long as nothing of the message was written.
    pub(super) fn refresh<R: RecordStore>(&mut self, shared: &Shared<'_, R>) {
        if self.said > 0 {
            return;
        }
        match self.what {
            What::Devices(_) => {
                self.what = What::Devices(shared.phone.map_or(0, |phone| phone.device_id));
            }
            What::Record(record) if !is_there(record, shared.store) => {
                self.what = What::Result(ResultCode::NO_RECORD);
            }
            _ => {}
        }
    }

    /// Writes as much as there is room for.
    pub(super) fn write<R: RecordStore>(
        &mut self,
        room: &mut [u8],
        shared: &Shared<'_, R>,
    ) -> Progress {
        let body = self.length_of_body(shared);
        let Some(length) = body.and_then(|body| u32::try_from(body + HEADER_LEN).ok()) else {
            return Progress::Broken;
        };
        if self.said == 0 {
            self.length = length;
            if room.len() <= HEADER_LEN {
                return Progress::Partly(0);
            }
        }
        if length != self.length {
            return Progress::Broken;
        }
        let mut window = Window::new(room, usize::try_from(self.said).unwrap_or(usize::MAX));
        let (version, kind) = self.kind();
        let body = body.unwrap_or_default();
        window.bytes(&Header::new(version, kind, self.envelope.tag, body).emit());
        if self.body(&mut window, shared).is_none() {
            return Progress::Broken;
        }
        let written = window.filled();
        self.said = self.said.saturating_add(u32::try_from(written).unwrap_or(u32::MAX));
        if self.said >= self.length { Progress::Done(written) } else { Progress::Partly(written) }
    }

    fn length_of_body<R: RecordStore>(&self, shared: &Shared<'_, R>) -> Option<usize> {
        let mut nothing = Window::new(&mut [], 0);
        self.body(&mut nothing, shared)?;
        Some(nothing.total())
    }

    fn kind(&self) -> (u32, MessageKind) {
        match (self.envelope.form, self.what) {
            (Form::Binary, What::Result(_)) => (0, MessageKind::Result),
            (Form::Binary, What::Attached(_)) => (0, MessageKind::DeviceAdd),
            (Form::Binary, What::Detached(_)) => (0, MessageKind::DeviceRemove),
            (Form::Binary, What::Paired(_)) => (0, MessageKind::DevicePaired),
            _ => (1, MessageKind::Plist),
        }
    }

    /// Writes the body; None if what it tells of is gone.
    fn body<R: RecordStore>(&self, out: &mut Window<'_>, shared: &Shared<'_, R>) -> Option<()> {
        let phone = |device_id| shared.phone.filter(|phone| phone.device_id == device_id);
        match (self.envelope.form, self.what) {
            (Form::Binary, What::Result(code)) => out.bytes(&code.0.to_le_bytes()),
            (Form::Binary, What::Attached(id)) => out.bytes(&device(phone(id)?).record().emit()),
            (Form::Binary, What::Detached(id) | What::Paired(id)) => out.bytes(&id.to_le_bytes()),
            (_, what) => {
                out.text(PROLOG);
                match what {
                    What::Result(code) => result(out, code),
                    What::Devices(0) => devices(out, None),
                    What::Devices(id) => devices(out, Some(phone(id)?)),
                    What::Listeners => listeners(out, shared),
                    What::Buid => string(out, key::BUID, shared.buid),
                    What::Record(record) => pair_record(out, record, shared.store)?,
                    What::Attached(id) => attached(out, phone(id)?),
                    What::Detached(id) => device_event(out, message::DETACHED, id),
                    What::Paired(id) => device_event(out, message::PAIRED, id),
                }
                out.text(EPILOG);
            }
        }
        Some(())
    }
}

const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
    \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n";
const EPILOG: &str = "</dict>\n</plist>\n";

fn name(out: &mut Window<'_>, key: &str) {
    out.text("<key>");
    out.text(key);
    out.text("</key>");
}

fn string(out: &mut Window<'_>, key: &str, value: &str) {
    name(out, key);
    out.text("<string>");
    out.escaped(value);
    out.text("</string>\n");
}

fn integer(out: &mut Window<'_>, key: &str, value: impl Into<u64>) {
    name(out, key);
    out.text("<integer>");
    out.number(value);
    out.text("</integer>\n");
}

fn result(out: &mut Window<'_>, code: ResultCode) {
    string(out, key::MESSAGE_TYPE, message::RESULT);
    integer(out, key::NUMBER, code.0);
}

fn devices(out: &mut Window<'_>, phone: Option<&PhoneInfo>) {
    name(out, key::DEVICE_LIST);
    out.text("<array>\n");
    if let Some(phone) = phone {
        out.text("<dict>\n");
        attached(out, phone);
        out.text("</dict>\n");
    }
    out.text("</array>\n");
}

fn attached(out: &mut Window<'_>, phone: &PhoneInfo) {
    integer(out, key::DEVICE_ID, phone.device_id);
    string(out, key::MESSAGE_TYPE, message::ATTACHED);
    name(out, key::PROPERTIES);
    out.text("<dict>\n");
    integer(out, key::CONNECTION_SPEED, phone.speed);
    string(out, key::CONNECTION_TYPE, USB);
    integer(out, key::DEVICE_ID, phone.device_id);
    integer(out, key::LOCATION_ID, phone.location_id);
    integer(out, key::PRODUCT_ID, phone.product_id);
    string(out, key::SERIAL_NUMBER, &phone.serial);
    out.text("</dict>\n");
}

fn device(phone: &PhoneInfo) -> Device<'_> {
    Device {
        device_id: phone.device_id,
        serial: &phone.serial,
        product_id: phone.product_id,
        location: phone.location_id,
        speed: phone.speed.into(),
    }
}

fn device_event(out: &mut Window<'_>, message_type: &str, device_id: u32) {
    integer(out, key::DEVICE_ID, device_id);
    string(out, key::MESSAGE_TYPE, message_type);
}

fn listeners<R: RecordStore>(out: &mut Window<'_>, shared: &Shared<'_, R>) {
    name(out, key::LISTENER_LIST);
    out.text("<array>\n");
    for (number, listener) in (1_u32..).zip(&shared.listeners.places) {
        if !listener.taken {
            continue;
        }
        let program = listener.prog_name.as_deref().unwrap_or(UNKNOWN_PROGRAM);
        out.text("<dict>\n");
        name(out, key::BLACKLISTED);
        out.text("<false/>\n");
        integer(out, key::CONN_TYPE, 0_u32);
        name(out, key::ID_STRING);
        out.text("<string>");
        out.number(number);
        out.text("-");
        out.escaped(program);
        out.text("</string>\n");
        string(out, key::PROG_NAME, program);
        integer(out, key::LIB_USBMUX_VERSION, listener.lib_version);
        out.text("</dict>\n");
    }
    out.text("</array>\n");
}

fn pair_record(out: &mut Window<'_>, record: Record, store: &impl RecordStore) -> Option<()> {
    name(out, key::PAIR_RECORD_DATA);
    out.text("<data>");
    let len = usize::try_from(record.len).ok()?;
    if !is_there(record, store) {
        return None;
    }
    let whole = out.base64(len, |offset, to| store.read(record, offset, to));
    out.text("</data>\n");
    whole.then_some(())
}

/// A record is never empty: it is a property list.
fn is_there(record: Record, store: &impl RecordStore) -> bool {
    store.read(record, 0, &mut [0; 1]) == 1
}
