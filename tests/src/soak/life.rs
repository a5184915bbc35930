//! Lives and rounds: a daemon with its phones, clients that come and go, and what must be as it was when they are gone.

use super::Plan;
use super::check::{Done, Trouble, in_time, wrong};
use super::limits::{LINGER, SLACK, Wait};
use super::line::Line;
use super::phones::{Phone, fleet, options};
use super::report::{Report, Tally};
use super::scene::{Client, Gate, Scene};
use super::servers::Servers;
use super::streams::LAST_WORDS;
use super::tempers::live;
use super::watch::{Present, watch};
use crate::daemon_process::{Daemon, Held, held_by};
use crate::random::Random;
use crate::socket::request;
use futures_lite::future::zip;
use smol::{LocalExecutor, Timer};
use std::cell::{Cell, RefCell};
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long clients come in a round.
const ROUND: Duration = Duration::from_secs(4);
/// The same where programs that do not read wait until the daemon gives them up, and which rounds those are.
const PATIENT_ROUND: Duration = Duration::from_secs(26);
const PATIENT: (u32, u32) = (12, 4);
/// Clients at once, and those among them that stay until the round is over.
const CLIENTS: u32 = 64;
const STAYING: u32 = 16;
/// Rounds of a life.
const ROUNDS: [u32; 6] = [2, 3, 3, 4, 8, 40];
/// The longest life in a run that is short.
const SHORT_LIFE: u32 = 2;
const SHORT_RUN: Duration = Duration::from_secs(300);
/// How often it is looked whether all is at rest.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of a daemon's log that are told with a fault.
const LOG_LINES: usize = 30;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// SIGKILL in mid-traffic: the socket's file stays, and the next daemon takes it over.
    Killed,
    /// SIGTERM in mid-traffic.
    Terminated,
    /// SIGTERM when all clients are gone.
    AtRest,
}

const FATES: [Fate; 3] = [Fate::Killed, Fate::AtRest, Fate::Terminated];

struct Run {
    executor: Rc<LocalExecutor<'static>>,
    random: Random,
    seed: u64,
    folder: Arc<TempDir>,
    servers: Rc<Servers>,
    tally: Rc<Tally>,
    buid: Rc<RefCell<Option<String>>>,
    ends_at: Instant,
    short: bool,
    lives: u32,
}

/// One daemon.
struct Life {
    number: u32,
    daemon: Daemon,
    phones: Vec<Phone>,
    present: Rc<Present>,
    over: Rc<Gate>,
    /// With nobody but the watching listener.
    descriptors: usize,
    /// After the first round.
    warm: Option<(u32, Held)>,
}

pub(super) fn run(plan: Plan) -> Report {
    let Plan { seed, length } = plan;
    println!("soak: seed {seed}, {:.1} minutes", length.as_secs_f64() / 60.0);
    let executor = Rc::new(LocalExecutor::new());
    let tally = Rc::new(Tally::new(seed));
    #[allow(clippy::unwrap_used, reason = "a test helper: no test runs without a temporary folder")]
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut run = Run {
        servers: Servers::start(&executor, &tally),
        random: Random::new(seed),
        seed,
        folder,
        buid: Rc::default(),
        ends_at: Instant::now() + length,
        short: length < SHORT_RUN,
        lives: 0,
        tally,
        executor: Rc::clone(&executor),
    };
    smol::block_on(executor.run(async {
        while Instant::now() < run.ends_at && run.tally.is_good() {
            run.life().await;
        }
        run.tally.with(|report| report.clone())
    }))
}

impl Run {
    async fn life(&mut self) {
        self.lives += 1;
        self.tally.at(format!("start of life {}", self.lives));
        // The first three lives end in the three ways; then as it comes.
        let fate =
            FATES[if self.lives <= 3 { self.lives as usize - 1 } else { self.random.below(3) }];
        let rounds = *self.random.pick(&ROUNDS);
        let rounds = if self.short { rounds.min(SHORT_LIFE) } else { rounds };
        let Some(mut life) = self.begin().await else { return };
        for round in 1..=rounds {
            let last = round == rounds || Instant::now() + ROUND >= self.ends_at;
            let fate = Some(fate).filter(|_| last);
            let scene = self.scene(&life);
            // A kill would cut the patience short.
            let fate = fate.filter(|fate| *fate != Fate::AtRest && !scene.patient);
            life = match self.round(life, scene, fate).await {
                Some(life) => life,
                None => return,
            };
            if !self.tally.is_good() {
                tell_log(&life.daemon);
                return;
            }
            if last {
                break;
            }
        }
        if let Err(trouble) = self.last_words(life).await {
            self.tally.fault(format!("the last words of a life: {trouble}"));
        }
    }

    /// Ends a life at rest, with one client's bytes on their way to a phone without quirks.
    async fn last_words(&self, life: Life) -> Done {
        let scene = self.scene(&life);
        let (phone, random) = (life.phones[0].clone(), Random::new(self.seed));
        let client = Client { scene, phone, salt: self.lives, random, connected: Cell::new(false) };
        let (_line, arrived) = client.last_words().await?;
        life.over.open();
        self.terminate(life.daemon, Fate::AtRest).await;
        let told = async { arrived.recv().await.map_err(|_| Trouble::Cut) };
        let (came, _) = in_time(Wait::Stop, Wait::Stop.limit(), "the end of them", told).await;
        match came? {
            LAST_WORDS => Ok(()),
            came => wrong(format!("{came} of {LAST_WORDS} bytes arrived")),
        }
    }

    /// Starts a daemon on the socket of the last one, and waits for its phones.
    async fn begin(&mut self) -> Option<Life> {
        let phones = fleet(&mut self.random);
        let mut options = options(&phones);
        options.extend_from_slice(self.servers.options());
        options.push(format!("--linger={}", LINGER.as_secs_f64()));
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let daemon = Daemon::start_in(&self.folder, phones.len() as u32, &options);
        let mut life = Life {
            number: self.lives,
            daemon,
            phones,
            present: Rc::default(),
            over: Gate::new(),
            descriptors: 0,
            warm: None,
        };
        let scene = self.scene(&life);
        if let Err(trouble) = self.follow(&scene).await {
            self.tally.fault(format!("the phones were not listed: {trouble}"));
            tell_log(&life.daemon);
            return None;
        }
        life.descriptors = life.daemon.descriptors();
        Some(life)
    }

    /// Begins to listen, and waits until the phones are listed.
    async fn follow(&self, scene: &Rc<Scene>) -> Result<(), Trouble> {
        let line = Line::open(scene).await?;
        line.send(&request(0, "Listen", &[])).await?;
        line.answer(Wait::Answer, "the answer to Listen", 0).await?;
        let watching = watch(Rc::clone(&self.executor), Rc::clone(scene), line);
        self.executor.spawn(watching).detach();
        let listed = async {
            for phone in scene.phones.iter().filter(|phone| phone.answers_at_once()) {
                scene.present.wait_for(&phone.udid()).await;
            }
            Ok(())
        };
        scene.within(Wait::Greeting, "every phone to be listed", listed).await
    }

    fn scene(&self, life: &Life) -> Rc<Scene> {
        let round = self.tally.with(|report| report.rounds + 1);
        let patient = round % PATIENT.0 == PATIENT.1;
        let length = if patient { PATIENT_ROUND } else { ROUND };
        Rc::new(Scene {
            socket: life.daemon.socket.clone(),
            phones: life.phones.clone(),
            present: Rc::clone(&life.present),
            servers: Rc::clone(&self.servers),
            over: Rc::clone(&life.over),
            buid: Rc::clone(&self.buid),
            tally: Rc::clone(&self.tally),
            ends_at: Instant::now() + length,
            patient,
        })
    }

    /// Lets clients come and go; gives the life back, unless it ended.
    async fn round(&mut self, mut life: Life, scene: Rc<Scene>, end: Option<Fate>) -> Option<Life> {
        let round = self.tally.with(|report| {
            report.rounds += 1;
            report.rounds
        });
        self.tally.at(format!("round {round}, life {}", life.number));
        let before = self.tally.with(|report| (report.clients(), report.checked));
        self.servers.stall();
        let clients = self.clients(&scene, round);
        let ending_at = Duration::from_millis(self.random.between(800, 3500) as u64);
        let over = Rc::clone(&life.over);
        let over = async move {
            if end.is_some() {
                Timer::after(ending_at).await;
                over.open();
            }
            end
        };
        let servers = Rc::clone(&self.servers);
        let leave = async {
            scene.end().await;
            if !scene.patient || scene.over.is_open() {
                servers.release();
            }
        };
        let end = async {
            match over.await {
                Some(Fate::Killed) => {
                    life.daemon.kill();
                    self.tally.with(|report| report.ended[0] += 1);
                    None
                }
                Some(fate) => {
                    self.terminate(life.daemon, fate).await;
                    None
                }
                None => Some(life),
            }
        };
        let (life, _) = zip(end, zip(clients, leave)).await;
        let rest = match life {
            Some(life) => self.rest(life, &scene).await,
            None => None,
        };
        self.servers.release();
        self.own_rest().await;
        self.line(round, before, &scene, rest.as_ref(), end_word(&scene));
        rest
    }

    /// The clients of a round, each place taken again and again.
    fn clients(&self, scene: &Rc<Scene>, round: u32) -> impl Future<Output = ()> + use<> {
        let places: Vec<_> = (0..CLIENTS)
            .map(|place| {
                let scene = Rc::clone(scene);
                let seed = self.seed;
                self.executor.spawn(async move {
                    let mut random =
                        Random::new(seed ^ u64::from(round) << 40 ^ u64::from(place) << 32);
                    let mut number = 0;
                    while !scene.has_ended() {
                        let salt = round << 18 ^ place << 12 ^ number;
                        live(&scene, salt, place < STAYING, Random::new(random.bits())).await;
                        number += 1;
                    }
                })
            })
            .collect();
        async {
            for place in places {
                place.await;
            }
        }
    }

    /// Waits until the daemon holds what it held before, and compares.
    async fn rest(&self, mut life: Life, scene: &Scene) -> Option<Life> {
        let wait = if scene.patient { Wait::Drain } else { Wait::Rest };
        let what = format!("the daemon to be back at {} descriptors", life.descriptors);
        let quiet = async {
            loop {
                if let Some(status) = life.daemon.has_ended() {
                    return Err(Trouble::Wrong(format!("the daemon ended by itself: {status}")));
                }
                if life.daemon.descriptors() <= life.descriptors {
                    return Ok(());
                }
                Timer::after(LOOK).await;
            }
        };
        if let Err(trouble) = scene.within(wait, &what, quiet).await {
            let now = life.daemon.has_ended().is_none().then(|| life.daemon.descriptors());
            self.tally.fault(format!("{trouble}, holds {now:?}"));
            return Some(life);
        }
        let held = held_by(life.daemon.id());
        let peak = life.daemon.peak();
        let warm = *life.warm.get_or_insert((0, held));
        life.warm = Some((warm.0 + 1, warm.1));
        if let Err(what) = held.is_back("the daemon", warm.1) {
            self.tally.fault(what);
        }
        self.tally.with(|report| {
            let memory = &mut report.memory;
            let first = memory.warm.map_or(warm.1, |[first, _]| first);
            memory.warm = Some([first, warm.1]);
            memory.last = Some(held);
            memory.peak = memory.peak.max(peak);
            let growth = held.resident as i64 - warm.1.resident as i64;
            if growth > memory.growth.0 {
                memory.growth = (growth, warm.0);
            }
        });
        Some(life)
    }

    /// Waits until this process holds what it held after its first round.
    async fn own_rest(&self) {
        let first = self.tally.with(|report| report.memory.own).map(|[first, _]| first);
        let quiet = async {
            loop {
                let held = held_by(process::id());
                if first.is_none_or(|first| held.descriptors <= first.descriptors) {
                    return Ok(held);
                }
                Timer::after(LOOK).await;
            }
        };
        if first.is_none() {
            // Its servers' last connections end with the phones' programs.
            Timer::after(SLACK / 4).await;
        }
        let (held, _) =
            in_time(Wait::Drain, Wait::Drain.limit(), "the soak to be at rest", quiet).await;
        let now = held_by(process::id());
        let first = first.unwrap_or(now);
        if held.is_err() || now.is_back("the soak", first).is_err() {
            let what = now.is_back("the soak", first).err().unwrap_or_default();
            self.tally.fault(what);
        }
        self.tally.with(|report| report.memory.own = Some([first, now]));
    }

    /// Asks the daemon to end: it does at once, in peace, and takes its socket along.
    async fn terminate(&self, daemon: Daemon, fate: Fate) {
        let (socket, began) = (daemon.socket.clone(), Instant::now());
        let status = smol::unblock(move || daemon.terminate()).await;
        let took = began.elapsed();
        self.tally.took(Wait::Stop, took);
        if took > Wait::Stop.limit() {
            self.tally.fault(format!("the daemon took {took:?} to end at SIGTERM"));
        }
        if !status.success() {
            self.tally.fault(format!("the daemon ended with {status} at SIGTERM"));
        }
        if socket.exists() {
            self.tally.fault("the daemon left its socket's file behind at SIGTERM".to_owned());
        }
        let place = if fate == Fate::AtRest { 2 } else { 1 };
        self.tally.with(|report| report.ended[place] += 1);
    }

    fn line(
        &self,
        round: u32,
        before: ((u64, u64), u64),
        scene: &Scene,
        rest: Option<&Life>,
        end: &str,
    ) {
        let ((clients, cut), checked) =
            self.tally.with(|report| (report.clients(), report.checked));
        let megabytes = (checked - before.1) as f64 / 1e6;
        let rest = rest.and_then(|_| self.tally.with(|report| report.memory.last)).map_or(
            end.to_owned(),
            |held| {
                format!(
                    "at rest {} descriptors, {:.1} MiB",
                    held.descriptors,
                    held.resident as f64 / f64::from(1 << 20)
                )
            },
        );
        println!(
            "soak: round {round}, life {}{}: {} clients, {} cut off, {megabytes:.0} MB compared; {rest}",
            self.lives,
            if scene.patient { ", patient" } else { "" },
            clients - before.0.0,
            cut - before.0.1,
        );
    }
}

fn end_word(scene: &Scene) -> &'static str {
    if scene.over.is_open() { "the daemon was ended" } else { "no rest" }
}

/// Prints the end of a daemon's log.
fn tell_log(daemon: &Daemon) {
    let log = daemon.log.all();
    for line in log.iter().skip(log.len().saturating_sub(LOG_LINES)) {
        println!("soak:   umuxd: {line}");
    }
}
