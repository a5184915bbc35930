//! Makes a port of the first phone reachable on this computer: half of `umux forward`, in a page.
//!
//! `cargo run -p usbmux-host --example forward -- 2222 22`, with a usbmuxd running.

use std::error::Error;

use smol::future::zip;
use smol::io::{self, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use usbmux_host::{address::Address, client::Daemon};

fn main() -> Result<(), Box<dyn Error>> {
    let ports: Vec<u16> = std::env::args().skip(1).flat_map(|port| port.parse()).collect();
    let [local, device] = ports[..] else {
        return Err("say which local port leads to which port of the phone: forward 2222 22".into());
    };
    smol::block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", local)).await?;
        println!("{} leads to port {device}", listener.local_addr()?);
        loop {
            let carried = carry(listener.accept().await?.0, device);
            let told = async { carried.await.unwrap_or_else(|error| eprintln!("{error}")) };
            smol::spawn(told).detach();
        }
    })
}

async fn carry(client: TcpStream, port: u16) -> Result<(), Box<dyn Error + Send + Sync>> {
    let daemon = Daemon::new(Address::from_environment()?);
    let phone = daemon.phones().await?.into_iter().next().ok_or("plug a phone in")?;
    let stream = daemon.connect(phone.device_id, port).await?;
    // Each direction ends by itself: a client that has said everything still hears the answer.
    let (mut to_phone, mut to_client) = (stream.clone(), client.clone());
    let up = async { io::copy(client, &mut to_phone).await.and(to_phone.close().await) };
    let down = async { io::copy(stream, &mut to_client).await.and(to_client.close().await) };
    let (up, down) = zip(up, down).await;
    Ok(up.and(down)?)
}
