//! Endpoint zero: the standard requests, and the vendor requests about modes.
//!
//! Answers are computed from the request and the state alone; the plug carries them. A mode switch
//! ends in re-enumeration, which is the plug's work too. Class requests (pictures, sound, HID) are
//! left out: they stall, as unknown requests do.

use crate::descriptors::{self, kind};
use crate::identity::Identity;
use crate::options::{Quirk, Quirks};

/// The initial mode, in which a phone has the four configurations of [`descriptors`].
pub const INITIAL_MODE: u8 = 1;

/// How many configurations, the first ones, have no mux interface.
const WITHOUT_MUX: usize = 2;

/// The eight bytes of a SETUP packet (USB 2.0 table 9-2); numbers are little-endian on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Direction, type and recipient.
    #[doc(alias = "bmRequestType")]
    pub request_type: u8,
    /// What is asked.
    #[doc(alias = "bRequest")]
    pub request: u8,
    /// First parameter.
    #[doc(alias = "wValue")]
    pub value: u16,
    /// Second parameter.
    #[doc(alias = "wIndex")]
    pub index: u16,
    /// Bytes of the data stage, at most.
    #[doc(alias = "wLength")]
    pub length: u16,
}

impl Setup {
    /// Reads a SETUP packet.
    pub fn parse(bytes: &[u8; 8]) -> Self {
        let [request_type, request, a, b, c, d, e, f] = *bytes;
        Setup {
            request_type,
            request,
            value: u16::from_le_bytes([a, b]),
            index: u16::from_le_bytes([c, d]),
            length: u16::from_le_bytes([e, f]),
        }
    }

    /// Whether it asks for a configuration, the active one included: either way the interfaces
    /// begin anew (USB 2.0 §9.1.1.5).
    pub fn is_set_configuration(&self) -> bool {
        (self.request_type, self.request) == (0x00, request::SET_CONFIGURATION)
    }

    /// Whether it clears the halt of the endpoint whose address is the index (USB 2.0 §9.4.1).
    pub fn is_clear_halt(&self) -> bool {
        (self.request_type, self.request, self.value) == (0x02, request::CLEAR_FEATURE, 0)
    }
}

/// What the phone answers to a SETUP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These bytes in the data stage, no more than were asked for; empty where there is none.
    Data(Vec<u8>),
    /// The same, and after it the phone leaves the bus and comes back in another mode.
    Switch {
        /// The data stage.
        data: Vec<u8>,
        /// The mode to come back in.
        mode: u8,
    },
    /// The phone does not do that.
    Stall,
    /// Nothing, for ever: the host gives up.
    Nothing,
}

/// Endpoint zero's memory: what SET_… requests changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlEndpoint {
    identity: Identity,
    max_packet: u16,
    mode: u8,
    configuration: u8,
    ethernet_alternate: u8,
    /// What comes in place of an answer about modes, if there is none.
    mode_trouble: Option<Answer>,
    no_mux: bool,
}

mod request {
    pub(super) const GET_STATUS: u8 = 0;
    pub(super) const CLEAR_FEATURE: u8 = 1;
    pub(super) const SET_ADDRESS: u8 = 5;
    pub(super) const GET_DESCRIPTOR: u8 = 6;
    pub(super) const GET_CONFIGURATION: u8 = 8;
    pub(super) const SET_CONFIGURATION: u8 = 9;
    pub(super) const GET_INTERFACE: u8 = 10;
    pub(super) const SET_INTERFACE: u8 = 11;
    /// Apple's.
    pub(super) const GET_MODE: u8 = 0x45;
    /// Apple's.
    pub(super) const SET_MODE: u8 = 0x52;
}

impl ControlEndpoint {
    /// A phone that was just plugged in: not configured, in the initial mode.
    pub fn new(identity: Identity, max_packet: u16) -> Self {
        ControlEndpoint {
            identity,
            max_packet,
            mode: INITIAL_MODE,
            configuration: 0,
            ethernet_alternate: 0,
            mode_trouble: None,
            no_mux: false,
        }
    }

    /// The same phone with those of the quirks that are about endpoint zero.
    pub fn with_quirks(mut self, quirks: &Quirks) -> Self {
        for quirk in quirks.iter() {
            match quirk {
                Quirk::StallMode => self.mode_trouble = Some(Answer::Stall),
                Quirk::SilentMode => self.mode_trouble = Some(Answer::Nothing),
                Quirk::NoMux => self.no_mux = true,
                _ => {}
            }
        }
        self
    }

    /// The values of the configurations that it has.
    fn configurations(&self) -> &'static [u8] {
        let all = &descriptors::CONFIGURATIONS;
        if self.no_mux { all.get(..WITHOUT_MUX).unwrap_or(all) } else { all }
    }

    /// The cable was pulled, or the phone left the bus to switch its mode: the mode alone stays.
    pub fn leave_bus(&mut self) {
        self.configuration = 0;
        self.ethernet_alternate = 0;
    }

    /// The active configuration's value; 0 while there is none.
    pub fn configuration(&self) -> u8 {
        self.configuration
    }

    /// Whether the mux interface exists now: in configurations 3 and 4.
    pub fn has_mux(&self) -> bool {
        matches!(self.configuration, 3 | 4)
    }

    /// Answers one request; the data stage of those with one to the phone is always empty.
    pub fn answer(&mut self, setup: Setup) -> Answer {
        let mut answer = match setup.request_type & 0x60 {
            0x00 => self.standard(setup),
            0x40 => self.vendor(setup),
            _ => None,
        };
        if let Some(Answer::Data(data) | Answer::Switch { data, .. }) = &mut answer {
            data.truncate(usize::from(setup.length));
        }
        answer.unwrap_or(Answer::Stall)
    }

    fn standard(&mut self, setup: Setup) -> Option<Answer> {
        let [low, high] = setup.value.to_le_bytes();
        let data = match (setup.request_type, setup.request) {
            (0x80, request::GET_DESCRIPTOR) => self.descriptor(high, low)?,
            // Self powered, no remote wakeup; interfaces and endpoints: nothing to report.
            (0x80, request::GET_STATUS) => vec![1, 0],
            (0x81 | 0x82, request::GET_STATUS) => vec![0, 0],
            (0x00, request::SET_ADDRESS) => vec![],
            (0x80, request::GET_CONFIGURATION) => vec![self.configuration],
            (0x00, request::SET_CONFIGURATION) => {
                if low != 0 && !self.configurations().contains(&low) {
                    return None;
                }
                self.configuration = low;
                self.ethernet_alternate = 0;
                vec![]
            }
            (0x81, request::GET_INTERFACE) => vec![self.alternate(setup.index)?],
            (0x01, request::SET_INTERFACE) => {
                self.alternate(setup.index)?;
                match (setup.index, setup.value) {
                    (2, alternate @ (0 | 1)) if self.configuration == 4 => {
                        self.ethernet_alternate = u8::from(alternate == 1);
                    }
                    (_, 0) => {}
                    _ => return None,
                }
                vec![]
            }
            // What is halted, the cable knows.
            _ if setup.is_clear_halt() => vec![],
            _ => return None,
        };
        Some(Answer::Data(data))
    }

    /// The alternate setting of an interface of the active configuration.
    pub(crate) fn alternate(&self, interface: u16) -> Option<u8> {
        let interfaces = match self.configuration {
            1 => 1,
            3 => 2,
            2 | 4 => 3,
            _ => 0,
        };
        match interface {
            2 if self.configuration == 4 => Some(self.ethernet_alternate),
            _ => (interface < interfaces).then_some(0),
        }
    }

    fn descriptor(&self, kind: u8, index: u8) -> Option<Vec<u8>> {
        let value = || self.configurations().get(usize::from(index)).copied();
        match kind {
            kind::DEVICE => Some(self.counted(&descriptors::device(self.max_packet), 17)),
            kind::CONFIGURATION => descriptors::configuration(value()?, self.max_packet),
            kind::STRING => descriptors::string(index, &self.identity),
            kind::BOS if descriptors::is_super_speed(self.max_packet) => {
                Some(descriptors::BOS.to_vec())
            }
            kind::DEVICE_QUALIFIER => Some(self.counted(&descriptors::device_qualifier(), 8)),
            kind::OTHER_SPEED_CONFIGURATION => {
                descriptors::other_speed_configuration(value()?, self.max_packet)
            }
            _ => None,
        }
    }

    /// A descriptor with bNumConfigurations at this place.
    fn counted(&self, descriptor: &[u8], at: usize) -> Vec<u8> {
        let mut descriptor = descriptor.to_vec();
        if let Some(count) = descriptor.get_mut(at) {
            *count = self.configurations().len() as u8;
        }
        descriptor
    }

    fn vendor(&mut self, setup: Setup) -> Option<Answer> {
        match (setup.request_type, setup.request) {
            (0xc0, request::GET_MODE | request::SET_MODE) if self.mode_trouble.is_some() => {
                self.mode_trouble.clone()
            }
            // The initial mode answers 03, any other 05 (PROTOCOL §1).
            (0xc0, request::GET_MODE) => {
                let first = if self.mode == INITIAL_MODE { 3 } else { 5 };
                Some(Answer::Data(vec![first, 3, 3, 0]))
            }
            (0xc0, request::SET_MODE) => {
                self.mode = u8::try_from(setup.index).ok()?;
                self.leave_bus();
                Some(Answer::Switch { data: vec![0], mode: self.mode })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn phone() -> ControlEndpoint {
        ControlEndpoint::new(Identity::new(1), 512)
    }

    fn ask(endpoint: &mut ControlEndpoint, bytes: [u8; 8]) -> Answer {
        endpoint.answer(Setup::parse(&bytes))
    }

    #[test]
    fn a_host_reads_the_descriptors_as_it_enumerates() {
        let mut endpoint = phone();
        let device = ask(&mut endpoint, [0x80, 6, 0, 1, 0, 0, 64, 0]);
        assert_eq!(device, Answer::Data(descriptors::device(512).to_vec()));
        let head = ask(&mut endpoint, [0x80, 6, 3, 2, 0, 0, 9, 0]);
        let Answer::Data(head) = head else { panic!("stalled") };
        assert_eq!((head.len(), head[5]), (9, 4), "index 3 is configuration 4, cut to 9 bytes");
        assert_eq!(ask(&mut endpoint, [0x80, 6, 4, 2, 0, 0, 9, 0]), Answer::Stall);
        assert_eq!(
            ask(&mut endpoint, [0x80, 6, 0, 3, 0, 0, 255, 0]),
            Answer::Data(vec![4, 3, 9, 4])
        );
    }

    #[test]
    fn a_configuration_is_chosen_and_read_back() {
        let mut endpoint = phone();
        assert_eq!(ask(&mut endpoint, [0x80, 8, 0, 0, 0, 0, 1, 0]), Answer::Data(vec![0]));
        assert!(!endpoint.has_mux());
        assert_eq!(ask(&mut endpoint, [0x00, 9, 4, 0, 0, 0, 0, 0]), Answer::Data(vec![]));
        assert_eq!(ask(&mut endpoint, [0x80, 8, 0, 0, 0, 0, 1, 0]), Answer::Data(vec![4]));
        assert!(endpoint.has_mux());
        assert_eq!(ask(&mut endpoint, [0x00, 9, 9, 0, 0, 0, 0, 0]), Answer::Stall);
        assert_eq!(endpoint.configuration(), 4);
        assert_eq!(ask(&mut endpoint, [0x01, 11, 1, 0, 2, 0, 0, 0]), Answer::Data(vec![]));
        assert_eq!(ask(&mut endpoint, [0x81, 10, 0, 0, 2, 0, 1, 0]), Answer::Data(vec![1]));
        assert_eq!(ask(&mut endpoint, [0x01, 11, 1, 0, 1, 0, 0, 0]), Answer::Stall);
        assert_eq!(ask(&mut endpoint, [0x81, 10, 0, 0, 3, 0, 1, 0]), Answer::Stall);
    }

    #[test]
    fn the_mode_is_told_and_a_switch_means_re_enumeration() {
        let mut endpoint = phone();
        let get_mode = [0xc0, 0x45, 0, 0, 0, 0, 4, 0];
        assert_eq!(ask(&mut endpoint, get_mode), Answer::Data(vec![3, 3, 3, 0]));
        ask(&mut endpoint, [0x00, 9, 4, 0, 0, 0, 0, 0]);
        assert_eq!(
            ask(&mut endpoint, [0xc0, 0x52, 0, 0, 3, 0, 1, 0]),
            Answer::Switch { data: vec![0], mode: 3 }
        );
        assert_eq!(ask(&mut endpoint, get_mode), Answer::Data(vec![5, 3, 3, 0]));
        assert_eq!(endpoint.configuration(), 0);
    }

    fn odd(quirk: Quirk) -> ControlEndpoint {
        phone().with_quirks(&[quirk].into_iter().collect())
    }

    #[test]
    fn a_phone_may_stall_the_requests_about_modes_or_say_nothing() {
        let (get_mode, set_mode) = ([0xc0, 0x45, 0, 0, 0, 0, 4, 0], [0xc0, 0x52, 0, 0, 3, 0, 1, 0]);
        for (quirk, answer) in
            [(Quirk::StallMode, Answer::Stall), (Quirk::SilentMode, Answer::Nothing)]
        {
            let mut endpoint = odd(quirk);
            assert_eq!(ask(&mut endpoint, get_mode), answer);
            assert_eq!(ask(&mut endpoint, set_mode), answer);
            // Everything else is as ever.
            assert_eq!(ask(&mut endpoint, [0x00, 9, 4, 0, 0, 0, 0, 0]), Answer::Data(vec![]));
            assert!(endpoint.has_mux());
        }
    }

    #[test]
    fn a_phone_without_mux_has_the_first_two_configurations() {
        let mut endpoint = odd(Quirk::NoMux);
        let descriptor = |endpoint: &mut ControlEndpoint, kind, index| match ask(
            endpoint,
            [0x80, 6, index, kind, 0, 0, 255, 0],
        ) {
            Answer::Data(bytes) => Some(bytes),
            _ => None,
        };
        assert_eq!(descriptor(&mut endpoint, 1, 0).unwrap()[17], 2);
        assert_eq!(descriptor(&mut endpoint, 6, 0).unwrap()[8], 2);
        let values = [0, 1, 2].map(|at| Some(descriptor(&mut endpoint, 2, at)?[5]));
        assert_eq!(values, [Some(1), Some(2), None]);
        assert_eq!(ask(&mut endpoint, [0x00, 9, 4, 0, 0, 0, 0, 0]), Answer::Stall);
        assert_eq!(ask(&mut endpoint, [0x00, 9, 2, 0, 0, 0, 0, 0]), Answer::Data(vec![]));
    }

    #[test]
    fn what_a_phone_does_not_know_stalls() {
        let mut endpoint = phone();
        assert_eq!(ask(&mut endpoint, [0xc0, 0x77, 0, 0, 0, 0, 4, 0]), Answer::Stall);
        assert_eq!(ask(&mut endpoint, [0xa1, 1, 0, 0, 0, 0, 4, 0]), Answer::Stall);
        assert_eq!(ask(&mut endpoint, [0x80, 6, 0, 0x0f, 0, 0, 5, 0]), Answer::Stall);
    }
}
