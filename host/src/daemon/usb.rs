//! Real phones, on this machine's USB.
//!
//! Leaves out: finding and opening them (`usbmux_host::usb`), and serving them (`link`).

use smol::LocalExecutor;
use smol::channel::Receiver;

use super::link::LinkEnd;
use super::registry::Registry;
use crate::usb::{Hotplug, Plugged, Watcher};

/// Begins to serve phones: those that are there, and with [`Hotplug::On`] those that come. With
/// [`Hotplug::Off`] each message on `look` has new ones served, while the sender is there.
pub fn serve(
    executor: &LocalExecutor<'static>,
    registry: &Registry,
    hotplug: Hotplug,
    look: Receiver<()>,
) {
    let mut watcher = Watcher::new(hotplug);
    let registry = registry.clone();
    registry.begin_first_look();
    let serving = async move {
        while let Some(phone) = watcher.next_present().await {
            attach(&registry, phone);
        }
        registry.end_first_look();
        loop {
            while let Some(phone) = watcher.next().await {
                attach(&registry, phone);
            }
            registry.set_complete(true);
            if look.recv().await.is_err() {
                return;
            }
            registry.set_complete(false);
            watcher.look_again();
        }
    };
    executor.spawn(serving).detach();
}

fn attach(registry: &Registry, phone: Plugged) {
    let Plugged { opened, lost } = phone;
    registry.attach_until(opened.info, Box::new(opened.pipe), |end| {
        // One that does not answer would not answer either if it was opened again.
        if end == LinkEnd::Unplugged {
            lost.tell();
        }
    });
}
