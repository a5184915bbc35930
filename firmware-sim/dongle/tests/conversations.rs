//! Port 27015 and the status page on real sockets: what the conversation alone cannot show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::bus::Clock;
use common::{CONFIG, DONGLE, World, pattern};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::time::Duration;
use usbmux_core::session::{Header, MessageKind, ResultCode};
use usbmux_dongle::{DongleConfig, PAGE_PORT, TALK_PORT};
use usbmux_phone::Options;

const SECOND: Duration = Duration::from_secs(1);

/// A binary Connect.
fn connect(device_id: u32, port: u16, tag: u32) -> Vec<u8> {
    let mut body = device_id.to_le_bytes().to_vec();
    body.extend(port.to_be_bytes());
    body.extend([0, 0]);
    message(MessageKind::Connect, tag, &body)
}

fn message(kind: MessageKind, tag: u32, body: &[u8]) -> Vec<u8> {
    let header = Header::new(0, kind, tag, body.len());
    [&header.emit()[..], body].concat()
}

/// A plist request without arguments.
fn plist(request: &str, tag: u32) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict>\
         <key>MessageType</key><string>{request}</string></dict></plist>\n"
    );
    let header = Header::new(1, MessageKind::Plist, tag, body.len());
    [&header.emit()[..], body.as_bytes()].concat()
}

/// The next message on a socket.
#[track_caller]
fn hear(world: &mut World<'_>, socket: SocketHandle) -> (Header, Vec<u8>) {
    let mut peeked = 0;
    world.until(5 * SECOND, |world| {
        let socket = world.pc.socket(socket);
        let queue = socket.recv_queue();
        let Ok(start) = socket.peek(4) else { return false };
        peeked = start.try_into().map_or(usize::MAX, |len| u32::from_le_bytes(len) as usize);
        queue >= peeked
    });
    let mut bytes = vec![0; peeked];
    assert_eq!(world.pc.socket(socket).recv_slice(&mut bytes), Ok(peeked));
    let (header, body) = bytes.split_first_chunk().unwrap();
    (Header::parse(header), body.to_vec())
}

fn ready(clock: &Clock) -> World<'_> {
    let mut world = World::new(clock);
    world.ready();
    world
}

#[test]
fn connected_socket_is_the_pipe_from_the_result_on() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let socket = world.open(TALK_PORT);
    // What follows the Connect at once belongs to the connection.
    let sent = pattern(30_000);
    let whole = [connect(1, 7, 5), sent.clone()].concat();
    let mut offered = 0;
    world.until(SECOND, |world| {
        offered += world.pc.send(socket, &whole[offered..]);
        world.pc.socket(socket).recv_queue() >= 20
    });
    let (_, body) = hear(&mut world, socket);
    assert_eq!(body, [0; 4], "Result 0");
    let mut back = vec![];
    world.until(10 * SECOND, |world| {
        offered += world.pc.send(socket, &whole[offered..]);
        back.extend(world.pc.receive(socket));
        back.len() == sent.len()
    });
    assert_eq!(back, sent);
}

#[test]
fn phone_that_speaks_first_is_heard_behind_the_result() {
    // chargen sends a whole window at once, before its connection was polled.
    for asked in [connect(1, 19, 1), plist_connect(1, 19)] {
        let clock = Clock::default();
        let mut world = ready(&clock);
        let forward = world.open(common::CHARGEN);
        let expected = world.receive(forward, 100_000);
        let socket = world.open(TALK_PORT);
        world.pc.send(socket, &asked);
        let (header, body) = hear(&mut world, socket);
        match header.message {
            MessageKind::Result => assert_eq!(body, [0; 4]),
            _ => assert!(String::from_utf8(body).unwrap().contains("<integer>0</integer>")),
        }
        let got = world.receive(socket, 100_000);
        assert_eq!(got[..100_000], expected[..100_000]);
        assert_eq!(world.dongle.counters().bytes_lost, 0);
        assert_eq!(world.dongle.engine_stats().overruns, 0);
    }
}

fn plist_connect(device_id: u32, port: u16) -> Vec<u8> {
    let body = format!(
        "<plist version=\"1.0\"><dict><key>MessageType</key><string>Connect</string>\
         <key>DeviceID</key><integer>{device_id}</integer>\
         <key>PortNumber</key><integer>{}</integer></dict></plist>",
        port.swap_bytes()
    );
    let header = Header::new(1, MessageKind::Plist, 1, body.len());
    [&header.emit()[..], body.as_bytes()].concat()
}

#[test]
fn refused_connect_leaves_the_socket_for_other_requests() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let socket = world.open(TALK_PORT);
    world.pc.send(socket, &connect(1, 1, 3));
    let (header, body) = hear(&mut world, socket);
    assert_eq!((header.tag, body), (3, ResultCode::REFUSED.0.to_le_bytes().to_vec()));
    world.pc.send(socket, &connect(9, 7, 4));
    let (header, body) = hear(&mut world, socket);
    assert_eq!((header.tag, body), (4, ResultCode::BAD_DEVICE.0.to_le_bytes().to_vec()));
    world.pc.send(socket, &connect(1, 7, 5));
    assert_eq!(hear(&mut world, socket).1, [0; 4]);
    world.pc.send(socket, b"at last");
    assert_eq!(world.receive(socket, 7), b"at last");
}

#[test]
fn several_requests_and_a_connect_at_once_are_answered_in_order() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let socket = world.open(TALK_PORT);
    let all = [plist("ListDevices", 1), plist("ReadBUID", 2), plist("ListDevices", 3)].concat();
    world.pc.send(socket, &[all, connect(1, 7, 4), b"payload".to_vec()].concat());
    for tag in 1..=4 {
        let (header, body) = hear(&mut world, socket);
        assert_eq!(header.tag, tag);
        let text = String::from_utf8(body).unwrap();
        match tag {
            2 => assert!(text.contains(CONFIG.buid)),
            4 => assert!(text.contains("<integer>0</integer>")),
            _ => assert!(text.contains("00008030-0000000000000001")),
        }
    }
    assert_eq!(world.receive(socket, 7), b"payload");
}

#[test]
fn connect_behind_many_answers_waits_for_them() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let socket = world.open(TALK_PORT);
    let mut all = vec![];
    for tag in 1..=12 {
        all.extend(plist("ListDevices", tag)); // 12 answers are more than the transmit buffer holds
    }
    world.pc.send(socket, &[all, connect(1, 19, 13)].concat());
    for tag in 1..=13 {
        assert_eq!(hear(&mut world, socket).0.tag, tag);
    }
    world.receive(socket, 100_000);
    assert_eq!(world.dongle.counters().bytes_lost, 0);
}

#[test]
fn window_is_whole_once_the_answer_has_left() {
    // What a machine that reads nothing takes: its own 64 KiB, and the dongle's window.
    let clock = Clock::default();
    let mut world = ready(&clock);
    let socket = world.open(TALK_PORT);
    world.pc.send(socket, &connect(1, 19, 1));
    assert_eq!(hear(&mut world, socket).1, [0; 4]);
    world.pass(5 * SECOND);
    assert_eq!(world.dongle.counters().bytes_in, 65_536 + 4096);
}

#[test]
fn listener_hears_of_every_phone_that_comes_and_goes() {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    world.bus.unplug();
    world.until(20 * SECOND, |world| world.dongle.address().is_some());
    let socket = world.open(TALK_PORT);
    world.pc.send(socket, &message(MessageKind::Listen, 0, &[]));
    assert_eq!(hear(&mut world, socket).1, [0; 4]);
    for id in 1..=3_u32 {
        world.bus.plug_in();
        let (header, body) = hear(&mut world, socket);
        assert_eq!((header.message, &body[..4]), (MessageKind::DeviceAdd, &id.to_le_bytes()[..]));
        world.bus.unplug();
        let (header, body) = hear(&mut world, socket);
        assert_eq!((header.message, &body[..]), (MessageKind::DeviceRemove, &id.to_le_bytes()[..]));
    }
    world.pass(300 * SECOND);
    assert_eq!(world.pc.state(socket), State::Established, "a listener may be silent for ever");
    world.pc.socket(socket).abort();
    world.until(SECOND, |world| world.dongle.connections() == 0);
}

#[test]
fn connect_while_the_phone_goes_is_answered() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let socket = world.open(TALK_PORT);
    world.bus.faults.swallow_out = 1; // the SYN never arrives
    world.pc.send(socket, &connect(1, 7, 1));
    world.pass(Duration::from_millis(500));
    world.bus.unplug();
    let (_, body) = hear(&mut world, socket);
    assert_eq!(body, ResultCode::BAD_DEVICE.0.to_le_bytes());
}

#[test]
fn garbage_is_hung_up_on_and_harms_nobody() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let good = world.open(common::ECHO);
    for garbage in
        [vec![0; 64], vec![0xff; 3000], pattern(5000), b"GET / HTTP/1.1\r\n\r\n".to_vec()]
    {
        for port in [TALK_PORT, PAGE_PORT] {
            let socket = world.open(port);
            world.pc.send(socket, &garbage);
            world.pass(SECOND);
            world.pc.socket(socket).abort();
            world.until(SECOND, |world| world.dongle.connections() == 1);
            world.pc.send(good, b"fine");
            assert_eq!(world.receive(good, 4), b"fine");
        }
    }
}

#[test]
fn silent_client_does_not_keep_its_place_for_ever() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let silent = world.open(TALK_PORT);
    let amid = world.open(TALK_PORT);
    let page = world.open(PAGE_PORT);
    world.pc.send(amid, &plist("ListDevices", 1)[..40]);
    world.until(27 * SECOND, |world| world.dongle.connections() == 1);
    let _ = (silent, page);
    world.until(120 * SECOND, |world| world.dongle.connections() == 0);
}

#[test]
fn status_page_shows_phone_and_connections() {
    let clock = Clock::default();
    let mut world = ready(&clock);
    let echo = world.open(common::ECHO);
    world.pc.send(echo, b"12345");
    assert_eq!(world.receive(echo, 5), b"12345");
    for (path, phrases) in [
        ("/", ["00008030-0000000000000001", "169.254.27.15"]),
        ("/status.json", ["\"00008030-0000000000000001\"", "forward"]),
    ] {
        let socket = world.open(PAGE_PORT);
        world.pc.send(socket, format!("GET {path} HTTP/1.1\r\nHost: dongle\r\n\r\n").as_bytes());
        let mut page = vec![];
        world.until(5 * SECOND, |world| {
            page.extend(world.pc.receive(socket));
            world.pc.state(socket) == State::CloseWait
        });
        page.extend(world.pc.receive(socket));
        let page = String::from_utf8(page).unwrap();
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        for phrase in phrases {
            assert!(page.contains(phrase), "{phrase} not in {page}");
        }
        world.pc.socket(socket).close();
        world.until(SECOND, |world| world.dongle.connections() == 1);
    }
}

#[test]
fn services_that_are_left_out_are_refused() {
    let clock = Clock::default();
    let config = DongleConfig { talk_port: None, page_port: None, ..CONFIG };
    let mut world = World::with(&clock, &Options::new(1), config);
    world.ready();
    for port in [TALK_PORT, PAGE_PORT] {
        let socket = world.pc.connect(DONGLE, port);
        world.until(SECOND, |world| world.pc.state(socket) == State::Closed);
    }
}
