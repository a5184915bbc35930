//! Recorded requests at our daemon: what the reference daemon answered, and what PROTOCOL §5 says must be answered.
//!
//! Two witnesses: every case of `data/captures/reference-daemon` is compared with the answer that was recorded, except
//! where [`DEVIATIONS`] says why not; every request of `data/captures/requests` is replayed byte for byte against
//! `data/requests.tsv`, which was written by hand from the protocol notes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use plist::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::{fs, thread};
use usbmux_tests::daemon_process::Daemon;
use usbmux_tests::socket::{Body, Client, DEVICE_ADD, Message, message_bytes};

/// The BUID that the recorded answers carry; our daemon finds it in its folder as any daemon would.
const RECORDED_BUID: &str = "91884CAA-23C3-9BA1-FEFF-07109DAB2C02";
const PHONE_UDID: &str = "00008030-0000000000000001";

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

fn recorded(path: &str) -> Vec<u8> {
    let path = data("captures").join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Puts a BUID into a folder of pair records.
fn with_recorded_buid(config_dir: &Path) {
    let mut configuration = plist::Dictionary::new();
    configuration.insert("SystemBUID".into(), RECORDED_BUID.into());
    let file = config_dir.join("SystemConfiguration.plist");
    Value::Dictionary(configuration).to_file_xml(file).unwrap();
}

// ---- the reference daemon's cases ---------------------------------------------------------------

/// Where our answer differs from the reference daemon's, and why.
enum Deviation {
    /// Result 1 in plist form with this tag where the reference daemon says nothing for ever.
    NotSilent { tag: u32 },
    /// Result 1 in plist form with this tag comes behind the recorded answers, before the hang-up.
    SaysWhyItHangsUp { tag: u32 },
    /// Another number in the only Result.
    Number(u32),
    /// The record's bytes may differ, its value may not.
    RecordAsValue,
}

/// All deviations, with their reasons.
const DEVIATIONS: &[(&str, Deviation, &str)] = &[
    (
        "Listen-then-ListDevices",
        Deviation::SaysWhyItHangsUp { tag: 8 },
        "the reference daemon means to send it, but closes before its Result leaves",
    ),
    (
        "Listen-twice",
        Deviation::SaysWhyItHangsUp { tag: 8 },
        "the reference daemon means to send it, but closes before its Result leaves",
    ),
    (
        "v0-then-v1",
        Deviation::SaysWhyItHangsUp { tag: 8 },
        "the reference daemon means to send it, but closes before its Result leaves",
    ),
    ("no-MessageType", Deviation::NotSilent { tag: 7 }, "no client must hang"),
    ("MessageType-int", Deviation::NotSilent { tag: 7 }, "no client must hang"),
    ("plist-not-dict", Deviation::NotSilent { tag: 7 }, "no client must hang"),
    ("plist-garbage", Deviation::NotSilent { tag: 7 }, "no client must hang"),
    ("plist-empty", Deviation::NotSilent { tag: 7 }, "no client must hang"),
    ("binary-plist-ListDevices", Deviation::NotSilent { tag: 7 }, "no client must hang"),
    ("len-65536-garbage", Deviation::NotSilent { tag: 5 }, "no client must hang"),
    (
        "ReadPairRecord-traversal",
        Deviation::Number(22),
        "an id with other characters than [0-9A-Za-z-] is a bad request, not a missing record",
    ),
    (
        "ReadPairRecord-present",
        Deviation::RecordAsValue,
        "storing what came is as good as the reference daemon's rewriting",
    ),
];

/// What happens to the socket after the answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    KeptOpen,
    Closed,
}

/// Case names in recorded order, with the end of their sockets.
fn cases() -> Vec<(String, End)> {
    let summary = String::from_utf8(recorded("reference-daemon/SUMMARY.txt")).unwrap();
    let case = |line: &str| {
        let name = line.split_whitespace().next().unwrap().to_owned();
        let kept = line.trim_end().ends_with("conn: kept open");
        // The line of the longest answer is cut off in the summary; that socket was kept open.
        let kept = kept || name == "ReadPairRecord-present";
        (name, if kept { End::KeptOpen } else { End::Closed })
    };
    summary.lines().map(case).collect()
}

fn expected_answers(name: &str) -> Vec<Message> {
    let mut answers = Message::all(&recorded(&format!("reference-daemon/{name}.rsp.bin"))).unwrap();
    for (_, deviation, _) in DEVIATIONS.iter().filter(|(case, _, _)| *case == name) {
        match deviation {
            Deviation::NotSilent { tag } | Deviation::SaysWhyItHangsUp { tag } => {
                answers.push(Message::result(*tag, 1));
            }
            Deviation::Number(number) => answers = vec![Message::result(answers[0].tag, *number)],
            Deviation::RecordAsValue => {
                answers = answers.into_iter().map(record_as_value).collect()
            }
        }
    }
    answers
}

/// Replaces the bytes of a pair record by their value.
fn record_as_value(answer: Message) -> Message {
    let mut dictionary = answer.dictionary().clone();
    if let Some(Value::Data(bytes)) = dictionary.get("PairRecordData").cloned() {
        let value = Value::from_reader(std::io::Cursor::new(bytes)).unwrap();
        dictionary.insert("PairRecordData".into(), value);
    }
    Message::plist(answer.tag, dictionary)
}

/// Sends a recorded request in the slicing that its case is about.
fn send_case(client: &mut Client, name: &str) {
    let request = recorded(&format!("reference-daemon/{name}.req.bin"));
    let pieces: Vec<&[u8]> = match name {
        "split-header" => vec![&request[..16], &request[16..]],
        "split-bytewise" => request.chunks(1).collect(),
        _ => vec![&request],
    };
    for piece in pieces {
        // A daemon that hangs up early does not want the rest.
        if client.send(piece).is_err() {
            break;
        }
    }
}

/// Proves that a socket is open and silent: one that listens stands in the list of listeners; any other answers.
fn check_kept_open(daemon: &Daemon, client: &mut Client, name: &str) {
    if name.contains("Listen") && name != "ListListeners" || name == "v1-then-v0" {
        let listeners = daemon.client().ask(1, "ListListeners", &[]).unwrap();
        let list = listeners.dictionary().get("ListenerList").and_then(Value::as_array).unwrap();
        assert_eq!(list.len(), 1, "{name}: {listeners:?}");
        assert!(client.is_silent().unwrap(), "{name}");
    } else {
        let answer = client.ask(0x1234, "ReadBUID", &[]).unwrap();
        assert_eq!(answer.tag, 0x1234, "{name}");
        assert_eq!(answer.text("BUID"), Some(RECORDED_BUID), "{name}");
    }
}

#[test]
fn reference_daemon_cases_get_the_recorded_answers() {
    let daemon = Daemon::start_without_phones(with_recorded_buid);
    for (name, end) in cases() {
        wait_until_nobody_listens(&daemon);
        let mut client = daemon.client();
        send_case(&mut client, &name);
        for expected in expected_answers(&name) {
            let mut answer = client
                .receive()
                .unwrap_or_else(|error| panic!("{name}: {error}, not {expected:?}"));
            if name == "ReadPairRecord-present" {
                answer = record_as_value(answer);
            }
            assert_eq!(answer, expected, "{name}");
        }
        match end {
            End::Closed => assert!(client.hung_up().unwrap(), "{name}: more came"),
            End::KeptOpen => check_kept_open(&daemon, &mut client, &name),
        }
    }
}

/// The listeners of the last case have hung up; the daemon notices in its own time.
fn wait_until_nobody_listens(daemon: &Daemon) {
    let mut client = daemon.client();
    let deadline = std::time::Instant::now() + usbmux_tests::socket::PATIENCE;
    loop {
        let answer = client.ask(1, "ListListeners", &[]).unwrap();
        if answer.dictionary().get("ListenerList").and_then(Value::as_array).unwrap().is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "a listener that hung up stays listed");
    }
}

#[test]
fn every_recorded_case_is_in_the_summary_and_every_deviation_is_a_case() {
    let names: BTreeSet<String> = cases().into_iter().map(|(name, _)| name).collect();
    let files: BTreeSet<String> = fs::read_dir(data("captures/reference-daemon"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".req.bin").map(str::to_owned)
        })
        .collect();
    assert_eq!(names, files);
    for (name, _, reason) in DEVIATIONS {
        assert!(names.contains(*name), "{name}: {reason}");
    }
}

// ---- the recorded requests ----------------------------------------------------------------------

/// One row of `data/requests.tsv`.
struct Row {
    program: String,
    file: String,
    answer: String,
}

impl Row {
    /// The number of the connection within its program, as `conn4`.
    fn connection(&self) -> &str {
        self.file.split('-').next().unwrap()
    }

    fn name(&self) -> String {
        format!("{}/{}", self.program, self.file)
    }

    fn request(&self) -> Vec<u8> {
        recorded(&format!("requests/{}", self.name()))
    }

    fn tag(&self) -> u32 {
        u32::from_le_bytes(self.request()[12..16].try_into().unwrap())
    }
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string(data("requests.tsv")).unwrap();
    let row = |line: &str| {
        let mut columns = line.split('\t').map(str::to_owned);
        let mut column = || columns.next().unwrap();
        Row { program: column(), file: column(), answer: column() }
    };
    table.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

/// The phone's properties, learned once and checked against what PROTOCOL §1 and §5 allow.
fn phone_properties(daemon: &Daemon) -> plist::Dictionary {
    let answer = daemon.client().ask(3, "ListDevices", &[]).unwrap();
    let list = answer.dictionary().get("DeviceList").and_then(Value::as_array).unwrap().clone();
    assert_eq!(list.len(), 1);
    let attached = list[0].as_dictionary().unwrap();
    assert_eq!(attached.get("MessageType").and_then(Value::as_string), Some("Attached"));
    assert_eq!(attached.get("DeviceID").and_then(Value::as_unsigned_integer), Some(1));
    assert_eq!(attached.len(), 3);
    let properties = attached.get("Properties").and_then(Value::as_dictionary).unwrap().clone();
    let keys: Vec<&str> =
        properties.keys().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(
        keys,
        [
            "ConnectionSpeed",
            "ConnectionType",
            "DeviceID",
            "LocationID",
            "ProductID",
            "SerialNumber"
        ]
    );
    let number = |key: &str| properties.get(key).and_then(Value::as_unsigned_integer).unwrap();
    let text = |key: &str| properties.get(key).and_then(Value::as_string).unwrap();
    assert_eq!(number("ConnectionSpeed"), 480_000_000);
    assert_eq!(text("ConnectionType"), "USB");
    assert_eq!(number("DeviceID"), 1);
    assert_eq!(text("SerialNumber"), PHONE_UDID);
    assert!((0x1290..=0x12af).contains(&number("ProductID")));
    properties
}

fn attached(properties: &plist::Dictionary) -> plist::Dictionary {
    let mut dictionary = plist::Dictionary::new();
    dictionary.insert("MessageType".into(), "Attached".into());
    dictionary.insert("DeviceID".into(), 1_u64.into());
    dictionary.insert("Properties".into(), Value::Dictionary(properties.clone()));
    dictionary
}

/// The 268 bytes of a DeviceAdd record.
fn device_add(properties: &plist::Dictionary) -> Message {
    let number = |key: &str| properties.get(key).and_then(Value::as_unsigned_integer).unwrap();
    let mut record = 1_u32.to_le_bytes().to_vec();
    record.extend(u16::try_from(number("ProductID")).unwrap().to_le_bytes());
    record.extend(PHONE_UDID.as_bytes());
    record.resize(4 + 2 + 256, 0);
    record.extend([0, 0]);
    record.extend(u32::try_from(number("LocationID")).unwrap().to_le_bytes());
    assert_eq!(record.len(), 268);
    Message { version: 0, message: DEVICE_ADD, tag: 0, body: Body::Bytes(record) }
}

/// The value that a recorded SavePairRecord carries.
fn saved_record(file: &str) -> Value {
    let message = &Message::all(&recorded(&format!("requests/{file}"))).unwrap()[0];
    let data = message.dictionary().get("PairRecordData").and_then(Value::as_data).unwrap();
    Value::from_reader(std::io::Cursor::new(data)).unwrap()
}

/// The messages a row's answer stands for; none for a stream.
fn answers(row: &Row, properties: &plist::Dictionary) -> Vec<Message> {
    let single = |key: &str, value: Value| {
        let mut dictionary = plist::Dictionary::new();
        dictionary.insert(key.into(), value);
        Message::plist(row.tag(), dictionary)
    };
    let (word, rest) = row.answer.split_once(' ').unwrap_or((&row.answer, ""));
    match word {
        "devices" => {
            let list = vec![Value::Dictionary(attached(properties))];
            vec![single("DeviceList", Value::Array(list))]
        }
        "buid" => vec![single("BUID", RECORDED_BUID.into())],
        "listening" => {
            vec![Message::result(row.tag(), 0), Message::plist(0, attached(properties))]
        }
        "listening-binary" => {
            vec![Message::binary_result(row.tag(), 0), device_add(properties)]
        }
        "result" => vec![Message::result(row.tag(), rest.parse().unwrap())],
        "binary" => vec![Message::binary_result(row.tag(), rest.parse().unwrap())],
        "record" => vec![single("PairRecordData", saved_record(rest))],
        other => panic!("{}: no such answer: {other}", row.name()),
    }
}

/// Replays one row on its connection and checks the answer.
fn replay(client: &mut Client, row: &Row, properties: &plist::Dictionary) {
    let request = row.request();
    match row.answer.as_str() {
        "echo" => {
            client.send(&request).unwrap();
            let mut back = vec![0; request.len()];
            client.stream.read_exact(&mut back).unwrap();
            assert_eq!(back, request, "{}", row.name());
        }
        "lockdown" => {
            client.send(&request).unwrap();
            let answer = lockdown_answer(client);
            let text = |key: &str| answer.get(key).and_then(Value::as_string);
            assert_eq!(text("Request"), Some("QueryType"), "{}", row.name());
            assert_eq!(text("Type"), Some("com.apple.mobile.lockdown"), "{}", row.name());
        }
        _ => {
            // As libusbmuxd does it: header and body in two writes.
            client.send(&request[..16]).unwrap();
            client.send(&request[16..]).unwrap();
            for expected in answers(row, properties) {
                let mut answer = client.receive().unwrap();
                if row.answer.starts_with("record") {
                    answer = record_as_value(answer);
                }
                assert_eq!(answer, expected, "{}", row.name());
            }
        }
    }
}

/// One frame of lockdownd: a big-endian length and an XML plist.
fn lockdown_answer(client: &mut Client) -> plist::Dictionary {
    let mut length = [0; 4];
    client.stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    client.stream.read_exact(&mut body).unwrap();
    Value::from_reader_xml(std::io::Cursor::new(body)).unwrap().into_dictionary().unwrap()
}

/// A server on a free port of this machine that sends everything back.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                let (mut from, mut to) = (&stream, &stream);
                while let Ok(count) = from.read(&mut buffer) {
                    if count == 0 || to.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn recorded_requests_are_answered_as_the_protocol_says() {
    let port = format!("--phone-port=22={}", echo_server());
    let daemon = Daemon::start_prepared(1, &[&port], with_recorded_buid);
    let properties = phone_properties(&daemon);
    let mut witness = daemon.client();
    assert_eq!(witness.ask(1, "Listen", &[]).unwrap(), Message::result(1, 0));
    let rows = rows();
    let mut rest = &rows[..];
    while let Some(first) = rest.first() {
        let same =
            |row: &&Row| row.program == first.program && row.connection() == first.connection();
        let count = rest.iter().take_while(same).count();
        let mut client = daemon.client();
        for row in &rest[..count] {
            replay(&mut client, row, &properties);
        }
        rest = &rest[count..];
    }
    // Two of the three saved records named a phone that is attached.
    let mut paired = plist::Dictionary::new();
    paired.insert("MessageType".into(), "Paired".into());
    paired.insert("DeviceID".into(), 1_u64.into());
    assert_eq!(witness.receive().unwrap(), Message::plist(0, attached(&properties)));
    assert_eq!(witness.receive().unwrap(), Message::plist(0, paired.clone()));
    assert_eq!(witness.receive().unwrap(), Message::plist(0, paired));
    assert!(witness.is_silent().unwrap());
}

#[test]
fn every_recorded_request_stands_in_the_table() {
    let listed: Vec<String> = rows().iter().map(Row::name).collect();
    let mut files = BTreeSet::new();
    for program in fs::read_dir(data("captures/requests")).unwrap() {
        let program = program.unwrap();
        for file in fs::read_dir(program.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            files.insert(format!("{}/{file}", program.file_name().into_string().unwrap()));
        }
    }
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), files);
    assert_eq!(listed.len(), files.len());
}

#[test]
fn a_refused_connect_leaves_the_socket_in_command_mode() {
    let daemon = Daemon::start_prepared(1, &[], with_recorded_buid);
    let mut refused = 0;
    // Port 22 is not mapped here; its two bytes are swapped in the plist and as they are in the binary form.
    for row in
        rows().iter().filter(|row| row.file.contains("Connect") || row.file.contains("v0type2"))
    {
        let request = row.request();
        let to_port_22 =
            request.windows(4).any(|four| four == b"5632") || request[20..22] == [0, 22];
        if !to_port_22 {
            continue;
        }
        let mut client = daemon.client();
        client.send(&request).unwrap();
        let answer = client.receive().unwrap();
        let number = match &answer.body {
            Body::Plist(_) => answer.number("Number").unwrap(),
            Body::Bytes(bytes) => u64::from(bytes[0]),
        };
        assert_eq!((answer.tag, number), (row.tag(), 3), "{}", row.name());
        let after = client.ask(0x77, "ReadBUID", &[]).unwrap();
        assert_eq!((after.tag, after.text("BUID")), (0x77, Some(RECORDED_BUID)), "{}", row.name());
        refused += 1;
    }
    assert!(refused >= 8, "only {refused} requests were for port 22");
}

#[test]
fn binary_events_tell_a_binary_listener_of_a_new_pairing() {
    let daemon = Daemon::start_prepared(1, &[], with_recorded_buid);
    let mut listener = daemon.client();
    listener.send(&message_bytes(0, 3, 9, &[])).unwrap();
    assert_eq!(listener.receive().unwrap(), Message::binary_result(9, 0));
    assert_eq!(listener.receive().unwrap(), device_add(&phone_properties(&daemon)));
    let mut client = daemon.client();
    client.send(&recorded("requests/libusbmuxd-api-savepair/conn1-01-SavePairRecord.bin")).unwrap();
    assert_eq!(client.receive().unwrap(), Message::result(1, 0));
    let paired = Message { version: 0, message: 6, tag: 0, body: Body::Bytes(vec![1, 0, 0, 0]) };
    assert_eq!(listener.receive().unwrap(), paired);
}

#[test]
fn listeners_are_listed_with_what_they_said_of_themselves() {
    let daemon = Daemon::start_prepared(1, &[], with_recorded_buid);
    let mut named = daemon.client();
    let keys = [("BundleID", Value::from("org.example.tool")), ("kLibUSBMuxVersion", 3_u64.into())];
    assert_eq!(named.ask(1, "Listen", &keys).unwrap(), Message::result(1, 0));
    let mut binary = daemon.client();
    binary.send(&message_bytes(0, 3, 9, &[])).unwrap();
    assert_eq!(binary.receive().unwrap(), Message::binary_result(9, 0));
    let answer = daemon.client().ask(4, "ListListeners", &[]).unwrap();
    let list = answer.dictionary().get("ListenerList").and_then(Value::as_array).unwrap().clone();
    // The listener that waited for the phone may not have been noticed as gone yet: look for ours.
    let with_name = |name: &str| {
        let found = list.iter().filter_map(Value::as_dictionary).find(|entry| {
            entry.get("ProgName").and_then(Value::as_string) == Some(name)
                && entry.contains_key("BundleID") == (name == "naive")
        });
        found.unwrap_or_else(|| panic!("{name}: {list:?}")).clone()
    };
    for (name, version) in [("naive", 3), ("unknown", 0)] {
        let mut entry = with_name(name);
        let id = entry.remove("ID String").unwrap().into_string().unwrap();
        assert!(id.strip_suffix(&format!("-{name}")).unwrap().parse::<u32>().is_ok(), "{id}");
        let mut expected = plist::Dictionary::new();
        expected.insert("Blacklisted".into(), false.into());
        expected.insert("ConnType".into(), 0_u64.into());
        expected.insert("ProgName".into(), name.into());
        expected.insert("kLibUSBMuxVersion".into(), Value::from(version as u64));
        if name == "naive" {
            expected.insert("BundleID".into(), "org.example.tool".into());
        }
        let value = |dictionary| Value::Dictionary(dictionary);
        assert_eq!(value(entry), value(expected), "{name}");
    }
}

#[test]
fn a_fresh_daemon_makes_a_buid_and_keeps_it() {
    let daemon = Daemon::start_without_phones(|_| {});
    let answer = daemon.client().ask(1, "ReadBUID", &[]).unwrap();
    let buid = answer.text("BUID").unwrap().to_owned();
    let hyphens = [8, 13, 18, 23];
    let right = |(at, c): (usize, char)| match hyphens.contains(&at) {
        true => c == '-',
        false => c.is_ascii_digit() || ('A'..='F').contains(&c),
    };
    assert!(buid.len() == 36 && buid.chars().enumerate().all(right), "{buid}");
    assert_eq!(daemon.client().ask(2, "ReadBUID", &[]).unwrap().text("BUID"), Some(&*buid));
    let file = daemon.config_dir.join("SystemConfiguration.plist");
    let kept = Value::from_file(file).unwrap().into_dictionary().unwrap();
    assert_eq!(kept.get("SystemBUID").and_then(Value::as_string), Some(&*buid));
}
