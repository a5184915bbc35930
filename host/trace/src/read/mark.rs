//! What can be wrong in an exchange, or worth knowing: a kind for programs, a sentence for people.

use std::fmt;

use super::model::Side;

/// A remark about a frame, or about what happened between frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it is.
    pub kind: Kind,
    /// Whose doing it is, as far as that can be told.
    pub by: Option<Side>,
    /// A sentence.
    pub text: String,
}

impl Mark {
    pub(super) fn new(kind: Kind, by: impl Into<Option<Side>>, text: impl Into<String>) -> Self {
        Mark { kind, by: by.into(), text: text.into() }
    }

    /// Whether it breaks a rule, or shows that something is broken; else it is only worth knowing.
    pub fn is_violation(&self) -> bool {
        self.kind.is_violation()
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $name:literal $violation:literal,)*) => {
        /// The kinds of marks, each with a name that does not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)*];

            /// Its name for programs.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// Whether it is a violation, and no mere remark.
            pub const fn is_violation(self) -> bool {
                match self { $(Kind::$variant => $violation,)* }
            }
        }
    };
}

kinds! {
    /// Two frames in one transfer.
    Glued "glued" true,
    /// A frame ends with a full packet and no zero-length packet says so.
    MissingZlp "missing-zlp" true,
    /// Bytes behind a frame that are no frame.
    TrailingBytes "trailing-bytes" true,
    /// The transfer ended inside a frame.
    CutShort "cut-short" true,
    /// A length that no frame has.
    BadLength "bad-length" true,
    /// A protocol number that nobody speaks.
    UnknownProtocol "unknown-protocol" true,
    /// A header without one of the two magics, or with the other side's.
    BadMagic "bad-magic" true,
    /// A pseudo-TCP header with options, or with bits set that are always zero.
    BadHeader "bad-header" true,
    /// A tx_seq that is not the next.
    TxGap "tx-gap" true,
    /// A phone's rx_seq that cannot be.
    RxWrong "rx-wrong" true,
    /// The phone's rx_seq stands still: it takes no frame any more.
    RxStuck "rx-stuck" true,
    /// A VERSION without an answer.
    SilentVersion "silent-version" true,
    /// A major version that nobody speaks.
    UnknownVersion "unknown-version" true,
    /// Frames of an older session.
    StaleSession "stale-session" true,
    /// The phone ended the session.
    SessionDead "session-dead" true,
    /// The phone says that something is wrong.
    PhoneComplains "phone-complains" true,
    /// A SYN without an answer.
    SilentConnect "silent-connect" true,
    /// A SYN on a connection that is open.
    SynReuse "syn-reuse" true,
    /// A segment of no connection.
    NoConnection "no-connection" true,
    /// A segment on a connection that its sender knew to be closed.
    Closed "closed" true,
    /// A segment before its connection is open.
    NotOpen "not-open" true,
    /// Flags that nobody may send.
    BadFlags "bad-flags" true,
    /// Sequence numbers leave bytes out.
    SeqGap "seq-gap" true,
    /// Sequence numbers come a second time.
    SeqRepeat "seq-repeat" true,
    /// An acknowledgement of what was never sent.
    AckBeyond "ack-beyond" true,
    /// An acknowledgement that takes an earlier one back.
    AckBack "ack-back" true,
    /// More payload than the window lets in.
    Overrun "overrun" true,
    /// The phone broke a connection off.
    BrokenOff "broken-off" true,
    /// An endpoint stalled.
    Stall "stall" true,
    /// A transfer failed on the bus.
    UsbError "usb-error" true,
    /// A transfer was given up: its frame may never have arrived.
    GivenUp "given-up" true,
    /// A transfer that the phone does not take.
    OutStuck "out-stuck" true,
    /// A transfer shorter than the frame in it.
    ShortTransfer "short-transfer" true,
    /// The trace itself has holes.
    CaptureLost "capture-lost" false,
    /// A frame of which too little was captured.
    NotCaptured "not-captured" false,
    /// The capture begins inside a frame, a connection or a session.
    Midway "midway" false,
    /// Without flags in the capture it cannot be told whether a zero-length packet was sent.
    ZlpUntold "zlp-untold" false,
    /// A host's rx_seq is not the phone's last tx_seq; today's phones do not mind.
    HostRx "host-rx" false,
    /// VERSION in the middle of a session.
    SessionAnew "session-anew" false,
    /// The session works again.
    SessionRepaired "session-repaired" false,
    /// Version 2 without SETUP.
    NoSetup "no-setup" false,
    /// A port of the phone refused.
    Refused "refused" false,
    /// A port pair that was in use a short time ago.
    PortReused "port-reused" false,
    /// A reset while bytes were on their way.
    ResetInFlight "reset-in-flight" false,
    /// Payload that waited long for its acknowledgement.
    SlowAck "slow-ack" false,
    /// Payload, or a SYN, that had no acknowledgement when the trace ended.
    NoAck "no-ack" false,
    /// The phone went away.
    Unplugged "unplugged" false,
    /// The port was reset, or the trace's writer tells of something.
    Told "told" false,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
