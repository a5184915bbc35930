//! What the dongle carries on the simulated board, and what it takes of its RAM.
//!
//! ```text
//! cargo bench -p usbmux-tests --bench board     the rows of the table
//! ```
//!
//! Four connections at once through forwards, at full speed on a processor of 72 MHz, with a PC that
//! acknowledges as late as Linux does, in virtual time: the figures are the same on every machine. Left
//! out: code and memory of a real microcontroller, which `tests/metal/check` prints.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench stops where its board misbehaves")]

use usbmux_dongle::Forward;
use usbmux_dongle::usb::Speed;
use usbmux_firmware_sim::Nanos;
use usbmux_firmware_sim::board::{Board, BoardOptions};
use usbmux_firmware_sim::bus::Timing;
use usbmux_firmware_sim::firmware::RamPlan;
use usbmux_firmware_sim::pc::client::{Content, Progress, Stream, Streams};
use usbmux_phone::{CHARGEN, DISCARD};
use usbmux_tests::figures::Row;

const CONNECTIONS: u32 = 4;
/// Of each connection.
const BYTES: u64 = 2_000_000;
/// The design's share of what a bulk pipe carries, in percent.
const SHARE: f64 = 90.0;
/// The design's bound on the whole RAM of the usual plan.
const RAM_KIB: u32 = 52;
/// Virtual time after which nothing more will come.
const LIMIT: Nanos = Nanos::from_millis(600_000);

/// A board whose dongle has an address and a phone.
fn ready() -> Board {
    let forwards = [(9, DISCARD), (19, CHARGEN)];
    let forwards = forwards.map(|(port, device_port)| Forward { port, device_port });
    let options = BoardOptions { forwards: forwards.to_vec(), ..BoardOptions::default() };
    let mut board = Board::new(&options).unwrap();
    board.plug_in();
    let found = board.run_while(LIMIT, &mut (), |board| {
        board.pc.dongle_address().is_none() || board.dongle().phone().is_none()
    });
    assert!(found, "no phone, or no address");
    board
}

fn traffic(name: &str, port: u16, content: Content) {
    let mut board = ready();
    let streams = (0..CONNECTIONS).map(|salt| Stream::new(port, content, salt));
    let mut streams = Streams(streams.collect());
    let begun = board.now();
    assert!(streams.run(&mut board, LIMIT), "{streams:#?}");
    let seconds = (board.now() - begun).as_millis_f64() / 1e3;
    let moved = |stream: &Stream| stream.received() + stream.acknowledged();
    let bytes: u64 = streams.0.iter().map(moved).sum();
    for stream in &streams.0 {
        assert_eq!(stream.progress(), Progress::Done);
    }
    let rate = bytes as f64 / seconds;
    let share = 100.0 * rate / Timing::of(Speed::Full).bulk_bytes_per_second() as f64;
    let figure = format!("{:.3} MB/s, {share:.1} % of full speed", rate / 1e6);
    let row = Row::new(format!("board: {name} the phone, {CONNECTIONS} connections"), figure);
    println!("{}", row.bound(format!("≥ {SHARE} %"), share >= SHARE));
}

fn ram(plan: RamPlan, bound_bytes: u32, bound: String) {
    let plan = plan.plan();
    let total = plan.budget.total();
    let figure = format!("{total} bytes, stack included");
    let row = Row::new(format!("board: whole RAM, {} connections", plan.connections), figure);
    println!("{}", row.bound(bound, total < bound_bytes));
}

fn main() {
    traffic("from", 19, Content::Chargen(BYTES));
    traffic("to", 9, Content::Discard(BYTES));
    ram(RamPlan::Usual, RAM_KIB * 1024, format!("< {RAM_KIB} KiB"));
    let small = RamPlan::Small.plan().ram;
    ram(RamPlan::Small, small, format!("< {} KiB", small / 1024));
}
