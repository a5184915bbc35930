//! Clients that move bytes. Every byte is compared; the last ones too, however a client ends.

use super::check::{Done, Incoming, Source, Trouble, wrong};
use super::limits::{LINGER, Wait};
use super::line::Line;
use super::scene::Client;
use super::servers::{DOWNLOAD, HEADER, STALLED, UPLOAD, header};
use crate::random::{Random, pattern};
use futures_lite::future::{or, try_zip};
use smol::Timer;
use smol::channel::Receiver;
use std::time::{Duration, Instant};
use usbmux_phone::{CHARGEN, DISCARD, ECHO};

/// Most bytes of one write.
const WRITE: usize = 64 << 10;
/// Most bytes that a client sends one at a time.
const SINGLE: usize = 200;
/// A slow reader's piece and pause.
const SIP: usize = 3000;
const PAUSE: Duration = Duration::from_millis(3);
/// A client that wrote nothing for so long has met a full stream.
const FULL: Duration = Duration::from_millis(300);
/// Most bytes towards a program that does not read: more than all buffers on the way.
const FLOOD: usize = 16 << 20;
/// What is on its way when a daemon that is at rest is asked to end.
pub(super) const LAST_WORDS: usize = 300_000;
/// A linger that ended sooner than this part of it was cut short.
const LINGER_LEAST: Duration = LINGER.saturating_sub(Duration::from_millis(50));

/// Sends a pattern's bytes in pieces of all lengths.
async fn send(line: &Line, salt: u32, length: usize, random: &mut Random) -> Done {
    let mut at = 0;
    while at < length {
        let piece = random.length(WRITE).min(length - at);
        line.send(&pattern(salt, at, piece)).await?;
        at += piece;
    }
    Ok(())
}

impl Client {
    fn pattern(&self) -> Incoming {
        Incoming::new(Source::Pattern(self.salt))
    }

    /// How much this client moves.
    fn amount(&mut self) -> usize {
        let most = self.phone.appetite();
        self.random.length(most)
    }

    /// Half-closes and waits for the linger time, no less, to end the connection.
    async fn linger(&self, line: &Line) -> Done {
        let began = Instant::now();
        line.half_close()?;
        line.end(Wait::Linger).await?;
        if began.elapsed() < LINGER_LEAST
            && self.phone.keeps_everything()
            && !self.scene.over.is_open()
        {
            return wrong(format!("half-closed, and ended after {:?}", began.elapsed()));
        }
        Ok(())
    }

    /// Sends and receives at once; what comes back is what went.
    pub(super) async fn echo(&mut self) -> Done {
        let (length, mut choices) = (self.amount(), self.random.clone());
        let line = Line::connect(self, ECHO).await?;
        let mut incoming = self.pattern();
        let there = send(&line, self.salt, length, &mut choices);
        let back = line.take(&mut incoming, length);
        try_zip(there, back).await?;
        incoming.whole(length)?;
        if self.random.once_in(2) { self.linger(&line).await } else { Ok(()) }
    }

    /// Sends everything, half-closes, and only then reads what came back.
    pub(super) async fn half_closed_echo(&mut self) -> Done {
        let length = self.amount().min(100_000);
        let line = Line::connect(self, ECHO).await?;
        line.send(&pattern(self.salt, 0, length)).await?;
        line.half_close()?;
        let mut incoming = self.pattern();
        line.take(&mut incoming, length).await?;
        line.end(Wait::Linger).await
    }

    /// Sends a byte and waits for it, again and again.
    pub(super) async fn single_bytes(&mut self) -> Done {
        let line = Line::connect(self, ECHO).await?;
        let mut incoming = self.pattern();
        for at in 0..self.random.between(1, SINGLE) {
            line.send(&pattern(self.salt, at, 1)).await?;
            line.take(&mut incoming, 1).await?;
        }
        Ok(())
    }

    /// Reads the character generator as fast as it can.
    pub(super) async fn chargen(&mut self) -> Done {
        let length = self.amount();
        let line = Line::connect(self, CHARGEN).await?;
        line.take(&mut Incoming::new(Source::Chargen), length).await
    }

    /// Reads a little at a time.
    pub(super) async fn slow_reader(&mut self) -> Done {
        let line = Line::connect(self, CHARGEN).await?;
        let mut incoming = Incoming::new(Source::Chargen);
        for _ in 0..self.random.between(1, 150) {
            let most = self.random.between(1, SIP);
            line.take(&mut incoming, most).await?;
            Timer::after(PAUSE).await;
        }
        Ok(())
    }

    /// Reads, stops for as long as the round lasts, and then finds the stream where it left it.
    pub(super) async fn stopped_reader(&mut self) -> Done {
        let line = Line::connect(self, CHARGEN).await?;
        let mut incoming = Incoming::new(Source::Chargen);
        let first = self.random.length(self.phone.appetite() / 4);
        line.take(&mut incoming, first).await?;
        self.scene.end().await;
        line.take(&mut incoming, self.phone.appetite() / 2).await
    }

    /// Writes to discard and waits until the phone has everything.
    pub(super) async fn discard(&mut self) -> Done {
        let (length, mut choices) = (self.amount(), self.random.clone());
        let line = Line::connect(self, DISCARD).await?;
        send(&line, self.salt, length, &mut choices).await?;
        self.linger(&line).await
    }

    /// Asks the phone's program for bytes; it closes behind the last.
    pub(super) async fn download(&mut self) -> Done {
        let length = self.amount();
        let line = Line::connect(self, DOWNLOAD).await?;
        line.send(&header(self.salt, length)).await?;
        let slow = self.random.once_in(4);
        if slow {
            Timer::after(FULL).await;
        }
        let mut incoming = self.pattern();
        line.take(&mut incoming, length).await?;
        line.end(Wait::Progress).await
    }

    /// Begins an upload.
    async fn upload_begun(&self, port: u16, length: usize) -> Done<(Line, Receiver<usize>)> {
        let arrived = self.scene.servers.expect(self.salt);
        let line = Line::connect(self, port).await?;
        line.send(&header(self.salt, length)).await?;
        Ok((line, arrived))
    }

    /// Uploads and waits for the acknowledgement of all of it, half-closed or not.
    pub(super) async fn upload(&mut self) -> Done {
        let (length, mut choices) = (self.amount(), self.random.clone());
        let (line, arrived) = self.upload_begun(UPLOAD, length).await?;
        send(&line, self.salt, length, &mut choices).await?;
        let half_closed = self.random.once_in(2);
        if half_closed {
            line.half_close()?;
        }
        let mut answer = [0; HEADER];
        for at in 0..HEADER {
            let what = "the acknowledgement of an upload";
            if line.read(Wait::Progress, what, &mut answer[at..=at]).await? == 0 {
                return Err(Trouble::Cut);
            }
        }
        if answer[..] != header(self.salt, length) {
            return wrong(format!("another upload was acknowledged: {answer:02x?}"));
        }
        if half_closed {
            line.end(Wait::Linger).await?;
        }
        drop(line);
        self.arrived(&arrived, length).await
    }

    /// Uploads and hangs up behind the last byte: the daemon must hand all of it over.
    pub(super) async fn upload_and_go(&mut self) -> Done {
        let (length, mut choices) = (self.amount(), self.random.clone());
        let (line, arrived) = self.upload_begun(UPLOAD, length).await?;
        send(&line, self.salt, length, &mut choices).await?;
        drop(line);
        self.arrived(&arrived, length).await
    }

    /// Is killed while it uploads: what its socket had taken must arrive.
    pub(super) async fn killed_upload(&mut self) -> Done {
        let (length, mut choices) = (self.amount(), self.random.clone());
        let life = Duration::from_micros(self.random.between(0, 20_000) as u64);
        let (line, arrived) = self.upload_begun(UPLOAD, length).await?;
        let death = async {
            Timer::after(life).await;
            Ok(())
        };
        or(send(&line, self.salt, length, &mut choices), death).await?;
        let taken = line.written.get() - HEADER;
        drop(line);
        self.arrived(&arrived, taken).await
    }

    /// Writes to a program that does not read until nothing more is taken; then hangs up, or waits until it reads.
    pub(super) async fn stalled_upload(&mut self) -> Done {
        let (line, arrived) = self.upload_begun(STALLED, FLOOD).await?;
        while line.written.get() < HEADER + FLOOD && !self.scene.has_ended() {
            let at = line.written.get() - HEADER;
            let piece = pattern(self.salt, at, WRITE.min(FLOOD - at));
            if line.try_send(&piece, FULL).await?.is_none() {
                break;
            }
        }
        let taken = line.written.get() - HEADER;
        // In a patient round early, so that the daemon's time for it begins with the round.
        let hangs_up = self.scene.patient || self.random.once_in(2);
        let line = Some(line).filter(|_| !hangs_up);
        self.scene.end().await;
        drop(line);
        if self.scene.patient {
            // Nobody reads before the daemon has given this up.
            return Ok(());
        }
        self.arrived(&arrived, taken).await
    }

    /// Uploads and stays; a daemon that ends now must hand all of it over.
    pub(super) async fn last_words(&self) -> Done<(Line, Receiver<usize>)> {
        let (line, arrived) = self.upload_begun(UPLOAD, LAST_WORDS).await?;
        line.send(&pattern(self.salt, 0, LAST_WORDS)).await?;
        Ok((line, arrived))
    }

    /// Is killed in the middle of whatever it does.
    pub(super) async fn killed(&mut self) -> Done {
        let life = Duration::from_micros(self.random.between(0, 30_000) as u64);
        let death = async {
            Timer::after(life).await;
            Ok(())
        };
        match self.random.below(5) {
            0 => or(self.echo(), death).await,
            1 => or(self.chargen(), death).await,
            2 => or(self.download(), death).await,
            3 => or(self.discard(), death).await,
            _ => or(self.slow_reader(), death).await,
        }
    }

    /// Waits until the program on the phone has seen the end of an upload, with every byte that was sent.
    async fn arrived(&self, arrived: &Receiver<usize>, sent: usize) -> Done {
        if !self.phone.keeps_everything() {
            // What arrived was compared; how much may be lost with the connection.
            return Ok(());
        }
        let over = async {
            self.scene.over.passed().await;
            Err(Trouble::Cut)
        };
        let told = async { arrived.recv().await.map_err(|_| Trouble::Cut) };
        let what = format!("the program on the phone to see the end of {sent} bytes");
        let came = self.scene.within(Wait::Delivery, &what, or(told, over)).await?;
        if came == sent || self.scene.over.is_open() {
            return Ok(());
        }
        wrong(format!("{came} of {sent} uploaded bytes arrived"))
    }
}
