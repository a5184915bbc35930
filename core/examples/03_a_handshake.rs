//! Lesson 3: a handshake.
//!
//! Two engines, one as the computer and one as the phone, agree on a version, set their frame numbers
//! and open a connection. Each frame is printed as it crosses the cable.

use usbmux_core::wire::{HeaderV1, HeaderV2, Protocol, TcpHeader};
use usbmux_core::{CONTROL_FRAME, Config, Event, Instant, LinkState, Mux, Role, Slot, Transfer};

fn main() {
    let ladder = talk(2);
    println!("\nThe sequence numbers are checked strictly: a gap kills the session. So the engine");
    println!("numbers a frame in the moment in which it is handed to USB.\n");
    let expected = [
        "host  VERSION 20 bytes",
        "phone VERSION 20 bytes",
        "host  SETUP   17 bytes tx 0 rx 65535",
        "host  TCP     36 bytes tx 1 rx 65535 SYN seq 0 ack 0",
        "phone TCP     36 bytes tx 0 rx 1 SYN|ACK seq 0 ack 1",
        "host  TCP     36 bytes tx 2 rx 0 ACK seq 1 ack 1",
    ];
    assert_eq!(ladder, expected);

    let ladder = talk(1);
    let expected = [
        "host  VERSION 20 bytes",
        "phone VERSION 20 bytes",
        "host  TCP     28 bytes SYN seq 0 ack 0",
        "phone TCP     28 bytes SYN|ACK seq 0 ack 1",
        "host  TCP     28 bytes ACK seq 1 ack 1",
    ];
    assert_eq!(ladder, expected);
    println!("\nA phone that answers 1 gets short headers, no SETUP and no numbers, for ever.");
    println!("\nQuestion: what happens where no program listens on port 62078? (Lesson 4.)");
}

/// Lets a host connect to a phone that answers VERSION with `version`; returns what crossed the cable.
fn talk(version: u32) -> Vec<String> {
    println!("a phone of version {version}:");
    let now = Instant::ZERO;
    let mut host = Mux::new(Role::Host, Config::HOST, [Slot::EMPTY; 4]);
    let mut phone = Mux::new(Role::Device, Config { version, ..Config::PHONE }, [Slot::EMPTY; 4]);
    host.attach(now, 512);
    phone.attach(now, 512);
    let mut ladder = Vec::new();
    // Until nothing moves any more.
    while pass("host ", &mut host, &mut phone, &mut ladder)
        | pass("phone", &mut phone, &mut host, &mut ladder)
    {
        while let Some(event) = host.poll_event(now) {
            println!("                                       host: {event:?}");
            if let Event::LinkUp { .. } = event {
                host.connect(now, 62078, 131_072).expect("a free slot");
            }
        }
        while let Some(event) = phone.poll_event(now) {
            if let Event::Incoming { conn, .. } = event {
                phone.accept(now, conn, 131_072).expect("it is still there");
            }
        }
    }
    assert_eq!(host.link(), LinkState::Up { version });
    ladder
}

fn pass(
    who: &str,
    from: &mut Mux<[Slot; 4]>,
    to: &mut Mux<[Slot; 4]>,
    seen: &mut Vec<String>,
) -> bool {
    let mut buf = [0; CONTROL_FRAME];
    let Some(frame) = from.poll_transmit(Instant::ZERO, &mut buf) else { return false };
    seen.push(format!("{who} {}", describe(&buf[..frame.len])));
    println!("  {}", seen.last().expect("just pushed"));
    assert_eq!(to.receive(Instant::ZERO, &mut Transfer::new(&buf[..frame.len])), None);
    true
}

fn describe(bytes: &[u8]) -> String {
    let short = HeaderV1::parse(bytes.first_chunk().expect("8 bytes"));
    let name = format!("{:<7} {} bytes", short.protocol.to_string(), short.length);
    let long = bytes.first_chunk().map(HeaderV2::parse).filter(|long| long.magic.is_known());
    let (name, at) = match long {
        Some(mux) => (format!("{name} tx {} rx {}", mux.tx_seq, mux.rx_seq), 16),
        None => (name, 8),
    };
    if short.protocol != Protocol::TCP {
        return name;
    }
    let tcp = TcpHeader::parse(bytes[at..].first_chunk().expect("20 bytes"));
    format!("{name} {} seq {} ack {}", tcp.flags, tcp.seq, tcp.ack)
}
