//! `umux demo`: a virtual phone, a daemon, clients of it and a transfer, in this process. Each step
//! says what happens and checks what it shows; a demo that shows something wrong fails.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::future::{or, zip};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::stream::StreamExt;
use smol::{LocalExecutor, Timer};
use usbmux_host::address::Address;
use usbmux_host::client::{ClientError, Daemon, DeviceStream, Event, Events, Phone, lockdown};
use usbmux_host::daemon::listen::Listener;
use usbmux_host::daemon::records::Records;
use usbmux_host::daemon::registry::{Limits, Registry};
use usbmux_host::daemon::{self, simulate};
use usbmux_phone::{ECHO, Options, Quirk};

use crate::failure::Failure;
use crate::{output, phones};

/// How long all of it may take; it takes a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much goes to the phone and back.
const TRANSFER: usize = 16 << 20;

/// How much of it is written and compared at once.
const CHUNK: usize = 64 << 10;

/// A port of the virtual phone on which no program listens.
const NOBODY: u16 = 1;

/// How long the second phone stays.
const SHORT_VISIT: Duration = Duration::from_millis(300);

const NEXT: &str = "
Now you:
  echo hello | umux connect 7 --direct --simulate    the echo by hand, without a daemon
  umuxd --simulate                                   a daemon with a virtual phone; it says how to
                                                     reach it, and then, in a second terminal:
  umux list                                          who is there
  umux forward 7777:7                                the phone's port 7 as 127.0.0.1:7777
";

pub(crate) async fn run() -> Result<(), Failure> {
    let cannot = |error: &dyn Display| Failure::failed(format!("cannot begin the demo ({error})"));
    let folder = tempfile::tempdir().map_err(|error| cannot(&error))?;
    let path = folder.path().join("usbmuxd");
    let records = Records::new(folder.path().join("lockdown"));
    let mut daemon =
        daemon::Daemon::new(Limits::default(), records).map_err(|error| cannot(&error))?;
    daemon.listen(Listener::unix(&path, 0o600).map_err(|error| cannot(&error))?);
    let demo = Demo {
        client: Daemon::new(Address::Unix(path)).program("umux demo"),
        executor: Rc::clone(daemon.executor()),
        registry: daemon.registry().clone(),
        known: HashMap::new(),
    };
    let serving = async {
        daemon.run(pending()).await;
        Err(Failure::failed("the demo's daemon ended"))
    };
    let too_long = async {
        Timer::after(PATIENCE).await;
        Err(Failure::failed("the demo is stuck: run umuxd --simulate -v to see where"))
    };
    or(demo.show(), or(serving, too_long)).await
}

struct Demo {
    client: Daemon,
    executor: Rc<LocalExecutor<'static>>,
    registry: Registry,
    /// The phones that were shown.
    known: HashMap<u32, Phone>,
}

impl Demo {
    async fn show(mut self) -> Result<(), Failure> {
        let mut events = self.begin().await?;
        let phone = self.plug_in(&mut events).await?;
        self.ask_who_it_is(phone).await?;
        self.greet(phone).await?;
        self.transfer(phone).await?;
        self.refuse(phone).await?;
        self.visit(&mut events).await?;
        output::text(NEXT)
    }

    async fn begin(&self) -> Result<Events, Failure> {
        let events = self.client.listen().await?;
        step(
            "1  A daemon. Programs find phones through its socket; this one is for the demo only.",
        )?;
        shows(format!("listening on {}", self.client.address()))?;
        check(self.client.phones().await?.is_empty(), "no phone before one is plugged in")?;
        Ok(events)
    }

    async fn plug_in(&mut self, events: &mut Events) -> Result<u32, Failure> {
        step(
            "2  A phone is plugged in. The daemon greets it on its two USB bulk endpoints, and when \
             it\n   has answered, everybody who listens is told.",
        )?;
        simulate::plug_in(&self.executor, &self.registry, Options::new(1));
        self.event(events, "attached").await?;
        let phones = self.client.phones().await?;
        check(matches!(phones.as_slice(), [one] if one.udid.ends_with("01")), "one phone listed")?;
        phones.first().map(|phone| phone.device_id).ok_or_else(|| wrong("a phone"))
    }

    async fn ask_who_it_is(&self, phone: u32) -> Result<(), Failure> {
        step(
            "3  It says who it is. usbmux carries connections to numbered ports, as TCP does; on \
             62078\n   listens lockdownd, and tells even strangers this:",
        )?;
        let stream = self.client.connect(phone, lockdown::PORT).await?;
        let values = lockdown::values(stream, "umux demo", PATIENCE).await?;
        for key in ["DeviceName", "ProductType", "ProductVersion"] {
            let value = values.get(key).and_then(plist::Value::as_string);
            shows(format!("{key}: {}", value.ok_or_else(|| wrong(key))?))?;
        }
        let name = values.get("DeviceName").and_then(plist::Value::as_string);
        check(name == Some("Virtual Phone 1"), "the phone's name")
    }

    async fn greet(&self, phone: u32) -> Result<(), Failure> {
        const GREETING: &str = "hello, phone";
        step("4  A connection. What is sent to port 7 of this phone comes back.")?;
        let mut echo = self.client.connect(phone, ECHO).await?;
        echo.write_all(GREETING.as_bytes()).await.map_err(ClientError::Lost)?;
        shows(format!("-> {GREETING}"))?;
        let mut answer = [0; GREETING.len()];
        echo.read_exact(&mut answer).await.map_err(ClientError::Lost)?;
        let answer = String::from_utf8_lossy(&answer);
        shows(format!("<- {answer}"))?;
        check(answer == GREETING, "the echo of the greeting")
    }

    async fn transfer(&self, phone: u32) -> Result<(), Failure> {
        step(
            "5  A transfer. Frames of up to 48 KiB, each numbered and none ever sent again; a window \
             says\n   how much may be under way. Every byte that comes back is compared.",
        )?;
        let stream = self.client.connect(phone, ECHO).await?;
        let begun = Instant::now();
        let (sent, same) = zip(send(stream.clone()), compare(stream)).await;
        sent.and(same)?;
        let seconds = begun.elapsed().as_secs_f64();
        let rate = TRANSFER as f64 / 1e6 / seconds;
        shows(format!("{} MiB each way in {seconds:.2} s: {rate:.0} MB/s", TRANSFER >> 20))
    }

    async fn refuse(&self, phone: u32) -> Result<(), Failure> {
        step(
            "6  A port on which nobody listens. The phone refuses, and nothing else is disturbed.",
        )?;
        match self.client.connect(phone, NOBODY).await {
            Err(error @ ClientError::Refused { port: NOBODY }) => shows(error),
            _ => Err(wrong("the refused port")),
        }
    }

    async fn visit(&mut self, events: &mut Events) -> Result<(), Failure> {
        step("7  Another phone comes, and its cable is pulled.")?;
        let mut options = Options::new(2);
        options.quirks.push(Quirk::Unplug { after: SHORT_VISIT });
        simulate::plug_in(&self.executor, &self.registry, options);
        self.event(events, "attached").await?;
        self.event(events, "detached").await?;
        check(self.client.phones().await?.len() == 1, "one phone that stays")
    }

    /// Waits for the next event, shows it, and fails if it is another one than expected.
    async fn event(&mut self, events: &mut Events, expected: &str) -> Result<(), Failure> {
        let event: Event = events.next().await.transpose()?.ok_or_else(|| wrong(expected))?;
        let line =
            phones::describe(&mut self.known, event, false).ok_or_else(|| wrong(expected))?;
        shows(&line)?;
        check(line.starts_with(expected), expected)
    }
}

async fn send(mut stream: DeviceStream) -> Result<(), Failure> {
    let mut at = 0;
    while at < TRANSFER {
        stream.write_all(&pattern(at)).await.map_err(ClientError::Lost)?;
        at += CHUNK;
    }
    Ok(())
}

async fn compare(mut stream: DeviceStream) -> Result<(), Failure> {
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < TRANSFER {
        stream.read_exact(&mut chunk).await.map_err(ClientError::Lost)?;
        check(chunk == pattern(at), "the bytes that came back")?;
        at += CHUNK;
    }
    Ok(())
}

/// A chunk of bytes in which every lost, doubled or moved one shows.
fn pattern(at: usize) -> Vec<u8> {
    (at..at + CHUNK).map(|n| ((n as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn step(text: &str) -> Result<(), Failure> {
    output::line(&format!("\n{text}"))
}

fn shows(what: impl Display) -> Result<(), Failure> {
    output::line(&format!("      {what}"))
}

fn check(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(wrong(what)) }
}

fn wrong(what: &str) -> Failure {
    Failure::failed(format!(
        "the demo expected {what}, and that is not so: this is a fault of ours"
    ))
}
