//! Clients that misbehave: nobody else may notice, and each gets the answer it deserves.

use super::check::{Done, wrong};
use super::limits::Wait;
use super::line::{Line, connect_keys};
use super::scene::Client;
use super::servers::NOBODY;
use crate::socket::{Body, Message, PLIST, RESULT, message_bytes, request};
use smol::Timer;
use std::time::Duration;
use usbmux_phone::{CHARGEN, ECHO};

/// Sockets that one client opens and forgets.
const SILENT: usize = 40;
/// Longest nonsense, in bytes.
const NONSENSE: usize = 3000;

impl Client {
    /// A short while of its own.
    async fn hesitate(&mut self) {
        let most = self.random.below(8);
        Timer::after(Duration::from_micros(self.random.below(1 << (2 * most)) as u64)).await;
    }

    /// Hangs up in one of all states.
    pub(super) async fn hang_up(&mut self) -> Done {
        let line = Line::open(&self.scene).await?;
        let device = self.device()?;
        let port = *self.random.pick(&[ECHO, CHARGEN, NOBODY]);
        let whole = match self.random.below(4) {
            0 => request(self.salt, "ListDevices", &[]),
            1 => request(self.salt, "Listen", &[]),
            2 => request(self.salt, "ReadPairRecord", &[("PairRecordID", "SOAK-NONE".into())]),
            _ => request(self.salt, "Connect", &connect_keys(device, port, &self.token())),
        };
        // Nothing, part of the header, the header, part of the body, all of it.
        let cuts = [0, 7, 16, 16 + self.random.below(whole.len() - 16), whole.len(), whole.len()];
        let cut = *self.random.pick(&cuts);
        line.send(&whole[..cut]).await?;
        self.hesitate().await;
        Ok(())
    }

    /// Opens many sockets, says nothing, or half a word, and stays until the round is over.
    pub(super) async fn silent(&mut self) -> Done {
        let mut lines = Vec::new();
        for _ in 0..SILENT {
            let line = Line::open(&self.scene).await?;
            if self.random.once_in(2) {
                let half = self.random.between(1, 15);
                line.send(&request(1, "ListDevices", &[])[..half]).await?;
            }
            lines.push(line);
        }
        self.scene.end().await;
        Ok(())
    }

    /// Connects and neither reads nor writes until the round is over.
    pub(super) async fn never_reads(&mut self) -> Done {
        let port = *self.random.pick(&[CHARGEN, ECHO]);
        let line = Line::connect(self, port).await?;
        self.scene.end().await;
        drop(line);
        Ok(())
    }

    /// Sends what makes no sense; it is refused or hung up on, and never left waiting.
    pub(super) async fn garbage(&mut self) -> Done {
        let line = Line::open(&self.scene).await?;
        let mut nonsense = vec![0; self.random.between(1, NONSENSE)];
        nonsense.fill_with(|| self.random.bits() as u8);
        match self.random.below(4) {
            0 => {
                let length = *self.random.pick(&[0_u32, 15, 65_537, u32::MAX]);
                let mut header = message_bytes(1, PLIST, self.salt, &[]);
                header[..4].copy_from_slice(&length.to_le_bytes());
                line.send(&header).await?;
                line.end(Wait::Answer).await
            }
            1 => {
                line.send(&message_bytes(1, PLIST, self.salt, &nonsense)).await?;
                let answer = line.answer(Wait::Answer, "the answer to nonsense", self.salt).await?;
                is(&answer, &Message::result(self.salt, 1))?;
                // It may do better.
                let buid = line.ask(self.salt, "ReadBUID", &[]).await?;
                if buid.text("BUID").is_some() { Ok(()) } else { wrong("no BUID after nonsense") }
            }
            2 => {
                line.send(&message_bytes(7, PLIST, self.salt, &nonsense)).await?;
                let answer =
                    line.answer(Wait::Answer, "the answer to version 7", self.salt).await?;
                is(&answer, &Message::binary_result(self.salt, 6))
            }
            _ => {
                // Nobody knows what this says; nobody waits for an answer.
                line.send(&nonsense).await?;
                self.hesitate().await;
                Ok(())
            }
        }
    }

    /// Says something more where it must listen.
    pub(super) async fn interrupts(&mut self) -> Done {
        let line = Line::open(&self.scene).await?;
        line.send(&request(1, "Listen", &[])).await?;
        line.send(&request(2, "ListDevices", &[])).await?;
        // A Result of 0, events for any number of phones, the Result of 1, the end.
        let conversation = async {
            loop {
                let message = line.message().await?;
                if message.tag == 2 {
                    return Ok(message);
                }
            }
        };
        let answer = self.scene.within(Wait::Answer, "the answer while listening", conversation);
        is(&answer.await?, &Message::result(2, 1))?;
        line.end(Wait::Answer).await
    }

    /// Listens and never reads.
    pub(super) async fn deaf_listener(&mut self) -> Done {
        let line = Line::open(&self.scene).await?;
        line.send(&request(1, "Listen", &[])).await?;
        self.scene.end().await;
        drop(line);
        Ok(())
    }

    /// Wants what is not there.
    pub(super) async fn lost(&mut self) -> Done {
        let line = Line::open(&self.scene).await?;
        let device = self.device()?;
        let (device, port, due) = match self.random.below(3) {
            0 => (1_000_000, ECHO, 2),
            1 => (device, NOBODY, 3),
            _ => (device, 999, 3),
        };
        line.send(&request(1, "Connect", &connect_keys(device, port, &self.token()))).await?;
        let answer = line.answer(Wait::Connect, "the Result of a Connect to nobody", 1).await?;
        let number = answer.number("Number").unwrap_or(0);
        if number == due || number > 0 && self.phone.may_refuse(number) {
            return Ok(());
        }
        wrong(format!("Connect to port {port} of device {device}: Result {number}, not {due}"))
    }
}

/// Compares an answer.
fn is(answer: &Message, due: &Message) -> Done {
    let binary =
        |message: &Message| message.message == RESULT && matches!(message.body, Body::Bytes(_));
    if answer == due || binary(answer) && binary(due) && answer.body == due.body {
        return Ok(());
    }
    wrong(format!("the answer was {answer:?}, not {due:?}"))
}
