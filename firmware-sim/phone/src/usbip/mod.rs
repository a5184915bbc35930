//! The USB/IP cable: a phone whose USB host is a Linux kernel.
//!
//! [`UsbIp`] answers the requests of a kernel's virtual host controller on a stream socket; closing
//! the socket is pulling the cable. Endpoint zero is answered by
//! [`ControlEndpoint`](crate::control::ControlEndpoint), the mux
//! interface's bulk transfers go through a [`Plug`] as those of a host in this program do, and
//! requests to the other interfaces' endpoints get NAK for ever, as from a phone with nothing to
//! say. Left out: isochronous transfers (sound), which are told that the endpoint stalls. How the
//! socket gets into the kernel is [`vhci`](crate::vhci)'s affair.

mod session;
mod wire;

use crate::options::Options;
use crate::plug::Plug;
use crate::remote::probe::Probe;
use crate::remote::{CableError, Handset};
use futures_lite::future;
use session::Session;
use smol::Async;
use std::os::unix::net::UnixStream;

pub use crate::remote::Ended;
pub use wire::Malformed;

/// The cable is out because of an error.
pub type UsbIpError = CableError<Malformed>;

/// A phone that can be plugged into USB hosts that speak USB/IP, one after the other.
#[derive(Debug)]
pub struct UsbIp {
    phone: Handset,
}

impl UsbIp {
    /// A phone that lies on the desk.
    pub fn new(options: Options) -> Self {
        UsbIp { phone: Handset::new(options) }
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
    /// See [`UsbIpError`]; each of them unplugs the phone.
    pub async fn serve(&mut self, socket: Async<UnixStream>) -> Result<Ended, UsbIpError> {
        let Handset { options, control, probe } = &mut self.phone;
        control.leave_bus();
        let (plug, phone) = Plug::new(options.clone());
        let mut session = Session::new(control, plug, probe.clone(), socket);
        let phone = async {
            phone.await;
            Ok(Ended::Unplugged)
        };
        future::or(future::poll_fn(|cx| session.poll(cx)), phone).await
    }
}
