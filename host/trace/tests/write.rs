//! Traces read back by the crate that also wrote the blocks, and by hand; `tests/traces.rs` of the
//! workspace's tests has tshark read them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use usbmux_core::SeqNumber;
use usbmux_core::wire::{
    ControlKind, Flags, HeaderV1, HeaderV2, Magic, Protocol, TcpHeader, Version,
};
use usbmux_trace::write::record::{Attachment, Record, What};
use usbmux_trace::write::{Sender, Tap, Writer};

const UDID: &str = "00008030-0000000000000001";
/// Enough for everything here.
const ROOMY: u64 = 1 << 20;

/// A version 2 frame.
fn frame(protocol: Protocol, tx_seq: u16, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len()) as u32;
    let header = HeaderV2 { protocol, length, magic: Magic::HOST, tx_seq, rx_seq: 9 };
    [header.emit().as_slice(), body].concat()
}

fn segment(tx_seq: u16, flags: Flags, payload: &[u8]) -> Vec<u8> {
    let tcp = TcpHeader::new((1, 62078), SeqNumber(1), SeqNumber(2), flags, 0x0200);
    frame(Protocol::TCP, tx_seq, &[tcp.emit().as_slice(), payload].concat())
}

fn version() -> Vec<u8> {
    let header = HeaderV1 { protocol: Protocol::VERSION, length: 20 };
    let body = Version { major: 2, minor: 0, padding: 0 };
    [header.emit().as_slice(), body.emit().as_slice()].concat()
}

/// What a tap finds in transfers of the phone, each cut at every multiple of `cut`.
fn found(transfers: &[Vec<u8>], cut: usize, payload: bool) -> Vec<What> {
    let (mut tap, mut all) = (Tap::new(payload), Vec::new());
    for transfer in transfers {
        let mut parts: Vec<&[u8]> = transfer.chunks(cut).collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            tap.carried(Sender::Phone, part, false, |what| all.push(what));
        }
        tap.carried(Sender::Phone, last, true, |what| all.push(what));
    }
    all
}

/// The packets of a trace: bytes, length on the wire, comments.
fn packets(file: &[u8]) -> Vec<(Vec<u8>, u32, Vec<String>)> {
    let mut reader = PcapNgReader::new(file).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.unwrap().0 else { continue };
        let comments = packet.options.iter().filter_map(|option| match option {
            EnhancedPacketOption::Common(CommonOption::Comment(text)) => Some(text.to_string()),
            _ => None,
        });
        let comments = comments.collect();
        packets.push((packet.data.to_vec(), packet.original_len, comments));
    }
    packets
}

fn attached() -> Record {
    let attachment = Attachment {
        udid: UDID.to_owned(),
        product_id: 0x12a8,
        location_id: 0x1_0001,
        speed: 480_000_000,
        max_packet: 512,
    };
    Record { phone: 0, at: Duration::from_nanos(1), what: What::Attached(attachment) }
}

/// Writes what a tap found.
fn written(whats: Vec<What>, limit: u64) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, "test 1", limit).unwrap();
    writer.write(&attached()).unwrap();
    for what in whats {
        writer.write(&Record { phone: 0, at: Duration::from_nanos(2), what }).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    file
}

#[test]
fn every_slicing_finds_the_same_frames_once() {
    let glued = [segment(1, Flags::ACK, b"one"), segment(2, Flags::ACK, &[7; 100])].concat();
    let transfers = [version(), glued, segment(3, Flags::RST, b"why")];
    let place_free = |mut whats: Vec<What>| {
        for what in &mut whats {
            let What::Frame(frame) = what else { panic!("{what:?}") };
            frame.place.slices = 0;
        }
        whats
    };
    let whole = found(&transfers, 70_000, true);
    assert_eq!(whole.len(), 4);
    let places = whole.iter().map(|what| match what {
        What::Frame(frame) => (frame.place.transfer, frame.place.at, frame.place.slices),
        other => panic!("{other:?}"),
    });
    assert_eq!(places.collect::<Vec<_>>(), [(1, 0, 1), (2, 0, 1), (2, 39, 1), (3, 0, 1)]);
    for cut in 1..150 {
        let sliced = found(&transfers, cut, true);
        if let (13, What::Frame(second)) = (cut, &sliced[1]) {
            // 39 bytes are three slices of 13, the next frame begins in the fourth.
            assert_eq!(second.place.slices, 3);
        }
        assert_eq!(place_free(sliced), place_free(whole.clone()), "cut at {cut}");
    }
}

#[test]
fn garbage_cut_frames_and_zlps_are_told_as_such() {
    let mut trailing = segment(1, Flags::ACK, b"");
    trailing.extend([0xaa; 5]);
    let mut cut = segment(2, Flags::ACK, b"twelve bytes");
    cut.truncate(40);
    let wrong = frame(Protocol(9), 3, b"xyz");
    let transfers = [version(), trailing, cut, wrong, Vec::new()];
    let mut lines = Vec::new();
    for (_, _, comments) in packets(&written(found(&transfers, 70_000, false), ROOMY)) {
        lines.push(comments[0].clone());
    }
    assert_eq!(
        lines[2..],
        [
            "usbmux TCP tx_seq=1 rx_seq=9 length=36 transfer=2 at=0 window=131072",
            "usbmux GARBAGE why=trailing bytes=5 transfer=2 at=36",
            "usbmux TCP tx_seq=2 rx_seq=9 length=48 transfer=3 at=0 missing=8 window=131072",
            "usbmux GARBAGE why=protocol bytes=19 transfer=4 at=0",
            "usbmux ZLP transfer=5 at=0",
        ]
    );
    let with_bytes = written(found(&transfers, 70_000, true), ROOMY);
    assert!(packets(&with_bytes)[3].2[0].ends_with(r#" hex="aaaaaaaaaa""#));
}

#[test]
fn payload_is_there_only_if_asked_for_and_texts_always_are() {
    let control = [[ControlKind::ERROR.0].as_slice(), b"errno \"54\"\n"].concat();
    let transfers = [
        version(),
        segment(1, Flags::ACK, b"secret"),
        segment(2, Flags::RST, b"reason"),
        frame(Protocol::CONTROL, 3, &control),
    ];
    for payload in [false, true] {
        let file = written(found(&transfers, 70_000, payload), ROOMY);
        let has = |text: &[u8]| file.windows(text.len()).any(|window| window == text);
        assert_eq!(has(b"secret"), payload);
        assert!(has(b"reason"));
        let all = packets(&file);
        // IPv6's and TCP's headers, and the payload.
        let (bytes, original_len, _) = &all[2];
        assert_eq!((bytes.len(), *original_len), (if payload { 66 } else { 60 }, 66));
        assert!(all[3].2[0].ends_with(r#" window=131072 text="reason""#), "{:?}", all[3].2);
        assert!(all[4].2[0].ends_with(r#" type=3 text="errno \"54\"\n""#), "{:?}", all[4].2);
    }
}

#[test]
fn segments_are_tcp_with_the_scale_in_the_syn() {
    let syn = segment(1, Flags::SYN, b"");
    let odd = segment(2, Flags(0xff), &[1; 65_499]);
    let file = written(found(&[version(), syn, odd], 70_000, true), ROOMY);
    let all = packets(&file);
    let tcp = |bytes: &[u8]| {
        let packet = SlicedPacket::from_ip(bytes).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("{packet:?}") };
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("{packet:?}") };
        let checksum = tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination());
        assert_eq!(tcp.checksum(), checksum.unwrap());
        (tcp.to_header(), tcp.payload().len())
    };
    let (syn, len) = tcp(&all[2].0);
    assert_eq!((syn.window_size, syn.options.as_slice(), len), (0x0200, &[1, 3, 3, 8][..], 0));
    assert_eq!(all[2].2.len(), 2, "a SYN's own window is explained");
    let (odd, len) = tcp(&all[3].0);
    assert!(odd.fin && odd.syn && odd.rst && odd.psh && odd.ack && odd.urg && odd.ece && odd.cwr);
    assert_eq!(len, 65_499, "the longest frame fits");
}

#[test]
fn the_limit_is_kept_and_said() {
    let many: Vec<What> = found(&[version()], 99, false).into_iter().cycle().take(500).collect();
    for limit in [4096, 5000, 20_000] {
        let file = written(many.clone(), limit);
        assert!(file.len() as u64 <= limit, "{} of {limit}", file.len());
        assert!(file.len() as u64 > limit - 1024, "{} of {limit}", file.len());
        let all = packets(&file);
        assert_eq!(all.last().unwrap().2, ["usbmux TRACE event=limit"]);
    }
    let room = written(many, ROOMY);
    assert_eq!(packets(&room).len(), 501);
}
