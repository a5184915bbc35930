//! A daemon that is none: a Unix socket whose other end a test plays itself.
//!
//! [`Fake::scripted`] hands each connection to the test, for answers that no real daemon gives.
//! [`Fake::phones`] behaves like a daemon with the phones that the test plugs in. Both share no
//! code with the client or the daemon of this package.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use plist::{Dictionary, Value};
use tempfile::TempDir;

/// The UDID of the phone that most tests plug in.
pub(crate) const UDID: &str = "00008030-0000000000000001";

/// The BUID that the fake answers.
pub(crate) const BUID: &str = "30142955-444094379208051516";

/// Reads all, then says how many bytes it were: half-close must work for that.
pub(crate) const COUNT: u16 = 1;
/// Sends back what comes.
pub(crate) const ECHO: u16 = 7;
/// Says nothing and never ends by itself.
pub(crate) const SILENT: u16 = 8;
/// Sends [`FLOOD_BYTES`] bytes (byte number modulo 251) and ends, without reading.
pub(crate) const FLOOD: u16 = 19;
/// Says `half a wor` and breaks the connection off when two bytes or more have come.
pub(crate) const HALF: u16 = 21;
/// The phone's lockdownd.
pub(crate) const LOCKDOWN: u16 = 62078;

/// What [`FLOOD`] sends.
pub(crate) const FLOOD_BYTES: usize = 3_000_001;

pub(crate) fn flood() -> Vec<u8> {
    (0..FLOOD_BYTES).map(|byte| u8::try_from(byte % 251).unwrap()).collect()
}

pub(crate) struct Fake {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    /// Notified when somebody has asked something or has begun to listen.
    changed: Arc<Condvar>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Attached dictionaries by device id.
    phones: BTreeMap<u32, Value>,
    listeners: Vec<UnixStream>,
    pub(crate) records: BTreeMap<String, Vec<u8>>,
    /// All requests in order.
    pub(crate) requests: Vec<Dictionary>,
}

/// The daemon's end of one socket.
pub(crate) struct Conn {
    pub(crate) stream: UnixStream,
}

impl Fake {
    fn new() -> Fake {
        let folder = tempfile::tempdir().unwrap();
        Fake { folder, state: Arc::default(), changed: Arc::default() }
    }

    /// Hands every connection to `play`, each on a thread of its own.
    pub(crate) fn scripted(play: impl Fn(Conn) + Send + Sync + 'static) -> Fake {
        let fake = Fake::new();
        fake.serve(play);
        fake
    }

    /// A daemon without phones.
    pub(crate) fn phones() -> Fake {
        let fake = Fake::new();
        fake.start();
        fake
    }

    /// Begins to listen and to behave like a daemon.
    fn start(&self) {
        let (state, changed) = (self.state.clone(), self.changed.clone());
        self.serve(move |conn| behave(conn, &state, &changed));
    }

    fn serve(&self, play: impl Fn(Conn) + Send + Sync + 'static) {
        let listener = UnixListener::bind(self.path()).unwrap();
        let play = Arc::new(play);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, play) = (stream.unwrap(), play.clone());
                thread::spawn(move || play(Conn { stream }));
            }
        });
    }

    /// A daemon with one phone, device 1.
    pub(crate) fn one_phone() -> Fake {
        let fake = Fake::phones();
        fake.plug(1, UDID);
        fake
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("usbmuxd")
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn state<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().unwrap())
    }

    pub(crate) fn plug(&self, device_id: u32, serial: &str) {
        let phone = attached(device_id, serial);
        self.state(|state| {
            state.phones.insert(device_id, phone.clone());
            state.tell(&phone);
        });
    }

    pub(crate) fn unplug(&self, device_id: u32) {
        self.state(|state| {
            state.phones.remove(&device_id);
            state.tell(&dictionary(&[
                ("MessageType", "Detached".into()),
                ("DeviceID", device_id.into()),
            ]));
        });
    }

    /// Waits until somebody listens, who then hears of everything that happens.
    pub(crate) fn wait_for_listener(&self) {
        self.wait_until(|state| !state.listeners.is_empty());
    }

    pub(crate) fn wait_until(&self, mut condition: impl FnMut(&mut State) -> bool) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !condition(state)).unwrap());
    }

    /// Unplugs a phone of which nobody hears yet.
    pub(crate) fn unplug_silently(&self, device_id: u32) {
        self.state(|state| state.phones.remove(&device_id));
    }

    /// As a daemon that is killed: its socket is gone, and so is everybody who listens.
    pub(crate) fn die(&self) {
        std::fs::remove_file(self.path()).unwrap();
        self.state(|state| {
            for listener in state.listeners.drain(..) {
                listener.shutdown(Shutdown::Both).unwrap();
            }
        });
    }

    /// As a daemon that is started again.
    pub(crate) fn rise(&self) {
        self.start();
    }
}

impl State {
    /// The phones that connections were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<u64> {
        let ids = self.requests.iter().filter_map(|request| request.get("DeviceID"));
        ids.filter_map(Value::as_unsigned_integer).collect()
    }

    fn tell(&mut self, event: &Value) {
        self.listeners.retain_mut(|listener| listener.write_all(&message(0, event)).is_ok());
    }
}

impl Conn {
    /// The next request with its tag; `None` when the client has closed its side.
    pub(crate) fn request(&mut self) -> Option<(u32, Dictionary)> {
        let mut header = [0; 16];
        self.stream.read_exact(&mut header).ok()?;
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!((word(4), word(8)), (1, 8), "version and kind of a request");
        let mut body = vec![0; word(0) as usize - 16];
        self.stream.read_exact(&mut body).unwrap();
        let body = Value::from_reader_xml(&*body).unwrap();
        Some((word(12), body.into_dictionary().unwrap()))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The client may have gone: that is its business.
        _ = self.stream.write_all(bytes);
    }

    pub(crate) fn reply(&mut self, tag: u32, body: &Value) {
        self.send(&message(tag, body));
    }

    pub(crate) fn result(&mut self, tag: u32, number: u32) {
        self.reply(tag, &result(number));
    }

    /// Waits until the client has closed its side.
    pub(crate) fn wait_for_end(&mut self) {
        _ = self.stream.read_to_end(&mut Vec::new());
    }
}

pub(crate) fn dictionary(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    Value::Dictionary(entries.collect())
}

pub(crate) fn result(number: u32) -> Value {
    dictionary(&[("MessageType", "Result".into()), ("Number", number.into())])
}

pub(crate) fn attached(device_id: u32, serial: &str) -> Value {
    let properties = dictionary(&[
        ("ConnectionSpeed", 480_000_000.into()),
        ("ConnectionType", "USB".into()),
        ("DeviceID", device_id.into()),
        ("LocationID", (0x1_0000 | device_id).into()),
        ("ProductID", 0x12a8.into()),
        ("SerialNumber", serial.into()),
    ]);
    dictionary(&[
        ("DeviceID", device_id.into()),
        ("MessageType", "Attached".into()),
        ("Properties", properties),
    ])
}

/// A message of the plist form.
pub(crate) fn message(tag: u32, body: &Value) -> Vec<u8> {
    let mut xml = Vec::new();
    body.to_writer_xml(&mut xml).unwrap();
    raw(1, 8, tag, &xml)
}

/// A message whose header says the truth about its length.
pub(crate) fn raw(version: u32, kind: u32, tag: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let header = [length, version, kind, tag].map(u32::to_le_bytes);
    [header.as_flattened(), body].concat()
}

fn behave(mut conn: Conn, state: &Mutex<State>, changed: &Condvar) {
    while let Some((tag, request)) = conn.request() {
        let mut state = state.lock().unwrap();
        state.requests.push(request.clone());
        changed.notify_all();
        let text = |key: &str| request.get(key).and_then(Value::as_string).unwrap_or_default();
        let number = |key: &str| request.get(key).and_then(Value::as_unsigned_integer);
        match text("MessageType") {
            "ListDevices" => {
                let phones = state.phones.values().cloned().collect();
                conn.reply(tag, &dictionary(&[("DeviceList", Value::Array(phones))]));
            }
            "ListListeners" => {
                let listeners = Value::Array(vec![dictionary(&[
                    ("Blacklisted", false.into()),
                    ("BundleID", "org.example.watcher".into()),
                    ("ConnType", 0.into()),
                    ("ID String", "3-watcher".into()),
                    ("ProgName", "watcher".into()),
                    ("kLibUSBMuxVersion", 3.into()),
                ])]);
                conn.reply(tag, &dictionary(&[("ListenerList", listeners)]));
            }
            "ReadBUID" => conn.reply(tag, &dictionary(&[("BUID", BUID.into())])),
            "Listen" => {
                conn.result(tag, 0);
                for phone in state.phones.values() {
                    conn.reply(0, phone);
                }
                state.listeners.push(conn.stream);
                changed.notify_all();
                return;
            }
            "Connect" => {
                let id = u32::try_from(number("DeviceID").unwrap()).unwrap();
                let port = u16::try_from(number("PortNumber").unwrap()).unwrap().swap_bytes();
                if !state.phones.contains_key(&id) {
                    conn.result(tag, 2);
                    continue;
                }
                if ![COUNT, ECHO, SILENT, FLOOD, HALF, LOCKDOWN].contains(&port) {
                    conn.result(tag, 3);
                    continue;
                }
                drop(state);
                conn.result(tag, 0);
                return service(port, conn.stream);
            }
            "ReadPairRecord" => match state.records.get(text("PairRecordID")) {
                Some(record) => {
                    let record = Value::Data(record.clone());
                    conn.reply(tag, &dictionary(&[("PairRecordData", record)]));
                }
                None => conn.result(tag, 2),
            },
            "SavePairRecord" => {
                let data = request.get("PairRecordData").and_then(Value::as_data).unwrap();
                let valid = data.starts_with(b"<?xml");
                if valid {
                    state.records.insert(text("PairRecordID").to_owned(), data.to_owned());
                }
                if let Some(id) = number("DeviceID").filter(|_| valid) {
                    let event = [("MessageType", "Paired".into()), ("DeviceID", id.into())];
                    state.tell(&dictionary(&event));
                }
                conn.result(tag, if valid { 0 } else { 22 });
            }
            "DeletePairRecord" => {
                let known = state.records.remove(text("PairRecordID")).is_some();
                conn.result(tag, if known { 0 } else { 2 });
            }
            // As every daemon but umuxd answers.
            "ReadEndReason" => conn.result(tag, 1),
            other => panic!("unexpected request {other:?}"),
        }
    }
}

fn service(port: u16, mut stream: UnixStream) {
    match port {
        COUNT => {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(format!("{} bytes\n", all.len()).as_bytes()).unwrap();
        }
        ECHO => {
            let mut back = stream.try_clone().unwrap();
            _ = std::io::copy(&mut stream, &mut back);
        }
        SILENT => std::mem::forget(stream),
        FLOOD => _ = stream.write_all(&flood()),
        HALF => {
            stream.write_all(b"half a wor").unwrap();
            // A socket that is closed before everything was read breaks the connection off.
            stream.read_exact(&mut [0]).unwrap();
        }
        LOCKDOWN => lockdown(stream),
        _ => unreachable!(),
    }
}

/// Answers one GetValue, prefix and body in segments of their own, as a phone does.
fn lockdown(mut stream: UnixStream) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    let request = Value::from_reader_xml(&*body).unwrap();
    let request = request.as_dictionary().unwrap();
    assert_eq!(request.get("Request").and_then(Value::as_string), Some("GetValue"));
    assert!(!request.contains_key("Key"), "all values are asked for");
    let values = dictionary(&[
        ("UniqueDeviceID", UDID.into()),
        ("DeviceName", "Virtual Phone 1".into()),
        ("DevicePublicKey", Value::Data(b"key".to_vec())),
        ("BrickState", false.into()),
    ]);
    let mut answer = Vec::new();
    let value = dictionary(&[("Request", "GetValue".into()), ("Value", values)]);
    value.to_writer_xml(&mut answer).unwrap();
    stream.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&answer).unwrap();
}
