//! Mapped ports: the phone's connections go on to TCP servers of this machine.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use std::net::SocketAddr;
use usbmux_phone::Options;

const PORT: u16 = 22;

fn mapped(address: SocketAddr, quirks: &[&str]) -> Options {
    let mut options = options(quirks);
    options.mapped.push((PORT, address));
    options
}

/// Runs a test with a phone whose port 22 is this listener.
fn with_server<F: AsyncFnOnce(Host, TcpListener)>(quirks: &[&str], test: F) {
    let listener = smol::block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let options = mapped(listener.local_addr().unwrap(), quirks);
    with_phone(options, async |host| test(host, listener).await);
}

/// Opens a connection and takes the server's end of it.
async fn open(host: &mut Host, listener: &TcpListener, window_units: u16) -> (Conn, TcpStream) {
    host.greet().await;
    let conn = Conn::open(host, 1, PORT, window_units).await;
    (conn, listener.accept().await.unwrap().0)
}

#[test]
fn bytes_go_through_both_ways() {
    with_server(&[], async |mut host, listener| {
        let (mut conn, mut server) = open(&mut host, &listener, 512).await;
        let up = noise(60_000);
        conn.send(&mut host, ACK, &up[..30_000]).await;
        conn.send(&mut host, ACK, &up[30_000..]).await;
        let mut arrived = vec![0; up.len()];
        server.read_exact(&mut arrived).await.unwrap();
        assert!(arrived == up);
        conn.acknowledged(&mut host).await;
        let down = noise(100_000);
        let (written, received) =
            smol::future::zip(server.write_all(&down), conn.receive(&mut host, down.len())).await;
        written.unwrap();
        assert!(received == down);
    });
}

#[test]
fn a_port_without_server_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    with_phone(mapped(address, &[]), async |mut host| {
        host.greet().await;
        Conn::new(1, PORT).send(&mut host, SYN, &[]).await;
        let answer = host.segment().await;
        assert_eq!((answer.flags, answer.source), (RST, PORT));
    });
}

#[test]
fn the_servers_end_is_told_as_a_phone_tells_it() {
    with_server(&[], async |mut host, listener| {
        let (mut conn, mut server) = open(&mut host, &listener, 512).await;
        server.write_all(b"last words").await.unwrap();
        drop(server);
        let words = host.segment().await;
        assert_eq!(words.payload, b"last words");
        // No reset before the host has acknowledged everything.
        conn.ack += 10;
        conn.send(&mut host, ACK, &[]).await;
        let (kind, text) = host.control().await;
        assert_eq!((kind, &text[..]), (3, "socketIsClosed sock_receive returned errno 54"));
        let reset = host.segment().await;
        assert_eq!(
            (reset.flags & RST, reset.text()),
            (RST, "sessionUpcall connection closed".into())
        );
        assert_eq!(host.plug.connections(), 0);
    });
}

#[test]
fn a_reset_from_the_host_closes_the_socket() {
    with_server(&[], async |mut host, listener| {
        let (mut conn, mut server) = open(&mut host, &listener, 512).await;
        conn.send(&mut host, ACK, b"read").await;
        conn.acknowledged(&mut host).await;
        conn.send(&mut host, RST, &[]).await;
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"read");
    });
}

#[test]
fn a_reset_overtakes_what_was_not_yet_written_to_the_socket() {
    with_server(&[], async |mut host, listener| {
        let (mut conn, mut server) = open(&mut host, &listener, 512).await;
        let (data, rst) = (conn.frame(&mut host, ACK, b"lost"), conn.frame(&mut host, RST, &[]));
        host.post(&data);
        host.out(&rst).await;
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"");
        assert_eq!(host.plug.counters().unread_dropped, 4);
    });
}

#[test]
fn a_host_that_does_not_read_stops_the_server() {
    with_server(&[], async |mut host, listener| {
        let (mut conn, mut server) = open(&mut host, &listener, 4).await;
        let down = noise(3_000_000);
        let begun = host.segment();
        let (written, first) = smol::future::zip(server.write(&down), begun).await;
        assert!(written.unwrap() > 1024);
        assert!(first.payload == down[..1024]);
        conn.ack += 1024;
        // The window stays full: the next frame answers another connection's SYN.
        Conn::open(&mut host, 2, 9, 512).await;
        conn.window_units = 512;
        conn.send(&mut host, ACK, &[]).await;
        let more = conn.receive(&mut host, 100_000).await;
        assert!(more.len() >= 100_000 && down[1024..].starts_with(&more));
    });
}

#[test]
fn unplugging_closes_the_sockets() {
    with_server(&[], async |mut host, listener| {
        let (_conn, mut server) = open(&mut host, &listener, 512).await;
        host.plug.unplug();
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"");
    });
}

#[test]
fn slow_holds_for_mapped_ports_too() {
    with_server(&["slow"], async |mut host, listener| {
        let (mut conn, mut server) = open(&mut host, &listener, 512).await;
        conn.send(&mut host, ACK, &[5; 10_000]).await;
        let mut piece = vec![0; 10_000];
        assert_eq!(server.read(&mut piece).await.unwrap(), 2048);
        server.read_exact(&mut piece[2048..]).await.unwrap();
        assert_eq!(piece, [5; 10_000]);
    });
}
