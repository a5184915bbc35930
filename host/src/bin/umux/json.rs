//! Property lists as JSON, which has neither data nor dates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plist::{Dictionary, Value};
use serde_json::Value as Json;

/// A dictionary as an object. Data becomes base64, a date RFC 3339.
pub(crate) fn object(dictionary: &Dictionary) -> Json {
    dictionary.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

/// A value without parts as a person reads it.
pub(crate) fn scalar(value: &Value) -> String {
    match json(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Array(values) => values.iter().map(json).collect(),
        Value::Dictionary(dictionary) => object(dictionary),
        Value::Boolean(value) => Json::Bool(*value),
        Value::Data(data) => Json::String(STANDARD.encode(data)),
        Value::Date(date) => Json::String(date.to_xml_format()),
        // What JSON has no number for becomes null.
        Value::Real(number) => Json::from(*number),
        Value::Integer(integer) => match (integer.as_signed(), integer.as_unsigned()) {
            (Some(number), _) => Json::from(number),
            (None, number) => Json::from(number),
        },
        Value::String(text) => Json::String(text.clone()),
        Value::Uid(uid) => Json::from(uid.get()),
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_has_a_form() {
        let mut dictionary = Dictionary::new();
        dictionary.insert("array".into(), Value::Array(vec![1.into(), "two".into()]));
        dictionary.insert("data".into(), Value::Data(vec![0xff, 0]));
        dictionary.insert("negative".into(), (-1).into());
        dictionary.insert("large".into(), u64::MAX.into());
        dictionary.insert("real".into(), 0.5.into());
        dictionary.insert("no number".into(), f64::NAN.into());
        dictionary.insert("true".into(), true.into());
        let expected = serde_json::json!({
            "array": [1, "two"], "data": "/wA=", "negative": -1, "large": u64::MAX, "real": 0.5,
            "no number": null, "true": true,
        });
        assert_eq!(object(&dictionary), expected);
    }
}
