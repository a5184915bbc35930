//! One connection to a phone, counted by hand: what the floors under the daemon's figures send.
//!
//! There is no engine, no second connection and no check of anything; `nusb-floor` puts it on real
//! USB, `phone-floor` on a virtual phone in the same process.

/// Header of a frame: mux and TCP.
pub const HEADER: usize = 36;
/// Payload of a full frame up: 49152 bytes and one less, so that no ZLP is needed.
pub const PAYLOAD: usize = 49_115;
/// Length of a read, and how many are in flight.
pub const READ: usize = 65_536;
/// Reads in flight.
pub const READS: usize = 3;
/// OUT transfers in flight.
pub const WRITES: usize = 4;
/// The window of both sides, in bytes.
pub const WINDOW: u32 = 131_072;
/// The same in the units of the header.
const WINDOW_UNITS: u16 = 512;
/// The only connection's source port.
const SOURCE: u16 = 1;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// The first frame of a session; the phone answers in kind.
pub const VERSION: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
/// The second, which is not answered.
pub const SETUP: [u8; 17] = [0, 0, 0, 2, 0, 0, 0, 17, 0xfe, 0xed, 0xfa, 0xce, 0, 0, 0xff, 0xff, 7];

/// Whether a frame is the phone's VERSION.
#[must_use]
pub fn is_version(frame: &[u8]) -> bool {
    frame.starts_with(&[0; 4])
}

/// The numbers of a session with one connection.
#[derive(Clone, Debug)]
pub struct Numbers {
    port: u16,
    tx_seq: u16,
    rx_seq: u16,
    seq: u32,
    ack: u32,
    /// What the phone has acknowledged.
    acknowledged: u32,
    /// What it has sent since we last acknowledged.
    unacknowledged: (u32, u32),
}

impl Numbers {
    /// Those behind SETUP, for a connection to this port of the phone.
    #[must_use]
    pub fn new(port: u16) -> Numbers {
        Numbers {
            port,
            tx_seq: 1,
            rx_seq: 0xffff,
            seq: 0,
            ack: 0,
            acknowledged: 0,
            unacknowledged: (0, 0),
        }
    }

    /// The frame that opens the connection.
    pub fn syn(&mut self) -> [u8; HEADER] {
        let syn = self.header(SYN, 0);
        self.seq = 1;
        syn
    }

    /// Takes the answer to it; none if the phone has refused, else the frame that confirms it.
    pub fn opened(&mut self, answer: &[u8]) -> Option<[u8; HEADER]> {
        self.hear(answer);
        if answer.get(29) != Some(&SYN_ACK) {
            return None;
        }
        self.ack = 1;
        Some(self.header(ACK, 0))
    }

    /// Takes a frame of the phone's; returns its payload.
    pub fn hear<'f>(&mut self, frame: &'f [u8]) -> &'f [u8] {
        if let Some(&[high, low]) = frame.get(12..14).and_then(|tx| tx.first_chunk()) {
            self.rx_seq = u16::from_be_bytes([high, low]);
        }
        if let Some(ack) = frame.get(24..28).and_then(|ack| ack.first_chunk()) {
            self.acknowledged = u32::from_be_bytes(*ack);
        }
        let payload = frame.get(HEADER..).unwrap_or_default();
        self.ack = self.ack.wrapping_add(payload.len() as u32);
        self.unacknowledged.0 += 1;
        self.unacknowledged.1 += payload.len() as u32;
        payload
    }

    /// An acknowledgement, when one is due: for every second frame, or half a window.
    pub fn acknowledgement(&mut self) -> Option<[u8; HEADER]> {
        let (frames, bytes) = self.unacknowledged;
        (frames >= 2 || bytes >= WINDOW / 2).then(|| self.header(ACK, 0))
    }

    /// Whether the phone's window has room for a full frame.
    #[must_use]
    pub fn has_room(&self) -> bool {
        WINDOW - self.seq.wrapping_sub(self.acknowledged) >= PAYLOAD as u32
    }

    /// The header of the next frame with so many bytes of payload.
    pub fn data(&mut self, payload: usize) -> [u8; HEADER] {
        let header = self.header(ACK, payload);
        self.seq = self.seq.wrapping_add(payload as u32);
        header
    }

    fn header(&mut self, flags: u8, payload: usize) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&6_u32.to_be_bytes());
        put(&((HEADER + payload) as u32).to_be_bytes());
        put(&0xfeed_face_u32.to_be_bytes());
        put(&self.tx_seq.to_be_bytes());
        put(&self.rx_seq.to_be_bytes());
        put(&SOURCE.to_be_bytes());
        put(&self.port.to_be_bytes());
        put(&self.seq.to_be_bytes());
        put(&self.ack.to_be_bytes());
        put(&[0x50, flags]);
        put(&WINDOW_UNITS.to_be_bytes());
        self.tx_seq = self.tx_seq.wrapping_add(1);
        self.unacknowledged = (0, 0);
        bytes
    }
}
