//! Counters: what a test asserts and a status page shows.

/// What an engine has counted since it was made; all wrap at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stats {
    /// Frames received whole or begun.
    pub frames_in: u32,
    /// Frames handed out for sending.
    pub frames_out: u32,
    /// Frames dropped as malformed.
    pub malformed: u32,
    /// Frames that their transfer cut short.
    pub truncated: u32,
    /// Transfers with something behind their last frame that was no frame.
    pub trailing: u32,
    /// Frames of an older session that arrived before the answer to VERSION.
    pub stale: u32,
    /// Frames that the link's state has no use for.
    pub ignored: u32,
    /// Frames whose number was not the next.
    pub sequence_gaps: u32,
    /// Sessions found dead.
    pub dead_sessions: u32,
    /// CONTROL texts.
    pub control_texts: u32,
    /// Segments for connections that do not exist.
    pub unknown_connection: u32,
    /// Resets to such that found no place and were dropped.
    pub resets_dropped: u32,
    /// Segments with flags other than a lone ACK.
    pub odd_flags: u32,
    /// Segments with bytes that had been seen before.
    pub repeated: u32,
    /// Gaps in a connection's bytes.
    pub gaps: u32,
    /// Connections ended for sending beyond their window.
    pub overruns: u32,
    /// Connections ended for acknowledging what was never sent.
    pub bad_acks: u32,
    /// Acknowledgements without data that were sent.
    pub pure_acks: u32,
    /// Connections whose last bytes were not acknowledged in time.
    pub drain_timeouts: u32,
}

impl Stats {
    /// All counters at zero.
    pub const ZERO: Stats = Stats {
        frames_in: 0,
        frames_out: 0,
        malformed: 0,
        truncated: 0,
        trailing: 0,
        stale: 0,
        ignored: 0,
        sequence_gaps: 0,
        dead_sessions: 0,
        control_texts: 0,
        unknown_connection: 0,
        resets_dropped: 0,
        odd_flags: 0,
        repeated: 0,
        gaps: 0,
        overruns: 0,
        bad_acks: 0,
        pure_acks: 0,
        drain_timeouts: 0,
    };
}
