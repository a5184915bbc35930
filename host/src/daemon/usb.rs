//! Real phones, on this machine's USB.
//!
//! Leaves out: finding and opening them (`usbmux_host::usb`), and serving them (`link`).

use smol::LocalExecutor;

use super::link::LinkEnd;
use super::registry::Registry;
use crate::usb::{Hotplug, Watcher};

/// Begins to serve phones: those that are there, and with [`Hotplug::On`] those that come.
pub fn serve(executor: &LocalExecutor<'static>, registry: &Registry, hotplug: Hotplug) {
    let mut watcher = Watcher::new(hotplug);
    let registry = registry.clone();
    let serving = async move {
        while let Some(phone) = watcher.next().await {
            let lost = phone.lost;
            registry.attach_until(phone.opened.info, Box::new(phone.opened.pipe), |end| {
                // One that does not answer would not answer either if it was opened again.
                if end == LinkEnd::Unplugged {
                    lost.tell();
                }
            });
        }
    };
    executor.spawn(serving).detach();
}
