//! Clients that ask the daemon, and listeners; every answer is compared.

use super::check::{Done, Trouble, wrong};
use super::limits::Wait;
use super::line::Line;
use super::scene::Client;
use crate::socket::{Message, request};
use plist::{Dictionary, Value};
use smol::Timer;
use std::collections::BTreeSet;
use std::time::Duration;
use usbmux_phone::LOCKDOWND;

impl Client {
    /// Asks several things over one socket.
    pub(super) async fn asks(&mut self) -> Done {
        let line = Line::open(&self.scene).await?;
        for tag in 0..self.random.between(1, 8) as u32 {
            match self.random.below(4) {
                0 => self.list(&line, tag).await?,
                1 => self.read_buid(&line, tag).await?,
                2 => {
                    let list = line.ask(tag, "ListListeners", &[]).await?;
                    let list = list.dictionary().get("ListenerList").and_then(Value::as_array);
                    if list.is_none_or(Vec::is_empty) {
                        return wrong("the listener that follows the phones is not listed");
                    }
                }
                _ => {
                    let answer = line.ask(tag, "Dance", &[]).await?;
                    if answer != Message::result(tag, 1) {
                        return wrong(format!("Dance was answered with {answer:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Every phone that does not come and go is listed, once.
    async fn list(&self, line: &Line, tag: u32) -> Done {
        let answer = line.ask(tag, "ListDevices", &[]).await?;
        let list = answer.dictionary().get("DeviceList").and_then(Value::as_array);
        let list = list.ok_or_else(|| Trouble::Wrong("no DeviceList".to_owned()))?;
        let serials: Vec<_> = list.iter().filter_map(serial).collect();
        let once: BTreeSet<_> = serials.iter().collect();
        if serials.len() != list.len() || once.len() != list.len() {
            return wrong(format!("a phone is listed twice or without serial: {serials:?}"));
        }
        for phone in self.scene.phones.iter().filter(|phone| !phone.comes_and_goes()) {
            let udid = phone.udid();
            if self.scene.present.id(&udid).is_some() && !once.contains(&udid) {
                return wrong(format!("{udid} is not listed"));
            }
        }
        Ok(())
    }

    /// It is the same for the whole run.
    async fn read_buid(&self, line: &Line, tag: u32) -> Done {
        let answer = line.ask(tag, "ReadBUID", &[]).await?;
        let buid = answer.text("BUID").unwrap_or_default().to_owned();
        let mut known = self.scene.buid.borrow_mut();
        let known = known.get_or_insert_with(|| buid.clone());
        if *known == buid { Ok(()) } else { wrong(format!("the BUID was {known} and is {buid}")) }
    }

    /// Saves a pair record, reads it, deletes it, and misses it.
    pub(super) async fn pair_record(&mut self) -> Done {
        let line = Line::open(&self.scene).await?;
        let id = ("PairRecordID", Value::from(format!("SOAK-{:08X}", self.salt)));
        let mut record = Dictionary::new();
        let length = self.random.between(1, 4000);
        record.insert("SystemBUID".into(), "s".repeat(length).into());
        let mut data = Vec::new();
        let written = Value::Dictionary(record).to_writer_xml(&mut data);
        written.map_err(|error| Trouble::Wrong(error.to_string()))?;
        let data = Value::Data(data);
        let mut keys = vec![id.clone(), ("PairRecordData", data.clone())];
        if let Some(device) = self.scene.present.id(&self.phone.udid()) {
            keys.push(("DeviceID", device.into()));
        }
        let steps =
            [("SavePairRecord", keys, Ok(0)), ("ReadPairRecord", vec![id.clone()], Err(data))];
        for (what, keys, due) in steps {
            let answer = line.ask(self.salt, what, &keys).await?;
            let right = match due {
                Ok(number) => answer == Message::result(self.salt, number),
                Err(data) => answer.dictionary().get("PairRecordData") == Some(&data),
            };
            if !right {
                return wrong(format!("{what} was answered with {answer:?}"));
            }
        }
        for (what, due) in [("DeletePairRecord", 0), ("ReadPairRecord", 2)] {
            let answer = line.ask(self.salt, what, std::slice::from_ref(&id)).await?;
            if answer != Message::result(self.salt, due) {
                return wrong(format!("{what} was answered with {answer:?}"));
            }
        }
        Ok(())
    }

    /// Listens for a while: every phone that stays is announced at once.
    pub(super) async fn listener(&mut self) -> Done {
        let due: BTreeSet<_> = {
            let phones = self.scene.phones.iter().filter(|phone| !phone.comes_and_goes());
            let listed = |udid: &String| self.scene.present.id(udid).is_some();
            phones.map(super::phones::Phone::udid).filter(listed).collect()
        };
        let line = Line::open(&self.scene).await?;
        line.send(&request(self.salt, "Listen", &[])).await?;
        let result = line.answer(Wait::Answer, "the answer to Listen", self.salt).await?;
        if result != Message::result(self.salt, 0) {
            return wrong(format!("Listen was answered with {result:?}"));
        }
        let announced = async {
            let mut due = due;
            while !due.is_empty() {
                let event = line.message().await?;
                if event.text("MessageType") == Some("Attached") {
                    let serial = serial(&Value::Dictionary(event.dictionary().clone()));
                    due.remove(&serial.unwrap_or_default());
                }
            }
            Ok(())
        };
        self.scene.within(Wait::Answer, "every phone to be announced", announced).await?;
        let stay = Duration::from_millis(self.random.below(500) as u64);
        Timer::after(stay).await;
        Ok(())
    }

    /// Asks the phone's lockdownd what it is.
    pub(super) async fn lockdown(&mut self) -> Done {
        let line = Line::connect(self, LOCKDOWND).await?;
        let mut question = Dictionary::new();
        question.insert("Request".into(), "QueryType".into());
        let mut body = Vec::new();
        let written = Value::Dictionary(question).to_writer_xml(&mut body);
        written.map_err(|error| Trouble::Wrong(error.to_string()))?;
        line.send(&[&(body.len() as u32).to_be_bytes()[..], &body].concat()).await?;
        let mut answer = Vec::new();
        let mut due = 4;
        while answer.len() < due {
            let mut piece = vec![0; due - answer.len()];
            match line.read(Wait::Progress, "lockdownd's answer", &mut piece).await? {
                0 => return Err(Trouble::Cut),
                count => answer.extend(&piece[..count]),
            }
            if let [a, b, c, d] = answer[..] {
                due = 4 + u32::from_be_bytes([a, b, c, d]) as usize;
            }
        }
        let value = Value::from_reader_xml(&answer[4..]);
        let kind =
            value.ok().and_then(Value::into_dictionary).and_then(|of| of.get("Type").cloned());
        match kind.as_ref().and_then(Value::as_string) {
            Some("com.apple.mobile.lockdown") => Ok(()),
            other => wrong(format!("lockdownd's type is {other:?}")),
        }
    }
}

/// The serial in an Attached.
fn serial(attached: &Value) -> Option<String> {
    let properties = attached.as_dictionary()?.get("Properties")?.as_dictionary()?;
    Some(properties.get("SerialNumber")?.as_string()?.to_owned())
}
