//! The mapped ports of a phone that reads no clock and no socket: what it asks for, and the task
//! that makes the TCP connections.
//!
//! Between the two stand three short lists; each side wakes the other when it puts something in.
//! The lists are bounded by the phone's connections: a connection is in each of them once.

use crate::phone::Dial;
use crate::services::Program;
use crate::services::mapped::{self, Mapped};
use smol::LocalExecutor;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use usbmux_core::ConnId;

/// A program for a mapped port, or the news that there is none.
type Outcome = (ConnId, Option<Box<dyn Program>>);

struct Desk {
    dials: VecDeque<Dial>,
    outcomes: VecDeque<Outcome>,
    wakes: VecDeque<ConnId>,
    phone: Waker,
    task: Option<Waker>,
}

impl Desk {
    fn tell_phone(&self) {
        self.phone.wake_by_ref();
    }
}

/// The phone's side.
#[derive(Default)]
pub(crate) struct Outside {
    desk: Option<Weak<RefCell<Desk>>>,
}

impl Outside {
    /// Makes the other side.
    pub(crate) fn serve(&mut self, waker: Waker) -> MappedPorts {
        let desk = Rc::new(RefCell::new(Desk {
            dials: VecDeque::new(),
            outcomes: VecDeque::new(),
            wakes: VecDeque::new(),
            phone: waker,
            task: None,
        }));
        self.desk = Some(Rc::downgrade(&desk));
        MappedPorts::new(desk)
    }

    fn desk(&self) -> Option<Rc<RefCell<Desk>>> {
        self.desk.as_ref()?.upgrade()
    }

    /// Asks for a connection; gives the wish back if nobody serves mapped ports.
    pub(crate) fn ask(&self, dial: Dial) -> Result<(), Dial> {
        let Some(desk) = self.desk() else { return Err(dial) };
        let mut desk = desk.borrow_mut();
        desk.dials.push_back(dial);
        if let Some(task) = desk.task.take() {
            task.wake();
        }
        Ok(())
    }

    /// Whether there is an outcome or a wake.
    pub(crate) fn has_news(&self) -> bool {
        self.desk().is_some_and(|desk| {
            let desk = desk.borrow();
            !desk.outcomes.is_empty() || !desk.wakes.is_empty()
        })
    }

    pub(crate) fn next_outcome(&self) -> Option<Outcome> {
        self.desk()?.borrow_mut().outcomes.pop_front()
    }

    pub(crate) fn next_wake(&self) -> Option<ConnId> {
        self.desk()?.borrow_mut().wakes.pop_front()
    }
}

/// Serves the mapped ports of a [`Device`](crate::device::Device): to be spawned on an executor.
/// It never ends by itself; dropping it closes the TCP connections.
#[must_use = "mapped ports are served only while this runs"]
pub struct MappedPorts {
    life: Pin<Box<dyn Future<Output = ()>>>,
}

impl MappedPorts {
    fn new(desk: Rc<RefCell<Desk>>) -> Self {
        let life = async move {
            let executor = LocalExecutor::new();
            executor.run(poll_fn(|cx| take_dials(&desk, &executor, cx))).await;
        };
        MappedPorts { life: Box::pin(life) }
    }
}

impl Future for MappedPorts {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.life.as_mut().poll(cx)
    }
}

impl fmt::Debug for MappedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedPorts").finish_non_exhaustive()
    }
}

fn take_dials(
    desk: &Rc<RefCell<Desk>>,
    executor: &LocalExecutor<'_>,
    cx: &Context<'_>,
) -> Poll<()> {
    let mut open = desk.borrow_mut();
    open.task = Some(cx.waker().clone());
    while let Some(dial) = open.dials.pop_front() {
        executor.spawn(serve(Rc::downgrade(desk), dial)).detach();
    }
    Poll::Pending
}

/// Makes one TCP connection, then watches its socket.
async fn serve(desk: Weak<RefCell<Desk>>, dial: Dial) {
    let stream = mapped::connect(dial.address).await;
    let tell = |program: Option<Box<dyn Program>>| {
        if let Some(desk) = desk.upgrade() {
            let mut desk = desk.borrow_mut();
            desk.outcomes.push_back((dial.conn, program));
            desk.tell_phone();
        }
    };
    let Some(stream) = stream else { return tell(None) };
    let (program, stream, readiness) = Mapped::new(stream);
    tell(Some(Box::new(program)));
    let wake_program = || {
        if let Some(desk) = desk.upgrade() {
            let mut desk = desk.borrow_mut();
            if !desk.wakes.contains(&dial.conn) {
                desk.wakes.push_back(dial.conn);
            }
            desk.tell_phone();
        }
    };
    mapped::watch(stream, readiness, wake_program).await;
}
