//! What a dongle counts, and the names under which it tells it.

use usbmux_core::Stats;

/// What a dongle has counted since it started; all wrap at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Turns of the super-loop.
    pub turns: u32,
    /// Phones that were plugged in and enumerated.
    pub plugged: u32,
    /// Phones that were unplugged, or given up.
    pub unplugged: u32,
    /// Control transfers that failed or took too long.
    pub control_failures: u32,
    /// Resets of the port because something did not work.
    pub recoveries: u32,
    /// Bulk transfers that failed: the session began anew.
    pub bulk_failures: u32,
    /// Pieces that USB delivered.
    pub pieces_in: u32,
    /// Pieces given to USB.
    pub pieces_out: u32,
    /// Bytes of payload from the phone.
    pub bytes_in: u32,
    /// Bytes of payload to the phone.
    pub bytes_out: u32,
    /// Bytes from the phone that found no room: a fault of ours, always 0.
    pub bytes_lost: u32,
    /// Ethernet frames that arrived.
    pub frames_in: u32,
    /// TCP connections accepted.
    pub accepted: u32,
    /// TCP connections refused because all were in use.
    pub refused_full: u32,
    /// Segments of machines that are not admitted.
    pub refused_peer: u32,
    /// TCP connections refused because the phone did not want them, or was not there.
    pub refused_phone: u32,
}

/// Names and values of everything that is counted.
pub(crate) type NamedCounters = [(&'static str, u32); 35];

impl Counters {
    /// With their names, and the engine's behind them.
    pub(crate) fn named(&self, engine: &Stats) -> NamedCounters {
        [
            ("turns of the loop", self.turns),
            ("phones plugged in", self.plugged),
            ("phones unplugged", self.unplugged),
            ("control transfers failed", self.control_failures),
            ("port resets", self.recoveries),
            ("bulk transfers failed", self.bulk_failures),
            ("USB pieces in", self.pieces_in),
            ("USB pieces out", self.pieces_out),
            ("bytes from the phone", self.bytes_in),
            ("bytes to the phone", self.bytes_out),
            ("bytes lost", self.bytes_lost),
            ("Ethernet frames in", self.frames_in),
            ("connections accepted", self.accepted),
            ("refused, all in use", self.refused_full),
            ("refused, not admitted", self.refused_peer),
            ("refused by the phone", self.refused_phone),
            ("mux frames in", engine.frames_in),
            ("mux frames out", engine.frames_out),
            ("malformed", engine.malformed),
            ("truncated", engine.truncated),
            ("trailing", engine.trailing),
            ("stale", engine.stale),
            ("ignored", engine.ignored),
            ("sequence gaps", engine.sequence_gaps),
            ("dead sessions", engine.dead_sessions),
            ("control texts", engine.control_texts),
            ("unknown connection", engine.unknown_connection),
            ("resets dropped", engine.resets_dropped),
            ("odd flags", engine.odd_flags),
            ("repeated", engine.repeated),
            ("gaps", engine.gaps),
            ("overruns", engine.overruns),
            ("bad acks", engine.bad_acks),
            ("pure acks", engine.pure_acks),
            ("drain timeouts", engine.drain_timeouts),
        ]
    }
}
