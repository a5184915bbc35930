//! `usbmux-sim phone`: the virtual phone in QEMU or in this kernel, plugged and unplugged by words
//! on standard input, so that a script has a hand and a cable.
//!
//! Each line of input is `plug`, `unplug` or `quit`, `stall in`, `stall out` or `traffic`; the phone
//! is plugged in at the start. Each change is told in one line on standard output, so that a script
//! can wait for it: `plugged into PLACE`, `unplugged: REASON`, `stalls`, `traffic: …`. When input ends, the phone goes with it. A phone
//! that switches its mode comes back by itself, as a real one does.

use crate::args::{PlugArgs, PortSpeed};
use crate::dongle::start_log;
use crate::failure::{Failure, say};
use futures_lite::io::{AsyncBufReadExt, BufReader, Lines};
use futures_lite::{StreamExt, future};
use smol::{Async, Timer};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use usbmux_phone::usbip::UsbIp;
use usbmux_phone::usbredir::UsbRedir;
use usbmux_phone::vhci;
use usbmux_phone::{Ended, HIGH_SPEED_PACKET, MuxEndpoint, Probe, SUPER_SPEED_PACKET};

/// How long the phone waits for QEMU to make its socket, or to listen on it again.
const QEMU_PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const QEMU_RETRY: Duration = Duration::from_millis(20);
/// Packets of a bulk endpoint at full speed, in bytes.
const FULL_SPEED_PACKET: u16 = 64;

/// The bit rates at which the phone can be plugged in, by their packets.
fn max_packet(speed: PortSpeed) -> u16 {
    match speed {
        PortSpeed::Full => FULL_SPEED_PACKET,
        PortSpeed::High => HIGH_SPEED_PACKET,
        PortSpeed::Super => SUPER_SPEED_PACKET,
    }
}

/// Runs the command until `quit`.
pub(crate) fn run(arguments: PlugArgs) -> Result<(), Failure> {
    start_log(arguments.verbose);
    let mut options = arguments.phone.options();
    options.number = arguments.number;
    options.max_packet = max_packet(arguments.speed);
    options.max_frame = arguments.longest_frame.unwrap_or(options.max_frame);
    let port = match arguments.host.usbredir {
        Some(socket) => Port::Qemu { phone: UsbRedir::new(options), socket },
        None => Port::Kernel {
            number: options.number,
            speed: vhci::Speed::of_packets(options.max_packet),
            phone: UsbIp::new(options),
        },
    };
    smol::block_on(life(port)).map_err(Failure::failed)
}

/// The port that the phone is plugged into, again and again.
enum Port {
    Qemu { phone: UsbRedir, socket: PathBuf },
    Kernel { phone: UsbIp, number: u32, speed: vhci::Speed },
}

impl Port {
    fn probe(&self) -> Probe {
        match self {
            Port::Qemu { phone, .. } => phone.probe(),
            Port::Kernel { phone, .. } => phone.probe(),
        }
    }

    /// Plugs the phone in, and leaves it there until the cable is out; dropping the future pulls it.
    async fn plug(&mut self) -> Result<Ended, Box<dyn Error>> {
        match self {
            Port::Qemu { phone, socket } => {
                let stream = connect(socket).await?;
                tell(format_args!("plugged into {}", socket.display()))?;
                Ok(phone.serve(Async::new(stream)?).await?)
            }
            Port::Kernel { phone, number, speed } => {
                let (ours, kernels) = UnixStream::pair()?;
                let port = vhci::attach(kernels.into(), *number, *speed)?;
                tell(format_args!("plugged into port {port}"))?;
                Ok(phone.serve(Async::new(ours)?).await?)
            }
        }
    }
}

/// QEMU does not listen.
#[derive(Debug)]
struct NoQemu {
    socket: PathBuf,
    error: io::Error,
}

impl fmt::Display for NoQemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoQemu { socket, error } = self;
        let path = socket.display();
        write!(f, "{path}: {error}; start QEMU with -chardev socket,id=ur,path={path},server=on,")?;
        f.write_str("wait=off -device usb-redir,chardev=ur")
    }
}

impl Error for NoQemu {}

/// Connects to QEMU's socket, which may come into being a little later than the phone.
async fn connect(socket: &Path) -> Result<UnixStream, NoQemu> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error)
                if begun.elapsed() < QEMU_PATIENCE
                    && matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::WouldBlock
                    ) => {}
            Err(error) => return Err(NoQemu { socket: socket.to_owned(), error }),
        }
        Timer::after(QEMU_RETRY).await;
    }
}

/// What a line of input says.
enum Word {
    Plug,
    Unplug,
    Quit,
    Stall(MuxEndpoint),
    Traffic,
}

type Input = Lines<BufReader<smol::Unblock<io::Stdin>>>;

/// The next word that makes sense; the end of input is `quit`.
async fn next_word(input: &mut Input) -> io::Result<Word> {
    while let Some(line) = input.next().await {
        match line?.trim() {
            "plug" => return Ok(Word::Plug),
            "unplug" => return Ok(Word::Unplug),
            "quit" => return Ok(Word::Quit),
            "stall in" => return Ok(Word::Stall(MuxEndpoint::In)),
            "stall out" => return Ok(Word::Stall(MuxEndpoint::Out)),
            "traffic" => return Ok(Word::Traffic),
            other => say(format_args!(
                "usbmux-sim: {other}: say plug, unplug, quit, stall in, stall out or traffic"
            )),
        }
    }
    Ok(Word::Quit)
}

/// In and out of the port, as the words say.
async fn life(mut port: Port) -> Result<(), Box<dyn Error>> {
    let mut input = BufReader::new(smol::Unblock::new(io::stdin())).lines();
    let probe = port.probe();
    loop {
        match until_out(port.plug(), &mut input, &probe).await? {
            Out::ByItself(Ended::ModeSwitched) => {
                tell(format_args!("unplugged: mode switched"))?;
                continue;
            }
            Out::ByItself(why) => tell(format_args!("unplugged: {why:?}"))?,
            Out::ByHand => tell(format_args!("unplugged: by hand"))?,
            Out::Quit => return Ok(()),
        }
        loop {
            match next_word(&mut input).await? {
                Word::Plug => break,
                Word::Traffic => tell_traffic(&probe)?,
                Word::Unplug | Word::Stall(_) => {}
                Word::Quit => return Ok(()),
            }
        }
    }
}

/// Who pulled the cable.
enum Out {
    ByItself(Ended),
    ByHand,
    Quit,
}

/// Waits until the cable is out.
async fn until_out(
    cable: impl Future<Output = Result<Ended, Box<dyn Error>>>,
    input: &mut Input,
    probe: &Probe,
) -> Result<Out, Box<dyn Error>> {
    let cable = async { Ok(Out::ByItself(cable.await?)) };
    let hand = async {
        loop {
            match next_word(input).await? {
                Word::Plug => {}
                Word::Traffic => tell_traffic(probe)?,
                Word::Stall(endpoint) => {
                    probe.halt(endpoint);
                    tell(format_args!("stalls"))?;
                    // The cable is looked at again when this task is.
                    future::yield_now().await;
                }
                Word::Unplug => return Ok(Out::ByHand),
                Word::Quit => return Ok(Out::Quit),
            }
        }
    };
    future::or(cable, hand).await
}

/// What the endpoints have carried since the last such line.
fn tell_traffic(probe: &Probe) -> io::Result<()> {
    tell(format_args!("traffic: {}", probe.take_traffic()))
}

/// A line for whoever waits for it.
fn tell(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
