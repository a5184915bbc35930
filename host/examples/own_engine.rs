//! The engine on a phone's pipe, without the daemon's link: for whoever wants other sizes or policies
//! than `umuxd` has. Here these are explicit ZLPs, and frames as long as one likes.
//!
//! `cargo run -p usbmux-host --example own_engine -- 7 explicit 49152` sends standard input to a port
//! of the phone on USB, in frames of at most that length with a ZLP behind each that needs one (or
//! `trim`), and prints what the phone sends. It ends a second after the last byte. No daemon may be
//! serving the phone. Leaves out what a daemon does about trouble: any failure is the end.

use std::env;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{self, Duration};

use nusb::{DeviceInfo, MaybeFuture};
use smol::Timer;
use usbmux_core::{
    CONTROL_FRAME, Config, ConnId, Event, Instant, Mux, Received, Role, Slot, Transfer, Zlp,
};
use usbmux_host::pipe::Pipe;
use usbmux_host::usb::{self, NusbPipe, choose};

/// The phone may send so much before we have taken any of it.
const WINDOW: u32 = 131_072;
/// OUT transfers submitted at once.
const IN_FLIGHT: usize = 8;
/// How long nothing may have come before the connection is closed.
const SILENCE: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: own_engine PORT explicit|trim LONGEST_FRAME";
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [port, zlp, longest] = arguments.as_slice() else { return Err(usage.into()) };
    let zlp = match zlp.as_str() {
        "explicit" => Zlp::Explicit,
        "trim" => Zlp::Trim,
        _ => return Err(usage.into()),
    };
    let config = Config { zlp, max_frame: longest.parse()?, ..Config::HOST };

    let is_phone = |device: &DeviceInfo| choose::is_phone(device.vendor_id(), device.product_id());
    let phone = nusb::list_devices().wait()?.find(is_phone).ok_or("plug a phone in")?;
    let pipe = usb::open(&phone, choose::USUAL_HIGHEST)?.pipe;
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;

    let mut shell = Shell::new(pipe, config, port.parse()?, input);
    smol::block_on(poll_fn(|cx| shell.poll(cx)))
}

/// What a shell keeps beside the engine.
struct Shell {
    origin: time::Instant,
    mux: Mux<[Slot; 2]>,
    pipe: NusbPipe,
    /// OUT transfers that have not completed, ZLPs among them.
    in_flight: usize,
    port: u16,
    conn: Option<ConnId>,
    input: Vec<u8>,
    sent: usize,
    last_moved: Instant,
    timer: Timer,
}

impl Shell {
    fn new(pipe: NusbPipe, config: Config, port: u16, input: Vec<u8>) -> Self {
        let mut mux = Mux::new(Role::Host, config, [Slot::EMPTY; 2]);
        mux.attach(Instant::from_micros(0), pipe.max_packet_size());
        Shell {
            origin: time::Instant::now(),
            mux,
            pipe,
            in_flight: 0,
            port,
            conn: None,
            input,
            sent: 0,
            last_moved: Instant::from_micros(0),
            timer: Timer::never(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.origin.elapsed().as_micros() as u64)
    }

    /// Goes round until nothing can be done; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<dyn Error>>> {
        loop {
            let now = self.now();
            self.mux.tick(now);
            let received = self.receive(cx, now)?;
            while let Some(event) = self.mux.poll_event(now) {
                if self.event(event, now)? {
                    return Poll::Ready(Ok(()));
                }
            }
            while self.in_flight > 0
                && let Poll::Ready(done) = self.pipe.poll_out(cx)
            {
                done?;
                self.in_flight -= 1;
            }
            let sent = self.transmit(now)?;
            if received || sent {
                self.last_moved = now;
            } else if self.sleep(cx, now).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Prints what came; says whether that was anything.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Box<dyn Error>> {
        let Poll::Ready(transfer) = self.pipe.poll_in(cx) else { return Ok(false) };
        let transfer = transfer?;
        let mut pieces = match transfer.ended {
            true => Transfer::new(transfer.bytes),
            false => Transfer::part(transfer.bytes),
        };
        while let Some(piece) = self.mux.receive(now, &mut pieces) {
            match piece {
                Received::Data { payload, .. } => io::stdout().write_all(payload)?,
                Received::PhoneSays { text, .. } | Received::ResetText { text, .. } => {
                    eprintln!("own_engine: the phone says: {}", text.escape_ascii());
                }
            }
        }
        Ok(true)
    }

    /// Acts on an event; says whether it was the last.
    fn event(&mut self, event: Event, now: Instant) -> Result<bool, Box<dyn Error>> {
        match event {
            Event::LinkUp { .. } => self.conn = Some(self.mux.connect(now, self.port, WINDOW)?),
            Event::LinkFailed { reason } => return Err(format!("no link: {reason:?}").into()),
            Event::SessionDead { cause } => return Err(format!("session dead: {cause:?}").into()),
            Event::Refused { reason, .. } => return Err(format!("refused: {reason:?}").into()),
            Event::Closed { .. } => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// Numbers frames and hands them to USB, in one step each; says whether there was any.
    fn transmit(&mut self, now: Instant) -> Result<bool, Box<dyn Error>> {
        let mut some = false;
        while self.in_flight < IN_FLIGHT {
            let data = self.send_data(now)?;
            let mut buffer = [0; CONTROL_FRAME];
            let own = self.mux.poll_transmit(now, &mut buffer);
            if let Some(frame) = own {
                self.pipe.submit_out(frame.len, &mut |transfer| {
                    transfer.copy_from_slice(&buffer[..frame.len]);
                    frame.len
                });
                self.submitted(frame.needs_zlp);
            }
            if !data && own.is_none() {
                break;
            }
            some = true;
        }
        Ok(some)
    }

    /// Sends one frame of the input, if the phone has room for one.
    fn send_data(&mut self, now: Instant) -> Result<bool, Box<dyn Error>> {
        let Some(conn) = self.conn else { return Ok(false) };
        let rest = &self.input[self.sent..];
        let length = self.mux.sendable(conn).min(rest.len());
        if length == 0 {
            return Ok(false);
        }
        let headroom = self.mux.headroom();
        let mux = &mut self.mux;
        let mut sent = None;
        self.pipe.submit_out(headroom + length, &mut |transfer| {
            transfer[headroom..].copy_from_slice(&rest[..length]);
            match sent.insert(mux.send_in_place(now, conn, transfer, length)) {
                Ok(sent) => headroom + sent.taken,
                Err(_) => 0,
            }
        });
        let Some(sent) = sent else { return Ok(false) };
        let sent = sent?;
        self.sent += sent.taken;
        self.submitted(sent.needs_zlp);
        Ok(true)
    }

    fn submitted(&mut self, needs_zlp: bool) {
        self.in_flight += 1;
        if needs_zlp {
            self.pipe.submit_zlp();
            self.in_flight += 1;
        }
    }

    /// Sleeps until the engine wants its turn; after a long silence the connection is closed instead.
    fn sleep(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let silent_at = self.last_moved + SILENCE;
        let over = now >= silent_at && self.sent == self.input.len();
        if let Some(conn) = self.conn.take_if(|_| over) {
            self.mux.close(now, conn);
            return Poll::Ready(());
        }
        let silent_at = self.conn.map(|_| silent_at).filter(|at| *at > now);
        self.timer = match [self.mux.next_tick(), silent_at].into_iter().flatten().min() {
            Some(due) => Timer::at(self.origin + Duration::from_micros(due.as_micros())),
            None => Timer::never(),
        };
        Pin::new(&mut self.timer).poll(cx).map(|_| ())
    }
}
