//! The ways to pull phones out and to plug them in.

use super::bench::{Bench, Listed};
use super::phone::Phone;
use std::io;
use std::thread;
use std::time::Duration;
use usbmux_tests::random::Random;

/// How long a phone may take to be listed: a greeting that is repeated, on a busy machine.
const LISTED: Duration = Duration::from_secs(30);
/// How long one that was pulled out may stay listed.
const GONE: Duration = Duration::from_secs(10);
/// How long no client may come to an end.
const PROGRESS: Duration = Duration::from_secs(60);
/// Until a phone is listed it takes about so long: it is pulled out somewhere in between.
const OPENING_MS: usize = 400;
/// How often in a row that is done.
const OPENINGS: usize = 2;

/// Once, by a number that is new, and as the device that the kernel has now.
fn is_listed(listed: &Listed, phone: &Phone, above: u64) -> bool {
    let mut its = listed.phones.iter().filter(|(_, entry)| entry.udid == phone.udid);
    let (Some((id, entry)), None) = (its.next(), its.next()) else { return false };
    *id > above && phone.address() == Some(entry.address)
}

fn wait_listed(bench: &Bench, phone: &Phone, above: u64) {
    if !bench.wait_listed(LISTED, |listed| is_listed(listed, phone, above)) {
        bench.fault(format!("{} was plugged in and not listed within {LISTED:?}", phone.udid));
    }
    phone.is_back();
    bench.tell_change();
}

fn wait_gone(bench: &Bench, phone: &Phone) {
    let gone = |listed: &Listed| !listed.phones.values().any(|entry| entry.udid == phone.udid);
    if !bench.wait_listed(GONE, gone) {
        bench.fault(format!("{} was pulled out and is listed after {GONE:?}", phone.udid));
    }
}

/// Plugs phones in, all at once, and waits until they are listed.
pub(crate) fn plug_in(bench: &Bench, phones: &[Phone]) -> io::Result<()> {
    let above = bench.highest();
    for phone in phones {
        phone.plug()?;
    }
    for phone in phones {
        wait_listed(bench, phone, above);
    }
    Ok(())
}

pub(crate) fn pull_and_wait(bench: &Bench, phone: &Phone) -> io::Result<()> {
    phone.pull()?;
    bench.count_pull("at rest");
    wait_gone(bench, phone);
    Ok(())
}

/// Pulls phones out, one way or another, when the clients have come to these numbers of cycles after
/// those that were before.
pub(crate) fn pull_now_and_then(
    bench: &Bench,
    phones: &[Phone],
    random: &mut Random,
    before: u64,
    when: &[u64],
) -> io::Result<()> {
    let mut done = 0;
    while let Some(cycles) = when.get(done) {
        if !bench.wait_cycles(before + cycles, PROGRESS) {
            bench.fault(format!("no client came to an end within {PROGRESS:?}"));
            return Ok(());
        }
        let left = when.len() - done;
        let phone = random.pick(phones);
        done += match random.below(8) {
            0 if phones.len() <= left => all_at_once(bench, phones)?,
            1 | 2 => in_and_out(bench, phone, random, left)?,
            3 | 4 => replugged_at_once(bench, phone)?,
            _ => in_mid_transfer(bench, phone)?,
        };
    }
    Ok(())
}

fn in_mid_transfer(bench: &Bench, phone: &Phone) -> io::Result<usize> {
    phone.pull()?;
    bench.count_pull("in mid-transfer");
    wait_gone(bench, phone);
    plug_in(bench, std::slice::from_ref(phone))?;
    Ok(1)
}

/// The daemon may learn that the phone is there again before it learns that it was gone.
fn replugged_at_once(bench: &Bench, phone: &Phone) -> io::Result<usize> {
    let above = bench.highest();
    phone.pull()?;
    bench.count_pull("in mid-transfer, and plugged in at once");
    phone.plug()?;
    wait_listed(bench, phone, above);
    Ok(1)
}

fn all_at_once(bench: &Bench, phones: &[Phone]) -> io::Result<usize> {
    for phone in phones {
        phone.pull()?;
        bench.count_pull("all phones at once");
    }
    plug_in(bench, phones)?;
    Ok(phones.len())
}

/// Pulled out again before it was listed, or soon after.
fn in_and_out(bench: &Bench, phone: &Phone, random: &mut Random, left: usize) -> io::Result<usize> {
    let mut done = in_mid_transfer_and_away(bench, phone)?;
    for _ in 0..random.between(1, OPENINGS) {
        if done >= left {
            break;
        }
        phone.plug()?;
        // Not to wait for something: any moment is a good one.
        thread::sleep(Duration::from_millis(random.below(OPENING_MS) as u64));
        phone.pull()?;
        bench.count_pull("while it is opened");
        done += 1;
    }
    plug_in(bench, std::slice::from_ref(phone))?;
    Ok(done)
}

fn in_mid_transfer_and_away(bench: &Bench, phone: &Phone) -> io::Result<usize> {
    phone.pull()?;
    bench.count_pull("in mid-transfer");
    wait_gone(bench, phone);
    Ok(1)
}
