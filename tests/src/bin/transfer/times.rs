//! How long small things take through a daemon, and what lies idle in it.

use super::{Moved, connect, only_phone};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The phone's echo.
const ECHO: u16 = 7;
/// Bytes that go there and back.
const WORD: [u8; 64] = [0x55; 64];
/// Rounds before those that count.
const WARM_UP: usize = 20;

/// There and back with 64 bytes, one after the other on one connection.
pub(crate) fn echoes(socket: &Path, count: usize) -> Moved {
    let mut stream = connect(socket, only_phone(socket)?, ECHO)?;
    let mut answer = WORD;
    measure("echo", count, || {
        answer.fill(0);
        stream.write_all(&WORD)?;
        stream.read_exact(&mut answer)?;
        if answer == WORD { Ok(()) } else { Err("the echo was another".into()) }
    })
}

/// From a client's first byte to the daemon's Result, each time on a new socket.
pub(crate) fn connects(socket: &Path, count: usize) -> Moved {
    let phone = only_phone(socket)?;
    measure("connect", count, || connect(socket, phone, ECHO).map(drop))
}

/// Connections that carried one word and are silent until our input ends.
pub(crate) fn hold(socket: &Path, count: usize) -> Moved {
    let phone = only_phone(socket)?;
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = connect(socket, phone, ECHO)?;
        stream.write_all(&WORD)?;
        stream.read_exact(&mut [0; WORD.len()])?;
        held.push(stream);
    }
    println!("holds {}", held.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Prints the median and the hundredth longest time of what is done so often.
fn measure(name: &str, count: usize, mut once: impl FnMut() -> Moved) -> Moved {
    for _ in 0..WARM_UP {
        once()?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        once()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times.get(count * share / 100).copied().unwrap_or(Duration::ZERO);
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!("{name} {count} times, p50 {:.1} us, p99 {:.1} us", micros(at(50)), micros(at(99)));
    Ok(())
}
