//! The listener that follows the phones of a life, and whom clients ask where a phone is.

use super::check::{Done, Trouble, in_time};
use super::limits::Wait;
use super::line::Line;
use super::phones::Phone;
use super::scene::Scene;
use crate::socket::Message;
use event_listener::Event;
use futures_lite::future::or;
use plist::Value;
use smol::LocalExecutor;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// The phones that are listed now.
#[derive(Default)]
pub(super) struct Present {
    /// Device ids by UDID.
    ids: RefCell<BTreeMap<String, u64>>,
    /// All ids there ever were.
    used: RefCell<BTreeSet<u64>>,
    changed: Event,
}

impl Present {
    /// The number of a listed phone.
    pub(super) fn id(&self, udid: &str) -> Option<u64> {
        self.ids.borrow().get(udid).copied()
    }

    /// The number of a phone, once it is listed.
    pub(super) async fn wait_for(&self, udid: &str) -> u64 {
        loop {
            let changed = self.changed.listen();
            if let Some(id) = self.id(udid) {
                return id;
            }
            changed.await;
        }
    }

    /// Notes an event; the phone that it took away, if it did.
    ///
    /// # Errors
    ///
    /// A sentence when it can not be true.
    pub(super) fn hear(&self, event: &Message, phones: &[Phone]) -> Result<Option<Phone>, String> {
        let id = event.number("DeviceID").ok_or("an event without a DeviceID")?;
        match event.text("MessageType") {
            Some("Attached") => {
                let serial = properties(event).and_then(|of| of.get("SerialNumber"));
                let serial =
                    serial.and_then(Value::as_string).ok_or("Attached without a serial")?;
                if !self.used.borrow_mut().insert(id) {
                    return Err(format!("device id {id} was used twice"));
                }
                if self.ids.borrow_mut().insert(serial.to_owned(), id).is_some() {
                    return Err(format!("{serial} was attached twice"));
                }
                self.changed.notify(usize::MAX);
            }
            Some("Detached") => {
                let mut ids = self.ids.borrow_mut();
                let udid = ids.iter().find(|(_, its)| **its == id).map(|(udid, _)| udid.clone());
                let udid = udid.ok_or_else(|| format!("device {id} was detached and not there"))?;
                ids.remove(&udid);
                let phone = phones.iter().find(|phone| phone.udid() == udid);
                let phone = phone.filter(|phone| phone.comes_and_goes());
                let nobody = || format!("{udid} was detached, and nobody pulled its cable");
                return phone.cloned().map(Some).ok_or_else(nobody);
            }
            Some("Paired") => {}
            other => return Err(format!("an event {other:?}")),
        }
        Ok(None)
    }
}

/// The properties of an Attached.
fn properties(event: &Message) -> Option<&plist::Dictionary> {
    event.dictionary().get("Properties").and_then(Value::as_dictionary)
}

/// Listens until the daemon ends.
pub(super) async fn watch(executor: Rc<LocalExecutor<'static>>, scene: Rc<Scene>, line: Line) {
    let expect = |phone: Phone, away| {
        executor.spawn(come(Rc::clone(&scene), phone, away)).detach();
    };
    for phone in scene.phones.clone() {
        expect(phone, Duration::ZERO);
    }
    let listen = async {
        loop {
            let event = line.message().await?;
            let gone = scene.present.hear(&event, &scene.phones).map_err(Trouble::Wrong)?;
            if let Some(phone) = gone {
                let away = phone.away();
                expect(phone, away);
            }
        }
    };
    let done: Done = listen.await;
    if let Err(trouble) = done
        && !scene.over.is_open()
    {
        scene.tally.fault(format!("the listener that follows the phones: {trouble}"));
    }
}

/// Sees to it that a phone is listed in time after it has been away.
async fn come(scene: Rc<Scene>, phone: Phone, away: Duration) {
    let udid = phone.udid();
    let listed = async { Ok(scene.present.wait_for(&udid).await) };
    let over = async {
        scene.over.passed().await;
        Err(Trouble::Cut)
    };
    let limit = away + Wait::Greeting.limit();
    let coming = or(listed, over);
    match in_time(Wait::Greeting, limit, &format!("{udid} to be listed"), coming).await {
        (Ok(_), took) => scene.tally.took(Wait::Greeting, took.saturating_sub(away)),
        (Err(_), _) if scene.over.is_open() => {}
        (Err(trouble), _) => scene.tally.fault(trouble.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use plist::Dictionary;

    fn event(kind: &str, id: u64, udid: &str) -> Message {
        let mut properties = Dictionary::new();
        properties.insert("SerialNumber".into(), udid.into());
        let mut event = Dictionary::new();
        event.insert("MessageType".into(), kind.into());
        event.insert("DeviceID".into(), id.into());
        event.insert("Properties".into(), Value::Dictionary(properties));
        Message::plist(0, event)
    }

    #[test]
    fn events_that_cannot_be_true_are_found() {
        let phones = [Phone { number: 1, quirks: Vec::new() }];
        let udid = phones[0].udid();
        let present = Present::default();
        present.hear(&event("Attached", 1, &udid), &phones).unwrap();
        assert_eq!(present.id(&udid), Some(1));
        present.hear(&event("Attached", 1, "other"), &phones).unwrap_err();
        present.hear(&event("Attached", 2, &udid), &phones).unwrap_err();
        present.hear(&event("Detached", 9, &udid), &phones).unwrap_err();
        let gone = present.hear(&event("Detached", 2, &udid), &phones).unwrap_err();
        assert!(gone.ends_with("nobody pulled its cable"), "{gone}");
    }
}
