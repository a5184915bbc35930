//! The rules of a conversation: tags, forms, order, events, and who may say what when.

use plist::{Dictionary, Value};
use usbmux_dongle::talk::{Action, ConnectOutcome, Conversation};
use usbmux_tests::socket::{
    Body, CONNECT, DEVICE_ADD, DEVICE_PAIRED, DEVICE_REMOVE, LISTEN, Message, message_bytes,
    request,
};

use crate::desk::{BUID, Desk, Fate, Socket, ask, phone};
use crate::wording::BINARY_RECORD;

fn connect(port: u16) -> Vec<u8> {
    let port = u64::from(port.swap_bytes());
    request(5, "Connect", &[("DeviceID", 1.into()), ("PortNumber", port.into())])
}

fn event(message_type: &str, device_id: u64) -> Message {
    let mut body = Dictionary::new();
    body.insert("MessageType".into(), message_type.into());
    body.insert("DeviceID".into(), device_id.into());
    Message::plist(0, body)
}

fn is_attached(message: &Message, device_id: u64) -> bool {
    message.tag == 0
        && message.text("MessageType") == Some("Attached")
        && message.number("DeviceID") == Some(device_id)
}

fn listener(desk: &mut Desk) -> Socket {
    let mut socket = Socket::new();
    socket.send(desk, &request(3, "Listen", &[("ProgName", "a & b".into())]), 1000);
    assert_eq!(socket.messages()[0], Message::result(3, 0));
    socket
}

#[test]
fn answers_echo_the_tag_and_keep_the_order() {
    let mut desk = Desk::with_phone();
    let mut bytes = request(0, "ReadBUID", &[]);
    bytes.extend(request(u32::MAX, "ListDevices", &[]));
    bytes.extend(request(1, "ReadPairRecord", &[("PairRecordID", "AB".into())]));
    bytes.extend(request(1, "Unheard", &[]));
    for slice in 1..bytes.len() {
        let (answers, fate) = ask(&mut desk, &bytes, slice);
        assert_eq!(answers.len(), 4, "slices of {slice}");
        assert_eq!((answers[0].tag, answers[0].text("BUID")), (0, Some(BUID)));
        assert_eq!(answers[1].tag, u32::MAX);
        assert_eq!(answers[1].dictionary()["DeviceList"].as_array().unwrap().len(), 1);
        assert_eq!(answers[2..], [Message::result(1, 2), Message::result(1, 1)]);
        assert_eq!(fate, Fate::Open);
    }
}

#[test]
fn replies_come_whole_through_any_room_and_begin_with_their_header() {
    let mut desk = Desk::with_phone();
    let bytes = [request(1, "ListDevices", &[]), request(2, "ReadBUID", &[])].concat();
    let (expected, _) = ask(&mut desk, &bytes, 1000);
    for room in 17..800 {
        let mut socket = Socket::new();
        socket.room = room;
        socket.send(&mut desk, &bytes, 1000);
        assert_eq!(socket.messages(), expected, "room for {room}");
    }
    let mut conversation = Conversation::new();
    conversation.read(&bytes, &mut desk.shared());
    for room in 0..17 {
        assert_eq!(conversation.write(&mut [0; 17][..room], &mut desk.shared()), 0);
    }
    assert_eq!(conversation.write(&mut [0; 17], &mut desk.shared()), 17);
    assert_eq!(conversation.poll_action(), None);
}

#[test]
fn a_version_above_1_is_answered_in_binary() {
    let mut desk = Desk::with_phone();
    let plist = &request(1, "ReadBUID", &[])[16..];
    let answers = ask(&mut desk, &message_bytes(2, 8, 9, plist), 10);
    assert_eq!(answers, (vec![Message::binary_result(9, 6)], Fate::Open));
    let answers = ask(&mut desk, &message_bytes(0, 77, 4, b"body"), 1);
    assert_eq!(answers, (vec![Message::binary_result(4, 1)], Fate::Open));
}

#[test]
fn connect_makes_a_pipe_and_leaves_what_follows() {
    let mut desk = Desk::with_phone();
    for slice in [1, 7, 50, 10_000] {
        let mut socket = Socket::new();
        let mut bytes = request(1, "ReadBUID", &[]);
        bytes.extend(connect(62078));
        bytes.extend(b"\x00\x00\x00\x01stream");
        socket.send(&mut desk, &bytes, slice);
        assert_eq!(socket.connects, [62078]);
        assert_eq!(socket.messages()[1], Message::result(5, 0));
        assert_eq!((socket.fate, &socket.unread[..]), (Fate::Piped, &b"\0\0\0\x01stream"[..]));
    }
}

#[test]
fn a_binary_connect_is_answered_in_binary() {
    let mut desk = Desk::with_phone();
    let body = [1, 0, 0, 0, 0, 7, 0, 0, b'm', b'o', b'r', b'e'];
    let answers = ask(&mut desk, &message_bytes(0, CONNECT, 8, &body), 3);
    assert_eq!(answers, (vec![Message::binary_result(8, 0)], Fate::Piped));
    let answers = ask(&mut desk, &message_bytes(0, CONNECT, 8, &body[..7]), 3);
    assert_eq!(answers, (vec![Message::binary_result(8, 2)], Fate::Open));
}

#[test]
fn a_refused_connect_leaves_the_socket_for_another_try() {
    let mut desk = Desk::with_phone();
    let mut socket = Socket::new();
    let nobody = request(6, "Connect", &[("DeviceID", 2.into()), ("PortNumber", 1792.into())]);
    for message in [connect(81), connect(0), nobody, connect(7)] {
        socket.send(&mut desk, &message, 20);
    }
    let codes: Vec<_> = socket.messages().iter().map(|answer| answer.number("Number")).collect();
    assert_eq!(codes, [Some(3), Some(3), Some(2), Some(0)]);
    assert_eq!((socket.connects.as_slice(), socket.fate), ([81, 7].as_slice(), Fate::Piped));
}

#[test]
fn a_phone_that_goes_answers_the_connect() {
    let mut desk = Desk::with_phone();
    let mut socket = Socket { answers_connect: false, ..Socket::new() };
    socket.send(&mut desk, &connect(7), 1000);
    assert_eq!(socket.messages(), []);
    desk.phone = None;
    socket.conversation.answer_connect(ConnectOutcome::NoPhone);
    socket.run(&mut desk);
    assert_eq!((socket.messages(), socket.fate), (vec![Message::result(5, 2)], Fate::Open));
    socket.send(&mut desk, &request(1, "ReadBUID", &[]), 1000);
    assert_eq!(socket.messages()[0].text("BUID"), Some(BUID));
}

#[test]
fn a_request_while_connecting_ends_it() {
    let mut desk = Desk::with_phone();
    let mut socket = Socket { answers_connect: false, ..Socket::new() };
    socket.send(&mut desk, &connect(7), 1000);
    socket.unread.extend(b"0123456789abcdef, a stream");
    socket.run(&mut desk);
    assert_eq!((socket.unread.len(), socket.fate), (26, Fate::Open));
    socket.unread.clear();
    socket.send(&mut desk, &request(6, "ListDevices", &[]), 1000);
    assert_eq!((socket.messages(), socket.fate), (vec![Message::result(6, 1)], Fate::Closed));
    socket.conversation.answer_connect(ConnectOutcome::Connected);
    assert_eq!(socket.conversation.poll_action(), Some(Action::Close));
}

#[test]
fn half_closed_clients_get_their_answers_first() {
    let mut desk = Desk::with_phone();
    let mut socket = Socket::new();
    socket.unread = request(1, "ReadBUID", &[]);
    let taken = socket.conversation.read(&socket.unread, &mut desk.shared());
    assert_eq!(taken, socket.unread.len());
    socket.unread.clear();
    socket.conversation.end_of_input();
    assert_eq!(socket.conversation.poll_action(), None);
    socket.run(&mut desk);
    assert_eq!((socket.messages().len(), socket.fate), (1, Fate::Closed));

    let mut socket = Socket { answers_connect: false, ..Socket::new() };
    socket.send(&mut desk, &connect(7), 1000);
    socket.conversation.end_of_input();
    assert_eq!(socket.conversation.poll_action(), None);
    socket.conversation.answer_connect(ConnectOutcome::Connected);
    socket.run(&mut desk);
    assert_eq!((socket.messages(), socket.fate), (vec![Message::result(5, 0)], Fate::Piped));
}

#[test]
fn listeners_see_phones_come_and_go() {
    let mut desk = Desk::new();
    let mut socket = listener(&mut desk);
    assert!(socket.conversation.is_listening());
    for (here, told) in
        [(Some(1), vec!["+1"]), (Some(1), vec![]), (Some(2), vec!["-1", "+2"]), (None, vec!["-2"])]
    {
        desk.phone = here.map(phone);
        socket.run(&mut desk);
        let messages = socket.messages();
        assert_eq!(messages.len(), told.len());
        for (message, told) in messages.iter().zip(told) {
            let id = told[1..].parse().unwrap();
            if told.starts_with('+') {
                assert!(is_attached(message, id), "{message:?}");
            } else {
                assert_eq!(*message, event("Detached", id));
            }
        }
    }
    socket.end(&mut desk);
    assert_eq!(desk.listeners.count(), 0);
}

#[test]
fn binary_listeners_get_records() {
    let mut desk = Desk::with_phone();
    let mut socket = Socket::new();
    socket.send(&mut desk, &message_bytes(0, LISTEN, 3, &[]), 5);
    let messages = socket.messages();
    assert_eq!(messages[0], Message::binary_result(3, 0));
    let Body::Bytes(record) = &messages[1].body else { panic!("{messages:?}") };
    assert_eq!(
        (messages[1].message, record.len(), &record[..4]),
        (DEVICE_ADD, 268, &[1, 0, 0, 0][..])
    );
    assert_eq!(&record[6..31], b"00008030-0000000000000001");
    let keys = [
        ("PairRecordID", "AB".into()),
        ("PairRecordData", Value::Data(BINARY_RECORD.to_vec())),
        ("DeviceID", 1.into()),
    ];
    ask(&mut desk, &request(1, "SavePairRecord", &keys), 1000);
    socket.run(&mut desk);
    desk.phone = None;
    socket.run(&mut desk);
    let binary =
        |message| Message { version: 0, message, tag: 0, body: Body::Bytes(vec![1, 0, 0, 0]) };
    assert_eq!(socket.messages(), [binary(DEVICE_PAIRED), binary(DEVICE_REMOVE)]);
}

#[test]
fn every_listener_hears_of_a_pairing_with_the_phone_that_is_here() {
    let mut desk = Desk::with_phone();
    let mut listeners = [listener(&mut desk), listener(&mut desk)];
    for (device, told) in [(Some(1_u64), 1), (Some(2), 0), (None, 0)] {
        let mut keys = vec![
            ("PairRecordID", "AB".into()),
            ("PairRecordData", Value::Data(BINARY_RECORD.to_vec())),
        ];
        keys.extend(device.map(|device| ("DeviceID", device.into())));
        let (answers, _) = ask(&mut desk, &request(1, "SavePairRecord", &keys), 1000);
        assert_eq!(answers, [Message::result(1, 0)]);
        for socket in &mut listeners {
            socket.run(&mut desk);
            assert_eq!(socket.messages(), vec![event("Paired", 1); told]);
        }
    }
}

#[test]
fn a_listener_that_speaks_is_told_so_and_closed() {
    let mut desk = Desk::with_phone();
    for slice in [1, 20, 1000] {
        let mut socket = listener(&mut desk);
        socket.messages();
        socket.send(&mut desk, &request(9, "Listen", &[]), slice);
        assert_eq!((socket.messages(), socket.fate), (vec![Message::result(9, 1)], Fate::Closed));
        socket.end(&mut desk);
    }
}

#[test]
fn listeners_are_listed_with_their_names() {
    let mut desk = Desk::new();
    let named = listener(&mut desk);
    let mut unnamed = Socket::new();
    unnamed.send(&mut desk, &message_bytes(0, LISTEN, 0, &[]), 5);
    let long = "\u{e4}\u{7}".repeat(100);
    let mut cut = Socket::new();
    let keys = [("ProgName", long.as_str().into()), ("kLibUSBMuxVersion", 3.into())];
    cut.send(&mut desk, &request(3, "Listen", &keys), 100);
    let list = |desk: &mut Desk| {
        let (answers, _) = ask(desk, &request(1, "ListListeners", &[]), 1000);
        answers[0].dictionary()["ListenerList"].as_array().unwrap().clone()
    };
    let names = |list: Vec<Value>| {
        let name = |who: &Value| {
            let who = who.as_dictionary().unwrap();
            assert_eq!((who["Blacklisted"].as_boolean(), who.len()), (Some(false), 5));
            assert_eq!(who["ConnType"].as_unsigned_integer(), Some(0));
            who["ID String"].as_string().unwrap().to_owned()
        };
        list.iter().map(name).collect::<Vec<_>>()
    };
    let cut_name = format!("3-{}", "\u{e4}".repeat(16));
    assert_eq!(names(list(&mut desk)), ["1-a & b", "2-unknown", &cut_name]);
    unnamed.end(&mut desk);
    assert_eq!(names(list(&mut desk)), ["1-a & b", &cut_name]);
    named.end(&mut desk);
    cut.end(&mut desk);
    assert_eq!(list(&mut desk), []);
}

#[test]
fn a_phone_that_goes_in_the_middle_of_its_description_ends_the_conversation() {
    let mut desk = Desk::with_phone();
    let mut socket = Socket::new();
    socket.conversation.read(&request(1, "ListDevices", &[]), &mut desk.shared());
    assert_eq!(socket.conversation.write(&mut [0; 100], &mut desk.shared()), 100);
    desk.phone = None;
    socket.run(&mut desk);
    assert_eq!((socket.received.len(), socket.fate), (0, Fate::Closed));
}

#[test]
fn a_list_of_another_length_does_not_go_on_under_the_old_header() {
    let mut desk = Desk::new();
    let listening = listener(&mut desk);
    let mut socket = Socket::new();
    socket.conversation.read(&request(1, "ListListeners", &[]), &mut desk.shared());
    assert_eq!(socket.conversation.write(&mut [0; 100], &mut desk.shared()), 100);
    listening.end(&mut desk);
    socket.run(&mut desk);
    assert_eq!((socket.received.len(), socket.fate), (0, Fate::Closed));
}

#[test]
fn a_serial_number_cannot_break_out_of_its_string() {
    let mut desk = Desk::with_phone();
    desk.phone.as_mut().unwrap().serial = "</string><a>&\"'\u{1}x".try_into().unwrap();
    let (answers, _) = ask(&mut desk, &request(1, "ListDevices", &[]), 1000);
    let list = answers[0].dictionary()["DeviceList"].as_array().unwrap();
    let properties = &list[0].as_dictionary().unwrap()["Properties"];
    let serial = properties.as_dictionary().unwrap()["SerialNumber"].as_string();
    assert_eq!(serial, Some("</string><a>&\"'x"));
}

#[test]
fn what_changes_before_the_first_byte_is_told_as_it_is() {
    let mut desk = Desk::with_phone();
    let mut socket = Socket::new();
    socket.conversation.read(&request(1, "ListDevices", &[]), &mut desk.shared());
    desk.phone = None;
    socket.run(&mut desk);
    let messages = socket.messages();
    assert_eq!(messages[0].dictionary()["DeviceList"].as_array().unwrap().len(), 0);
    assert_eq!(socket.fate, Fate::Open);
}

#[test]
fn more_listeners_than_places_hear_all_the_same() {
    let mut desk = Desk::with_phone();
    let mut listeners: Vec<_> = (0..6).map(|_| listener(&mut desk)).collect();
    assert_eq!(desk.listeners.count(), 4);
    desk.phone = None;
    for socket in &mut listeners {
        socket.run(&mut desk);
        assert_eq!(socket.messages(), [event("Detached", 1)]);
    }
    // The one that has no place takes nobody else's.
    listeners.pop().unwrap().end(&mut desk);
    assert_eq!(desk.listeners.count(), 4);
}

#[test]
fn listeners_that_leave_are_gone_at_once() {
    let mut desk = Desk::with_phone();
    let mut socket = listener(&mut desk);
    socket.conversation.end_of_input();
    socket.run(&mut desk);
    assert_eq!(socket.fate, Fate::Closed);
    socket.end(&mut desk);
    assert_eq!(desk.listeners.count(), 0);
}
