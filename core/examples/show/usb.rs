//! USB below the frames: how a phone takes packets for messages, and a phone to talk to in
//! transfers or packets.

use super::{Cable, End, Frame, line, payload};
use std::collections::VecDeque;
use usbmux_core::{
    CONTROL_FRAME, Config, ConnId, Event, Instant, Mux, Received, Role, Slot, Transfer,
};

/// The phone's read buffer, in bytes: what fills it is too large for a frame.
const READ_BUFFER: usize = 65536;

/// The phone's OUT endpoint. It knows nothing of transfers and lengths: a message ends at the first
/// packet that is not full.
pub(crate) struct OutEndpoint {
    max_packet: usize,
    gathered: Vec<u8>,
}

/// What a transfer led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// All packets were full: the message goes on with the next transfer.
    Unfinished,
    /// What the phone takes for one frame.
    Whole(Vec<u8>),
    /// The read buffer is full.
    TooLarge,
}

impl OutEndpoint {
    pub(crate) fn new(max_packet: usize) -> Self {
        OutEndpoint { max_packet, gathered: Vec::new() }
    }

    /// Carries the next frame of the host's to the phone, in packets; says how long the phone's
    /// message was, once it is whole.
    pub(crate) fn carry(&mut self, cable: &mut Cable, bytes: usize, zlp: bool) -> Option<usize> {
        let (frame, sent) = cable.numbered(End::Host, 0, &payload(bytes)).expect("room");
        let (last, full) = (frame.len() % self.max_packet, frame.len() / self.max_packet);
        let packets = match (sent.needs_zlp, zlp) {
            (true, true) => format!("{full} x {} + ZLP", self.max_packet),
            (true, false) => format!("{full} x {}, ZLP LOST ON THE WAY", self.max_packet),
            _ => format!("1 x {last}"),
        };
        let tx_seq = Frame::parse(&frame).numbers.map_or(0, |(tx_seq, _)| tx_seq);
        let len = frame.len();
        line(format!("  host >        frame of {len} bytes, tx_seq {tx_seq}; packets {packets}"));
        let Message::Whole(message) = self.take(&frame, sent.needs_zlp && zlp) else {
            line("                         [phone: sees no end yet, waits for more]");
            return None;
        };
        let first = Frame::parse(&message).length();
        let (len, rest) = (message.len(), message.len() - first);
        line(match rest {
            0 => format!("                         [phone: message of {len} bytes, one frame]"),
            _ => format!(
                "                         [phone: message of {len} bytes: takes the first frame of \
                 {first}, drops {rest}]"
            ),
        });
        cable.deliver(End::Host, &message[..first]);
        Some(len)
    }

    /// The packets of a transfer, and the zero-length packet behind it if there is one.
    pub(crate) fn take(&mut self, transfer: &[u8], zlp: bool) -> Message {
        self.gathered.extend_from_slice(transfer);
        if self.gathered.len() >= READ_BUFFER {
            self.gathered.clear();
            return Message::TooLarge;
        }
        if !zlp && transfer.len().is_multiple_of(self.max_packet) {
            return Message::Unfinished;
        }
        Message::Whole(core::mem::take(&mut self.gathered))
    }
}

/// A phone behind packets: one in, one out.
pub(crate) struct Packets {
    max_packet: usize,
    out: OutEndpoint,
    phone: Phone,
    arriving: VecDeque<Vec<u8>>,
}

impl Packets {
    pub(crate) fn plugged(now: Instant, max_packet: u16) -> Self {
        let size = usize::from(max_packet);
        let (out, phone) = (OutEndpoint::new(size), Phone::plugged(now, max_packet));
        Packets { max_packet: size, out, phone, arriving: VecDeque::new() }
    }

    /// The phone's next packet; empty if there is none. Its engine trims: it sends no zero-length
    /// packets.
    pub(crate) fn give(&mut self, now: Instant) -> Vec<u8> {
        if self.arriving.is_empty() {
            let frame = self.phone.give(now).unwrap_or_default();
            self.arriving = frame.chunks(self.max_packet).map(<[u8]>::to_vec).collect();
        }
        self.arriving.pop_front().unwrap_or_default()
    }

    /// The phone takes a packet; nothing, if it is empty.
    pub(crate) fn take(&mut self, now: Instant, packet: &[u8]) {
        if packet.is_empty() {
            return;
        }
        if let Message::Whole(message) = self.out.take(packet, false) {
            self.phone.take(now, &message);
        }
    }
}

/// A phone with an echo on every port, that takes and gives whole transfers.
pub(crate) struct Phone {
    mux: Mux<[Slot; 4]>,
    /// What is still to be echoed.
    echoes: VecDeque<(ConnId, Vec<u8>)>,
}

impl Phone {
    /// A phone that was plugged in.
    pub(crate) fn plugged(now: Instant, max_packet: u16) -> Self {
        let mut mux = Mux::new(Role::Device, Config::PHONE, [Slot::EMPTY; 4]);
        mux.attach(now, max_packet);
        Phone { mux, echoes: VecDeque::new() }
    }

    /// A transfer of the host's arrives.
    pub(crate) fn take(&mut self, now: Instant, bytes: &[u8]) {
        let mut transfer = Transfer::new(bytes);
        while let Some(received) = self.mux.receive(now, &mut transfer) {
            if let Received::Data { conn, payload, .. } = received {
                self.echoes.push_back((conn, payload.to_vec()));
            }
        }
        while let Some(event) = self.mux.poll_event(now) {
            if let Event::Incoming { conn, .. } = event {
                self.mux.accept(now, conn, 131_072).expect("it is still there");
            }
        }
        self.mux.tick(now);
    }

    /// The next transfer for the host, if there is one.
    pub(crate) fn give(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut buf = [0; CONTROL_FRAME];
        self.mux.tick(now);
        if let Some(frame) = self.mux.poll_transmit(now, &mut buf) {
            return Some(buf[..frame.len].to_vec());
        }
        let (conn, echo) = self.echoes.front_mut()?;
        let len = self.mux.sendable(*conn).min(echo.len());
        let headroom = self.mux.headroom();
        let mut frame = vec![0; headroom + len];
        frame[headroom..].copy_from_slice(&echo[..len]);
        // No room yet, or the connection is over: then nothing goes.
        let sent = self.mux.send_in_place(now, *conn, &mut frame, len).ok()?;
        echo.drain(..sent.taken);
        frame.truncate(headroom + sent.taken);
        self.echoes.retain(|(_, echo)| !echo.is_empty());
        Some(frame)
    }
}
