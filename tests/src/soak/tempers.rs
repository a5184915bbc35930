//! All clients by name, and how one's end is judged.

use super::check::{Done, Trouble};
use super::line::Line;
use super::phones::Phone;
use super::scene::{Client, Scene};
use crate::random::Random;
use smol::Timer;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// What a client is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Temper {
    Echo,
    HalfClosedEcho,
    SingleBytes,
    Chargen,
    SlowReader,
    StoppedReader,
    NeverReads,
    Discard,
    Download,
    Upload,
    UploadAndGo,
    KilledUpload,
    StalledUpload,
    Killed,
    HangUp,
    Silent,
    Garbage,
    Interrupts,
    DeafListener,
    Lost,
    Asks,
    PairRecord,
    Listener,
    Lockdown,
}

/// How often each comes, relative to the others, and its name.
const TEMPERS: [(Temper, usize, &str); 24] = [
    (Temper::Echo, 10, "echo"),
    (Temper::HalfClosedEcho, 4, "echo, half-closed before reading"),
    (Temper::SingleBytes, 3, "a byte at a time"),
    (Temper::Chargen, 6, "chargen"),
    (Temper::SlowReader, 4, "slow reader"),
    (Temper::StoppedReader, 1, "stops reading, then goes on"),
    (Temper::NeverReads, 1, "never reads"),
    (Temper::Discard, 4, "discard"),
    (Temper::Download, 6, "download to the phone's end"),
    (Temper::Upload, 8, "upload, acknowledged"),
    (Temper::UploadAndGo, 8, "upload, closes behind the last byte"),
    (Temper::KilledUpload, 6, "upload, killed"),
    (Temper::StalledUpload, 1, "upload to who does not read"),
    (Temper::Killed, 8, "killed"),
    (Temper::HangUp, 8, "hangs up in some state"),
    (Temper::Silent, 1, "40 sockets, silent"),
    (Temper::Garbage, 4, "garbage"),
    (Temper::Interrupts, 2, "a command while listening"),
    (Temper::DeafListener, 1, "listener that never reads"),
    (Temper::Lost, 3, "wants what is not there"),
    (Temper::Asks, 6, "commands"),
    (Temper::PairRecord, 2, "pair record"),
    (Temper::Listener, 3, "listener"),
    (Temper::Lockdown, 3, "lockdown"),
];

/// One client in so many goes to a phone without quirks.
const TO_HEALTHY: usize = 3;
/// How often, and how far apart, a client asks why its connection ended: the reason is known when the engine is
/// through with the connection, perhaps a moment after the client's end of file.
const QUESTIONS: usize = 100;
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);

impl Temper {
    /// Whether such a client is there until the round is over.
    fn stays(self) -> bool {
        matches!(
            self,
            Temper::StoppedReader
                | Temper::NeverReads
                | Temper::StalledUpload
                | Temper::Silent
                | Temper::DeafListener
        )
    }

    fn any(stays: bool, random: &mut Random) -> Temper {
        let these = || TEMPERS.iter().filter(|(temper, ..)| temper.stays() == stays);
        let mut at = random.below(these().map(|(_, weight, _)| weight).sum());
        for &(temper, weight, _) in these() {
            match at.checked_sub(weight) {
                Some(rest) => at = rest,
                None => return temper,
            }
        }
        Temper::Echo
    }

    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        TEMPERS.iter().find(|(temper, ..)| *temper == self).map_or("?", |(.., name)| name)
    }

    async fn act(self, client: &mut Client) -> Done {
        match self {
            Temper::Echo => client.echo().await,
            Temper::HalfClosedEcho => client.half_closed_echo().await,
            Temper::SingleBytes => client.single_bytes().await,
            Temper::Chargen => client.chargen().await,
            Temper::SlowReader => client.slow_reader().await,
            Temper::StoppedReader => client.stopped_reader().await,
            Temper::NeverReads => client.never_reads().await,
            Temper::Discard => client.discard().await,
            Temper::Download => client.download().await,
            Temper::Upload => client.upload().await,
            Temper::UploadAndGo => client.upload_and_go().await,
            Temper::KilledUpload => client.killed_upload().await,
            Temper::StalledUpload => client.stalled_upload().await,
            Temper::Killed => client.killed().await,
            Temper::HangUp => client.hang_up().await,
            Temper::Silent => client.silent().await,
            Temper::Garbage => client.garbage().await,
            Temper::Interrupts => client.interrupts().await,
            Temper::DeafListener => client.deaf_listener().await,
            Temper::Lost => client.lost().await,
            Temper::Asks => client.asks().await,
            Temper::PairRecord => client.pair_record().await,
            Temper::Listener => client.listener().await,
            Temper::Lockdown => client.lockdown().await,
        }
    }
}

/// What became of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What it wanted.
    Whole,
    /// Its phone cut it off, and may, for this reason.
    Cut(String),
    /// The daemon was ended under it.
    DaemonEnded,
    /// What must not be.
    Fault(String),
}

/// Lives one client's life and counts it; `stays` chooses those that stay until the round is over.
pub(super) async fn live(scene: &Rc<Scene>, salt: u32, stays: bool, mut random: Random) {
    let healthy = random.once_in(TO_HEALTHY);
    let listed = |phone: &&Phone| scene.present.id(&phone.udid()).is_some();
    let wanted = |phone: &&Phone| listed(phone) && (!healthy || phone.quirks.is_empty());
    let phones: Vec<_> = scene.phones.iter().filter(wanted).collect();
    // Phones without quirks are always there; without one the listener that follows them has seen a fault.
    let Some(phone) = phones.get(random.below(phones.len())).copied().cloned() else { return };
    let temper = Temper::any(stays, &mut random);
    let connected = Cell::new(false);
    let mut client = Client { scene: Rc::clone(scene), phone, salt, random, connected };
    let done = temper.act(&mut client).await;
    let end = judge(&client, done).await;
    if let End::Fault(what) = &end {
        scene.tally.fault(format!("{client}, {}: {what}", temper.name()));
    }
    scene.tally.ended(temper, &end);
}

async fn judge(client: &Client, done: Done) -> End {
    let phone = &client.phone;
    match done {
        Ok(()) => End::Whole,
        Err(Trouble::Cut | Trouble::Refused(_)) if client.scene.over.is_open() => End::DaemonEnded,
        Err(Trouble::Refused(number)) if phone.may_refuse(number) => {
            End::Cut(format!("Connect: Result {number}"))
        }
        Err(Trouble::Cut) if client.connected.get() => {
            let reason = match reason(client).await {
                Ok(reason) => reason,
                Err(_) if client.scene.over.is_open() => return End::DaemonEnded,
                Err(trouble) => return End::Fault(format!("asking for a reason: {trouble}")),
            };
            match reason {
                Some(reason) if phone.may_end(Some(&reason)) => End::Cut(reason),
                reason => End::Fault(format!("the connection ended early, reason {reason:?}")),
            }
        }
        Err(trouble) => End::Fault(trouble.to_string()),
    }
}

/// Asks the daemon why the client's connection ended.
async fn reason(client: &Client) -> Done<Option<String>> {
    let line = Line::open(&client.scene).await?;
    let token = [("EndToken", client.token().into())];
    for tag in 0..QUESTIONS as u32 {
        let answer = line.ask(tag, "ReadEndReason", &token).await?;
        if let Some(reason) = answer.text("EndReason") {
            return Ok(Some(reason.to_owned()));
        }
        Timer::after(BETWEEN_QUESTIONS).await;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::limits::Wait;
    use super::super::report::Tally;
    use super::super::scene::Gate;
    use super::super::servers::Servers;
    use super::*;
    use smol::LocalExecutor;
    use std::time::Instant;
    use usbmux_phone::Quirk;

    /// How an end of a client is judged at a phone with these quirks, in a round without a daemon to ask.
    fn judged(quirks: &[Quirk], over: bool, done: Done) -> End {
        let executor = Rc::new(LocalExecutor::new());
        let tally = Rc::new(Tally::new(1));
        let phone = Phone { number: 1, quirks: quirks.to_vec() };
        let scene = Scene {
            socket: "nowhere".into(),
            phones: vec![phone.clone()],
            present: Rc::default(),
            servers: Servers::start(&executor, &tally),
            over: Gate::new(),
            buid: Rc::default(),
            tally,
            ends_at: Instant::now(),
            patient: false,
        };
        if over {
            scene.over.open();
        }
        let (scene, random) = (Rc::new(scene), Random::new(1));
        let client = Client { scene, phone, salt: 1, random, connected: Cell::new(false) };
        smol::block_on(judge(&client, done))
    }

    #[test]
    fn what_must_not_be_is_a_fault() {
        let unplug = [Quirk::Unplug { after: Duration::from_secs(1) }];
        let late = || Err(Trouble::Late { wait: Wait::Connect, what: "it".to_owned() });
        let wrong = || Err(Trouble::Wrong("other bytes".to_owned()));
        let fault = |end| matches!(end, End::Fault(_));
        for over in [false, true] {
            assert!(fault(judged(&unplug, over, late())) && fault(judged(&unplug, over, wrong())));
            assert_eq!(judged(&[], over, Ok(())), End::Whole);
        }
        assert!(fault(judged(&[], false, Err(Trouble::Cut))));
        assert!(fault(judged(&[], false, Err(Trouble::Refused(2)))));
        assert!(fault(judged(&unplug, false, Err(Trouble::Refused(3)))));
        assert!(!fault(judged(&unplug, false, Err(Trouble::Refused(2)))));
        assert_eq!(judged(&[], true, Err(Trouble::Cut)), End::DaemonEnded);
    }

    #[test]
    fn every_temper_comes() {
        let mut random = Random::new(1);
        let seen: std::collections::BTreeSet<_> =
            (0..10_000).map(|at| Temper::any(at % 2 == 0, &mut random)).collect();
        assert_eq!(seen.len(), TEMPERS.len());
        assert!(TEMPERS.iter().all(|(temper, _, name)| temper.name() == *name));
    }
}
