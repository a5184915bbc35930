//! What can go wrong on a USB cable, by chance from a seed or once by order.

use fastrand::Rng;

/// Something that goes wrong with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The host's packet is damaged: the phone hears nothing and says nothing.
    LostPacket,
    /// The handshake is damaged: the phone did its part, the host does not know.
    LostHandshake,
    /// The phone sends more than a packet may have; the host hangs up on it.
    Babble,
}

/// How often transactions go wrong, in parts of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// [`Fault::LostPacket`].
    pub lost_packet_ppm: u32,
    /// [`Fault::LostHandshake`].
    pub lost_handshake_ppm: u32,
    /// [`Fault::Babble`].
    pub babble_ppm: u32,
}

/// Decides for each transaction whether it goes wrong.
#[derive(Debug)]
pub(crate) struct Fate {
    rates: FaultRates,
    random: Rng,
    /// What goes wrong with the next transactions, before chance has its turn.
    ordered: Vec<Fault>,
}

impl Fate {
    pub(crate) fn new(rates: FaultRates, seed: u64) -> Self {
        Fate { rates, random: Rng::with_seed(seed), ordered: Vec::new() }
    }

    pub(crate) fn set_rates(&mut self, rates: FaultRates) {
        self.rates = rates;
    }

    pub(crate) fn order(&mut self, fault: Fault) {
        self.ordered.insert(0, fault);
    }

    pub(crate) fn decide(&mut self) -> Option<Fault> {
        if let Some(fault) = self.ordered.pop() {
            return Some(fault);
        }
        let FaultRates { lost_packet_ppm, lost_handshake_ppm, babble_ppm } = self.rates;
        if self.rates == FaultRates::default() {
            return None;
        }
        let dice = self.random.u32(..1_000_000);
        [
            (lost_packet_ppm, Fault::LostPacket),
            (lost_handshake_ppm, Fault::LostHandshake),
            (babble_ppm, Fault::Babble),
        ]
        .into_iter()
        .scan(0, |sum, (ppm, fault)| {
            *sum += ppm;
            Some((*sum, fault))
        })
        .find_map(|(sum, fault)| (dice < sum).then_some(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64) -> Vec<Option<Fault>> {
        let rates =
            FaultRates { lost_packet_ppm: 100_000, lost_handshake_ppm: 50_000, babble_ppm: 50_000 };
        let mut fate = Fate::new(rates, seed);
        (0..10_000).map(|_| fate.decide()).collect()
    }

    #[test]
    fn the_same_seed_goes_wrong_in_the_same_way_and_as_often_as_it_should() {
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        let count = |fault| fates(7).iter().filter(|fate| **fate == Some(fault)).count();
        assert!((900..1100).contains(&count(Fault::LostPacket)));
        assert!((400..600).contains(&count(Fault::LostHandshake)));
        assert!((400..600).contains(&count(Fault::Babble)));
    }

    #[test]
    fn orders_are_carried_out_in_their_order() {
        let mut fate = Fate::new(FaultRates::default(), 1);
        fate.order(Fault::Babble);
        fate.order(Fault::LostPacket);
        assert_eq!(fate.decide(), Some(Fault::Babble));
        assert_eq!(fate.decide(), Some(Fault::LostPacket));
        assert_eq!(fate.decide(), None);
    }
}
