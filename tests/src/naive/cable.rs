//! The cable: what USB makes of messages. A message is cut into packets, and only a short packet (or a zero-length
//! one) ends it; the host's reads end there too, or when the requested length is reached. (PROTOCOL §4.)

/// One completed read of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What arrived.
    pub bytes: Vec<u8>,
    /// True when the transfer ended with a short packet or a ZLP; false when the read was filled.
    pub ends: bool,
}

/// The packets of one transfer, as its sender's controller cuts them. An empty transfer is one zero-length packet;
/// no ZLP is added to a multiple of the packet size: who wants one sends an empty transfer behind.
#[must_use]
pub fn packets(transfer: &[u8], max_packet: usize) -> Vec<Vec<u8>> {
    if transfer.is_empty() {
        return vec![vec![]];
    }
    transfer.chunks(max_packet).map(<[u8]>::to_vec).collect()
}

/// What reads of `requested` bytes see of one message whose sender ends it properly (with a ZLP where needed).
///
/// `requested` is a multiple of the packet size, or the host would lose bytes.
#[must_use]
pub fn completions(message: &[u8], requested: usize) -> Vec<Completion> {
    let mut reads = Vec::new();
    let mut rest = message;
    while rest.len() >= requested {
        reads.push(Completion { bytes: rest[..requested].to_vec(), ends: false });
        rest = &rest[requested..];
    }
    reads.push(Completion { bytes: rest.to_vec(), ends: true });
    reads
}

/// Puts packets together until one is short, as the phone does with what the host sends.
#[derive(Debug, Default)]
pub struct Assembler {
    message: Vec<u8>,
}

impl Assembler {
    /// Takes one packet; returns the message that it ends.
    pub fn packet(&mut self, packet: &[u8], max_packet: usize) -> Option<Vec<u8>> {
        self.message.extend(packet);
        (packet.len() < max_packet).then(|| std::mem::take(&mut self.message))
    }

    /// Bytes that wait for the end of their message.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.message.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_only_at_a_short_packet() {
        let mut assembler = Assembler::default();
        let mut messages = Vec::new();
        for transfer in [vec![1; 512], vec![2; 3], vec![3; 512], vec![]] {
            for packet in packets(&transfer, 512) {
                messages.extend(assembler.packet(&packet, 512));
            }
        }
        assert_eq!(messages, [[vec![1; 512], vec![2; 3]].concat(), vec![3; 512]]);
        assert_eq!(assembler.waiting(), 0);
    }

    #[test]
    fn a_read_ends_when_full_or_at_the_end_of_the_message() {
        let lengths = |length, requested| {
            let reads = completions(&vec![0; length], requested);
            reads.iter().map(|read| (read.bytes.len(), read.ends)).collect::<Vec<_>>()
        };
        assert_eq!(lengths(20, 512), [(20, true)]);
        assert_eq!(lengths(512, 512), [(512, false), (0, true)]);
        assert_eq!(lengths(512, 1024), [(512, true)]);
        assert_eq!(lengths(1030, 512), [(512, false), (512, false), (6, true)]);
    }
}
