//! What an engine can be told: its role, its sizes, its policies.

/// Which side of the cable the engine plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// The computer or dongle: speaks first, opens connections.
    Host,
    /// The phone: answers, accepts connections.
    Device,
}

/// What to do with a frame whose length is a multiple of wMaxPacketSize (PROTOCOL §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Zlp {
    /// Make it one byte shorter, so that a zero-length packet is never needed. The default: some
    /// virtual machines and many host drivers lose such packets.
    Trim,
    /// Send it whole and ask for a zero-length packet behind it.
    Explicit,
}

/// When received bytes are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AckPolicy {
    /// At once when the peer has less than half its window left or two frames are waiting, else after
    /// 2 ms.
    Prompt,
    /// After every frame.
    Immediate,
    /// 30 ms after the first byte, as old daemons do.
    Classic,
}

impl AckPolicy {
    pub(super) const fn delay_ms(self) -> u32 {
        match self {
            AckPolicy::Prompt | AckPolicy::Immediate => 2,
            AckPolicy::Classic => 30,
        }
    }
}

/// How one edge, the last byte the peer may send, is split into acknowledgement and window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WindowStyle {
    /// Acknowledge what was consumed, announce the whole window: what old daemons do to real phones.
    Constant,
    /// Acknowledge what arrived, announce the room that is left.
    Credit,
}

/// What a gap in a connection's sequence numbers means. There is no retransmission: bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GapPolicy {
    /// The connection ends with [`CloseReason::Gap`](super::CloseReason::Gap).
    End,
    /// The gap is counted and skipped.
    Count,
}

/// What a frame number other than the next one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SequencePolicy {
    /// The session is dead until the next VERSION: a phone's nature.
    Strict,
    /// It is counted: what a host does.
    Count,
}

/// Sizes, policies and durations of an engine.
///
/// Start from [`Config::HOST`], [`Config::DONGLE`] or [`Config::PHONE`] and change what you need:
///
/// ```
/// use usbmux_core::{Config, Zlp};
/// let config = Config { zlp: Zlp::Explicit, ..Config::HOST };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config {
    /// Longest outgoing frame, header included, in bytes; at least 128 is used.
    pub max_frame: u16,
    /// What to do where a zero-length packet would be due.
    pub zlp: Zlp,
    /// When to acknowledge.
    pub ack: AckPolicy,
    /// How to split the edge.
    pub window_style: WindowStyle,
    /// What a lost segment means.
    pub gap: GapPolicy,
    /// What a lost frame means.
    pub peer_sequence: SequencePolicy,
    /// Highest major version to offer (host) or to answer (device); 1 or 2.
    pub version: u32,
    /// Whether to watch for a session that the phone stopped accepting (host role, version 2).
    pub watch: bool,
    /// How often VERSION is sent before the link counts as failed.
    pub version_tries: u8,
    /// How long to wait for the answer to VERSION, each time.
    pub version_timeout_ms: u32,
    /// How long a connection may take to open.
    pub syn_timeout_ms: u32,
    /// How long a closed connection may wait for its bytes to be acknowledged.
    pub drain_timeout_ms: u32,
    /// How long a source port rests after its connection ended.
    pub quarantine_ms: u32,
}

impl Config {
    /// A computer: frames of 49152 bytes as existing daemons send them.
    pub const HOST: Config = Config {
        max_frame: 49152,
        zlp: Zlp::Trim,
        ack: AckPolicy::Prompt,
        window_style: WindowStyle::Constant,
        gap: GapPolicy::End,
        peer_sequence: SequencePolicy::Count,
        version: 2,
        watch: true,
        version_tries: 3,
        version_timeout_ms: 2500,
        syn_timeout_ms: 5000,
        drain_timeout_ms: 30_000,
        quarantine_ms: 2000,
    };

    /// A microcontroller: frames of 4096 bytes, and the room that is left announced as such.
    pub const DONGLE: Config =
        Config { max_frame: 4096, window_style: WindowStyle::Credit, ..Config::HOST };

    /// A phone: frames of at most 32764 bytes (seen on real phones), strict about frame numbers.
    pub const PHONE: Config =
        Config { max_frame: 32764, peer_sequence: SequencePolicy::Strict, ..Config::HOST };
}
