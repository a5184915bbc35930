//! Requests as no client words them, but could.

use base64ct::{Base64, Encoding};
use usbmux_tests::random::Random;

/// Which requests are made.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wording {
    /// Those that both dongle and daemon read the same way.
    Understood,
    /// Those, cut and scratched.
    Damaged,
}

const MESSAGES: [&str; 10] = [
    "ListDevices",
    "ListListeners",
    "ReadBUID",
    "ReadPairRecord",
    "SavePairRecord",
    "DeletePairRecord",
    "Connect",
    "Result",
    "ReadBuid",
    "AMessageWithANameLongerThanAny",
];

/// Two ids that may be kept, so that two places are enough, and others that may not.
const IDS: [&str; 8] = [
    "00008030-0000000000000001",
    "ABCDEF0123456789ABCDEF0123456789ABCDEF01",
    "",
    "../SystemConfiguration",
    "SystemConfiguration",
    "a b",
    "\u{e4}",
    "0123456789012345678901234567890123456789012345678901234567890123x",
];

const XML_RECORD: &str = "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>HostID</key>\
    <string>H</string><key>List</key><array><dict/></array></dict></plist>";

/// A dictionary of one string, `{"K": "V"}`.
pub(crate) const BINARY_RECORD: &[u8] =
    b"bplist00\xd1\x01\x02\x51K\x51V\x08\x0b\x0d\0\0\0\0\0\0\x01\x01\
    \0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0f";

pub(crate) fn random_request(random: &mut Random, wording: Wording) -> String {
    let mut entries = vec![];
    if !random.once_in(20) {
        let message = *random.pick(&MESSAGES);
        entries.push(entry(random, "MessageType", |random| string(random, message)));
    }
    if random.once_in(2) {
        entries.push(entry(random, "DeviceID", number));
    }
    if random.once_in(2) {
        entries.push(entry(random, "PortNumber", number));
    }
    if !random.once_in(4) {
        let choice = if random.once_in(2) { 2 } else { IDS.len() };
        let id = IDS[random.below(choice)];
        entries.push(entry(random, "PairRecordID", |random| string(random, id)));
    }
    if random.once_in(2) {
        entries.push(entry(random, "PairRecordData", data));
    }
    for key in ["ProgName", "ClientVersionString", "kLibUSBMuxVersion", "A&amp;B"] {
        if random.once_in(2) {
            entries.push(entry(random, key, value));
        }
    }
    if !entries.is_empty() && random.once_in(8) {
        let again = random.pick(&entries).clone();
        entries.push(again);
    }
    for index in (1..entries.len()).rev() {
        entries.swap(index, random.below(index + 1));
    }
    let mut text = prolog(random);
    let wrapped = !random.once_in(8);
    if wrapped {
        text +=
            one(random, &["<plist version=\"1.0\">", "<plist>", "<plist version='1.0' a=\">\">"]);
    }
    text += &space(random);
    text += one(random, &["<dict>", "<dict >", "<dict id='1'>"]);
    for entry in entries {
        text += &entry;
    }
    text += &space(random);
    text += "</dict>";
    text += &space(random);
    if wrapped {
        text +=
            one(random, &["</plist>", "</plist >", "</plist>\n", "</plist>\n\0", "</plist>\0\0"]);
    }
    if wording == Wording::Damaged { damaged(random, text) } else { text }
}

fn one<'a>(random: &mut Random, texts: &[&'a str]) -> &'a str {
    texts[random.below(texts.len())]
}

/// Takes out, doubles or changes some of it.
fn damaged(random: &mut Random, text: String) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..random.between(1, 3) {
        let at = random.below(chars.len());
        match random.below(4) {
            0 => chars.truncate(at),
            1 => chars[at] = *random.pick(&['<', '>', '&', '/', '"', '\0', '!', '-', '\u{10ffff}']),
            2 => {
                chars.remove(at);
            }
            _ => {
                let again = chars[at..].to_vec();
                chars.extend(again);
            }
        }
        if chars.is_empty() {
            break;
        }
    }
    chars.into_iter().collect()
}

fn prolog(random: &mut Random) -> String {
    let mut text = String::new();
    if random.once_in(2) {
        text += "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    }
    text += &space(random);
    if random.once_in(2) {
        text += "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
            \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">";
    }
    text + &space(random)
}

/// White space, a comment, an instruction, or nothing.
fn space(random: &mut Random) -> String {
    let long = format!("<!-- {} -->", "> <key> -- ".replace("--", "- -").repeat(30));
    let choices = ["", "", "", " ", "\n\t", "\r\n", "<!-- c -->", "<!---->", "<?pi a?b?>", &long];
    one(random, &choices).to_owned()
}

fn entry(random: &mut Random, key: &str, value: impl Fn(&mut Random) -> String) -> String {
    let before = space(random);
    let between = space(random);
    let key = if random.once_in(8) {
        format!("<key a='b'>{key}</key >")
    } else {
        format!("<key>{key}</key>")
    };
    format!("{before}{key}{between}{}", value(random))
}

/// A string, some of its characters as entities.
fn string(random: &mut Random, text: &str) -> String {
    let mut written = String::new();
    for c in text.chars() {
        written += &match random.below(8) {
            0 => format!("&#{};", u32::from(c)),
            1 => format!("&#x{:X};", u32::from(c)),
            _ => c.to_string(),
        };
    }
    format!("<string>{written}</string>")
}

fn number(random: &mut Random) -> String {
    let numbers = [
        "1",
        "1",
        "2",
        "0",
        "1792",
        "5632",
        "32498",
        "65535",
        "65536",
        "4294967297",
        "-1",
        "+1",
        "0x1",
    ];
    match random.below(12) {
        0 => string(random, "1"),
        1 => "<real>1.0</real>".into(),
        2 => "<integer>18446744073709551615</integer>".into(),
        3 if random.once_in(8) => format!(
            "<integer>{}</integer>",
            one(random, &["", " 1", "1 ", "one", "18446744073709551616"])
        ),
        _ => format!("<integer>{}</integer>", random.pick(&numbers)),
    }
}

fn data(random: &mut Random) -> String {
    let mut encoded = match random.below(8) {
        0..=2 => Base64::encode_string(XML_RECORD.as_bytes()),
        3..=4 => Base64::encode_string(BINARY_RECORD),
        5 => Base64::encode_string(
            one(random, &["", "x", "<plist><array/></plist>", "bplist00"]).as_bytes(),
        ),
        6 if random.once_in(4) => {
            (one(random, &["A", "AB", "ABC", "AB=", "A===", "QUI=QUI=", "QU-_", "=", "QUJ="]))
                .to_owned()
        }
        _ => return string(random, "no data"),
    };
    for _ in 0..random.below(4) {
        let at = random.below(encoded.len() + 1);
        encoded.insert_str(at, one(random, &["\n\t", " ", "\r"]));
    }
    format!("<data>{encoded}</data>")
}

fn value(random: &mut Random) -> String {
    let values = [
        "<true/>",
        "<false></false>",
        "<string/>",
        "<string>&lt;&amp;&gt;&quot;&apos;</string>",
        "<string>\u{1f4f1} \u{e4}</string>",
        "<array><string>a</string><dict><key>MessageType</key><string>Listen</string></dict></array>",
        "<dict><key>DeviceID</key><dict><key>PairRecordID</key><array/></dict></dict>",
        "<array><array><array><array><array/></array></array></array></array>",
        "<array><array><array><array><array><array></array></array></array></array></array></array>",
        "<date>2026-11-22T13:50:00Z</date>",
        "<real>1.5</real>",
        "<data>QUJD</data>",
        "<integer>3</integer>",
        "<string>a<b/></string>",
        "<banana/>",
        "text",
    ];
    (*random.pick(&values)).to_owned()
}
