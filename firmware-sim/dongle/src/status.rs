//! What a dongle counts.

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
