//! Clients: each connects to a port of a phone, moves bytes, compares them, and closes in its manner.

use super::bench::{Bench, SERVER};
use super::phone::Phone;
use super::server::{ANSWER, TAKE, header};
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use usbmux_tests::random::{Random, pattern};
use usbmux_tests::soak::check::Source;
use usbmux_tests::socket::{Client, request};

/// The phone's own programs, and a port without one.
const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;
const NOBODY: u16 = 1;
/// Bytes of a stream, at most.
const LONGEST: usize = 100_000;
/// Of so many streams one is empty, and this many less one are up to the longest; the others are up to
/// the short length.
const EMPTY: usize = 12;
const LONG: usize = 4;
const SHORT: usize = 8192;
/// How long no phone may be listed.
const PHONE: Duration = Duration::from_secs(60);
/// Results of a Connect.
const BAD_DEVICE: u64 = 2;
const REFUSED: u64 = 3;

/// A prime number of bytes after which the pattern begins anew for the next stream.
const STEP: u32 = 10_007;
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(0, 0, LONGEST + STEP as usize));
static LINES: LazyLock<Vec<u8>> = LazyLock::new(|| Source::Chargen.piece(0, LONGEST));

/// The bytes of a stream, up to the longest.
pub(crate) fn bytes(salt: u32, length: usize) -> &'static [u8] {
    let from = (salt % STEP) as usize;
    &PATTERN[from..from + length.min(LONGEST)]
}

/// What a client does; the numbers are how often, of the sum of all.
const MANNERS: [(Manner, usize); 10] = [
    (Manner { name: "echo compared, closed", run: echo }, 30),
    (Manner { name: "answer compared, the phone hung up", run: answered }, 10),
    (Manner { name: "the same after half-closing", run: half_closed }, 10),
    (Manner { name: "echo compared after half-closing, linger", run: lingering }, 1),
    (Manner { name: "sent, closed at once, compared at the phone", run: sent }, 12),
    (Manner { name: "sent to be thrown away, closed at once", run: discarded }, 6),
    (Manner { name: "character generator compared, closed in it", run: chargen }, 12),
    (Manner { name: "closed with the echo unread", run: unread }, 10),
    (Manner { name: "refused port", run: refused }, 6),
    (Manner { name: "left while connecting", run: left }, 3),
];

struct Manner {
    name: &'static str,
    run: fn(&mut Visit<'_>) -> io::Result<()>,
}

/// One client with a phone.
struct Visit<'b> {
    bench: &'b Bench,
    device: u64,
    salt: u32,
    length: usize,
    /// Less than the length.
    part: usize,
}

/// One cycle.
pub(crate) fn cycle(bench: &Bench, random: &mut Random, salt: u32) {
    let manner = choose(random);
    let length = match random.below(EMPTY) {
        0 => 0,
        1..LONG => random.between(0, LONGEST),
        _ => random.length(SHORT),
    };
    let part = random.below(length);
    let Some((device, phone)) = find(bench, random) else {
        return bench.fault(format!("no phone is listed for {PHONE:?}"));
    };
    let pulls = phone.pulls();
    let gone = phone.is_away();
    let mut visit = Visit { bench, device, salt, length, part };
    let begun = Instant::now();
    let done = (manner.run)(&mut visit);
    let took = begun.elapsed();
    let lost = gone || phone.pulls() != pulls;
    match done {
        Ok(()) => bench.count(manner.name, true, length as u64, took),
        Err(error) => {
            // With or without its phone, nobody waits for ever.
            let hung = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            if !lost || hung || error.kind() == ErrorKind::InvalidData {
                let name = manner.name;
                let udid = &phone.udid;
                bench.fault(format!("cycle {salt}, {name}, {length} bytes, {udid}: {error}"));
            }
            bench.count(manner.name, false, 0, took);
        }
    }
}

fn choose(random: &mut Random) -> &'static Manner {
    let mut at = random.below(MANNERS.iter().map(|(_, share)| share).sum());
    for (manner, share) in &MANNERS {
        match at.checked_sub(*share) {
            Some(rest) => at = rest,
            None => return manner,
        }
    }
    &MANNERS[0].0
}

/// A listed phone; waits for one if there is none.
fn find<'b>(bench: &'b Bench, random: &mut Random) -> Option<(u64, &'b Phone)> {
    let mut found = Vec::new();
    bench.wait_listed(PHONE, |listed| {
        let here =
            |udid: &str| bench.phones.iter().find(|phone| phone.udid == udid && !phone.is_away());
        let phones = listed.phones.iter();
        found = phones.filter_map(|(id, entry)| Some((*id, here(&entry.udid)?))).collect();
        !found.is_empty()
    });
    (!found.is_empty()).then(|| *random.pick(&found))
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

impl Visit<'_> {
    fn connect(&self, port: u16) -> io::Result<Client> {
        let mut client = Client::connect(&self.bench.socket)?;
        match client.connect_port(self.device as u32, port)? {
            0 => Ok(client),
            number => Err(io::Error::other(format!("Connect to port {port}: Result {number}"))),
        }
    }

    fn bytes(&self) -> &'static [u8] {
        bytes(self.salt, self.length)
    }

    /// Reads what was sent, and nothing else.
    fn compare(&self, client: &mut Client, due: &[u8]) -> io::Result<()> {
        let mut came = vec![0; due.len()];
        client.stream.read_exact(&mut came)?;
        match came.iter().zip(due).position(|(came, due)| came != due) {
            Some(at) => Err(wrong(format!("byte {at} is another"))),
            None => Ok(()),
        }
    }

    fn compare_to_end(&self, client: &mut Client) -> io::Result<()> {
        self.compare(client, self.bytes())?;
        match client.hung_up()? {
            true => Ok(()),
            false => Err(wrong("more came than was sent")),
        }
    }

    fn upload(&self, what: u8) -> io::Result<Client> {
        let mut client = self.connect(SERVER)?;
        client.send(&header(self.salt, self.length, what))?;
        client.send(self.bytes())?;
        Ok(client)
    }
}

fn echo(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = visit.connect(ECHO)?;
    client.send(visit.bytes())?;
    visit.compare(&mut client, visit.bytes())
}

fn answered(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = visit.upload(ANSWER)?;
    visit.compare_to_end(&mut client)
}

fn half_closed(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = visit.upload(ANSWER)?;
    client.stream.shutdown(Shutdown::Write)?;
    visit.compare_to_end(&mut client)
}

fn lingering(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = visit.connect(ECHO)?;
    client.send(visit.bytes())?;
    client.stream.shutdown(Shutdown::Write)?;
    visit.compare_to_end(&mut client)
}

fn sent(visit: &mut Visit<'_>) -> io::Result<()> {
    visit.upload(TAKE).map(drop)
}

fn discarded(visit: &mut Visit<'_>) -> io::Result<()> {
    visit.connect(DISCARD)?.send(visit.bytes())
}

fn chargen(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = visit.connect(CHARGEN)?;
    visit.compare(&mut client, &LINES[..visit.length])
}

fn unread(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = visit.connect(ECHO)?;
    client.send(visit.bytes())?;
    visit.compare(&mut client, &visit.bytes()[..visit.part.min(visit.length)])
}

fn refused(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = Client::connect(&visit.bench.socket)?;
    match client.connect_port(visit.device as u32, NOBODY)? {
        REFUSED => Ok(()),
        BAD_DEVICE => Err(io::Error::other("bad device")),
        number => Err(io::Error::other(format!("port {NOBODY}: Result {number}"))),
    }
}

fn left(visit: &mut Visit<'_>) -> io::Result<()> {
    let mut client = Client::connect(&visit.bench.socket)?;
    let port = plist::Value::from(u64::from(ECHO.swap_bytes()));
    let keys = [("DeviceID", visit.device.into()), ("PortNumber", port)];
    client.send(&request(1, "Connect", &keys))
}
