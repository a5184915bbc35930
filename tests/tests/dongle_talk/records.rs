//! Pair records: larger than any buffer, through sockets in any slicing, kept in a small memory.

use plist::{Dictionary, Value};
use usbmux_dongle::budget::OneRecord;
use usbmux_dongle::records::{Draft, NoStore, Record, RecordStore, StoreError};
use usbmux_dongle::talk::{Conversation, Shared};
use usbmux_tests::socket::{Message, message_bytes, request};

use crate::desk::{Desk, Fate, Socket, Store, ask, phone};

const FIRST: &str = "00008030-0000000000000001";
const SECOND: &str = "ABCDEF0123456789ABCDEF0123456789ABCDEF01";

/// A record as a client saves it: certificates and keys, as XML or binary.
fn record(size: usize, binary: bool) -> Vec<u8> {
    let mut dictionary = Dictionary::new();
    dictionary.insert("HostID".into(), "30142955-444094379208051516".into());
    let filler = (0..size).map(|n| (n * 7) as u8).collect();
    dictionary.insert("DeviceCertificate".into(), Value::Data(filler));
    let value = Value::Dictionary(dictionary);
    let mut bytes = vec![];
    if binary {
        value.to_writer_binary(&mut bytes).unwrap();
    } else {
        value.to_writer_xml(&mut bytes).unwrap();
    }
    bytes
}

fn save(id: &str, data: &[u8]) -> Vec<u8> {
    let keys = [("PairRecordID", id.into()), ("PairRecordData", Value::Data(data.to_vec()))];
    request(4, "SavePairRecord", &keys)
}

/// The same with the data in front of everything.
fn save_data_first(id: &str, data: &[u8]) -> Vec<u8> {
    let mut value = vec![];
    Value::Data(data.to_vec()).to_writer_xml(&mut value).unwrap();
    let value = String::from_utf8(value).unwrap();
    let start = value.find("<data>").unwrap();
    let end = value.find("</data>").unwrap() + "</data>".len();
    let body = format!(
        "<plist version=\"1.0\"><dict><key>PairRecordData</key>{}<key>PairRecordID</key>\
         <string>{id}</string><key>MessageType</key><string>SavePairRecord</string></dict></plist>",
        &value[start..end]
    );
    message_bytes(1, 8, 4, body.as_bytes())
}

fn code(desk: &mut Desk<impl RecordStore>, message: &[u8], slice: usize) -> u64 {
    let (answers, fate) = ask(desk, message, slice);
    assert_eq!((answers.len(), fate), (1, Fate::Open));
    answers[0].number("Number").unwrap()
}

fn read(desk: &mut Desk<impl RecordStore>, id: &str) -> Result<Vec<u8>, u64> {
    let (answers, _) =
        ask(desk, &request(5, "ReadPairRecord", &[("PairRecordID", id.into())]), 1000);
    let data = answers[0].dictionary().get("PairRecordData").and_then(Value::as_data);
    data.map(<[u8]>::to_vec).ok_or_else(|| answers[0].number("Number").unwrap())
}

fn delete(desk: &mut Desk<impl RecordStore>, id: &str) -> u64 {
    code(desk, &request(6, "DeletePairRecord", &[("PairRecordID", id.into())]), 1000)
}

#[test]
fn large_records_pass_in_every_slicing_with_the_id_before_or_behind() {
    let large = record(7000, false);
    assert!((9000..10 * 1024).contains(&large.len()), "{}", large.len());
    for message in [save(FIRST, &large), save_data_first(FIRST, &large)] {
        assert!((12_000..16_384).contains(&message.len()), "{}", message.len());
        for slice in (1..40).chain([64, 97, 512, 536, 1460, 2048, 4096, message.len()]) {
            let mut desk = Desk::with_phone();
            assert_eq!(code(&mut desk, &message, slice), 0, "slices of {slice}");
            assert_eq!(read(&mut desk, FIRST).as_ref(), Ok(&large), "slices of {slice}");
        }
    }
}

#[test]
fn a_record_comes_back_through_any_room() {
    let mut desk = Desk::with_phone();
    let large = record(9000, true);
    assert_eq!(code(&mut desk, &save(FIRST, &large), 536), 0);
    let ask = request(5, "ReadPairRecord", &[("PairRecordID", FIRST.into())]);
    for room in (17..40).chain([100, 536, 1460, 4096, 20_000]) {
        let mut socket = Socket { room, ..Socket::new() };
        socket.send(&mut desk, &ask, 1000);
        let answers = socket.messages();
        let data = answers[0].dictionary()["PairRecordData"].as_data().map(<[u8]>::to_vec);
        assert_eq!(data.as_ref(), Some(&large), "room for {room}");
    }
}

#[test]
fn every_length_comes_back() {
    let mut desk = Desk::with_phone();
    for size in 0..40 {
        let record = record(size, size % 2 == 0);
        assert_eq!(code(&mut desk, &save(FIRST, &record), 77), 0);
        assert_eq!(read(&mut desk, FIRST), Ok(record));
    }
}

#[test]
fn two_phones_keep_their_records_through_each_others_changes() {
    let mut desk = Desk::with_phone();
    let (first, second) = (record(7000, false), record(9500, true));
    assert_eq!(code(&mut desk, &save(FIRST, &first), 1000), 0);
    assert_eq!(code(&mut desk, &save(SECOND, &second), 1000), 0);
    assert_eq!(
        (read(&mut desk, FIRST).as_ref(), read(&mut desk, SECOND).as_ref()),
        (Ok(&first), Ok(&second))
    );
    for _ in 0..5 {
        let again = record(9500, true);
        assert_eq!(code(&mut desk, &save(FIRST, &again), 1000), 0);
        assert_eq!(
            (read(&mut desk, FIRST).as_ref(), read(&mut desk, SECOND).as_ref()),
            (Ok(&again), Ok(&second))
        );
        assert_eq!(code(&mut desk, &save(SECOND, &second), 1000), 0);
    }
    assert_eq!(delete(&mut desk, FIRST), 0);
    assert_eq!((read(&mut desk, FIRST), read(&mut desk, SECOND)), (Err(2), Ok(second)));
    assert_eq!((delete(&mut desk, FIRST), delete(&mut desk, SECOND)), (2, 0));
    assert_eq!(desk.store.used(), 0);
}

#[test]
fn a_third_phone_finds_no_room_and_takes_none() {
    let mut desk = Desk::with_phone();
    let small = record(100, false);
    for id in [FIRST, SECOND] {
        assert_eq!(code(&mut desk, &save(id, &small), 1000), 0);
    }
    assert_eq!(code(&mut desk, &save("THIRD", &small), 1000), 28);
    assert_eq!(
        (read(&mut desk, FIRST).as_ref(), read(&mut desk, SECOND).as_ref()),
        (Ok(&small), Ok(&small))
    );
    assert_eq!(code(&mut desk, &save(SECOND, &record(200, false)), 1000), 0);
    assert_eq!(delete(&mut desk, FIRST), 0);
    assert_eq!(code(&mut desk, &save("THIRD", &small), 1000), 0);
}

#[test]
fn a_record_that_is_too_long_leaves_the_old_one() {
    let mut desk = Desk::with_phone();
    let (old, long) = (record(100, false), record(40_000, true));
    assert_eq!(code(&mut desk, &save(FIRST, &old), 1000), 0);
    for slice in [1, 1000, 100_000] {
        assert_eq!(code(&mut desk, &save(FIRST, &long), slice), 28);
        assert_eq!(read(&mut desk, FIRST).as_ref(), Ok(&old));
    }
    assert_eq!(code(&mut desk, &save(FIRST, &record(200, false)), 1000), 0);
}

#[test]
fn ids_are_letters_digits_and_hyphens() {
    let mut desk = Desk::with_phone();
    let small = record(10, true);
    let longest = "a".repeat(64);
    for id in ["abcdef", "ABCDEF", "0-9", &longest] {
        assert_eq!(code(&mut desk, &save(id, &small), 100), 0, "{id}");
        assert_eq!(read(&mut desk, id).as_ref(), Ok(&small), "{id}");
        assert_eq!(delete(&mut desk, id), 0, "{id}");
    }
    let too_long = "a".repeat(65);
    for id in ["", "..", "../x", "a/b", "a b", "\u{e4}", "SystemConfiguration", "a\0", &too_long] {
        let body = |kind: &str| {
            format!(
                "<plist><dict><key>MessageType</key><string>{kind}</string><key>PairRecordID</key>\
                 <string>{id}</string><key>PairRecordData</key><data>YnBsaXN0</data></dict></plist>"
            )
        };
        // A NUL is no XML at all.
        let expected = if id.contains('\0') { 1 } else { 22 };
        for kind in ["ReadPairRecord", "SavePairRecord", "DeletePairRecord"] {
            let message = message_bytes(1, 8, 1, body(kind).as_bytes());
            assert_eq!(code(&mut desk, &message, 100), expected, "{kind} {id}");
        }
    }
    for kind in ["ReadPairRecord", "SavePairRecord", "DeletePairRecord"] {
        assert_eq!(code(&mut desk, &request(1, kind, &[]), 100), 22);
    }
    let no_data = request(1, "SavePairRecord", &[("PairRecordID", FIRST.into())]);
    assert_eq!(code(&mut desk, &no_data, 100), 22);
    assert_eq!((desk.store.count(), desk.store.used()), (0, 0));
}

#[test]
fn only_a_dictionary_is_a_record() {
    let mut desk = Desk::with_phone();
    let good = record(50, true);
    let mut wrong_top = good.clone();
    let top = wrong_top.len() - 9;
    wrong_top[top] = 1; // the top object is a key
    let mut no_objects = good.clone();
    let count = no_objects.len() - 17;
    no_objects[count] = 0;
    let mut far_table = good.clone();
    let table = far_table.len() - 2;
    far_table[table] = 0xff;
    for bad in [
        b"".to_vec(),
        b"x".to_vec(),
        b"bplist00".to_vec(),
        good[..good.len() - 1].to_vec(),
        wrong_top,
        no_objects,
        far_table,
        b"<plist><array/></plist>".to_vec(),
        record(50, false)[..200].to_vec(),
    ] {
        assert_eq!(code(&mut desk, &save(FIRST, &bad), 1000), 22, "{bad:?}");
        assert_eq!(read(&mut desk, FIRST), Err(2));
    }
    for len in 0..good.len() {
        assert_eq!(code(&mut desk, &save(FIRST, &good[..len]), 1000), 22);
    }
}

#[test]
fn base64_ends_with_its_padding() {
    for (data, expected) in
        [("QUI=", 22), ("QU I\n=", 22), ("QUI=QUI=", 1), ("QUI", 1), ("QU=I", 1)]
    {
        let body = format!(
            "<plist><dict><key>MessageType</key><string>SavePairRecord</string><key>PairRecordID\
             </key><string>A</string><key>PairRecordData</key><data>{data}</data></dict></plist>"
        );
        let message = message_bytes(1, 8, 1, body.as_bytes());
        assert_eq!(code(&mut Desk::new(), &message, 100), expected, "{data}");
    }
}

#[test]
fn who_stops_in_the_middle_keeps_nobody_from_saving() {
    let mut desk = Desk::with_phone();
    let (slow, quick) = (record(5000, false), record(4000, true));
    let message = save_data_first(FIRST, &slow);
    let mut sleeper = Socket::new();
    sleeper.send(&mut desk, &message[..4000], 1000);
    assert_eq!(code(&mut desk, &save(SECOND, &quick), 1000), 0);
    assert_eq!(read(&mut desk, SECOND).as_ref(), Ok(&quick));
    // It was displaced, is told so (EBUSY), and may try again.
    sleeper.send(&mut desk, &message[4000..], 1000);
    assert_eq!(sleeper.messages(), [Message::result(4, 16)]);
    sleeper.send(&mut desk, &message, 1000);
    assert_eq!(sleeper.messages(), [Message::result(4, 0)]);
    assert_eq!((read(&mut desk, FIRST), read(&mut desk, SECOND)), (Ok(slow), Ok(quick)));
}

#[test]
fn a_save_displaced_behind_its_last_byte_is_told_so() {
    let mut desk = Desk::with_phone();
    let message = save_data_first(FIRST, &record(100, false));
    let mut sleeper = Socket::new();
    sleeper.send(&mut desk, &message[..message.len() - 1], 1000);
    assert_eq!(code(&mut desk, &save(SECOND, &record(10, true)), 1000), 0);
    sleeper.send(&mut desk, &message[message.len() - 1..], 1);
    assert_eq!(sleeper.messages(), [Message::result(4, 16)]);
}

#[test]
fn data_in_another_request_disturbs_nobody() {
    let mut desk = Desk::with_phone();
    let record = record(3000, false);
    let message = save(FIRST, &record);
    let mut saver = Socket::new();
    saver.send(&mut desk, &message[..2000], 1000);
    let keys = [("PairRecordData", Value::Data(vec![1, 2, 3])), ("PairRecordID", FIRST.into())];
    let (answers, _) = ask(&mut desk, &request(1, "ReadPairRecord", &keys), 1000);
    assert_eq!(answers, [Message::result(1, 2)]);
    saver.send(&mut desk, &message[2000..], 1000);
    assert_eq!(saver.messages(), [Message::result(4, 0)]);
}

#[test]
fn a_record_replaced_while_it_is_read_ends_that_conversation() {
    let mut desk = Desk::with_phone();
    assert_eq!(code(&mut desk, &save(FIRST, &record(5000, false)), 1000), 0);
    let mut reader = Socket::new();
    reader
        .conversation
        .read(&request(5, "ReadPairRecord", &[("PairRecordID", FIRST.into())]), &mut desk.shared());
    assert_eq!(reader.conversation.write(&mut [0; 500], &mut desk.shared()), 500);
    assert_eq!(code(&mut desk, &save(FIRST, &record(5000, false)), 1000), 0);
    reader.run(&mut desk);
    assert_eq!((reader.received.len(), reader.fate), (0, Fate::Closed));
}

#[test]
fn a_record_deleted_before_its_first_byte_is_told_as_missing() {
    let mut desk = Desk::with_phone();
    assert_eq!(code(&mut desk, &save(FIRST, &record(100, false)), 1000), 0);
    let mut reader = Socket::new();
    let request = request(5, "ReadPairRecord", &[("PairRecordID", FIRST.into())]);
    reader.conversation.read(&request, &mut desk.shared());
    assert_eq!(delete(&mut desk, FIRST), 0);
    reader.run(&mut desk);
    assert_eq!((reader.messages(), reader.fate), (vec![Message::result(5, 2)], Fate::Open));
}

/// A store that counts drafts which somebody still has to end.
struct Ledger {
    store: Store,
    open: Option<Draft>,
    begun: usize,
}

impl RecordStore for Ledger {
    fn begin(&mut self, id: Option<&str>) -> Result<Draft, StoreError> {
        let draft = self.store.begin(id)?;
        self.open = Some(draft);
        self.begun += 1;
        Ok(draft)
    }

    fn append(&mut self, draft: Draft, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.append(draft, bytes)
    }

    fn read_draft(&self, draft: Draft, offset: usize, to: &mut [u8]) -> usize {
        self.store.read_draft(draft, offset, to)
    }

    fn commit(&mut self, draft: Draft, id: &str) -> Result<(), StoreError> {
        self.open = self.open.filter(|&open| open != draft);
        self.store.commit(draft, id)
    }

    fn abandon(&mut self, draft: Draft) {
        self.open = self.open.filter(|&open| open != draft);
        self.store.abandon(draft);
    }

    fn find(&self, id: &str) -> Option<Record> {
        self.store.find(id)
    }

    fn read(&self, record: Record, offset: usize, to: &mut [u8]) -> usize {
        self.store.read(record, offset, to)
    }

    fn delete(&mut self, id: &str) -> Result<(), StoreError> {
        self.store.delete(id)
    }
}

/// Says something to a store and hangs up; the numbers of the Results.
fn say_and_hang_up(store: &mut impl RecordStore, message: &[u8]) -> Vec<Option<u64>> {
    let mut desk = Desk::new();
    let mut conversation = Conversation::new();
    let mut shared =
        Shared { phone: None, store, listeners: &mut desk.listeners, buid: crate::desk::BUID };
    conversation.read(message, &mut shared);
    let mut room = vec![0; 1000];
    let written = conversation.write(&mut room, &mut shared);
    conversation.end(&mut shared);
    let answers = Message::all(&room[..written]).unwrap();
    answers.iter().map(|answer| answer.number("Number")).collect()
}

/// A desk whose store has room for one record of up to 10 KiB, as on a board of 64 KiB.
fn small_desk() -> Desk<OneRecord> {
    Desk { phone: Some(phone(1)), ..Desk::keeping(OneRecord::new()) }
}

#[test]
fn the_phones_record_is_replaced_where_there_is_no_room_for_two() {
    let (old, new) = (record(7000, false), record(9500, true));
    // Told before its data, as most clients do, or behind it: then the phone that is here is meant.
    for save in [save, save_data_first] {
        let mut desk = small_desk();
        for record in [&old, &new, &old] {
            assert_eq!(code(&mut desk, &save(FIRST, record), 1000), 0);
            assert_eq!(read(&mut desk, FIRST).as_ref(), Ok(record));
        }
    }
}

#[test]
fn another_phones_record_never_gives_way() {
    let (old, other) = (record(7000, false), record(9500, true));
    let mut desk = small_desk();
    assert_eq!(code(&mut desk, &save(SECOND, &old), 1000), 0);
    for message in [save(FIRST, &other), save_data_first(FIRST, &other)] {
        assert_eq!(code(&mut desk, &message, 1000), 28);
        assert_eq!(read(&mut desk, SECOND).as_ref(), Ok(&old));
    }
    // Neither for want of an entry.
    assert_eq!(code(&mut desk, &save(FIRST, &record(10, true)), 1000), 28);
    assert_eq!(read(&mut desk, SECOND).as_ref(), Ok(&old));
}

#[test]
fn a_record_gives_way_only_once_its_room_is_needed() {
    let (old, new) = (record(6000, false), record(9500, true));
    let mut desk = small_desk();
    assert_eq!(code(&mut desk, &save(FIRST, &old), 1000), 0);
    // As long as both fit, nothing is lost when the client hangs up.
    let message = save(FIRST, &new);
    let mut sleeper = Socket::new();
    sleeper.send(&mut desk, &message[..1000], 1000);
    sleeper.conversation.end(&mut desk.shared());
    assert_eq!(read(&mut desk, FIRST).as_ref(), Ok(&old));
    // And a small one takes its place whole.
    let small = record(10, true);
    assert_eq!(code(&mut desk, &save(FIRST, &small), 1000), 0);
    assert_eq!(read(&mut desk, FIRST).as_ref(), Ok(&small));
    // One that breaks off later leaves none, and no part of one.
    assert_eq!(code(&mut desk, &save(FIRST, &old), 1000), 0);
    let mut sleeper = Socket::new();
    sleeper.send(&mut desk, &message[..message.len() - 10], 1000);
    sleeper.conversation.end(&mut desk.shared());
    assert_eq!((read(&mut desk, FIRST), desk.store.used()), (Err(2), 0));
    assert_eq!(code(&mut desk, &message, 1000), 0);
    assert_eq!(read(&mut desk, FIRST), Ok(new));
}

#[test]
fn every_draft_is_ended_however_its_message_ends() {
    let good = record(500, false);
    let mut other_type = save_data_first(FIRST, &good);
    let at = other_type.windows(14).rposition(|window| window == b"SavePairRecord").unwrap();
    other_type[at..at + 14].copy_from_slice(b"ReadPairRecord");
    let whole = save_data_first(FIRST, &good);
    for (message, codes) in [
        (whole.clone(), vec![Some(0)]),
        (whole[..whole.len() / 2].to_vec(), vec![]),
        (whole[..whole.len() - 1].to_vec(), vec![]),
        (other_type, vec![Some(2)]),
        (save_data_first("..", &good), vec![Some(22)]),
        (save_data_first(FIRST, b"<plist/>"), vec![Some(22)]),
        (save_data_first(FIRST, &record(40_000, true)), vec![Some(28)]),
    ] {
        let mut ledger = Ledger { store: Store::new(), open: None, begun: 0 };
        assert_eq!(say_and_hang_up(&mut ledger, &message), codes);
        assert_eq!((ledger.begun, ledger.open), (1, None), "{codes:?}");
    }
}

#[test]
fn a_dongle_without_a_store_says_so() {
    let store = &mut NoStore;
    let id = [("PairRecordID", FIRST.into())];
    assert_eq!(say_and_hang_up(store, &save(FIRST, &record(10, true))), [Some(28)]);
    assert_eq!(say_and_hang_up(store, &request(1, "ReadPairRecord", &id)), [Some(2)]);
    assert_eq!(say_and_hang_up(store, &request(1, "DeletePairRecord", &id)), [Some(2)]);
}
