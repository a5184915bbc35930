//! One local connection and its counterpart on the phone: bytes both ways, and the ends of each
//! way on their own.
//!
//! A local client that closes only its sending side goes on hearing the phone. Where the phone
//! ends, everything it said is delivered before the local client sees the end; the rest of what
//! that one still says is read and thrown away for a while, because closing a socket with unread
//! input makes the kernel throw away what the other side has not read yet.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::time::Duration;

use smol::Timer;
use smol::future::{or, yield_now};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use usbmux_host::client::DeviceStream;

use crate::console::Traffic;

/// How much is carried at once, in each direction of each connection.
const CHUNK: usize = 64 << 10;

/// How long a local client may say nothing after the phone has ended before it is cut off.
const PARTING: Duration = Duration::from_secs(30);

/// The local client is gone altogether: nothing is left to be done for it.
struct LocalGone;

/// Who brought a connection to its end.
pub(super) enum Ender {
    /// The phone, after everything it had to say.
    Phone,
    /// The local client, which went away altogether.
    Local,
}

/// How the phone's side ended: with a proper end, or broken off somewhere on the way.
type DeviceEnd = io::Result<()>;

/// Carries bytes until both sides have ended. To the local client a connection that was broken off
/// ends like any other: a reset would throw away what it has not read yet.
///
/// # Errors
/// Why the connection was broken off on the phone's side.
pub(super) async fn run(
    local: TcpStream,
    device: DeviceStream,
    traffic: &Traffic,
) -> io::Result<Ender> {
    let heard = Cell::new(0);
    let mut up = pin!(upward(local.clone(), device.clone(), &heard, traffic));
    let mut down = pin!(downward(device, local, traffic));
    let first =
        or(async { First::Up(up.as_mut().await) }, async { First::Down(down.as_mut().await) });
    let end = match first.await {
        First::Up(Ok(())) => down.await,
        First::Down(Ok(end)) => {
            parting(up, &heard).await;
            Ok(end)
        }
        First::Up(Err(LocalGone)) | First::Down(Err(LocalGone)) => Err(LocalGone),
    };
    match end {
        Ok(end) => end.map(|()| Ender::Phone),
        Err(LocalGone) => Ok(Ender::Local),
    }
}

/// Which way ended first, and how.
enum First {
    Up(Result<(), LocalGone>),
    Down(Result<DeviceEnd, LocalGone>),
}

/// From the local client to the phone, until the local client's end. What the phone no longer
/// takes is thrown away: receiving tells what became of it. `heard` counts all of it.
async fn upward(
    mut local: TcpStream,
    mut device: DeviceStream,
    heard: &Cell<u64>,
    traffic: &Traffic,
) -> Result<(), LocalGone> {
    let mut buffer = vec![0; CHUNK];
    let mut device_takes = true;
    loop {
        let read = local.read(&mut buffer).await.map_err(|_| LocalGone)?;
        if read == 0 {
            // If this fails, the connection has ended already.
            _ = device.shutdown_write();
            return Ok(());
        }
        heard.set(heard.get() + read as u64);
        let chunk = buffer.get(..read).unwrap_or_default();
        if device_takes && device.write_all(chunk).await.is_ok() {
            traffic.count_up(read);
        } else {
            device_takes = false;
        }
        // A fast stream is always ready; the others want their turn.
        yield_now().await;
    }
}

/// From the phone to the local client, until the phone's end, which is then passed on.
async fn downward(
    mut device: DeviceStream,
    mut local: TcpStream,
    traffic: &Traffic,
) -> Result<DeviceEnd, LocalGone> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = device.read(&mut buffer).await;
        let chunk = match &read {
            Ok(0) | Err(_) => {
                local.shutdown(Shutdown::Write).map_err(|_| LocalGone)?;
                return Ok(read.map(|_| ()));
            }
            Ok(read) => buffer.get(..*read).unwrap_or_default(),
        };
        local.write_all(chunk).await.map_err(|_| LocalGone)?;
        traffic.count_down(chunk.len());
        yield_now().await;
    }
}

/// After the phone's end: waits for the local client's, as long as that one says something.
async fn parting(mut up: Pin<&mut impl Future>, heard: &Cell<u64>) {
    loop {
        let before = heard.get();
        let ended = async {
            up.as_mut().await;
            true
        };
        let silence = async {
            Timer::after(PARTING).await;
            false
        };
        if or(ended, silence).await || heard.get() == before {
            return;
        }
    }
}
