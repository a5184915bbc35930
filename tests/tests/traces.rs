//! Traces (`--trace`) as tshark sees them, without a plugin: of umuxd, of the dongle, of `umux --direct`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use usbmux_tests::clients::{FIRST_PHONE, check_ideviceinfo, check_inetcat};
use usbmux_tests::daemon_process::{Daemon, program};
use usbmux_tests::dongle_process::Dongle;
use usbmux_tests::tools::{run, tool, until};

/// What tshark must find nothing of, with its checks of checksums on.
const WRONG: &str =
    "_ws.malformed || _ws.short || tcp.checksum.status == 0 || udp.checksum.status == 0";

/// The columns that are asked of tshark.
const COLUMNS: [&str; 10] = [
    "ipv6.src",
    "frame.len",
    "frame.cap_len",
    "tcp.stream",
    "tcp.flags",
    "tcp.window_size_value",
    "tcp.window_size",
    "frame.packet_flags_direction",
    "frame.comment",
    "syslog.msg",
];

/// A folder with a trace in it.
struct Place {
    folder: TempDir,
}

/// A packet as tshark dissects it.
#[derive(Debug)]
struct Row {
    values: Vec<String>,
}

impl Row {
    fn text(&self, column: &str) -> &str {
        let at = COLUMNS.iter().position(|name| *name == column).unwrap();
        &self.values[at]
    }

    fn number(&self, column: &str) -> u64 {
        let text = self.text(column);
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.unwrap_or_else(|_| panic!("{column} is {text:?} in {self:?}"))
    }

    fn is_tcp(&self) -> bool {
        !self.text("tcp.stream").is_empty()
    }

    fn is_syn(&self) -> bool {
        self.is_tcp() && self.number("tcp.flags") & 2 != 0
    }

    /// The words of the comment for programs.
    fn comment(&self) -> &str {
        self.text("frame.comment")
            .split(",The window")
            .next()
            .unwrap()
            .trim_start_matches("usbmux ")
    }
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("trace.pcapng")
    }

    fn option(&self) -> String {
        format!("--trace={}", self.file().display())
    }

    /// All packets, none of which tshark has anything against; none without tshark.
    fn rows(&self) -> Option<Vec<Row>> {
        tshark(&self.file(), &[]).inspect(|rows| {
            let wrong = tshark(&self.file(), &["-Y", WRONG]).unwrap();
            assert!(wrong.is_empty(), "{wrong:#?}");
            let begun: Vec<_> = rows.iter().filter(|row| row.is_syn()).collect();
            for row in rows {
                assert!(row.text("frame.comment").starts_with("usbmux "), "{row:?}");
                check_direction(row);
                if row.is_tcp() {
                    // Of a connection that began before the trace nobody knows the scale.
                    let stream = row.text("tcp.stream");
                    check_window(row, begun.iter().any(|syn| syn.text("tcp.stream") == stream));
                }
            }
        })
    }
}

fn check_direction(row: &Row) {
    let (direction, from) = (row.number("frame.packet_flags_direction"), row.text("ipv6.src"));
    let expected = [("::1", 2), ("::2", 1), ("::3", 0)].into_iter();
    let expected = expected.filter(|(end, _)| from.starts_with("2001:db8:") && from.ends_with(end));
    assert_eq!(expected.map(|(_, flags)| flags).collect::<Vec<_>>(), [direction], "{row:?}");
}

fn check_window(row: &Row, is_scaled: bool) {
    let field = row.number("tcp.window_size_value");
    let scale = if is_scaled && !row.is_syn() { 256 } else { 1 };
    assert_eq!(row.number("tcp.window_size"), field * scale, "{row:?}");
    let comment = format!(" window={}", field * 256);
    assert!(row.comment().contains(&comment), "{row:?}");
}

/// The packets that tshark reads from a file; none without tshark.
fn tshark(file: &Path, filter: &[&str]) -> Option<Vec<Row>> {
    let mut command = Command::new(tool("tshark")?);
    command.arg("-n").arg("-r").arg(file).args(filter).args(["-T", "fields"]);
    command.args(["-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
    for column in COLUMNS {
        command.args(["-e", column]);
    }
    let output = run(&mut command, b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().map(|line| line.split('\t').map(str::to_owned).collect());
    Some(rows.map(|values| Row { values }).collect())
}

fn messages(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.text("syslog.msg")).filter(|text| !text.is_empty()).collect()
}

#[test]
fn session_with_ideviceinfo_is_read_without_a_complaint() {
    let place = Place::new();
    let daemon = Daemon::start(1, &[&place.option()]);
    check_ideviceinfo(&daemon);
    assert!(daemon.terminate().success());

    let mode = place.file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Some(rows) = place.rows() else { return };
    let beginning: Vec<_> = rows.iter().take(6).map(Row::comment).collect();
    let expected = [
        format!(
            "USB event=attached udid=\"{FIRST_PHONE}\" product=0x12a8 location=0x10001 \
             speed=480000000 max_packet=512"
        ),
        "VERSION length=20 transfer=1 at=0 major=2 minor=0".to_owned(),
        "VERSION length=20 transfer=1 at=0 major=2 minor=0".to_owned(),
        "SESSION event=up version=2".to_owned(),
        "SETUP tx_seq=0 rx_seq=65535 length=17 transfer=2 at=0 level=7".to_owned(),
        "TCP tx_seq=1 rx_seq=65535 length=36 transfer=3 at=0 window=131072".to_owned(),
    ];
    assert_eq!(beginning, expected);
    assert_eq!(messages(&rows)[1..3], ["VERSION 2.0", "VERSION 2.0"]);

    let segments: Vec<_> = rows.iter().filter(|row| row.is_tcp()).collect();
    assert!(segments.iter().all(|row| row.text("tcp.stream") == "0"), "one connection");
    let kept = |row: &&&Row| row.number("frame.cap_len") < row.number("frame.len");
    assert!(segments.iter().filter(kept).count() >= 2, "payload is left out: {segments:#?}");
    let bytes = std::fs::read(place.file()).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"GetValue"), "payload is left out");
}

#[test]
fn payload_that_was_asked_for_is_whole() {
    let place = Place::new();
    let daemon = Daemon::start(1, &[&place.option(), "--trace-payload"]);
    check_ideviceinfo(&daemon);
    check_inetcat(&daemon);
    assert!(daemon.terminate().success());
    let Some(rows) = place.rows() else { return };
    assert!(rows.iter().all(|row| row.text("frame.cap_len") == row.text("frame.len")));
    let good = tshark(&place.file(), &["-Y", "tcp.checksum.status == 1"]).unwrap().len();
    assert_eq!(good, rows.iter().filter(|row| row.is_tcp()).count());
    let said = tshark(&place.file(), &["-Y", "tcp contains \"and again, a little longer\""]);
    assert_eq!(said.unwrap().len(), 2, "there and back");
    let streams = rows.iter().filter(|row| row.is_tcp()).map(|row| row.number("tcp.stream"));
    assert_eq!(streams.max(), Some(1), "two connections");
}

#[test]
fn limit_ends_the_trace_and_nothing_else() {
    let place = Place::new();
    let daemon = Daemon::start(1, &[&place.option(), "--trace-limit=4K"]);
    for _ in 0..5 {
        check_ideviceinfo(&daemon);
    }
    let line = daemon.log.wait_for("its limit is reached");
    assert!(line.contains("trace.pcapng ends"), "{line}");
    check_ideviceinfo(&daemon);
    let told = daemon.log.all().iter().filter(|line| line.contains("pcapng")).count();
    assert_eq!(told, 1, "{:#?}", daemon.log.all());
    assert!(daemon.terminate().success());
    assert!(place.file().metadata().unwrap().len() <= 4096);
    let Some(rows) = place.rows() else { return };
    assert_eq!(rows.last().unwrap().comment(), "TRACE event=limit");
}

#[test]
fn full_disk_ends_the_trace_and_nothing_else() {
    let place = Place::new();
    // No file may become longer than 4 KiB: writing fails as on a full disk.
    let shell = "trap '' XFSZ; ulimit -f 8";
    let daemon = Daemon::start_after(shell, 1, &[&place.option()]);
    for _ in 0..10 {
        check_ideviceinfo(&daemon);
    }
    let _ = daemon.log.wait_for("trace.pcapng ends: ");
    check_ideviceinfo(&daemon);
    let told = daemon.log.all().iter().filter(|line| line.contains("pcapng")).count();
    assert_eq!(told, 1, "{:#?}", daemon.log.all());
    assert!(daemon.terminate().success());
}

#[test]
fn trace_that_cannot_be_made_is_said_at_once() {
    let mut command = Command::new(program("umuxd"));
    command.args(["--simulate", "-S", "127.0.0.1:0", "--trace", "/nowhere/trace.pcapng"]);
    let output = run(&mut command, b"");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let expected = "umuxd: cannot write a trace to /nowhere/trace.pcapng: No such file";
    assert!(complaint.starts_with(expected), "{complaint}");
}

#[test]
fn killed_daemon_leaves_a_whole_file() {
    let place = Place::new();
    let mut daemon = Daemon::start(1, &[&place.option()]);
    check_ideviceinfo(&daemon);
    if tool("tshark").is_none() {
        return;
    }
    until("the reset is in the file", || {
        let rows = tshark(&place.file(), &["-Y", "tcp.flags.reset == 1"]).unwrap();
        (!rows.is_empty()).then_some(())
    });
    daemon.kill();
    assert!(place.rows().unwrap().len() > 10);
}

/// What a phone with quirks does to a session with `ideviceinfo`, as packets.
fn with_quirks(quirks: &[&str]) -> Option<Vec<Row>> {
    let place = Place::new();
    let option = place.option();
    let quirks: Vec<String> = quirks.iter().map(|quirk| format!("--phone-quirk={quirk}")).collect();
    let mut options = vec![option.as_str()];
    options.extend(quirks.iter().map(String::as_str));
    let daemon = Daemon::start(1, &options);
    check_inetcat(&daemon);
    assert!(daemon.terminate().success());
    place.rows()
}

fn count(rows: &[Row], words: &str) -> usize {
    rows.iter().filter(|row| row.comment().contains(words)).count()
}

#[test]
fn quirks_show() {
    if let Some(rows) = with_quirks(&["v1"]) {
        assert!(count(&rows, "VERSION length=20 transfer=1 at=0 major=1") == 1, "{rows:#?}");
        assert_eq!(count(&rows, "tx_seq") + count(&rows, "SETUP"), 0, "{rows:#?}");
        assert!(count(&rows, "TCP length=28 ") > 0, "{rows:#?}");
    }
    if let Some(rows) = with_quirks(&["trailing-bytes"]) {
        assert!(count(&rows, "GARBAGE why=trailing bytes=") > 2, "{rows:#?}");
    }
    if let Some(rows) = with_quirks(&["stale-session"]) {
        let answer = rows.iter().position(|row| row.comment().contains("SESSION event=up"));
        let stale = rows.iter().position(|row| row.comment().starts_with("TCP "));
        assert!(stale < answer, "{rows:#?}");
    }
    if let Some(rows) = with_quirks(&["tiny-window"]) {
        let small = |row: &&Row| row.is_tcp() && row.number("tcp.window_size") < 4096;
        assert!(rows.iter().filter(small).count() > 2, "{rows:#?}");
    }
    if let Some(rows) = with_quirks(&["silent-version=1"]) {
        assert_eq!(count(&rows, "VERSION "), 3, "{rows:#?}");
    }
}

#[test]
fn dead_session_and_its_repair_show() {
    let place = Place::new();
    let daemon = Daemon::start(1, &[&place.option(), "--phone-quirk=lost-transfer=5"]);
    // The fifth transfer is one of these; whoever is hit gets nothing.
    for _ in 0..4 {
        let mut client = daemon.client();
        if client.connect_port(1, 7).unwrap() == 0 {
            let _ = client.send(b"x");
        }
    }
    until("a client is served again", || {
        let mut client = daemon.client();
        (client.connect_port(1, 7).unwrap() == 0).then_some(())
    });
    assert!(daemon.terminate().success());
    let Some(rows) = place.rows() else { return };
    let duplicate = "text=\"detected duplicate packet. Expected ";
    assert_eq!(count(&rows, duplicate), 1, "{rows:#?}");
    assert_eq!(count(&rows, "SESSION event=dead"), 1, "{rows:#?}");
    assert_eq!(count(&rows, "SESSION event=up"), 2, "{rows:#?}");
    let said = messages(&rows);
    assert!(said.iter().any(|text| text.starts_with("detected duplicate packet")), "{said:?}");
}

#[test]
fn phone_that_comes_back_gets_addresses_of_its_own() {
    let place = Place::new();
    let daemon =
        Daemon::start(1, &[&place.option(), "--phone-quirk=unplug=1", "--phone-quirk=replug=0.1"]);
    until("it came back", || {
        let lines = daemon.log.all();
        (lines.iter().filter(|line| line.contains("is there: ")).count() > 1).then_some(())
    });
    assert!(daemon.terminate().success());
    let Some(rows) = place.rows() else { return };
    assert!(count(&rows, "USB event=detached why=\"unplugged\"") >= 1, "{rows:#?}");
    assert!(rows.iter().any(|row| row.text("ipv6.src") == "2001:db8:2::2"), "{rows:#?}");
}

#[test]
fn dongle_traces_its_bus_packet_by_packet() {
    let place = Place::new();
    let dongle = Dongle::start(&[&place.option()]);
    check_ideviceinfo(&dongle);
    assert!(dongle.end(Signal::TERM).success());
    let Some(rows) = place.rows() else { return };
    assert_eq!(count(&rows, "speed=12000000 max_packet=64"), 1, "{rows:#?}");
    assert_eq!(count(&rows, "VERSION "), 2, "{rows:#?}");
    // The phone's answer is about 1200 bytes.
    assert!(rows.iter().any(|row| row.comment().contains(" slices=") && row.is_tcp()), "{rows:#?}");
}

#[test]
fn direct_use_is_traced_too() {
    let place = Place::new();
    let mut command = Command::new(program("umux"));
    command.args(["connect", "7", "--direct", "--simulate", &place.option()]);
    let output = run(&mut command, b"hello");
    assert_eq!(output.stdout, b"hello");
    let Some(rows) = place.rows() else { return };
    let syns = rows.iter().filter(|row| row.is_syn());
    assert_eq!(syns.count(), 2, "{rows:#?}");
    assert!(rows.iter().any(|row| row.is_tcp() && row.number("tcp.flags") & 4 != 0), "{rows:#?}");

    let mut alone = Command::new(program("umux"));
    alone.args(["connect", "7", &place.option()]);
    let output = run(&mut alone, b"");
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("--trace goes with --direct"), "{complaint}");
}
