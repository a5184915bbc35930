//! What the clients of a round share: where the daemon is, which phones there are, when all must leave.

use super::check::{Done, Trouble, in_time};
use super::limits::Wait;
use super::phones::Phone;
use super::report::Tally;
use super::servers::Servers;
use super::watch::Present;
use crate::random::Random;
use smol::Timer;
use smol::channel::{Receiver, Sender, bounded};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// What a daemon says of a phone that is not there.
const NO_DEVICE: u64 = 2;

/// Something that happens once and that many may wait for.
#[derive(Debug)]
pub(super) struct Gate(Sender<()>, Receiver<()>);

impl Gate {
    pub(super) fn new() -> Rc<Gate> {
        let (sender, receiver) = bounded(1);
        Rc::new(Gate(sender, receiver))
    }

    pub(super) fn open(&self) {
        self.0.close();
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until it opens.
    pub(super) async fn passed(&self) {
        // Nothing is ever sent: the only end of this is the closing.
        let _ = self.1.recv().await;
    }
}

/// A round, as its clients see it.
pub(super) struct Scene {
    /// The daemon's socket.
    pub(super) socket: PathBuf,
    /// The phones of this life.
    pub(super) phones: Vec<Phone>,
    /// Which of them are listed.
    pub(super) present: Rc<Present>,
    /// The programs behind mapped ports.
    pub(super) servers: Rc<Servers>,
    /// Opens when somebody ends the daemon.
    pub(super) over: Rc<Gate>,
    /// What the daemon calls this system, once somebody has asked.
    pub(super) buid: Rc<RefCell<Option<String>>>,
    /// What is counted.
    pub(super) tally: Rc<Tally>,
    /// When the clients leave.
    pub(super) ends_at: Instant,
    /// Whether programs that do not read go on so until the daemon has given up on them.
    pub(super) patient: bool,
}

impl Scene {
    /// Waits for a step, no longer than the limit of `wait`, and counts how long that was.
    pub(super) async fn within<T>(
        &self,
        wait: Wait,
        what: &str,
        step: impl Future<Output = Done<T>>,
    ) -> Done<T> {
        let (done, took) = in_time(wait, wait.limit(), what, step).await;
        if done.is_ok() {
            self.tally.took(wait, took);
        }
        done
    }

    /// Waits until the clients of the round leave, or the daemon is ended.
    pub(super) async fn end(&self) {
        let end = async {
            let _ = Timer::at(self.ends_at).await;
        };
        futures_lite::future::or(end, self.over.passed()).await;
    }

    /// Whether it is time to leave.
    pub(super) fn has_ended(&self) -> bool {
        self.over.is_open() || Instant::now() >= self.ends_at
    }
}

/// One client: who it is, and which phone it wants.
pub(super) struct Client {
    /// The round it lives in.
    pub(super) scene: Rc<Scene>,
    /// Where it goes.
    pub(super) phone: Phone,
    /// Tells it and its bytes from all others of the run.
    pub(super) salt: u32,
    /// Its choices.
    pub(super) random: Random,
    /// Whether its last Connect carried its token.
    pub(super) connected: Cell<bool>,
}

impl Client {
    /// The word by which it asks why its connection ended.
    pub(super) fn token(&self) -> String {
        format!("soak {}", self.salt)
    }

    /// The phone's number for a Connect; it may have been pulled out just now.
    pub(super) fn device(&self) -> Done<u64> {
        self.scene.present.id(&self.phone.udid()).ok_or(Trouble::Refused(NO_DEVICE))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, nature) = (self.phone.number, self.phone.nature());
        write!(f, "client {:#x} at phone {number} ({nature})", self.salt)
    }
}
