//! `umux buid` and `umux listeners`: what the daemon says about itself.

use serde_json::{Value, json};
use usbmux_host::client::{Daemon, Listener};

use crate::failure::Failure;
use crate::output;

pub(crate) async fn buid(daemon: &Daemon) -> Result<(), Failure> {
    output::line(&daemon.buid().await?)
}

pub(crate) async fn listeners(daemon: &Daemon, json: bool) -> Result<(), Failure> {
    let listeners = daemon.listeners().await?;
    if json {
        return output::json(&listeners.iter().map(object).collect());
    }
    listeners.iter().try_for_each(|listener| {
        let bundle = listener.bundle_id.as_deref().unwrap_or("-");
        output::line(&format!("{}  {}  {bundle}", listener.id, listener.program))
    })
}

/// A listener with the keys of the protocol.
fn object(listener: &Listener) -> Value {
    json!({
        "ID String": listener.id,
        "ProgName": listener.program,
        "BundleID": listener.bundle_id,
        "Blacklisted": listener.blacklisted,
        "ConnType": listener.connection_type,
        "kLibUSBMuxVersion": listener.library_version,
    })
}
