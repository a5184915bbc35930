//! Much traffic over the simulated board, in virtual time: how fast it is, and that nothing is lost
//! whatever goes wrong on the bus and on the cable. Each run prints its figures and, where chance
//! plays a part, its seed; `USBMUX_SEED` replays one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use usbmux_dongle::Forward;
use usbmux_dongle::usb::Speed;
use usbmux_firmware_sim::Nanos;
use usbmux_firmware_sim::board::{Board, BoardOptions};
use usbmux_firmware_sim::bus::{Fault, FaultRates};
use usbmux_firmware_sim::cable::{CableQuality, End};
use usbmux_firmware_sim::cpu::Cpu;
use usbmux_firmware_sim::firmware::RamPlan;
use usbmux_firmware_sim::pc::client::{Content, Progress, Stream, Streams};
use usbmux_phone::descriptors::{MUX_IN, MUX_OUT};
use usbmux_phone::{CHARGEN, DISCARD, ECHO, Quirk};

const FORWARDS: [Forward; 3] = [
    Forward { port: 7, device_port: ECHO },
    Forward { port: 9, device_port: DISCARD },
    Forward { port: 19, device_port: CHARGEN },
];
const MEGABYTE: u64 = 1_000_000;
/// What a full-speed bulk pipe carries in a second (USB 2.0 table 5-9), in bytes.
const FULL_SPEED: f64 = 1_216_000.0;

fn options() -> BoardOptions {
    BoardOptions { forwards: FORWARDS.to_vec(), ..BoardOptions::default() }
}

/// A dongle with an address and a phone that it knows.
fn ready(options: &BoardOptions) -> Board {
    let mut board = Board::new(options).unwrap();
    board.plug_in();
    wait_for_phone(&mut board);
    board
}

fn wait_for_phone(board: &mut Board) {
    let limit = board.now() + Nanos::from_millis(60_000);
    let found = board.run_while(limit, &mut (), |board| {
        board.pc.dongle_address().is_none() || board.dongle().phone().is_none()
    });
    assert!(found, "no phone, or no address");
}

fn streams(count: u32, port: u16, content: Content) -> Streams {
    Streams((0..count).map(|salt| Stream::new(port, content, salt)).collect())
}

/// Runs streams to their end; bytes of payload a second, both ways together.
fn run(board: &mut Board, streams: &mut Streams, name: &str) -> f64 {
    let (before, busy) = (board.now(), board.busy());
    let limit = before + Nanos::from_millis(3_600_000);
    let done = streams.run(board, limit);
    assert!(done, "{streams:#?} {:#?}", board.dongle().counters());
    let time = (board.now() - before).as_millis_f64() / 1e3;
    let bytes: u64 = streams.0.iter().map(|stream| stream.received() + stream.acknowledged()).sum();
    let rate = bytes as f64 / time;
    let busy = (board.busy() - busy).as_millis_f64() / 1e3;
    println!(
        "{name}: {bytes} bytes in {time:.2} s = {:.3} MB/s ({:.1} % of a full-speed pipe), processor busy {:.0} %",
        rate / 1e6,
        100.0 * rate / FULL_SPEED,
        100.0 * busy / time
    );
    rate
}

fn assert_done(streams: &Streams) {
    for stream in &streams.0 {
        assert_eq!(stream.progress(), Progress::Done, "{stream:?}");
    }
}

fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let all = || (1..=number("USBMUX_SEEDS").unwrap_or(count)).collect();
    number("USBMUX_SEED").map_or_else(all, |seed| vec![seed])
}

#[test]
fn four_connections_fill_a_full_speed_pipe() {
    // The PC acknowledges as late as Linux does (pc/mod.rs).
    let down = (Content::Chargen(MEGABYTE), 19);
    let up = (Content::Discard(MEGABYTE), 9);
    for (content, port) in [down, up] {
        let mut board = ready(&options());
        let mut streams = streams(4, port, content);
        let rate = run(&mut board, &mut streams, &format!("4 connections, {content:?}"));
        assert_done(&streams);
        assert!(rate >= 0.9 * FULL_SPEED, "{rate}");
        assert_eq!(board.dongle().counters().bytes_lost, 0);
    }
}

#[test]
fn the_smallest_board_works_too() {
    let plan = RamPlan::Small;
    let options = BoardOptions { forwards: vec![FORWARDS[0]], plan, ..BoardOptions::default() };
    let mut board = ready(&options);
    let mut streams = streams(2, 7, Content::Echo(MEGABYTE / 2));
    run(&mut board, &mut streams, "32 KiB, 2 connections, echo");
    assert_done(&streams);
}

#[test]
fn a_high_speed_pipe_is_limited_by_ethernet() {
    let options = BoardOptions { speed: Speed::High, cpu: Cpu::MHZ_528, ..options() };
    let mut board = ready(&options);
    let mut streams = streams(4, 19, Content::Chargen(5 * MEGABYTE));
    let rate = run(&mut board, &mut streams, "high speed, 4 connections, chargen");
    assert_done(&streams);
    assert!(rate > 3.0 * FULL_SPEED, "{rate}");
}

#[test]
fn a_hundred_megabytes_each_way_arrive_whole() {
    let mut board = ready(&options());
    let mut streams = streams(4, 7, Content::Echo(25 * MEGABYTE));
    run(&mut board, &mut streams, "100 MB there and back");
    assert_done(&streams);
    let counters = board.dongle().counters();
    assert_eq!((counters.bytes_lost, counters.bulk_failures), (0, 0));
}

#[test]
fn what_goes_wrong_with_single_packets_is_mended_and_nobody_notices() {
    for seed in seeds(3) {
        println!("seed {seed}");
        let mut board = ready(&BoardOptions { seed, ..options() });
        // Three in a row would fail a transfer: rare enough at one in two hundred.
        let rates =
            FaultRates { lost_packet_ppm: 2500, lost_handshake_ppm: 2500, ..FaultRates::default() };
        board.usb.bus.set_fault_rates(rates);
        let mut streams = streams(4, 7, Content::Echo(MEGABYTE / 2));
        run(&mut board, &mut streams, "one packet in two hundred damaged");
        assert_done(&streams);
        let stats = board.usb.bus.stats();
        assert!(stats.errors > 200 && stats.repeats > 100, "{stats:?}");
    }
}

#[test]
fn a_bad_ethernet_cable_costs_time_and_nothing_else() {
    for seed in seeds(3) {
        println!("seed {seed}");
        let cable = CableQuality { delay: Nanos::from_millis(2), loss_ppm: 10_000 };
        let mut board = ready(&BoardOptions { seed, cable, ..options() });
        let mut streams = streams(3, 7, Content::Echo(MEGABYTE / 4));
        streams.0.push(Stream::new(19, Content::Chargen(MEGABYTE / 4), 9));
        run(&mut board, &mut streams, "one Ethernet frame in a hundred lost, 2 ms of delay");
        assert_done(&streams);
        assert!(board.cable.stats_towards(End::Pc).lost > 5);
        assert!(board.cable.stats_towards(End::Dongle).lost > 5);
    }
}

/// What came was right up to the end of the connection, if it ended; afterwards all is well again.
fn recovers_from(name: &str, mut harm: impl FnMut(&mut Board)) {
    for seed in seeds(3) {
        println!("{name}, seed {seed}");
        let mut board = ready(&BoardOptions { seed, ..options() });
        let mut streams = streams(3, 7, Content::Echo(MEGABYTE));
        streams.0.push(Stream::new(19, Content::Chargen(MEGABYTE), 9));
        board.wake_programs();
        let until = board.now() + Nanos::from_millis(200 + 37 * seed);
        board.run(until, &mut streams);
        harm(&mut board);
        let limit = board.now() + Nanos::from_millis(120_000);
        assert!(streams.run(&mut board, limit), "{streams:#?}");
        let wrong = |stream: &Stream| matches!(stream.progress(), Progress::Wrong(_));
        assert!(!streams.0.iter().any(wrong), "{streams:#?}");
        wait_for_phone(&mut board);
        let mut after = self::streams(4, 7, Content::Echo(50_000));
        run(&mut board, &mut after, "afterwards");
        assert_done(&after);
    }
}

#[test]
fn a_transfer_that_fails_ends_connections_and_not_the_dongle() {
    recovers_from("three packets in a row lost", |board| {
        for _ in 0..3 {
            board.usb.bus.order_fault(Fault::LostPacket);
        }
    });
    recovers_from("babble", |board| {
        for _ in 0..4 {
            board.usb.bus.order_fault(Fault::Babble);
        }
    });
    recovers_from("IN stalls", |board| board.usb.bus.device().halt(MUX_IN));
    recovers_from("OUT stalls", |board| board.usb.bus.device().halt(MUX_OUT));
}

#[test]
fn the_phone_may_be_pulled_out_and_come_back_in_the_middle() {
    recovers_from("unplugged for a second", |board| {
        board.unplug();
        let until = board.now() + Nanos::from_millis(1000);
        board.run(until, &mut ());
        assert!(board.dongle().phone().is_none());
        board.plug_in();
    });
}

#[test]
fn a_bus_that_is_bad_all_the_time_is_survived() {
    for seed in seeds(3) {
        println!("seed {seed}");
        let mut board = ready(&BoardOptions { seed, ..options() });
        let rates =
            FaultRates { lost_packet_ppm: 20_000, lost_handshake_ppm: 20_000, babble_ppm: 200 };
        board.usb.bus.set_fault_rates(rates);
        let mut streams = streams(4, 7, Content::Echo(MEGABYTE / 4));
        let limit = board.now() + Nanos::from_millis(120_000);
        assert!(streams.run(&mut board, limit), "{streams:#?}");
        for stream in &streams.0 {
            assert!(matches!(stream.progress(), Progress::Done | Progress::Reset), "{stream:?}");
        }
        board.usb.bus.set_fault_rates(FaultRates::default());
        wait_for_phone(&mut board);
        let mut after = self::streams(4, 7, Content::Echo(50_000));
        run(&mut board, &mut after, "afterwards");
        assert_done(&after);
    }
}

#[test]
fn a_slow_phone_gets_every_byte() {
    let mut options = options();
    options.phone.quirks.push(Quirk::Slow);
    let mut board = ready(&options);
    let mut streams = streams(4, 7, Content::Echo(200_000));
    run(&mut board, &mut streams, "a phone that reads slowly");
    assert_done(&streams);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run_streams = run;
    let run = |seed| {
        let cable = CableQuality { loss_ppm: 5000, ..CableQuality::default() };
        let mut board = ready(&BoardOptions { seed, cable, ..options() });
        board
            .usb
            .bus
            .set_fault_rates(FaultRates { lost_packet_ppm: 5000, ..FaultRates::default() });
        let mut streams = streams(4, 7, Content::Echo(50_000));
        run_streams(&mut board, &mut streams, "for comparison");
        (board.now(), board.usb.bus.stats(), *board.dongle().counters())
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
