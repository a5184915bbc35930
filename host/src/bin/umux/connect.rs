//! `umux connect`: standard input and output become a connection to a port of a phone.
//!
//! Standard input and output may be pipes, files or terminals, and are shared with other
//! processes, so they are never made non-blocking: each read and write runs on a thread that may
//! block. Whatever of them still waits when the connection has ended dies with the process.

use std::fs::File;
use std::future::{self, Future};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use smol::channel::{self, Receiver};
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Timer, unblock};
use usbmux_host::client::DeviceStream;

use crate::args::Connect;
use crate::console::{Console, Now};
use crate::failure::{Failure, broke_off};
use crate::source::Source;

/// How much is carried at once.
const CHUNK: usize = 64 << 10;

/// How long a transfer has lasted when it is long, and is told of.
const LONG: Duration = Duration::from_secs(1);

pub(crate) async fn run(source: Source, arguments: Connect) -> Result<(), Failure> {
    let cannot_open = |error| Failure::failed(format!("no standard input or output ({error})"));
    let input = owned(io::stdin()).map_err(cannot_open)?;
    let output = owned(io::stdout()).map_err(cannot_open)?;
    let gone = reader_gone(&output).map_err(cannot_open)?;

    let phone = source.hold(arguments.udid.as_deref()).await?;
    let stream = phone.connect(arguments.port).await?;

    // Closing this channel is how `up` says that the sending side is closed.
    let (half_open, half_closed) = channel::bounded::<()>(1);
    let console = Console::new();
    if input.is_terminal() && output.is_terminal() {
        // A dialog, which shows by itself what goes on.
        console.calm_down();
    }
    let up = async {
        send_all(input, stream.clone(), &console).await?;
        drop(half_open);
        future::pending().await
    };
    let down = receive_all(stream.clone(), output, half_closed, arguments.linger, &console);
    let telling = async {
        Timer::after(LONG).await;
        console.show_status(status).await;
        Ok(())
    };
    let outcome = or(or(down, up), or(gone, telling)).await;
    console.clear_status();
    let reason = stream.end_reason();
    drop(stream);
    phone.let_go().await;
    outcome?;
    match reason.await {
        Some(reason) => Err(Failure::failed(broke_off(&reason))),
        None => Ok(()),
    }
}

/// What was carried and how fast, in more and in fewer words; a direction without a byte is left out.
fn status(now: &Now) -> [String; 2] {
    let ways = [(now.down, now.down_rate, "down"), (now.up, now.up_rate, "up")];
    let ways = ways.into_iter().filter(|(amount, ..)| amount.is_some());
    let (long, short): (Vec<_>, Vec<_>) = ways
        .map(|(amount, rate, way)| (format!("{amount} {way} at {rate}"), format!("{rate} {way}")))
        .unzip();
    match long.is_empty() {
        true => ["connected, nothing carried yet", "connected"].map(str::to_owned),
        false => [long.join(", "), short.join(", ")],
    }
}

fn owned(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// Ends when whoever reads standard output has gone. Only a pipe can tell that before the next
/// write does.
fn reader_gone(output: &File) -> io::Result<impl Future<Output = Result<(), Failure>> + use<>> {
    let pipe = if output.metadata()?.file_type().is_fifo() {
        // The writing end of a pipe is never readable, but its error condition counts as that.
        // The pipe stays blocking.
        Some(Async::new_nonblocking(output.try_clone()?)?)
    } else {
        None
    };
    Ok(async move {
        match pipe {
            Some(pipe) => _ = pipe.readable().await,
            None => future::pending().await,
        }
        Ok(())
    })
}

/// Carries standard input to the phone and closes the sending side behind it.
async fn send_all(
    mut input: File,
    mut stream: DeviceStream,
    console: &Console,
) -> Result<(), Failure> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read;
        (input, buffer, read) = unblock(move || {
            let read = input.read(&mut buffer);
            (input, buffer, read)
        })
        .await;
        let chunk = match read {
            Ok(0) => break,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::failed(format!("cannot read standard input ({error})")));
            }
        };
        // Whether this is the phone's ordinary end or a broken connection, receiving will tell.
        if stream.write_all(chunk).await.is_err() {
            return Ok(());
        }
        console.traffic.count_up(chunk.len());
    }
    // A connection that has ended meanwhile needs no half-close.
    _ = stream.shutdown_write();
    Ok(())
}

/// Carries what the phone says to standard output until either ends, or until the phone has been
/// silent for `linger` after the sending side was closed.
async fn receive_all(
    mut stream: DeviceStream,
    mut output: File,
    half_closed: Receiver<()>,
    linger: Duration,
    console: &Console,
) -> Result<(), Failure> {
    let on_terminal = output.is_terminal();
    let mut buffer = vec![0; CHUNK];
    loop {
        let silence = async {
            _ = half_closed.recv().await;
            Timer::after(linger).await;
            Ok(0)
        };
        let read = or(stream.read(&mut buffer), silence).await.map_err(|error| {
            Failure::failed(format!("the connection was broken off ({error}): try again"))
        })?;
        if read == 0 {
            return Ok(());
        }
        if on_terminal {
            // What the phone says stands there now.
            console.calm_down();
        }
        console.traffic.count_down(read);
        let written;
        (output, buffer, written) = unblock(move || {
            let written = output.write_all(buffer.get(..read).unwrap_or_default());
            (output, buffer, written)
        })
        .await;
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => {
                return Err(Failure::failed(format!("cannot write standard output ({error})")));
            }
        }
    }
}
