//! One link by hand: a pipe that does nothing by itself, a phone made of the engine alone, and
//! time that passes when the test says so.
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use futures_lite::future::poll_once;
use smol::Timer;

use usbmux_core::{CONTROL_FRAME, Event, Received, Transfer, Zlp};

use super::task::{DATA_IN_FLIGHT, OUT_LOOK};
use super::*;
use crate::daemon::pool::USUAL_WINDOW;
use crate::daemon::relay::{DRAIN, RESTS_BEHIND};
use crate::pipe::{InTransfer, Pipe, PipeError};
use crate::stream::ClientStream;

/// How often link and phone take turns before nothing more is expected to happen.
const TURNS: usize = 64;

#[derive(Default)]
struct Bus {
    out: VecDeque<Vec<u8>>,
    out_done: VecDeque<Result<(), PipeError>>,
    /// Who is to be woken when an OUT transfer is done.
    out_waker: Option<Waker>,
    input: VecDeque<Vec<u8>>,
    resets: usize,
    /// A reset that has begun does not end.
    resetting: bool,
    reset_fails: Option<PipeError>,
    unplugged: bool,
}

/// Somebody to be woken, who does nothing.
struct Own;

impl std::task::Wake for Own {
    fn wake(self: std::sync::Arc<Self>) {}
}

struct TestPipe {
    bus: Rc<RefCell<Bus>>,
    looked_at: Vec<u8>,
}

impl Pipe for TestPipe {
    fn max_packet_size(&self) -> u16 {
        512
    }

    fn submit_out(&mut self, most: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let mut transfer = vec![0xaa; most];
        let filled = fill(&mut transfer);
        transfer.truncate(filled);
        if filled > 0 {
            self.bus.borrow_mut().out.push_back(transfer);
        }
        filled
    }

    fn submit_zlp(&mut self) {
        self.bus.borrow_mut().out.push_back(Vec::new());
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
        let mut bus = self.bus.borrow_mut();
        bus.out_waker = Some(cx.waker().clone());
        bus.out_done.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_in(&mut self, _: &mut Context<'_>) -> Poll<Result<InTransfer<'_>, PipeError>> {
        let mut bus = self.bus.borrow_mut();
        if bus.unplugged {
            return Poll::Ready(Err(PipeError::Unplugged));
        }
        match bus.input.pop_front() {
            Some(transfer) => {
                self.looked_at = transfer;
                Poll::Ready(Ok(InTransfer { bytes: &self.looked_at, ended: true }))
            }
            None => Poll::Pending,
        }
    }

    fn poll_reset(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
        let mut bus = self.bus.borrow_mut();
        if bus.resetting {
            return Poll::Pending;
        }
        bus.resets += 1;
        bus.out.clear();
        bus.out_done.clear();
        Poll::Ready(bus.reset_fails.map_or(Ok(()), Err))
    }
}

struct Bench {
    link: Rc<Link>,
    task: LinkTask,
    bus: Rc<RefCell<Bus>>,
    phone: Mux<Vec<Slot>>,
    /// The phone's connections by its port, and what arrived on them.
    arrived: HashMap<u16, (ConnId, Vec<u8>)>,
    ups: usize,
    end: Option<LinkEnd>,
}

impl Bench {
    fn new() -> Self {
        let link = Link::new(1, Limits::default(), Reactor::here().unwrap(), Ends::default());
        let bus = Rc::new(RefCell::new(Bus::default()));
        let pipe = TestPipe { bus: Rc::clone(&bus), looked_at: Vec::new() };
        let mut task = LinkTask::new(Rc::clone(&link), Box::new(pipe));
        task.attach();
        let mut phone = Mux::new(Role::Device, Config::PHONE, vec![Slot::EMPTY; 16]);
        phone.attach(link.now(), 512);
        Self { link, task, bus, phone, arrived: HashMap::new(), ups: 0, end: None }
    }

    fn up() -> Self {
        let mut bench = Self::new();
        bench.run();
        assert_eq!(bench.ups, 1);
        bench
    }

    /// Lets time pass for the link; nothing happens yet.
    fn pass(&mut self, time: Duration) {
        self.link.skip(time);
    }

    /// Lets the link do what it can.
    fn link_turn(&mut self) {
        let ups = &mut self.ups;
        let mut cx = Context::from_waker(Waker::noop());
        if self.end.is_none()
            && let Poll::Ready(end) = self.task.poll(&mut cx, &mut || *ups += 1)
        {
            self.task.end();
            self.end = Some(end);
        }
    }

    /// Completes one OUT transfer and returns what it carried.
    fn take_out(&mut self) -> Option<Vec<u8>> {
        let mut bus = self.bus.borrow_mut();
        let transfer = bus.out.pop_front()?;
        bus.out_done.push_back(Ok(()));
        Some(transfer)
    }

    /// Lets the phone take what was submitted and answer.
    fn phone_turn(&mut self) {
        let now = self.link.now();
        while let Some(transfer) = self.take_out() {
            let mut pieces = Transfer::new(&transfer);
            while let Some(piece) = self.phone.receive(now, &mut pieces) {
                if let Received::Data { conn, payload, .. } = piece {
                    let mut arrived = self.arrived.values_mut();
                    arrived.find(|(id, _)| *id == conn).unwrap().1.extend(payload);
                }
            }
        }
        self.phone.tick(now);
        while let Some(event) = self.phone.poll_event(now) {
            if let Event::Incoming { conn, port, .. } = event {
                self.phone.accept(now, conn, USUAL_WINDOW).unwrap();
                self.arrived.insert(port, (conn, Vec::new()));
            }
        }
        let mut buffer = [0; CONTROL_FRAME];
        while let Some(frame) = self.phone.poll_transmit(now, &mut buffer) {
            self.bus.borrow_mut().input.push_back(buffer[..frame.len].to_vec());
        }
    }

    fn run(&mut self) {
        for _ in 0..TURNS {
            self.link_turn();
            self.phone_turn();
        }
    }

    /// Whether the link waits to be woken when an OUT transfer is done.
    fn hears_of_out(&mut self) -> bool {
        let own = Waker::from(std::sync::Arc::new(Own));
        let mut cx = Context::from_waker(&own);
        let _ = self.task.poll(&mut cx, &mut || {});
        self.bus.borrow().out_waker.as_ref().is_some_and(|waker| waker.will_wake(&own))
    }

    /// Has the link send something, and the bus lose it.
    fn fail_one(&mut self) {
        let link = Rc::clone(&self.link);
        let mut connect = Box::pin(link.connect(7));
        assert!(smol::block_on(poll_once(&mut connect)).is_none());
        self.link_turn();
        let mut bus = self.bus.borrow_mut();
        bus.out.pop_front().unwrap();
        bus.out_done.push_back(Err(PipeError::Fault));
    }

    /// Opens a connection and returns it with the client's end of its socket.
    fn open(&mut self, port: u16) -> (Rc<Relay>, UnixStream) {
        let relay = self.connect(port);
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        relay.join(ClientStream::unix(ours).unwrap(), Vec::new());
        (relay, theirs)
    }

    /// The same for a client on TCP.
    fn open_tcp(&mut self, port: u16) -> (Rc<Relay>, TcpStream) {
        let relay = self.connect(port);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        relay.join(ClientStream::tcp(ours).unwrap(), Vec::new());
        (relay, theirs)
    }

    /// Has the phone's program end a connection.
    fn reset(&mut self, port: u16) {
        let (conn, _) = self.arrived[&port];
        self.phone.abort(self.link.now(), conn);
        self.run();
    }

    fn connect(&mut self, port: u16) -> Rc<Relay> {
        let link = Rc::clone(&self.link);
        let mut connect = Box::pin(link.connect(port));
        assert!(smol::block_on(poll_once(&mut connect)).is_none());
        self.run();
        smol::block_on(poll_once(&mut connect)).unwrap().ok().unwrap()
    }

    /// Has the phone send as much as it may on a port; returns how much that was.
    fn send_all_it_may(&mut self, port: u16) -> usize {
        let now = self.link.now();
        let conn = self.arrived[&port].0;
        let mut total = 0;
        loop {
            let length = self.phone.sendable(conn);
            if length == 0 {
                return total;
            }
            let headroom = self.phone.headroom();
            let mut frame = vec![0x55; headroom + length];
            let sent = self.phone.send_in_place(now, conn, &mut frame, length).unwrap();
            frame.truncate(headroom + sent.taken);
            self.bus.borrow_mut().input.push_back(frame);
            total += sent.taken;
        }
    }
}

/// Polls a connection's own task.
fn poll(relay: &Rc<Relay>) -> Poll<()> {
    relay.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a connection's own task, until it is over or `done`.
fn run_until(relay: &Rc<Relay>, mut done: impl FnMut() -> bool) {
    let own = poll_fn(|cx| match relay.poll(cx) {
        Poll::Pending if !done() => Poll::Pending,
        _ => Poll::Ready(()),
    });
    let too_long = async {
        Timer::after(Duration::from_secs(10)).await;
        panic!("nothing more happens");
    };
    let serving = async { Reactor::here().unwrap().serve().await.unwrap() };
    smol::block_on(or(own, or(too_long, serving)));
}

/// Reads what is in a client's socket.
fn read_now(mut client: &UnixStream) -> usize {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return total,
            Ok(length) => total += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

/// All tries of VERSION together, and a bit.
const GREETING: Duration = Duration::from_millis(
    Config::HOST.version_timeout_ms as u64 * Config::HOST.version_tries as u64 + 100,
);

impl Bench {
    /// Lets the link greet a phone that is deaf, until it gives up.
    fn greet_in_vain(&mut self) {
        for _ in 0..Config::HOST.version_tries {
            self.link_turn();
            while self.take_out().is_some() {}
            self.link_turn();
            self.pass(GREETING / u32::from(Config::HOST.version_tries));
        }
        self.link_turn();
    }
}

#[test]
fn phone_that_never_answers_is_reset_once_and_then_given_up() {
    let mut bench = Bench::new();
    bench.greet_in_vain();
    assert_eq!((bench.bus.borrow().resets, bench.end), (1, None));
    bench.greet_in_vain();
    assert_eq!((bench.bus.borrow().resets, bench.end), (1, Some(LinkEnd::NoAnswer)));
    assert_eq!(bench.ups, 0);
}

#[test]
fn phone_that_answers_after_the_reset_is_up() {
    let mut bench = Bench::new();
    bench.greet_in_vain();
    bench.run();
    assert_eq!((bench.ups, bench.end), (1, None));
}

#[test]
fn every_success_earns_a_new_reset() {
    let mut bench = Bench::up();
    for resets in 1..4 {
        bench.fail_one();
        bench.run();
        assert_eq!((bench.bus.borrow().resets, bench.ups, bench.end), (resets, 1 + resets, None));
    }
    bench.fail_one();
    bench.greet_in_vain();
    assert_eq!(bench.end, Some(LinkEnd::NoAnswer));
}

#[test]
fn port_that_cannot_be_reset_ends_the_link() {
    for (error, end) in [
        (PipeError::Fault, LinkEnd::NoAnswer),
        // The phone may be still there, as a new device.
        (PipeError::Unplugged, LinkEnd::Unplugged),
    ] {
        let mut bench = Bench::new();
        bench.bus.borrow_mut().reset_fails = Some(error);
        bench.greet_in_vain();
        assert_eq!(bench.end, Some(end));
    }
}

#[test]
fn nothing_is_asked_of_the_pipe_while_the_port_is_reset() {
    let mut bench = Bench::up();
    let (relay, _client) = bench.open(7);
    bench.bus.borrow_mut().resetting = true;
    bench.fail_one();
    bench.link_turn();
    // The connections know at once.
    assert!(poll(&relay).is_ready());
    let link = Rc::clone(&bench.link);
    let mut connect = Box::pin(link.connect(7));
    assert!(smol::block_on(poll_once(&mut connect)).is_none());
    bench.bus.borrow_mut().input.push_back(b"not to be read".to_vec());
    bench.run();
    assert_eq!((bench.bus.borrow().input.len(), bench.ups, bench.end), (1, 1, None));
    assert!(bench.take_out().is_none());
    // Back again, the phone is greeted and the connect that waited goes on.
    bench.bus.borrow_mut().input.clear();
    bench.bus.borrow_mut().resetting = false;
    bench.run();
    assert_eq!((bench.bus.borrow().resets, bench.ups, bench.end), (1, 2, None));
    assert!(smol::block_on(poll_once(&mut connect)).is_none());
    bench.run();
    assert!(smol::block_on(poll_once(&mut connect)).unwrap().is_ok());
}

#[test]
fn all_transfers_that_fail_at_once_cost_one_reset() {
    let mut bench = Bench::up();
    let link = Rc::clone(&bench.link);
    let connects = [7, 9].map(|port| {
        let mut connect = Box::pin(link.connect(port));
        assert!(smol::block_on(poll_once(&mut connect)).is_none());
        connect
    });
    bench.link_turn();
    let failed = std::mem::take(&mut bench.bus.borrow_mut().out);
    assert_eq!(failed.len(), 2);
    bench.bus.borrow_mut().out_done.extend(failed.iter().map(|_| Err(PipeError::Fault)));
    drop(connects);
    bench.run();
    assert_eq!((bench.bus.borrow().resets, bench.ups, bench.end), (1, 2, None));
}

#[test]
fn failed_transfer_begins_the_session_anew() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(7);
    client.write_all(b"lost").unwrap();
    assert!(poll(&relay).is_pending());
    relay.pretend_readable();
    bench.link_turn();
    let lost = bench.bus.borrow_mut().out.pop_front();
    assert!(lost.is_some());
    bench.bus.borrow_mut().out_done.push_back(Err(PipeError::Fault));
    bench.run();
    assert_eq!((bench.bus.borrow().resets, bench.ups, bench.end), (1, 2, None));
    assert!(poll(&relay).is_ready());
    let (_, _client) = bench.open(7);
}

#[test]
fn unplug_ends_the_link_and_its_connections() {
    let mut bench = Bench::up();
    let (relay, client) = bench.open(7);
    bench.bus.borrow_mut().unplugged = true;
    bench.link_turn();
    assert_eq!(bench.end, Some(LinkEnd::Unplugged));
    assert!(poll(&relay).is_ready());
    assert_eq!((&client).read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(bench.link.pool().open(), 0);
}

#[test]
fn connect_waits_for_a_link_that_is_greeting_again() {
    let mut bench = Bench::new();
    let link = Rc::clone(&bench.link);
    let mut connect = Box::pin(link.connect(7));
    assert!(smol::block_on(poll_once(&mut connect)).is_none());
    bench.run();
    assert!(smol::block_on(poll_once(&mut connect)).is_none());
    bench.run();
    assert!(smol::block_on(poll_once(&mut connect)).unwrap().is_ok());
}

#[test]
fn spill_stays_within_the_window() {
    let mut bench = Bench::up();
    let (relay, client) = bench.open(19);
    let mut sent = 0;
    for _ in 0..TURNS {
        sent += bench.send_all_it_may(19);
        bench.run();
        assert!(poll(&relay).is_pending());
    }
    let taken = read_now(&client);
    let held = sent - taken;
    assert!(held > 0 && held <= USUAL_WINDOW as usize, "{held}");
    // It comes as soon as there is room, and the phone may send again.
    assert!(poll(&relay).is_pending());
    run_until(&relay, || relay.held() == 0);
    assert_eq!(read_now(&client), held);
    bench.run();
    assert!(bench.send_all_it_may(19) > 0);
}

#[test]
fn spill_outlives_the_phones_reset() {
    let mut bench = Bench::up();
    let (relay, client) = bench.open(19);
    let mut sent = 0;
    for _ in 0..4 {
        sent += bench.send_all_it_may(19);
        bench.run();
    }
    bench.reset(19);
    assert!(relay.held() > 0);
    assert!(poll(&relay).is_pending());
    let mut received = read_now(&client);
    run_until(&relay, || false);
    received += read_now(&client);
    assert_eq!(received, sent);
    assert_eq!((&client).read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn what_a_client_sent_in_vain_does_not_spoil_its_end_of_file() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(7);
    client.write_all(&[0; 50_000]).unwrap();
    bench.reset(7);
    assert!(poll(&relay).is_ready());
    // Not a reset: that is what a socket closed with unread bytes would give.
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(client.write(&[0; 8]).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn what_a_tcp_client_sent_in_vain_does_not_spoil_its_end_of_file() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open_tcp(7);
    client.write_all(&[0; 50_000]).unwrap();
    bench.send_all_it_may(7);
    bench.reset(7);
    assert!(poll(&relay).is_pending());
    let mut received = Vec::new();
    assert_eq!(client.read_to_end(&mut received).unwrap(), USUAL_WINDOW as usize);
    drop(client);
    run_until(&relay, || false);
    assert_eq!(bench.link.pool().open(), 0);
}

#[test]
fn hang_up_after_the_end_of_file_closes_at_once() {
    let mut bench = Bench::up();
    let (relay, client) = bench.open(7);
    client.shutdown(Shutdown::Write).unwrap();
    relay.pretend_readable();
    bench.run();
    assert!(poll(&relay).is_pending());
    assert_eq!(bench.phone.connections(), 1);
    drop(client);
    let link = Rc::clone(&bench.link);
    let noticing = async {
        link.reactor().serve().await.unwrap();
    };
    let closing = poll_fn(|cx| {
        let _ = relay.poll(cx);
        bench.run();
        if bench.phone.connections() == 0 { Poll::Ready(()) } else { Poll::Pending }
    });
    let too_long = async {
        Timer::after(Duration::from_secs(10)).await;
        panic!("nobody noticed");
    };
    smol::block_on(or(too_long, or(closing, noticing)));
}

/// A connection whose phone takes nothing, and how many bytes its client wrote before that hung up.
fn hang_up_on_a_stalled_program(bench: &mut Bench) -> (Rc<Relay>, usize) {
    let (relay, mut client) = bench.open(7);
    let mut written = 0;
    while let Ok(count) = client.write(&[0x55; 16_384]) {
        written += count;
    }
    assert!(written > USUAL_WINDOW as usize, "more than the phone takes");
    relay.pretend_readable();
    bench.link_turn();
    drop(client);
    (relay, written)
}

/// Runs a connection's own task and the set of hang-ups until `done`.
fn notice(link: &Rc<Link>, relay: &Rc<Relay>, mut done: impl FnMut(Poll<()>) -> bool) {
    let noticing = async { link.reactor().serve().await.unwrap() };
    let own = poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if done(relay.poll(cx)) { Poll::Ready(()) } else { Poll::Pending }
    });
    let too_long = async {
        Timer::after(Duration::from_secs(10)).await;
        panic!("nobody noticed");
    };
    smol::block_on(or(too_long, or(own, noticing)));
}

#[test]
fn what_a_client_left_behind_waits_for_a_stalled_program() {
    let mut bench = Bench::up();
    let link = Rc::clone(&bench.link);
    let (relay, written) = hang_up_on_a_stalled_program(&mut bench);
    notice(&link, &relay, |_| relay.is_gone());
    bench.pass(DRAIN - Duration::from_secs(1));
    assert!(poll(&relay).is_pending());
    notice(&link, &relay, |over| {
        bench.run();
        over.is_ready()
    });
    assert_eq!(bench.arrived[&7].1.len(), written);
    assert_eq!(bench.phone.connections(), 0);
}

#[test]
fn client_that_hung_up_on_a_stalled_program_is_given_up() {
    let mut bench = Bench::up();
    let link = Rc::clone(&bench.link);
    let (relay, _) = hang_up_on_a_stalled_program(&mut bench);
    // What was before the hang-up does not count.
    bench.pass(2 * DRAIN);
    notice(&link, &relay, |_| relay.is_gone());
    assert!(poll(&relay).is_pending());
    bench.pass(DRAIN);
    notice(&link, &relay, |over| over.is_ready());
    bench.run();
    assert_eq!(bench.phone.connections(), 0);
}

#[test]
fn fin_of_the_phone_is_end_of_file_for_the_client_which_may_still_send() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(7);
    let conn = bench.arrived[&7].0;
    let headroom = bench.phone.headroom();
    let mut frame = vec![0x55; headroom + 5];
    let sent = bench.phone.send_in_place(bench.link.now(), conn, &mut frame, 5).unwrap();
    assert_eq!(sent.taken, 5);
    // The flags' byte of a version 2 frame: FIN|ACK.
    frame[16 + 13] = 0x11;
    bench.bus.borrow_mut().input.push_back(frame);
    // Without the phone: its engine knows nothing of this FIN and would not have it acknowledged.
    bench.link_turn();
    assert!(poll(&relay).is_pending());
    let mut received = [0; 8];
    assert_eq!(client.read(&mut received).unwrap(), 5);
    assert_eq!(client.read(&mut received).unwrap(), 0);
    client.write_all(b"thanks").unwrap();
    relay.pretend_readable();
    bench.link_turn();
    let frames = std::iter::from_fn(|| bench.take_out()).collect::<Vec<_>>();
    assert!(frames.iter().any(|frame| frame.ends_with(b"thanks")));
}

#[test]
fn silence_counts_only_when_the_phone_has_everything() {
    let linger = Limits::default().linger;
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(7);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    relay.pretend_readable();
    bench.link_turn();
    relay.pretend_readable();
    bench.link_turn();
    // The bus is busy with something else: the question is not acknowledged.
    for _ in 0..3 {
        smol::block_on(async { assert!(poll(&relay).is_pending()) });
        bench.pass(linger);
    }
    bench.run();
    assert_eq!(bench.arrived[&7].1, b"question");
    assert_eq!(bench.phone.connections(), 1);
    // The phone acknowledges in its own time; then silence begins to count.
    bench.pass(linger / 2);
    bench.run();
    bench.pass(linger / 2);
    assert!(poll(&relay).is_pending());
    bench.run();
    assert_eq!(bench.phone.connections(), 0);
    assert!(poll(&relay).is_ready());
}

#[test]
fn quick_reader_gets_a_larger_window_and_a_slow_one_does_not() {
    let mut bench = Bench::up();
    let (_slow, _client) = bench.open(18);
    let usual = bench.link.pool().lent();
    for _ in 0..8 {
        bench.send_all_it_may(18);
        bench.run();
    }
    assert_eq!(bench.link.pool().lent(), usual);
    let (_quick, client) = bench.open(19);
    for _ in 0..32 {
        bench.send_all_it_may(19);
        for _ in 0..4 {
            bench.link_turn();
            read_now(&client);
        }
        bench.run();
    }
    assert!(bench.link.pool().lent() > 2 * usual);
}

#[test]
fn connections_send_by_turns_one_frame_each() {
    let mut bench = Bench::up();
    let pair = [bench.open(1), bench.open(2)];
    for (relay, client) in &pair {
        let mut client = client;
        let _ = client.write(&[0; 200_000]);
        relay.pretend_readable();
    }
    let mut ports = Vec::new();
    for _ in 0..4 {
        bench.link_turn();
        let frame = bench.take_out().unwrap();
        // Destination port: bytes 18 and 19 of a version 2 frame.
        ports.push(u16::from_be_bytes([frame[18], frame[19]]));
    }
    assert_eq!(ports, [1, 2, 1, 2]);
}

#[test]
fn data_in_flight_is_bounded() {
    let mut bench = Bench::up();
    let pair = [bench.open(9), bench.open(10)];
    for (relay, client) in &pair {
        let mut client = client;
        let _ = client.write(&[0; 200_000]);
        relay.pretend_readable();
    }
    for _ in 0..TURNS {
        bench.link_turn();
    }
    assert_eq!(bench.bus.borrow().out.len(), DATA_IN_FLIGHT);
    assert!(bench.take_out().is_some());
    for _ in 0..TURNS {
        bench.link_turn();
    }
    assert_eq!(bench.bus.borrow().out.len(), DATA_IN_FLIGHT);
}

/// Lengths of the OUT transfers that have not completed.
fn leaving(bench: &Bench) -> Vec<usize> {
    bench.bus.borrow().out.iter().map(Vec::len).collect()
}

#[test]
fn full_packets_are_followed_by_an_empty_transfer_when_trimming_is_off() {
    let mut bench = Bench::new();
    let config = Config { zlp: Zlp::Explicit, ..Config::HOST };
    let slots = vec![Slot::EMPTY; LEAST_SLOTS];
    bench.link.shared.borrow_mut().engine = Mux::new(Role::Host, config, slots.into());
    bench.task.attach();
    bench.run();
    let (relay, mut client) = bench.open(7);
    client.write_all(&[5; 476]).unwrap();
    assert!(poll(&relay).is_pending());
    relay.pretend_readable();
    bench.link_turn();
    let lengths: Vec<_> = bench.bus.borrow().out.iter().map(Vec::len).collect();
    assert_eq!(lengths, [512, 0]);
    bench.run();
    assert_eq!(bench.arrived[&7].1, [5; 476]);
    // Both transfers came back: the next frame goes as the first did.
    client.write_all(&[6; 10]).unwrap();
    relay.pretend_readable();
    bench.run();
    assert_eq!(bench.arrived[&7].1.len(), 486);
}

#[test]
fn client_that_sends_a_lot_fills_the_next_frame_while_one_leaves() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(9);
    client.write_all(&[1; 10_000]).unwrap();
    relay.pretend_readable();
    bench.link_turn();
    // More comes while the first frame is on its way: it is not looked for.
    for _ in 0..2 {
        client.write_all(&[2; 10_000]).unwrap();
        assert!(poll(&relay).is_pending());
        bench.link_turn();
    }
    assert_eq!(leaving(&bench), [36 + 10_000]);
    bench.take_out().unwrap();
    bench.link_turn();
    assert_eq!(leaving(&bench), [36 + 20_000]);
}

#[test]
fn what_a_window_has_left_follows_large_frames_only_if_it_makes_one() {
    let full = usize::from(Config::HOST.max_frame) - 1;
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(9);
    let _ = client.write(&[0; 200_000]);
    relay.pretend_readable();
    bench.link_turn();
    let rest = USUAL_WINDOW as usize - 2 * (full - 36);
    assert_eq!(leaving(&bench), [full, full, 36 + rest]);

    let (relay, mut client) = bench.open(10);
    client.write_all(&[0; 30_000]).unwrap();
    relay.pretend_readable();
    bench.link_turn();
    bench.take_out().unwrap();
    let _ = client.write(&[0; 200_000]);
    bench.link_turn();
    assert_eq!(leaving(&bench), [full, full]);
    bench.take_out().unwrap();
    bench.link_turn();
    assert_eq!(leaving(&bench), [full]);
    bench.take_out().unwrap();
    bench.link_turn();
    assert_eq!(leaving(&bench), [36 + rest - 30_000]);
}

#[test]
fn message_does_not_wait_for_the_one_before_to_leave() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(7);
    for sent in 1..=2 {
        client.write_all(&[1; 100]).unwrap();
        relay.pretend_readable();
        bench.link_turn();
        assert_eq!(bench.bus.borrow().out.len(), sent);
    }
}

#[test]
fn client_that_ends_while_its_last_frame_leaves_is_over() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(9);
    client.write_all(&[1; 10_000]).unwrap();
    relay.pretend_readable();
    bench.link_turn();
    drop(client);
    bench.run();
    // The phone acknowledges what it has not got more of after a moment.
    bench.pass(Duration::from_millis(100));
    bench.run();
    assert!(poll(&relay).is_ready());
    assert_eq!(bench.arrived[&9].1.len(), 10_000);
}

#[test]
fn only_who_waits_for_an_out_transfer_is_woken_by_it() {
    let mut bench = Bench::up();
    let (relay, mut client) = bench.open(7);
    client.write_all(b"a message").unwrap();
    relay.pretend_readable();
    assert!(!bench.hears_of_out(), "nothing waits behind a few bytes");
    bench.run();
    client.write_all(&[0x55; RESTS_BEHIND]).unwrap();
    relay.pretend_readable();
    assert!(bench.hears_of_out(), "what follows may rest until these have left");
}

#[test]
fn lost_transfer_that_nobody_waits_for_is_noticed_soon() {
    let Bench { link, mut task, bus, .. } = Bench::up();
    let mut connect = Box::pin(link.connect(7));
    assert!(smol::block_on(poll_once(&mut connect)).is_none());
    let begun = Clock::now();
    let mut failed = false;
    let noticed = poll_fn(|cx| {
        let _ = task.poll(cx, &mut || {});
        if !failed {
            failed = true;
            bus.borrow_mut().out_done.push_back(Err(PipeError::Fault));
        }
        if bus.borrow().resets > 0 { Poll::Ready(()) } else { Poll::Pending }
    });
    let serving = async { link.reactor().serve().await.unwrap() };
    smol::block_on(or(noticed, serving));
    // Long before the phone would be missed for another reason.
    assert!(begun.elapsed() < 40 * OUT_LOOK);
}
