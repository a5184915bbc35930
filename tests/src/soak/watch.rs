//! The listener that follows the phones of a life, and whom clients ask where a phone is.

use super::check::{Done, Trouble};
use super::line::Line;
use super::phones::Phone;
use super::scene::Scene;
use crate::socket::Message;
use event_listener::Event;
use plist::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

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

    /// Notes an event.
    ///
    /// # Errors
    ///
    /// A sentence when it can not be true.
    pub(super) fn hear(&self, event: &Message, phones: &[Phone]) -> Result<(), String> {
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
                if !phone.is_some_and(Phone::comes_and_goes) {
                    return Err(format!("{udid} was detached, and nobody pulled its cable"));
                }
            }
            Some("Paired") => {}
            other => return Err(format!("an event {other:?}")),
        }
        Ok(())
    }
}

/// The properties of an Attached.
fn properties(event: &Message) -> Option<&plist::Dictionary> {
    event.dictionary().get("Properties").and_then(Value::as_dictionary)
}

/// Listens until the daemon ends.
pub(super) async fn watch(scene: Rc<Scene>, line: Line) {
    let listen = async {
        loop {
            let event = line.message().await?;
            scene.present.hear(&event, &scene.phones).map_err(Trouble::Wrong)?;
        }
    };
    let done: Done = listen.await;
    if let Err(trouble) = done
        && !scene.over.is_open()
    {
        scene.tally.fault(format!("the listener that follows the phones: {trouble}"));
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
