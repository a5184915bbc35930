//! What the reactor promises, under its own `block_on` and served under another one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::future::poll_fn;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use smol::future::or;

use super::*;
use crate::stream::ClientStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a story both ways; it hangs in neither.
fn both_ways(story: impl AsyncFn()) {
    let bounded = async || {
        let too_long = async {
            smol::Timer::after(PATIENCE).await;
            panic!("the test hangs");
        };
        or(story(), too_long).await;
    };
    block_on(bounded()).unwrap();
    smol::block_on(async {
        let reactor = Reactor::here().unwrap();
        let serving = async { reactor.serve().await.unwrap() };
        or(bounded(), serving).await;
    });
}

fn pair() -> (ClientStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ClientStream::unix(ours).unwrap(), theirs)
}

/// Reads as the daemon does: as soon as the socket counts as readable.
async fn read(stream: &ClientStream, into: &mut [u8]) -> usize {
    poll_fn(|cx| {
        loop {
            if stream.poll_readable(cx).is_pending() {
                return Poll::Pending;
            }
            match stream.try_read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done.unwrap()),
            }
        }
    })
    .await
}

async fn hang_up(stream: &ClientStream) {
    poll_fn(|cx| stream.poll_hung_up(cx)).await.unwrap();
}

/// Does something from another thread, once this one is certain to sleep or about to.
fn later(act: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        std::thread::yield_now();
        act();
    });
}

#[test]
fn bytes_are_noticed_whenever_they_come() {
    both_ways(async || {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"at once").unwrap();
        assert_eq!(read(&ours, &mut [0; 64]).await, 7);
        let mut writer = theirs.try_clone().unwrap();
        later(move || writer.write_all(b"later").unwrap());
        assert_eq!(read(&ours, &mut [0; 64]).await, 5);
        // A read that was filled leaves the rest to the next.
        theirs.write_all(b"in two").unwrap();
        assert_eq!(read(&ours, &mut [0; 4]).await, 4);
        assert_eq!(read(&ours, &mut [0; 4]).await, 2);
    });
}

#[test]
fn end_of_file_behind_a_short_read_is_noticed() {
    both_ways(async || {
        let (ours, mut theirs) = pair();
        // Registers, so that bytes and end-of-file are told of together.
        assert!(smol::future::poll_once(read(&ours, &mut [0; 64])).await.is_none());
        theirs.write_all(b"last").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&ours, &mut [0; 64]).await, 4);
        assert_eq!(read(&ours, &mut [0; 64]).await, 0);
    });
}

#[test]
fn room_is_noticed_each_time_a_full_socket_is_read() {
    both_ways(async || {
        let (ours, theirs) = pair();
        let theirs = ClientStream::unix(theirs).unwrap();
        let piece = [0x55; 16_384];
        let mut read_all = vec![0; 1 << 20];
        for _ in 0..3 {
            while ours.try_write(&piece).is_ok_and(|written| written > 0) {}
            let room = poll_fn(|cx| ours.poll_writable(cx));
            let reading = async {
                while theirs.try_read(&mut read_all).is_ok() {}
                pending().await
            };
            or(async { room.await.unwrap() }, reading).await;
        }
    });
}

#[test]
fn hang_up_of_a_half_closed_socket_is_noticed() {
    both_ways(async || {
        let (ours, theirs) = pair();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&ours, &mut [0; 64]).await, 0);
        assert!(smol::future::poll_once(hang_up(&ours)).await.is_none());
        later(move || drop(theirs));
        hang_up(&ours).await;
    });
}

#[test]
fn hang_up_before_anybody_waited_is_noticed_too() {
    both_ways(async || {
        let (ours, theirs) = pair();
        drop(theirs);
        hang_up(&ours).await;
    });
}

#[test]
fn closed_sockets_make_room_for_others() {
    both_ways(async || {
        let reactor = Reactor::here().unwrap();
        for _ in 0..100 {
            let (ours, mut theirs) = pair();
            assert!(smol::future::poll_once(read(&ours, &mut [0; 64])).await.is_none());
            theirs.write_all(b"x").unwrap();
            assert_eq!(read(&ours, &mut [0; 64]).await, 1);
            assert!(reactor.0.sources.borrow().places.len() <= 2);
        }
    });
}

#[test]
fn news_of_a_closed_socket_are_not_those_of_the_next() {
    let mut sources = Sources::default();
    let first = sources.insert().key();
    sources.remove(first);
    let second = sources.insert().key();
    assert_eq!(place(first), place(second));
    assert!(sources.get(first).is_none());
    assert!(sources.get(second).is_some());
}

#[test]
fn timers_come_in_their_order_and_not_too_early() {
    both_ways(async || {
        let reactor = Reactor::here().unwrap();
        let begun = Instant::now();
        let told = RefCell::new(Vec::new());
        let after = async |millis: u64| {
            Timer::after(&reactor, Duration::from_millis(millis)).await;
            assert!(begun.elapsed() >= Duration::from_millis(millis));
            told.borrow_mut().push(millis);
        };
        // The later one is set first, and one goes away before it comes.
        let mut gone = Timer::after(&reactor, Duration::from_millis(1));
        assert!(smol::future::poll_once(&mut gone).await.is_none());
        let both = smol::future::zip(after(30), after(10));
        drop(gone);
        both.await;
        assert_eq!(*told.borrow(), [10, 30]);
        assert!(reactor.0.timers.borrow().is_empty());
    });
}

#[test]
fn timer_that_was_brought_forward_is_early() {
    both_ways(async || {
        let reactor = Reactor::here().unwrap();
        let mut timer = Timer::after(&reactor, 100 * PATIENCE);
        assert!(smol::future::poll_once(&mut timer).await.is_none());
        timer.set_at(Instant::now() + Duration::from_millis(1));
        timer.await;
    });
}

#[test]
fn other_threads_wake_this_one_ten_thousand_times() {
    let (ask, asked) = mpsc::channel::<Waker>();
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let other = std::thread::spawn(move || {
        for waker in asked {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            waker.wake();
        }
    });
    block_on(async {
        for round in 1..=10_000 {
            let mut has_asked = false;
            poll_fn(|cx| {
                if !has_asked {
                    has_asked = true;
                    ask.send(cx.waker().clone()).unwrap();
                }
                match told.load(std::sync::atomic::Ordering::SeqCst) >= round {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
    })
    .unwrap();
    drop(ask);
    other.join().unwrap();
}
