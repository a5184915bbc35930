//! `umux info`: the values that a phone tells a computer it does not trust yet.

use plist::{Dictionary, Value};
use usbmux_host::client::{Daemon, REPLY_TIMEOUT, lockdown};

use crate::failure::Failure;
use crate::{choose, json, output};

pub(crate) async fn run(daemon: &Daemon, udid: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let phone = choose::phone(daemon, udid).await?;
    let stream = daemon.connect(phone.device_id, lockdown::PORT).await?;
    let mut values = lockdown::values(stream, "umux", REPLY_TIMEOUT).await?;
    if as_json {
        return output::json(&json::object(&values));
    }
    values.sort_keys();
    let mut text = String::new();
    dictionary(&mut text, 0, &values);
    output::text(&text)
}

/// One line for each value; parts stand indented under theirs.
fn dictionary(text: &mut String, depth: usize, values: &Dictionary) {
    for (key, value) in values {
        entry(text, depth, key, value);
    }
}

fn entry(text: &mut String, depth: usize, name: &str, value: &Value) {
    text.extend(std::iter::repeat_n("  ", depth));
    text.extend(name.chars().filter(|char| !char.is_control()));
    match value {
        Value::Dictionary(parts) => {
            text.push_str(":\n");
            dictionary(text, depth + 1, parts);
        }
        Value::Array(parts) => {
            text.push_str(":\n");
            for (index, part) in parts.iter().enumerate() {
                entry(text, depth + 1, &index.to_string(), part);
            }
        }
        value => {
            text.push_str(": ");
            // A phone's name may hold anything, line ends too.
            text.extend(json::scalar(value).chars().filter(|char| !char.is_control()));
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_indented_and_control_characters_dropped() {
        let mut inner = Dictionary::new();
        inner.insert("Deep".into(), Value::Array(vec![1.into(), true.into()]));
        let mut values = Dictionary::new();
        values.insert("Name".into(), "a\u{1b}[2Jb\nc".into());
        values.insert("Outer".into(), Value::Dictionary(inner));
        let mut text = String::new();
        dictionary(&mut text, 0, &values);
        assert_eq!(text, "Name: a[2Jbc\nOuter:\n  Deep:\n    0: 1\n    1: true\n");
    }
}
