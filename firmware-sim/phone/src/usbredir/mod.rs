//! The usbredir cable: a phone whose USB host is played by QEMU.
//!
//! [`UsbRedir`] answers on the socket of QEMU's device `usb-redir`, so that a guest's own driver has
//! the phone on an emulated EHCI or xHCI controller; closing the socket is pulling the cable. The
//! protocol's word for this end is *usb-host*: here stands a phone that needs none. Endpoint zero and
//! the mux interface work as on every cable; the other interfaces' endpoints have nothing to say.
//! Left out: isochronous transfers (sound), which are told that the endpoint stalls.

mod session;
mod tables;
mod wire;

use crate::options::Options;
use crate::plug::Plug;
use crate::remote::probe::Probe;
use crate::remote::{CableError, Handset};
use futures_lite::future;
use session::Session;
use smol::{Async, Timer};
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub use crate::remote::Ended;
pub use wire::Malformed;

/// The cable is out because of an error.
pub type UsbRedirError = CableError<Malformed>;

/// How long an unplugged phone tries to say so before the socket closes without a word.
const FAREWELL: Duration = Duration::from_secs(1);

/// A phone that can be plugged into QEMU, and again after it was unplugged.
#[derive(Debug)]
pub struct UsbRedir {
    phone: Handset,
}

impl UsbRedir {
    /// A phone that lies on the desk.
    pub fn new(options: Options) -> Self {
        UsbRedir { phone: Handset::new(options) }
    }

    /// A hand on the cable: also while the phone is plugged in.
    pub fn probe(&self) -> Probe {
        self.phone.probe.clone()
    }

    /// Is plugged in until the cable is out; dropping the future pulls it.
    ///
    /// The phone lives on the task that runs this. The session begins anew each time; the mode
    /// alone stays.
    ///
    /// # Errors
    ///
    /// See [`UsbRedirError`]; each of them unplugs the phone.
    pub async fn serve(&mut self, socket: Async<UnixStream>) -> Result<Ended, UsbRedirError> {
        let Handset { options, control, probe } = &mut self.phone;
        control.leave_bus();
        let (plug, phone) = Plug::new(options.clone());
        let mut session = Session::new(control, plug, probe.clone(), socket);
        let phone = async {
            phone.await;
            Timer::after(FAREWELL).await;
            Ok(Ended::Unplugged)
        };
        future::or(future::poll_fn(|cx| session.poll(cx)), phone).await
    }
}
