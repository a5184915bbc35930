//! `umux list` and `umux watch`.

use std::collections::HashMap;

use async_signal::{Signal, Signals};
use serde_json::{Map, Value, json};
use smol::stream::StreamExt;
use usbmux_host::client::{Daemon, Event, Phone};

use crate::failure::Failure;
use crate::output;
use crate::source::Source;

pub(crate) async fn list(source: &Source, json: bool) -> Result<(), Failure> {
    let phones = source.phones().await?;
    if json {
        return output::json(&phones.iter().map(object).map(Value::Object).collect());
    }
    lines(&phones).try_for_each(|line| output::line(&line))
}

/// Phones as `list` shows them.
pub(crate) fn lines(phones: &[Phone]) -> impl Iterator<Item = String> + use<'_> {
    phones.iter().map(line)
}

pub(crate) async fn watch(daemon: &Daemon, json: bool) -> Result<(), Failure> {
    let mut stop = stop_signals()?;
    let mut events = daemon.listen().await?;
    let mut phones = HashMap::new();
    loop {
        let stopped = async {
            stop.next().await;
            None
        };
        let event = smol::future::or(stopped, events.next()).await;
        let Some(event) = event.transpose()? else { return Ok(()) };
        if let Some(line) = describe(&mut phones, event, json) {
            output::line(&line)?;
        }
    }
}

/// The signals on which a subcommand that runs for ever ends well.
pub(crate) fn stop_signals() -> Result<Signals, Failure> {
    Signals::new([Signal::Int, Signal::Term])
        .map_err(|error| Failure::failed(format!("cannot wait for signals ({error})")))
}

/// One line for an event. Only the first one of a phone says who it is, so `phones` remembers.
pub(crate) fn describe(
    phones: &mut HashMap<u32, Phone>,
    event: Event,
    json: bool,
) -> Option<String> {
    let (what, device_id, phone) = match event {
        Event::Attached(phone) => {
            phones.insert(phone.device_id, phone.clone());
            ("attached", phone.device_id, Some(phone))
        }
        Event::Detached(id) => ("detached", id, phones.remove(&id)),
        Event::Paired(id) => ("paired", id, phones.get(&id).cloned()),
        _ => return None,
    };
    if json {
        let mut event = Map::new();
        event.insert("Event".into(), what.into());
        match phone {
            Some(phone) => event.extend(object(&phone)),
            None => _ = event.insert("DeviceID".into(), device_id.into()),
        }
        return Some(Value::Object(event).to_string());
    }
    let phone = phone.as_ref().map_or_else(|| format!("device {device_id}"), line);
    Some(format!("{what}  {phone}"))
}

fn line(phone: &Phone) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    format!(
        "{}  {}  {}  {}",
        phone.udid,
        or_dash(phone.product_id.map(|id| format!("{id:#06x}"))),
        or_dash(phone.location_id.map(|id| format!("{id:#010x}"))),
        or_dash(phone.connection_speed.map(speed)),
    )
}

/// A speed in bit/s as buses are labelled.
fn speed(bits: u64) -> String {
    const MEGA: u64 = 1_000_000;
    const GIGA: u64 = 1000 * MEGA;
    if bits >= GIGA && bits.is_multiple_of(GIGA) {
        return format!("{}Gbit/s", bits / GIGA);
    }
    match (bits / MEGA, bits % MEGA) {
        (0, _) => format!("{bits}bit/s"),
        (whole, 0) => format!("{whole}Mbit/s"),
        (whole, rest) => {
            let digits = format!("{rest:06}");
            format!("{whole}.{}Mbit/s", digits.trim_end_matches('0'))
        }
    }
}

fn object(phone: &Phone) -> Map<String, Value> {
    let object = json!({
        "UDID": phone.udid,
        "DeviceID": phone.device_id,
        "ProductID": phone.product_id,
        "LocationID": phone.location_id,
        "ConnectionSpeed": phone.connection_speed,
        "ConnectionType": phone.connection_type,
        "SerialNumber": phone.serial,
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_read_as_buses_are_labelled() {
        let cases = [
            (1_500_000, "1.5Mbit/s"),
            (12_000_000, "12Mbit/s"),
            (480_000_000, "480Mbit/s"),
            (5_000_000_000, "5Gbit/s"),
            (10_000_000_000, "10Gbit/s"),
            (0, "0bit/s"),
            (1_234_500, "1.2345Mbit/s"),
        ];
        for (bits, text) in cases {
            assert_eq!(speed(bits), text);
        }
    }

    #[test]
    fn an_event_of_an_unknown_phone_is_shown_by_its_number() {
        let line = |json| describe(&mut HashMap::new(), Event::Detached(7), json);
        assert_eq!(line(false).as_deref(), Some("detached  device 7"));
        assert_eq!(line(true).as_deref(), Some(r#"{"DeviceID":7,"Event":"detached"}"#));
    }
}
