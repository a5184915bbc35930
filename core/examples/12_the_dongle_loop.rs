//! Lesson 12: the dongle's loop.
//!
//! A microcontroller reads and writes packets of 64 bytes and has no room for a frame. Each turn of
//! its super-loop does a bounded piece of work. (`firmware-sim/dongle` is a whole one.)

mod show;

use show::{Packets, payload};
use std::collections::VecDeque;
use usbmux_core::{
    CONTROL_FRAME, Config, ConnId, Event, Instant, Mux, Received, Role, Slot, Transfer,
};

pub(crate) const TITLE: &str = "the dongle's loop";
pub(crate) const SHOWS: &str =
    "800 bytes go to the phone and back in packets of 64, with a buffer of 256.";

/// wMaxPacketSize at full speed, in bytes.
const PACKET: usize = 64;
/// Room towards Ethernet, in bytes: this is the window.
const ROOM: usize = 256;
/// What the client on Ethernet takes in one turn, in bytes.
const ETHERNET: usize = 32;
/// What that client sends to the phone's echo, in bytes.
const WANTED: usize = 800;

struct Dongle {
    mux: Mux<[Slot; 4]>,
    conn: Option<ConnId>,
    /// From the client, and towards it.
    upload: VecDeque<u8>,
    download: VecDeque<u8>,
    /// Payload of the frame under way that USB has not got yet, in bytes.
    owed: usize,
}

pub(crate) fn main() {
    show::begin(12, TITLE, SHOWS);
    show::asked(
        "this shell holds whole frames. What if there is only room for a packet of 64 bytes?",
    );
    show::answer(
        "Then no frame is ever held. In: each packet is a part of a transfer, and its payload \
         goes on at once. Out: the engine gives the header by value, and the payload follows \
         packet by packet out of the buffer where it waits anyway. And where many things move, \
         each turn does a bounded piece: here one packet in, one packet out, 32 bytes to a client \
         on Ethernet.",
    );
    let mux = Mux::new(Role::Host, Config::DONGLE, [Slot::EMPTY; 4]);
    let (upload, download) = (payload(WANTED).into(), VecDeque::with_capacity(ROOM));
    let mut dongle = Dongle { mux, conn: None, upload, download, owed: 0 };
    let mut usb = Packets::plugged(Instant::ZERO, PACKET as u16);
    dongle.mux.attach(Instant::ZERO, PACKET as u16);
    show::part("Turn by turn, in bytes; `:` stands for turns like the one above it");
    show::line("    turn   packet in  packet out     buffer     credit client has");
    let (mut client, mut sent, mut rows) = (Vec::new(), Vec::new(), show::Rows::new());
    for turn in 0..50 {
        let now = Instant::from_micros(turn * 100);
        let packet_in = usb.give(now);
        dongle.packet_in(now, &packet_in);
        client.extend(dongle.ethernet(now));
        let packet_out = dongle.packet_out(now);
        usb.take(now, &packet_out);
        let held = dongle.download.len();
        assert!(held <= ROOM, "the window is the buffer: what comes always fits");
        let credit = dongle.conn.map_or(0, |conn| dongle.mux.credit(conn)) as usize;
        rows.row(turn, &[packet_in.len(), packet_out.len(), held, credit, client.len()]);
        sent.push(packet_out.len());
    }
    assert!(client == payload(WANTED), "every byte, in order");
    assert_eq!(sent[..4], [20, 17, 36, 36], "VERSION, SETUP, SYN, ACK");
    assert_eq!(sent[4..18].iter().sum::<usize>(), 36 + WANTED, "one frame");
    show::say(
        "Turns 0 to 3 are the handshake, 4 to 17 the frame: the header and 28 bytes of payload, \
         12 packets of payload, 4 bytes that end it. The phone's answers are shorter, since they \
         must fit into the window of 256: 292 bytes with their header, 4 packets and 36 bytes. \
         While the client empties the buffer nobody sends; then 36 bytes, an ACK, open the window \
         again.",
    );
    show::say(
        "That is the whole course. You can now say: why does a ZLP exist (9)? What does the \
         window field mean (1, 6)? Why is there no FIN, and what does an end take instead (8)? \
         How does a session die, and how does it show (10)? And what is wrong with a phone whose \
         rx_seq stands still?",
    );
}

impl Dongle {
    /// A full packet is a part of a transfer, a shorter one ends it; empty: none has come.
    fn packet_in(&mut self, now: Instant, packet: &[u8]) {
        let mut part = match packet.len() {
            0 | PACKET => Transfer::part(packet),
            _ => Transfer::new(packet),
        };
        while let Some(received) = self.mux.receive(now, &mut part) {
            if let Received::Data { conn, payload, .. } = received {
                self.download.extend(payload);
                self.mux.set_held(now, conn, self.download.len() as u32).expect("it is open");
            }
        }
        while let Some(event) = self.mux.poll_event(now) {
            if let Event::LinkUp { .. } = event {
                self.conn = self.mux.connect(now, 7, ROOM as u32).ok();
            }
        }
    }

    /// What the client takes is room for the phone again.
    fn ethernet(&mut self, now: Instant) -> Vec<u8> {
        let taken = self.download.drain(..self.download.len().min(ETHERNET)).collect();
        if let Some(conn) = self.conn {
            self.mux.set_held(now, conn, self.download.len() as u32).expect("it is open");
        }
        self.mux.tick(now);
        taken
    }

    /// More of the frame under way, a frame of the engine's own, or the head of a new one.
    fn packet_out(&mut self, now: Instant) -> Vec<u8> {
        let mut packet = Vec::with_capacity(PACKET);
        if self.owed == 0 {
            let mut buf = [0; CONTROL_FRAME];
            if let Some(frame) = self.mux.poll_transmit(now, &mut buf) {
                return buf[..frame.len].to_vec();
            }
            let Some(conn) = self.conn else { return packet };
            let len = self.mux.sendable(conn).min(self.upload.len());
            let Ok(sent) = self.mux.send(now, conn, len) else { return packet };
            packet.extend_from_slice(sent.header());
            self.owed = sent.taken;
        }
        let some = self.owed.min(PACKET - packet.len());
        packet.extend(self.upload.drain(..some));
        self.owed -= some;
        packet
    }
}
