//! Phones, connections and clients of one daemon, without its socket protocol: the registry with
//! virtual phones behind it and socket pairs in front of it. The programs on the phone are either
//! its own (echo, discard, chargen) or, behind a mapped port, the test itself.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use smol::future::or;
use smol::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor, Timer};
use usbmux_host::daemon::registry::{
    ConnectFailure, Connection, DeviceEvent, Limits, ListenerInfo, Registry, Subscription,
};
use usbmux_host::daemon::simulate;
use usbmux_host::stream::ClientStream;
use usbmux_phone::{CHARGEN, DISCARD, ECHO, Options, Quirk};

/// How long a test may take before it has failed; none comes near.
const PATIENCE: Duration = Duration::from_secs(30);
/// A port of the phone behind which the test stands.
const MAPPED: u16 = 1000;
/// A linger time that no test reaches.
const FOR_EVER: Duration = Duration::from_secs(3600);

struct House {
    executor: Rc<LocalExecutor<'static>>,
    registry: Registry,
}

/// Runs a test beside a registry whose half-closed connections linger for ever.
fn house(test: impl AsyncFnOnce(&House)) {
    house_with(Limits { linger: FOR_EVER, ..Limits::default() }, test);
}

fn house_with(limits: Limits, test: impl AsyncFnOnce(&House)) {
    let executor = Rc::new(LocalExecutor::new());
    let registry = Registry::new(Rc::clone(&executor), limits).unwrap();
    let house = House { executor: Rc::clone(&executor), registry };
    let too_long = async {
        Timer::after(PATIENCE).await;
        panic!("the test hangs");
    };
    smol::block_on(executor.run(or(test(&house), too_long)));
}

impl House {
    /// Plugs a phone in and waits until it is visible.
    async fn plug_in(&self, options: Options) -> u32 {
        let mut events = self.listen();
        let device_id = simulate::plug_in(&self.executor, &self.registry, options);
        loop {
            match events.next().await {
                Some(DeviceEvent::Attached(phone)) if phone.device_id == device_id => break,
                Some(_) => {}
                None => panic!("the listener is too slow"),
            }
        }
        device_id
    }

    async fn phone(&self) -> u32 {
        self.plug_in(Options::new(1)).await
    }

    /// Plugs a phone in whose port 1000 is the returned listener.
    async fn mapped_phone(&self) -> (u32, Async<TcpListener>) {
        let program = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let mut options = Options::new(1);
        options.mapped.push((MAPPED, program.get_ref().local_addr().unwrap()));
        (self.plug_in(options).await, program)
    }

    fn listen(&self) -> Subscription {
        self.registry.subscribe(ListenerInfo::default())
    }

    /// Connects, and returns the client's end of its socket.
    async fn open(&self, device_id: u32, port: u16) -> Async<UnixStream> {
        self.open_with(device_id, port, b"").await
    }

    async fn open_with(&self, device_id: u32, port: u16, leftover: &[u8]) -> Async<UnixStream> {
        client_of(self.registry.connect(device_id, port).await.unwrap(), leftover)
    }

    /// Connects to the mapped port and returns both ends.
    async fn open_mapped(
        &self,
        device_id: u32,
        program: &Async<TcpListener>,
    ) -> (Async<UnixStream>, Async<TcpStream>) {
        let client = self.open(device_id, MAPPED).await;
        (client, program.accept().await.unwrap().0)
    }

    /// Waits until the phone's only connection has made room for another one.
    async fn until_free(&self, device_id: u32, port: u16) -> Connection {
        loop {
            match self.registry.connect(device_id, port).await {
                Ok(connection) => return connection,
                Err(_) => smol::future::yield_now().await,
            }
        }
    }
}

fn client_of(connection: Connection, leftover: &[u8]) -> Async<UnixStream> {
    let (ours, theirs) = Async::<UnixStream>::pair().unwrap();
    connection.relay(ClientStream::unix(theirs.into_inner().unwrap()).unwrap(), leftover.to_vec());
    ours
}

/// Bytes in which every lost, doubled or moved one shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn read_to_end(from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.unwrap();
    all
}

async fn read_exactly(from: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[test]
fn echo_comes_back_whole_at_any_length() {
    house(async |house| {
        let phone = house.phone().await;
        // 476 and 988 fill a frame to a multiple of the packet size, 49115 fills the largest one.
        for length in [1, 475, 476, 477, 988, 49_115, 49_116, 300_000] {
            let client = house.open(phone, ECHO).await;
            let sent = pattern(length);
            let send = async { (&client).write_all(&sent).await.unwrap() };
            let receive = async { read_exactly(&mut &client, length).await };
            let (_, received) = futures_lite::future::zip(send, receive).await;
            assert!(received == sent, "{length} bytes");
        }
    });
}

#[test]
fn byte_trimmed_from_the_last_frame_still_arrives_before_the_end() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        for length in [476, 988, 49_115 + 476] {
            let (client, mut program) = house.open_mapped(phone, &program).await;
            (&client).write_all(&pattern(length)).await.unwrap();
            drop(client);
            assert!(read_to_end(&mut program).await == pattern(length), "{length} bytes");
        }
    });
}

#[test]
fn bytes_pipelined_behind_connect_go_first() {
    house(async |house| {
        let phone = house.phone().await;
        for leftover in [1, 476, 60_000] {
            let sent = pattern(leftover + 1000);
            let mut client = house.open_with(phone, ECHO, &sent[..leftover]).await;
            client.write_all(&sent[leftover..]).await.unwrap();
            assert!(read_exactly(&mut client, sent.len()).await == sent, "{leftover} bytes");
        }
    });
}

#[test]
fn phones_have_their_own_ids_and_lists_follow_them() {
    house(async |house| {
        let mut events = house.listen();
        let first = house.plug_in(Options::new(1)).await;
        let second = house.plug_in(Options::new(2)).await;
        let phones = house.registry.phones();
        assert_eq!([phones[0].device_id, phones[1].device_id], [first, second]);
        assert_eq!(phones[0].serial, "00008030-0000000000000001");
        assert_eq!(phones[1].serial, "00008030-0000000000000002");
        for phone in phones {
            assert_eq!(events.next().await, Some(DeviceEvent::Attached(phone)));
        }
    });
}

#[test]
fn unplug_in_mid_transfer_ends_that_phones_connections_alone() {
    house(async |house| {
        let mut options = Options::new(1);
        options.quirks.push(Quirk::Unplug { after: Duration::from_millis(300) });
        let going = house.plug_in(options).await;
        let staying = house.plug_in(Options::new(2)).await;
        let mut events = house.listen();
        let mut torn = house.open(going, CHARGEN).await;
        let mut whole = house.open(staying, ECHO).await;

        assert!(!read_to_end(&mut torn).await.is_empty());
        while events.next().await != Some(DeviceEvent::Detached(going)) {}
        let phones = house.registry.phones();
        assert_eq!(phones.iter().map(|phone| phone.device_id).collect::<Vec<_>>(), [staying]);
        let gone = house.registry.connect(going, ECHO).await;
        assert_eq!(gone.err(), Some(ConnectFailure::NoDevice));
        whole.write_all(b"still here").await.unwrap();
        assert_eq!(read_exactly(&mut whole, 10).await, b"still here");
        assert!(house.phone().await > staying, "a device id was used twice");
    });
}

#[test]
fn replugged_phone_is_another_device_and_serves_again() {
    house(async |house| {
        let mut options = Options::new(1);
        options.quirks.push(Quirk::Unplug { after: Duration::from_millis(100) });
        options.quirks.push(Quirk::Replug { after: Duration::from_millis(50) });
        let first = house.plug_in(options).await;
        let mut events = house.listen();
        while events.next().await != Some(DeviceEvent::Detached(first)) {}
        let Some(DeviceEvent::Attached(back)) = events.next().await else {
            panic!("the phone comes back");
        };
        assert!(back.device_id > first, "a device id was used twice");
        let mut stream = house.open(back.device_id, ECHO).await;
        stream.write_all(b"here again").await.unwrap();
        assert_eq!(read_exactly(&mut stream, 10).await, b"here again");
    });
}

#[test]
fn refused_port_and_unknown_phone_are_told_apart() {
    house(async |house| {
        let phone = house.phone().await;
        let failure = async |id, port| house.registry.connect(id, port).await.err();
        assert_eq!(failure(phone, 4).await, Some(ConnectFailure::Refused));
        assert_eq!(failure(phone, 0).await, Some(ConnectFailure::Refused));
        assert_eq!(failure(phone + 1, ECHO).await, Some(ConnectFailure::NoDevice));
    });
}

#[test]
fn everything_the_phone_sent_arrives_before_its_end() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (mut client, mut program) = house.open_mapped(phone, &program).await;
        let sent = pattern(3_000_000);
        let send = async {
            program.write_all(&sent).await.unwrap();
            drop(program);
            std::future::pending().await
        };
        // The client begins to read only when its socket and the window are full.
        let receive = async {
            Timer::after(Duration::from_millis(50)).await;
            read_to_end(&mut client).await
        };
        assert!(or(send, receive).await == sent);
    });
}

#[test]
fn client_that_keeps_sending_still_sees_the_end() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (client, mut program) = house.open_mapped(phone, &program).await;
        program.write_all(b"goodbye").await.unwrap();
        drop(program);
        // What is sent to a closed program resets its TCP connection, and with it goes whatever the phone
        // has not read from there yet: that would not be the daemon's loss.
        client.readable().await.unwrap();
        let send = async {
            // Fails when the connection is over; until then nobody reads.
            while (&client).write_all(&[0; 4096]).await.is_ok() {}
        };
        let receive = async { read_to_end(&mut &client).await };
        let (_, received) = futures_lite::future::zip(send, receive).await;
        assert_eq!(received, b"goodbye");
    });
}

#[test]
fn tcp_client_gets_everything_although_what_it_sent_is_not_wanted() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let connection = house.registry.connect(phone, MAPPED).await.unwrap();
        let mut program = program.accept().await.unwrap().0;
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let mut client = Async::<TcpStream>::connect(address).await.unwrap();
        connection.relay(
            ClientStream::tcp(listener.accept().await.unwrap().0.into_inner().unwrap()).unwrap(),
            Vec::new(),
        );

        let sent = pattern(1_000_000);
        let send = async {
            program.write_all(&sent).await.unwrap();
            // Not dropped: that would lose bytes before they are the phone's.
            program.get_ref().shutdown(Shutdown::Write).unwrap();
        };
        let receive = async {
            // Closing a socket with this unread would reset it and lose the other direction.
            client.write_all(&pattern(500_000)).await.unwrap();
            read_to_end(&mut client).await
        };
        let (_, received) = futures_lite::future::zip(send, receive).await;
        assert!(received == sent);
    });
}

#[test]
fn half_closed_client_gets_the_whole_answer() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (mut client, mut program) = house.open_mapped(phone, &program).await;
        client.write_all(b"question").await.unwrap();
        client.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_exactly(&mut program, 8).await, b"question");
        let answer = pattern(1_000_000);
        let send = async {
            program.write_all(&answer).await.unwrap();
            drop(program);
            std::future::pending().await
        };
        assert!(or(send, read_to_end(&mut client)).await == answer);
    });
}

#[test]
fn half_closed_connection_ends_when_the_phone_is_silent() {
    let linger = Duration::from_millis(200);
    house_with(Limits { linger, ..Limits::default() }, async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (mut client, mut program) = house.open_mapped(phone, &program).await;
        let begun = std::time::Instant::now();
        client.write_all(b"question").await.unwrap();
        client.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut program).await, b"question");
        assert!(begun.elapsed() >= linger);
        assert_eq!(read_to_end(&mut client).await, b"");
    });
}

#[test]
fn hang_up_of_a_half_closed_client_is_noticed_at_once() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (client, mut program) = house.open_mapped(phone, &program).await;
        (&client).write_all(b"question").await.unwrap();
        client.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_exactly(&mut program, 8).await, b"question");
        // Nothing but the hang-up ends it: the linger time is an hour.
        drop(client);
        assert_eq!(read_to_end(&mut program).await, b"");
    });
}

#[test]
fn killed_clients_last_bytes_reach_the_phone() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (mut client, mut program) = house.open_mapped(phone, &program).await;
        let sent = pattern(1_000_000);
        let send = async {
            client.write_all(&sent).await.unwrap();
            drop(client);
            std::future::pending().await
        };
        assert!(or(send, read_to_end(&mut program)).await == sent);
    });
}

#[test]
fn killed_clients_last_bytes_reach_a_phone_that_sends_too() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (mut client, program) = house.open_mapped(phone, &program).await;
        let sent = pattern(200_000);
        let chatter = async {
            // Nobody reads this; it must not stand in the way of what comes from the client.
            while (&program).write_all(&[0; 4096]).await.is_ok() {}
            std::future::pending().await
        };
        let receive = async {
            client.write_all(&sent).await.unwrap();
            drop(client);
            read_exactly(&mut &program, sent.len()).await
        };
        assert!(or(chatter, receive).await == sent);
    });
}

#[test]
fn slow_reader_stops_only_its_own_stream() {
    house(async |house| {
        let phone = house.phone().await;
        let mut slow = house.open(phone, CHARGEN).await;
        let mut slower = house.open(phone, CHARGEN).await;
        let mut fast = house.open(phone, CHARGEN).await;
        let expected = read_exactly(&mut fast, 20_000_000).await;
        // The slow ones have missed nothing.
        for slow in [&mut slow, &mut slower] {
            assert!(read_exactly(slow, 5_000_000).await == expected[..5_000_000]);
        }
    });
}

#[test]
fn many_connections_share_one_phone() {
    house(async |house| {
        let phone = house.phone().await;
        let echoes = (0..200).map(|n| async move {
            let client = house.open(phone, ECHO).await;
            let sent = pattern(20_000 + n);
            let send = async { (&client).write_all(&sent).await.unwrap() };
            let receive = async { read_exactly(&mut &client, sent.len()).await };
            let (_, received) = futures_lite::future::zip(send, receive).await;
            assert!(received == sent, "connection {n}");
        });
        let here = LocalExecutor::new();
        let tasks: Vec<_> = echoes.map(|echo| here.spawn(echo)).collect();
        here.run(async {
            for task in tasks {
                task.await;
            }
        })
        .await;
    });
}

#[test]
fn connections_beyond_the_limit_are_refused_until_one_ends() {
    let limits = Limits { connections: 2, linger: FOR_EVER, ..Limits::default() };
    house_with(limits, async |house| {
        let phone = house.phone().await;
        let first = house.open(phone, ECHO).await;
        let _second = house.open(phone, ECHO).await;
        let third = house.registry.connect(phone, ECHO).await;
        assert_eq!(third.err(), Some(ConnectFailure::Refused));
        drop(first);
        let mut third = client_of(house.until_free(phone, ECHO).await, b"");
        third.write_all(b"room").await.unwrap();
        assert_eq!(read_exactly(&mut third, 4).await, b"room");
    });
}

#[test]
fn connection_given_up_before_its_client_comes_is_reset() {
    let limits = Limits { connections: 1, ..Limits::default() };
    house_with(limits, async |house| {
        let (phone, program) = house.mapped_phone().await;
        let connection = house.registry.connect(phone, MAPPED).await.unwrap();
        let mut end = program.accept().await.unwrap().0;
        drop(connection);
        assert_eq!(end.read(&mut [0; 8]).await.unwrap_or(0), 0);
        house.until_free(phone, MAPPED).await;
    });
}

#[test]
fn connect_given_up_half_way_leaves_nothing_behind() {
    let limits = Limits { connections: 1, ..Limits::default() };
    house_with(limits, async |house| {
        let phone = house.phone().await;
        for _ in 0..20 {
            let mut attempt = Box::pin(house.registry.connect(phone, ECHO));
            assert!(futures_lite::future::poll_once(&mut attempt).await.is_none());
        }
        let mut client = client_of(house.until_free(phone, ECHO).await, b"alive");
        assert_eq!(read_exactly(&mut client, 5).await, b"alive");
    });
}

#[test]
fn listener_that_never_reads_is_dropped_and_others_are_not() {
    house(async |house| {
        let mut slow = house.listen();
        let mut quick = house.listen();
        for _ in 0..5000 {
            house.registry.paired(7);
            assert_eq!(quick.next().await, Some(DeviceEvent::Paired(7)));
        }
        let mut told = 0;
        while slow.next().await.is_some() {
            told += 1;
        }
        assert_eq!(told, 0);
        assert_eq!(house.registry.listeners().len(), 2);
        drop(slow);
        assert_eq!(house.registry.listeners().len(), 1);
    });
}

#[test]
fn overrun_costs_its_own_connection_alone() {
    house(async |house| {
        let mut options = Options::new(1);
        options.quirks.push(Quirk::Overrun);
        let phone = house.plug_in(options).await;
        let mut other = house.open(phone, ECHO).await;
        let overrun = house.open(phone, CHARGEN).await;
        // Nobody reads, so the phone soon sends beyond the window; the other one lives on.
        let overrun = ClientStream::unix(overrun.into_inner().unwrap()).unwrap();
        while !overrun.hung_up() {
            other.write_all(b"alive").await.unwrap();
            assert_eq!(read_exactly(&mut other, 5).await, b"alive");
        }
        assert_eq!(house.registry.phones().len(), 1);
    });
}

#[test]
fn dead_session_is_revived_and_the_phone_keeps_its_id() {
    house(async |house| {
        let mut options = Options::new(1);
        options.quirks.push(Quirk::LostTransfer { number: 8 });
        let phone = house.plug_in(options).await;
        let mut events = house.listen();
        let mut doomed = house.open(phone, DISCARD).await;
        // One of these transfers is lost; the next one tells the phone.
        while doomed.write_all(&[0; 1000]).await.is_ok() {}
        let mut revived = house.open(phone, ECHO).await;
        revived.write_all(b"alive").await.unwrap();
        assert_eq!(read_exactly(&mut revived, 5).await, b"alive");
        assert_eq!(house.registry.phones().len(), 1);
        assert!(matches!(events.next().await, Some(DeviceEvent::Attached(_))));
        assert_eq!(futures_lite::future::poll_once(events.next()).await, None, "it was detached");
    });
}

#[test]
fn drain_hands_over_what_clients_have_sent() {
    house(async |house| {
        let (phone, program) = house.mapped_phone().await;
        let (client, mut program) = house.open_mapped(phone, &program).await;
        let sent = pattern(100_000);
        (&client).write_all(&sent).await.unwrap();
        let drained = async {
            house.registry.drain(PATIENCE).await;
            true
        };
        let (drained, received) =
            futures_lite::future::zip(drained, read_to_end(&mut program)).await;
        assert!(drained && received == sent);
        assert_eq!(read_to_end(&mut &client).await, b"");
        let late = house.registry.connect(phone, MAPPED).await;
        assert_eq!(late.err(), Some(ConnectFailure::Refused));
    });
}

#[test]
fn drain_is_over_in_time_although_a_client_never_reads() {
    house(async |house| {
        let phone = house.phone().await;
        let _stuck = house.open(phone, CHARGEN).await;
        let mut working = house.open(phone, DISCARD).await;
        working.write_all(&[0; 1000]).await.unwrap();
        let begun = std::time::Instant::now();
        house.registry.drain(Duration::from_millis(200)).await;
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}
