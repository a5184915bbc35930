//! One local connection and its counterpart on the phone: bytes both ways, and the ends of each
//! way on their own.
//!
//! A local client that closes only its sending side goes on hearing the phone. Where the phone
//! ends, everything it said is delivered before the local client sees the end; the rest of what
//! that one still says is read and thrown away for a while, because closing a socket with unread
//! input makes the kernel throw away what the other side has not read yet.

use std::cell::Cell;
use std::future::Future;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use smol::Timer;
use smol::future::{or, yield_now};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use usbmux_host::client::DeviceStream;

use super::console::Traffic;

/// How much is carried at once, in each direction of each connection.
const CHUNK: usize = 64 << 10;

/// How long a local client may say nothing after the phone has ended before it is cut off.
const PARTING: Duration = Duration::from_secs(30);

/// Which of the ways failed. A local client that is gone needs no further care; a connection that
/// broke off behind the daemon must not look to the local client like a proper end.
enum Broken {
    Local,
    Device,
}

/// Carries bytes until both sides have ended or one has failed.
pub(super) async fn run(local: TcpStream, device: DeviceStream, traffic: &Traffic) {
    let heard = Cell::new(0);
    let mut up = pin!(upward(local.clone(), device.clone(), &heard, traffic));
    let mut down = pin!(downward(device, local.clone(), traffic));
    let first = or(async { End::Up(up.as_mut().await) }, async { End::Down(down.as_mut().await) });
    let outcome = match first.await {
        End::Up(Ok(())) => down.await,
        End::Down(Ok(())) => parting(up, &heard).await,
        End::Up(broken) | End::Down(broken) => broken,
    };
    if let Err(Broken::Device) = outcome {
        // Dropping the connection then resets it. If this fails, it is gone already.
        _ = set_socket_linger(&local, Some(Duration::ZERO));
    }
}

/// Which way ended, and how.
enum End {
    Up(Result<(), Broken>),
    Down(Result<(), Broken>),
}

/// From the local client to the phone, until the local client's end. What the phone no longer
/// takes is thrown away: receiving tells what became of it. `heard` counts all of it.
async fn upward(
    mut local: TcpStream,
    mut device: DeviceStream,
    heard: &Cell<u64>,
    traffic: &Traffic,
) -> Result<(), Broken> {
    let mut buffer = vec![0; CHUNK];
    let mut device_takes = true;
    loop {
        let read = local.read(&mut buffer).await.map_err(|_| Broken::Local)?;
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
) -> Result<(), Broken> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = device.read(&mut buffer).await.map_err(|_| Broken::Device)?;
        if read == 0 {
            return local.shutdown(Shutdown::Write).map_err(|_| Broken::Local);
        }
        let chunk = buffer.get(..read).unwrap_or_default();
        local.write_all(chunk).await.map_err(|_| Broken::Local)?;
        traffic.count_down(read);
        yield_now().await;
    }
}

/// After the phone's end: waits for the local client's, as long as that one says something.
async fn parting(
    mut up: Pin<&mut impl Future<Output = Result<(), Broken>>>,
    heard: &Cell<u64>,
) -> Result<(), Broken> {
    loop {
        let before = heard.get();
        let silence = async {
            Timer::after(PARTING).await;
            None
        };
        match or(async { Some(up.as_mut().await) }, silence).await {
            Some(end) => return end,
            None if heard.get() == before => return Ok(()),
            None => {}
        }
    }
}
