//! The dongle's status page: any request in any slicing, through any room.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};
use usbmux_dongle::page::{ConnectionStatus, Page, Status};
use usbmux_dongle::talk::PhoneInfo;
use usbmux_tests::random::{Random, seeds};

const CONNECTIONS: [ConnectionStatus; 2] = [
    ConnectionStatus {
        peer: [192, 168, 7, 23],
        peer_port: 50_123,
        what: "pipe",
        phone_port: 62078,
        from_phone: u64::MAX,
        to_phone: 0,
    },
    ConnectionStatus {
        peer: [10, 0, 0, 1],
        peer_port: 1,
        what: "talk",
        phone_port: 0,
        from_phone: 1,
        to_phone: 2,
    },
];

fn phone(serial: &str) -> PhoneInfo {
    PhoneInfo {
        device_id: 7,
        product_id: 0x12a8,
        location_id: 0x1_0001,
        serial: serial.try_into().unwrap(),
        speed: 480_000_000,
    }
}

fn status(phone: Option<&PhoneInfo>) -> Status<'_> {
    Status {
        phone,
        link: "up",
        address: [169, 254, 3, 4],
        address_source: "fallback",
        uptime_s: 2 * 3600 + 3 * 60 + 4,
        connections: &CONNECTIONS,
        connections_max: 4,
        counters: &[("frames in", 12), ("refused", 0)],
        memory: &[("sockets", 24_576), ("whole", 50_000)],
    }
}

/// Sends a request in slices and reads the answer through a room.
fn serve(request: &[u8], slice: usize, room: usize, status: &Status<'_>) -> String {
    let mut page = Page::new();
    for piece in request.chunks(slice) {
        assert_eq!(page.read(piece), piece.len());
    }
    let mut answer = vec![];
    let mut room = vec![0; room];
    loop {
        let written = page.write(&mut room, status);
        answer.extend(&room[..written]);
        if written == 0 {
            break;
        }
        assert!(answer.len() < 100_000, "an answer without end");
    }
    assert_eq!(page.is_finished(), !answer.is_empty());
    String::from_utf8(answer).unwrap()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: dongle\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n")
        .into()
}

fn code(answer: &str) -> u16 {
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\n"), "{answer}");
    answer.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn the_page_shows_phone_connections_counters_and_memory() {
    let phone = phone("00008030-0000000000000001");
    let answer = serve(&get("/"), 1000, 4096, &status(Some(&phone)));
    assert_eq!(code(&answer), 200);
    assert!(answer.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"));
    for text in [
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        "color-scheme: light dark",
        "00008030-0000000000000001",
        "0x12a8",
        "480 Mbit/s",
        "169.254.3.4 (fallback)",
        "2 h 3 min 4 s",
        "Connections: 2 of 4",
        "192.168.7.23:50123<td>pipe<td class=\"n\">62078<td class=\"n\">18446744073709551615<td class=\"n\">0",
        "10.0.0.1:1<td>talk<td class=\"n\"><td class=\"n\">1<td class=\"n\">2",
        "frames in<td class=\"n\">12",
        "whole<td class=\"n\">50000",
    ] {
        assert!(answer.contains(text), "{text} is missing in {answer}");
    }
    assert!(!answer.contains("<script"));
    assert!(answer.ends_with("</html>\n"));
    for tag in ["table", "div", "html", "body"] {
        let opened = answer.matches(&format!("<{tag}>")).count()
            + answer.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, answer.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(serve(&get("/"), 1000, 4096, &status(None)).contains("None is plugged in."));
}

#[test]
fn the_json_says_the_same() {
    let phone = phone("a\"b\\c<\u{1}");
    let answer = serve(&get("/status.json?x=1"), 1000, 4096, &status(Some(&phone)));
    assert_eq!(code(&answer), 200);
    assert!(answer.contains("\r\nContent-Type: application/json\r\n"));
    let value: Value = serde_json::from_str(body(&answer)).unwrap();
    let expected = json!({
        "link": "up", "address": "169.254.3.4", "address_source": "fallback", "uptime_s": 7384,
        "phone": {"serial": "a\"b\\c<", "device_id": 7, "product_id": 0x12a8, "location_id": 0x1_0001,
            "speed": 480_000_000},
        "connections_max": 4,
        "connections": [
            {"peer": "192.168.7.23", "peer_port": 50_123, "what": "pipe", "phone_port": 62078,
                "from_phone": u64::MAX, "to_phone": 0},
            {"peer": "10.0.0.1", "peer_port": 1, "what": "talk", "phone_port": 0,
                "from_phone": 1, "to_phone": 2},
        ],
        "counters": {"frames in": 12, "refused": 0},
        "memory": {"sockets": 24_576, "whole": 50_000},
    });
    assert_eq!(value, expected);
    let empty = Status { connections: &[], counters: &[], memory: &[], ..status(None) };
    let value: Value =
        serde_json::from_str(body(&serve(&get("/status.json"), 1, 1, &empty))).unwrap();
    assert_eq!((&value["phone"], &value["connections"]), (&Value::Null, &json!([])));
}

#[test]
fn any_slicing_and_any_room_give_the_same_answer() {
    let phone = phone("00008030-0000000000000001");
    let status = status(Some(&phone));
    for path in ["/", "/status.json", "/other"] {
        let request = get(path);
        let whole = serve(&request, request.len(), 100_000, &status);
        for slice in 1..request.len() {
            assert_eq!(serve(&request, slice, 4096, &status), whole, "slices of {slice}");
        }
        for room in (1..300).chain([536, 1460, 2048]) {
            assert_eq!(serve(&request, 50, room, &status), whole, "room for {room}");
        }
    }
}

#[test]
fn what_the_phone_says_cannot_become_markup() {
    let phone = phone("<script>alert('1')</script>&\"");
    let answer = serve(&get("/"), 1000, 4096, &status(Some(&phone)));
    assert!(!answer.contains("<script>"));
    assert!(answer.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"));
}

#[test]
fn other_requests_are_refused() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200));
    let headers = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(2000));
    for (request, expected) in [
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("\r\nGET / HTTP/1.1\r\n\r\n", 200),
        ("GET / HTTP/1.1\n\n", 200),
        ("GET /index.html HTTP/1.1\r\n\r\n", 404),
        ("GET //status.json HTTP/1.1\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        ("HEAD / HTTP/1.1\r\n\r\n", 405),
        ("DELETE /x HTTP/1.1\r\n\r\n", 405),
        ("GET /\r\n\r\n", 400),
        ("get / HTTP/1.1\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\n\r\n", 400),
        ("GET status.json HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1 x\r\n\r\n", 400),
        ("GET / HTTP/2\r\n\r\n", 400),
        ("\x16\x03\x01\n", 400),
        ("\x10\0\0\0\n", 400),
        (&long, 431),
        (&headers, 431),
        (&many, 431),
    ] {
        for slice in [1, 7, 20_000] {
            let answer = serve(request.as_bytes(), slice, 4096, &status(None));
            assert_eq!(code(&answer), expected, "{request:?}");
            assert_eq!(answer.contains("\r\nAllow: GET\r\n"), expected == 405);
        }
    }
}

#[test]
fn an_unfinished_request_gets_no_answer() {
    let request = get("/");
    for len in 0..request.len() {
        assert_eq!(serve(&request[..len], 10, 4096, &status(None)), "", "{len} bytes");
    }
}

#[test]
fn what_follows_the_request_changes_nothing() {
    let whole = serve(&get("/status.json"), 1000, 4096, &status(None));
    let two = [get("/status.json"), get("/")].concat();
    assert_eq!(serve(&two, 1000, 4096, &status(None)), whole);
    let mut page = Page::new();
    page.read(&two);
    let mut room = [0; 300];
    let mut answer: Vec<u8> = vec![];
    while !page.is_finished() {
        let written = page.write(&mut room, &status(None));
        answer.extend(&room[..written]);
        page.read(&vec![b'x'; 10_000]);
    }
    assert_eq!(answer, whole.as_bytes());
}

#[test]
fn garbage_is_survived() {
    for seed in seeds(2000) {
        let mut random = Random::new(seed);
        let mut request = get(["/", "/status.json"][random.below(2)]);
        for _ in 0..random.between(1, 5) {
            let at = random.below(request.len());
            match random.below(3) {
                0 => request[at] = random.bits() as u8,
                1 => drop(request.remove(at)),
                _ => request.insert(at, *random.pick(b"\r\n /\0")),
            }
        }
        request.extend(b"\r\n\r\n");
        let answer = serve(&request, random.between(1, 200), random.between(1, 500), &status(None));
        let known = [200, 400, 404, 405, 431];
        assert!(answer.is_empty() || known.contains(&code(&answer)), "USBMUX_SEED={seed}");
    }
}

#[test]
fn lists_that_change_meanwhile_leave_a_sound_page() {
    for seed in seeds(300) {
        let mut random = Random::new(seed);
        let mut page = Page::new();
        page.read(&get("/status.json"));
        let mut answer = vec![];
        let phone = phone("00008030-0000000000000001");
        while !page.is_finished() {
            let here = random.once_in(2).then_some(&phone);
            let shown = &CONNECTIONS[..random.below(3)];
            let status =
                Status { connections: shown, uptime_s: random.bits() as u32, ..status(here) };
            // As a socket's buffer: empty when the last piece was acknowledged.
            let mut room = vec![0; random.between(400, 600)];
            let written = page.write(&mut room, &status);
            answer.extend(&room[..written]);
        }
        let text = String::from_utf8(answer).unwrap();
        let value: Result<Value, _> = serde_json::from_str(body(&text));
        assert!(value.is_ok(), "USBMUX_SEED={seed}: {text}");
    }
}
