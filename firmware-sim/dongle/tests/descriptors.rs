//! What a device says of itself, and what the dongle makes of it: unusual phones, no phones, and
//! answers that make no sense.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::World;
use common::bus::{Clock, Forger};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use usbmux_dongle::usb::Setup;
use usbmux_phone::device::Control;

const SECOND: Duration = Duration::from_secs(1);

const GET_DESCRIPTOR: u8 = 6;
const DEVICE: u16 = 0x0100;
const SERIAL: u16 = 0x0303;

fn is_descriptor(setup: Setup, value: u16) -> bool {
    (setup.request_type, setup.request, setup.value) == (0x80, GET_DESCRIPTOR, value)
}

/// Changes the answer to one GET_DESCRIPTOR.
fn change(value: u16, mut with: impl FnMut(&mut Vec<u8>) + 'static) -> Forger {
    Box::new(move |setup, mut answer| {
        if let Control::Data(data) = &mut answer
            && is_descriptor(setup, value)
        {
            with(data);
            data.truncate(setup.length.into());
        }
        answer
    })
}

/// The configuration that is set, with these answers; none if the dongle gives up.
fn configured(forger: Forger) -> Option<u8> {
    let clock = Clock::default();
    let mut world = World::new(&clock);
    let set = Rc::new(RefCell::new(None));
    let (seen, mut forger) = (set.clone(), forger);
    world.bus.forger = Some(Box::new(move |setup, answer| {
        if (setup.request_type, setup.request) == (0, 9) {
            seen.replace(Some(setup.value as u8));
        }
        forger(setup, answer)
    }));
    world.pass(10 * SECOND);
    assert_eq!(world.dongle.phone().is_some(), set.borrow().is_some());
    set.take()
}

#[test]
fn number_3_is_chosen_unless_another_is_active_or_it_has_no_mux() {
    let as_it_is = || -> Forger { Box::new(|_, answer| answer) };
    assert_eq!(configured(as_it_is()), Some(3));
    let active: Forger = Box::new(|setup, answer| match setup.request {
        8 => Control::Data(vec![4]),
        _ => answer,
    });
    assert_eq!(configured(active), Some(4), "it is not left");
    // Number 3 without mux: 4 is the only one left.
    assert_eq!(configured(change(0x0202, |data| data.fill(0))), Some(4));
    let stalls: Forger = Box::new(|setup, answer| match is_descriptor(setup, 0x0202) {
        true => Control::Stall,
        false => answer,
    });
    assert_eq!(configured(stalls), Some(4), "one that cannot be read leaves the others");
}

#[test]
fn what_is_no_phone_is_left_alone() {
    for place in [8, 10] {
        // Another vendor, another product.
        let clock = Clock::default();
        let mut world = World::new(&clock);
        world.bus.forger = Some(change(DEVICE, move |data| {
            if let Some(byte) = data.get_mut(place) {
                *byte ^= 0x40;
            }
        }));
        world.pass(30 * SECOND);
        assert!(world.dongle.phone().is_none());
        assert_eq!((world.bus.resets, world.dongle.counters().recoveries), (1, 0));
        world.bus.unplug();
        world.bus.forger = None;
        world.pass(SECOND);
        world.bus.plug_in();
        world.ready();
    }
    let without_mux: Forger = Box::new(|setup, answer| match (answer, setup.value >> 8) {
        (Control::Data(data), 2) => Control::Data(vec![0; data.len()]),
        (answer, _) => answer,
    });
    assert_eq!(configured(without_mux), None);
    for (size, expected) in [(32, None), (64, Some(3))] {
        let small: Forger = Box::new(move |setup, mut answer| {
            if let (Control::Data(data), 2) = (&mut answer, setup.value >> 8) {
                let endpoints = data.windows(4).enumerate();
                let bulk = endpoints.filter(|(_, bytes)| bytes[..2] == [7, 5] && bytes[3] == 2);
                for at in bulk.map(|(at, _)| at).collect::<Vec<_>>() {
                    data[at + 4..at + 6].copy_from_slice(&[size, 0]);
                }
            }
            answer
        });
        assert_eq!(configured(small), expected, "packets of {size} bytes");
    }
}

#[test]
fn serial_is_the_udid() {
    let shown = |text: &'static str| {
        let clock = Clock::default();
        let mut world = World::new(&clock);
        world.bus.forger = Some(change(SERIAL, move |data| {
            *data = vec![0, 3];
            data.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            data[0] = data.len() as u8;
        }));
        world.pass(5 * SECOND);
        world.dongle.phone().map(|phone| phone.serial.to_string())
    };
    let old = "0123456789abcdef0123456789abcdef01234567";
    assert_eq!(shown(old).as_deref(), Some(old));
    assert_eq!(
        shown("00008030001234567890ABCD\0\0\0\0").as_deref(),
        Some("00008030-001234567890ABCD")
    );
    assert_eq!(shown(""), None);
    assert_eq!(shown("\0\0\0"), None);
    assert_eq!(shown("0123456789abcdef0123456789abcdef0123456789"), None, "longer than any UDID");
}

#[test]
fn every_truncated_answer_is_survived() {
    // Each of the answers of an enumeration, cut to each of its lengths.
    for value in [DEVICE, SERIAL, 0x0200, 0x0201, 0x0202, 0x0203] {
        for length in 0..100 {
            let clock = Clock::default();
            let mut world = World::new(&clock);
            let cut = Rc::new(Cell::new(false));
            let was_cut = cut.clone();
            world.bus.forger = Some(change(value, move |data| {
                was_cut.set(was_cut.get() || length < data.len());
                data.truncate(length);
            }));
            world.pass(2 * SECOND);
            if !cut.get() {
                assert!(world.dongle.phone().is_some());
                break;
            }
            world.bus.forger = None;
            world.bus.unplug();
            world.pass(SECOND);
            world.bus.plug_in();
            world.ready();
        }
    }
}

#[test]
fn nonsense_is_survived() {
    for seed in 0..200 {
        let clock = Clock::default();
        let mut world = World::new(&clock);
        let mut random = common::Random(seed);
        world.bus.forger = Some(Box::new(move |_, answer| match (random.below(4), answer) {
            (0, Control::Data(mut data)) if !data.is_empty() => {
                let at = random.below(data.len());
                data[at] = random.below(256) as u8;
                Control::Data(data)
            }
            (1, _) if random.below(3) == 0 => Control::Stall,
            (2, _) if random.below(6) == 0 => Control::Silence,
            (_, answer) => answer,
        }));
        world.pass(20 * SECOND);
        world.bus.forger = None;
        world.bus.unplug();
        world.pass(SECOND);
        world.bus.plug_in();
        world.until(20 * SECOND, |world| world.dongle.phone().is_some());
    }
}
