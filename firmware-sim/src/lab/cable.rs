//! The lab's cable: pulled, and plugged in again with all that a USB host does before usbmux begins.

use super::Lab;
use crate::scenes::Gatherer;
use crate::time::Nanos;
use usbmux_dongle::usb::{BulkEndpoint, HostController, Port, Setup};
use usbmux_phone::descriptors::{MUX_IN, MUX_OUT};

/// The phone's address on the bus.
const ADDRESS: u8 = 1;
/// Simulated time that plugging in may take.
const PATIENCE: Nanos = Nanos::from_millis(2_000);

impl Lab {
    pub(super) fn unplug(&mut self) {
        let now = self.host.now.instant();
        self.host.usb.bus.device().unplug(now);
        self.host.usb.bus.run(self.host.now);
        self.host.detach();
        self.gatherer = Gatherer::new(self.full as u16);
        self.host.usb.bus.take_log();
        self.view.cable(false);
        self.you("You pull the cable.");
        self.tell(Vec::new());
    }

    pub(super) fn plug_in(&mut self) {
        let now = self.host.now.instant();
        self.host.usb.bus.device().plug_in(now);
        self.host.usb.bus.run(self.host.now);
        self.host.usb.reset_port();
        let ready = self.enumerate();
        let endpoint =
            |address| BulkEndpoint { address, max_packet: u16::try_from(self.full).unwrap_or(64) };
        self.host.usb.open_bulk(ADDRESS, endpoint(MUX_IN), endpoint(MUX_OUT));
        self.host.usb.bus.take_log();
        self.gatherer = Gatherer::new(self.full as u16);
        self.view.cable(true);
        self.host.attach();
        self.you(&match ready {
            true => format!(
                "You plug the phone in. The host resets the port, gives the phone an address and \
                 chooses configuration 3, which has the mux interface: two bulk endpoints, packets of \
                 {} bytes.",
                self.full
            ),
            false => "You plug the phone in, but it does not answer.".to_owned(),
        });
    }

    /// Port reset, address, configuration; quickly, since none of it is usbmux.
    fn enumerate(&mut self) -> bool {
        let deadline = self.host.now + PATIENCE;
        let enabled = |lab: &mut Self| matches!(lab.host.usb.port(), Port::Enabled(_));
        self.until(deadline, enabled)
            && [(0, 5, u16::from(ADDRESS)), (ADDRESS, 9, 3)].into_iter().all(
                |(address, request, value)| {
                    let setup = Setup { request_type: 0, request, value, index: 0, length: 0 };
                    self.host.usb.start_control(address, 64, setup);
                    self.until(deadline, |lab| lab.host.usb.poll_control(&mut []).is_ready())
                },
            )
    }

    fn until(&mut self, deadline: Nanos, mut reached: impl FnMut(&mut Self) -> bool) -> bool {
        while !reached(self) {
            let Some(next) = self.host.usb.bus.next_event().filter(|at| *at <= deadline) else {
                return false;
            };
            self.host.now = next.max(self.host.now);
            self.host.usb.bus.run(self.host.now);
        }
        true
    }
}
