//! A sentence for each message: what it means, for somebody who has never seen one.

use super::seen::Seen;
use super::witness::{Connection, State, View};
use usbmux_core::wire::control::{is_duplicate_packet, is_ordinary_close};
use usbmux_core::wire::{Flags, HEADER_V1, MAX_FRAME, Protocol, TcpHeader};
use usbmux_phone::{CHARGEN, DISCARD, ECHO, LOCKDOWND};

/// A message, and what is known before and after it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Whose it is.
    pub from_phone: bool,
    /// Its bytes.
    pub message: &'a [u8],
    /// Lengths of its packets.
    pub packets: &'a [usize],
    /// Length of a full packet.
    pub full: usize,
    /// What was known before.
    pub before: &'a View,
    /// What is known now.
    pub after: &'a View,
}

/// What a port is for.
pub fn service(port: u16) -> &'static str {
    match port {
        ECHO => "echo",
        DISCARD => "discard",
        CHARGEN => "character generator",
        LOCKDOWND => "lockdownd",
        _ => "nobody listens there",
    }
}

/// The sentences for a message.
pub fn sentences(told: &Told<'_>) -> String {
    let seen = Seen::new(told.message);
    let mut said = vec![match stuck_together(told, &seen) {
        Some(stuck) => stuck,
        None => frame(told, &seen),
    }];
    said.extend(packets(told));
    said.join(" ")
}

fn stuck_together(told: &Told<'_>, seen: &Seen) -> Option<String> {
    if told.from_phone || seen.behind == 0 {
        return None;
    }
    let length = told.message.len();
    Some(match length > MAX_FRAME {
        true => format!(
            "The phone has read {length} bytes and still no short packet has ended the message. Its \
             buffer holds 65535: it drops everything and complains."
        ),
        false if !begins_a_frame(told.message.get(seen.length..).unwrap_or_default()) => format!(
            "The field length says {}, but {length} bytes came. A phone takes what the field says, and \
             drops {} behind it without a word{}.",
            seen.length,
            counted(seen.behind),
            if seen.payload > 0 {
                "; only when the next bytes of this connection come with a number too high does it \
                 find that some are missing, and end the connection"
            } else {
                ""
            },
        ),
        false => format!(
            "Frames stuck together: the empty packet between them is missing, and a phone ends a \
             message at a short packet, not at the length field. It reads the first frame and drops \
             {} behind it.",
            counted(seen.behind)
        ),
    })
}

fn counted(bytes: usize) -> String {
    if bytes == 1 { "the byte".to_owned() } else { format!("the {bytes} bytes") }
}

/// Whether bytes behind a frame are another one's beginning.
fn begins_a_frame(behind: &[u8]) -> bool {
    let known = [Protocol::VERSION, Protocol::SETUP, Protocol::CONTROL, Protocol::TCP];
    behind.len() >= HEADER_V1 && Seen::new(behind).protocol.is_some_and(|one| known.contains(&one))
}

fn frame(told: &Told<'_>, seen: &Seen) -> String {
    let phone = told.from_phone;
    match (seen.protocol, seen.version, &seen.tcp) {
        (Some(Protocol::VERSION), Some(major), _) if phone => version_answered(major),
        (Some(Protocol::VERSION), Some(major), _) => format!(
            "The host asks: I speak version {major}, and you? Nothing else may be said until the \
             answer comes. Whatever session there was before is over."
        ),
        (Some(Protocol::SETUP), ..) => {
            "SETUP begins the numbering of frames: this is number 0, the host's next is 1. A phone \
             checks these numbers strictly."
                .to_owned()
        }
        (Some(Protocol::CONTROL), ..) => control(seen),
        (Some(Protocol::TCP), _, Some(tcp)) => segment(told, seen, tcp),
        _ => "These bytes are no frame: whoever receives them drops them.".to_owned(),
    }
}

fn version_answered(major: u32) -> String {
    match major {
        1 => "The phone answers: version 1. Headers stay short, 8 bytes, and frames have no numbers."
            .to_owned(),
        2 => "The phone answers: version 2. From now on every header has 16 bytes, with a number for \
              each frame."
            .to_owned(),
        other => format!("The phone answers with version {other}, which nobody knows."),
    }
}

fn control(seen: &Seen) -> String {
    let kind = match seen.control {
        Some(3) => "an error",
        Some(4) => "a warning",
        Some(5) => "a notice",
        _ => "a remark",
    };
    let meaning = if is_duplicate_packet(seen.text.as_bytes()) {
        " The number of a frame was not the next one. Nothing is ever sent twice, so for the phone \
         this session is dead: it takes nothing but VERSION from now on."
    } else {
        ""
    };
    format!("The phone's kernel says, as {kind}: “{}”.{meaning}", seen.text)
}

fn segment(told: &Told<'_>, seen: &Seen, tcp: &TcpHeader) -> String {
    let phone = told.from_phone;
    let (host_port, phone_port) =
        if phone { (tcp.dest, tcp.source) } else { (tcp.source, tcp.dest) };
    let before = told.before.between(host_port, phone_port).cloned().unwrap_or_default();
    let after = told.after.between(host_port, phone_port).cloned().unwrap_or_default();
    let flags = tcp.flags;
    if flags.contains(Flags::RST) {
        return reset(seen, phone, &before, is_over(told.before, host_port, phone_port));
    }
    match (flags.contains(Flags::SYN), flags.contains(Flags::ACK)) {
        (true, false) => format!(
            "The host opens a connection from its port {host_port} to port {phone_port} of the phone \
             ({}) and grants a window: so many bytes may come before it says more. The field counts \
             256 bytes each, always: {} × 256 = {}.",
            service(phone_port),
            tcp.window_units,
            tcp.window(),
        ),
        (true, true) => format!(
            "The phone accepts, and grants {} bytes for the way there. The SYN counted as one byte, so \
             it expects number {} next.",
            tcp.window(),
            tcp.ack.0,
        ),
        _ if seen.payload > 0 => data(seen, tcp, phone, &before, &after),
        _ => acknowledgement(tcp, phone, &before, &after),
    }
}

/// Whether a connection was there and is over on both sides.
fn is_over(view: &View, host_port: u16, phone_port: u16) -> bool {
    let closed = |one: &Connection| (one.host, one.phone) == (State::Closed, State::Closed);
    view.between(host_port, phone_port).is_some_and(closed)
}

fn reset(seen: &Seen, phone: bool, before: &Connection, is_over: bool) -> String {
    const ONLY_END: &str = "RST is the only end that a connection has, in both directions at once: \
                            there is no FIN.";
    match (phone, before.host) {
        (true, State::SynSent) => {
            format!("The phone refuses the connection{}.", in_words(&seen.text))
        }
        (true, _) if is_ordinary_close(seen.text.as_bytes()) => {
            format!("The program on the phone is done: the phone resets the connection. {ONLY_END}")
        }
        (true, _) => format!("The phone ends this connection{}. {ONLY_END}", in_words(&seen.text)),
        (false, _) if is_over => {
            "The connection is over already, for both: a segment for one that \
             nobody knows is answered by RST, each time one comes."
                .to_owned()
        }
        (false, _) if before.to_host.is_overrun() => format!(
            "The phone sent more than it was granted: the host resets the connection. {ONLY_END}"
        ),
        (false, State::Draining | State::Closed) if before.to_phone.in_flight() == 0 => format!(
            "The host ends the connection; all that it sent is acknowledged already. {ONLY_END}"
        ),
        (false, _) => format!(
            "The host resets the connection. What the phone's program has not read yet is lost. {ONLY_END}"
        ),
    }
}

fn in_words(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(", in words: “{text}”") }
}

fn data(
    seen: &Seen,
    tcp: &TcpHeader,
    phone: bool,
    before: &Connection,
    after: &Connection,
) -> String {
    let sender = if phone { "The phone" } else { "The host" };
    let flow = after.sent_by(phone);
    let bytes = seen.payload;
    let last = tcp.seq.0.wrapping_add(bytes as u32).wrapping_sub(1);
    let numbered = match bytes {
        1 => format!("1 byte of payload, number {}", tcp.seq.0),
        _ => format!("{bytes} bytes of payload, numbers {} to {last}", tcp.seq.0),
    };
    let is_over = (before.host, before.phone) == (State::Closed, State::Closed);
    let allowed = match (flow.is_overrun(), flow.room()) {
        _ if phone && is_over && before.host_port != 0 => {
            " The connection is over: this frame stood in the phone's queue already when RST reached it, \
             so it still comes, and the host drops it."
                .to_owned()
        }
        (true, _) => " That is beyond the window that it was granted!".to_owned(),
        (false, 0) => " The window is used up: it must wait now.".to_owned(),
        (false, room) => format!(" It may send {room} more before it hears of its window again."),
    };
    let earlier = before.sent_by(!phone);
    let now = after.sent_by(!phone);
    let carried = match (phone, now.acked != earlier.acked) {
        (_, false) => "",
        (true, true) => " In the same frame it acknowledges what it received.",
        (false, true) => " In the same frame the host acknowledges what it received.",
    };
    format!("{sender} sends {numbered}.{allowed}{carried}")
}

fn acknowledgement(
    tcp: &TcpHeader,
    phone: bool,
    before: &Connection,
    after: &Connection,
) -> String {
    let (who, other) = if phone { ("The phone", "host") } else { ("The host", "phone") };
    if !phone && before.phone == State::SynReceived {
        return "The third frame of an opening, as in TCP: both sides know now that the other one is \
                there. Such a frame has no payload and is not acknowledged itself."
            .to_owned();
    }
    let (earlier, now) = (before.sent_by(!phone), after.sent_by(!phone));
    let acknowledged = match now.acked.wrapping_sub(earlier.acked) {
        0 => String::new(),
        1 => " acknowledges one byte and".to_owned(),
        bytes if bytes.cast_signed() > 0 => format!(" acknowledges {bytes} bytes and"),
        _ => String::new(),
    };
    let room = match (earlier.window, tcp.window()) {
        (0, 0) => " still has no room".to_owned(),
        (_, 0) => {
            format!(" has no room left: the window is closed, and the {other} must be silent")
        }
        (0, now) => format!(" opens its window again: {now} bytes may come"),
        (_, now) => format!(" has room for {now} more, {} × 256", tcp.window_units),
    };
    // Bytes are acknowledged as their packets arrive.
    let is_early = now.next.wrapping_sub(now.acked).cast_signed() < 0;
    let early = match is_early {
        true => {
            " (The frame with these bytes is still on its way: an arrow stands where its last packet \
             arrived.)"
        }
        false => "",
    };
    format!("{who}{acknowledged}{room}.{early}")
}

/// What there is to say about packets.
fn packets(told: &Told<'_>) -> Option<String> {
    let Told { full, packets, message, .. } = *told;
    let count = packets.len();
    let length = message.len();
    // A trace does not tell packets.
    packets.last()?;
    if packets.last() == Some(&0) {
        let whole = count - 1;
        let fills = match whole {
            1 => "fill a packet exactly".to_owned(),
            _ => format!("fill {whole} packets exactly"),
        };
        return Some(format!(
            "Its {length} bytes {fills}, so an empty packet (ZLP) must follow to say: this is the end."
        ));
    }
    let is_trimmed = !told.from_phone && length == Seen::new(message).length && length < MAX_FRAME;
    if is_trimmed && length % full == full - 1 && length > full / 2 {
        return Some(format!(
            "One byte short of {}: the engine makes such frames so that it never needs an empty packet; \
             a byte that is left over goes with the next frame.",
            if count == 1 { "a full packet".to_owned() } else { format!("{count} full packets") }
        ));
    }
    (count > 1).then(|| {
        format!(
            "Over USB its {length} bytes go in {count} packets of at most {full}; the last one is \
                 short, and that ends the message."
        )
    })
}
