//! The phones of a life, and how connections to each may end.

use crate::random::Random;
use std::time::Duration;
use usbmux_phone::Quirk;

/// Phones without quirks, the first ones.
const HEALTHY: usize = 2;
/// Phones with several quirks that lose nothing, the last ones.
const MIXED: usize = 2;
/// How long a phone that was pulled out stays away.
const AWAY: Duration = Duration::from_millis(700);

/// One phone of a life.
#[derive(Clone, Debug)]
pub struct Phone {
    /// From 1; the end of its serial.
    pub number: u32,
    /// What is wrong with it.
    pub quirks: Vec<Quirk>,
}

impl Phone {
    /// The phone's serial as clients see it.
    #[must_use]
    pub fn udid(&self) -> String {
        format!("00008030-{:016X}", self.number)
    }

    /// Its quirks for people.
    #[must_use]
    pub fn nature(&self) -> String {
        let names: Vec<_> = self.quirks.iter().map(Quirk::to_string).collect();
        if names.is_empty() { "no quirk".into() } else { names.join(" ") }
    }

    /// Whether nothing may ever happen to its connections but what its clients do.
    #[must_use]
    pub fn keeps_everything(&self) -> bool {
        !self.quirks.iter().any(destroys)
    }

    /// Whether it comes and goes.
    #[must_use]
    pub fn comes_and_goes(&self) -> bool {
        self.quirks.iter().any(|quirk| matches!(quirk, Quirk::Unplug { .. }))
    }

    /// Whether it answers its first greeting.
    #[must_use]
    pub fn answers_at_once(&self) -> bool {
        !self.quirks.iter().any(|quirk| matches!(quirk, Quirk::SilentVersion { .. }))
    }

    /// How long it may not be listed before a greeting is due.
    #[must_use]
    pub fn away(&self) -> Duration {
        if self.comes_and_goes() { AWAY } else { Duration::ZERO }
    }

    /// Whether a connection may be over early for this reason, as the daemon tells it; none if it tells none.
    #[must_use]
    pub fn may_end(&self, reason: Option<&str>) -> bool {
        let Some(reason) = reason else { return false };
        self.quirks.iter().any(|quirk| match quirk {
            Quirk::Overrun => reason == "the peer sent more than its window allowed",
            Quirk::RstText => reason == "connection failed",
            Quirk::Unplug { .. } => reason == "unplugged",
            Quirk::LostTransfer { .. } => reason == "the session died",
            _ => false,
        })
    }

    /// Whether a Connect may fail with this Result, to a port that somebody serves.
    #[must_use]
    pub fn may_refuse(&self, number: u64) -> bool {
        self.quirks.iter().any(|quirk| match quirk {
            Quirk::Unplug { .. } => number == 2,
            Quirk::LostTransfer { .. } | Quirk::SilentConnect => number == 3,
            _ => false,
        })
    }

    /// How much one client may move in a few seconds.
    #[must_use]
    pub fn appetite(&self) -> usize {
        let least = |quirk: &Quirk| match quirk {
            Quirk::TinyWindow => 48 << 10,
            Quirk::Slow => 128 << 10,
            _ => 1 << 20,
        };
        self.quirks.iter().map(least).min().unwrap_or(2 << 20)
    }
}

/// Whether a quirk ends connections.
fn destroys(quirk: &Quirk) -> bool {
    matches!(
        quirk,
        Quirk::Overrun | Quirk::RstText | Quirk::Unplug { .. } | Quirk::LostTransfer { .. }
    )
}

/// The phones of a life: some without quirks, one for each quirk, some with several.
#[must_use]
pub fn fleet(random: &mut Random) -> Vec<Phone> {
    let millis =
        |from, to, random: &mut Random| Duration::from_millis(random.between(from, to) as u64);
    let unplug = |random: &mut Random| {
        [Quirk::Unplug { after: millis(800, 5000, random) }, Quirk::Replug { after: AWAY }]
    };
    let mut all: Vec<Vec<Quirk>> = vec![Vec::new(); HEALTHY];
    let harmless = [
        Quirk::LenientSeq,
        Quirk::StaleSession,
        Quirk::TrailingBytes,
        Quirk::V1,
        Quirk::TinyWindow,
        Quirk::Slow,
        Quirk::SilentVersion { times: Some(random.between(1, 2) as u32) },
    ];
    all.extend(harmless.map(|quirk| vec![quirk]));
    all.push(vec![Quirk::SilentVersion { times: None }]);
    all.push(vec![Quirk::SilentConnect]);
    all.push(vec![Quirk::Overrun]);
    all.push(vec![Quirk::RstText]);
    all.push(unplug(random).to_vec());
    // With every replugging one more transfer is lost.
    let lost = Quirk::LostTransfer { number: random.between(20, 600) as u32 };
    all.push(vec![lost]);
    all.push([&[lost, Quirk::StaleSession][..], &unplug(random)].concat());
    for _ in 0..MIXED {
        all.push(harmless.into_iter().filter(|_| random.once_in(2)).collect());
    }
    (1..).zip(all).map(|(number, quirks)| Phone { number, quirks }).collect()
}

/// The daemon's options for these phones.
#[must_use]
pub fn options(phones: &[Phone]) -> Vec<String> {
    let option = |phone: &Phone| {
        let number = phone.number;
        let quirk = move |quirk: &Quirk| format!("--phone-quirk={number}:{quirk}");
        phone.quirks.iter().map(quirk).collect::<Vec<_>>()
    };
    phones.iter().flat_map(option).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use usbmux_phone::QUIRK_NAMES;

    /// Quirks of endpoint zero, which a phone in the daemon's own process has none of.
    const ON_A_USB_PLUG: [&str; 3] = ["stall-mode", "silent-mode", "no-mux"];

    #[test]
    fn every_quirk_has_a_phone_and_two_phones_have_none() {
        let fleet = fleet(&mut Random::new(1));
        let names = QUIRK_NAMES.iter().map(|name| name.split(['=', '[']).next().unwrap());
        for name in names.filter(|name| !ON_A_USB_PLUG.contains(name)) {
            let has = |phone: &Phone| phone.quirks.iter().any(|q| q.to_string().starts_with(name));
            assert!(fleet.iter().any(has), "{name}");
        }
        assert!(fleet.iter().filter(|phone| phone.quirks.is_empty()).count() >= 2);
    }

    #[test]
    fn an_early_end_is_pardoned_only_where_a_quirk_explains_it() {
        let phone = |quirks: &[Quirk]| Phone { number: 1, quirks: quirks.to_vec() };
        let (healthy, overrun) = (phone(&[]), phone(&[Quirk::Overrun]));
        let reason = "the peer sent more than its window allowed";
        assert!(overrun.may_end(Some(reason)) && !overrun.may_end(Some("unplugged")));
        assert!(!overrun.may_end(None) && !overrun.may_refuse(3) && !overrun.keeps_everything());
        assert!(!healthy.may_end(Some(reason)) && !healthy.may_end(None) && !healthy.may_refuse(3));
        assert!(healthy.keeps_everything() && phone(&[Quirk::Slow, Quirk::V1]).keeps_everything());
    }
}
