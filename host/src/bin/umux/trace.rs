//! `umux trace`: what passed between host and phone, from a file, and what is wrong with it.
//!
//! Reading and judging is the crate `usbmux-trace`'s; here is what is printed of it, and where.

mod json;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Read, StdoutLock, Write};

use usbmux_trace::read::{Body, Frame, Item, Ladder, Line, ReadError, Reader, Report, Tone, WIDTH};
use usbmux_trace::read::{summary, wrapped};

use crate::args::Trace;
use crate::failure::Failure;

/// Bytes of payload in a line.
const ROW: usize = 16;

pub(crate) fn run(arguments: &Trace) -> Result<(), Failure> {
    let name = arguments.file.display();
    let input: Box<dyn Read> = match arguments.file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => match File::open(&arguments.file) {
            Ok(file) => Box::new(file),
            Err(error) => {
                return Err(Failure::failed(format!("{name}: cannot be opened ({error})")));
            }
        },
    };
    let unreadable = |error: ReadError| Failure::failed(format!("{name}: {error}"));
    let mut reader = Reader::new(input).map_err(unreadable)?;
    let mut out = Output::new(arguments.json);
    let trouble = match copy(&mut reader, arguments, &mut out)? {
        // The rest of what was read before.
        Some(error) => {
            copy(&mut reader, arguments, &mut out)?;
            Some(error)
        }
        None => None,
    };
    out.rest()?;
    let report = reader.report();
    let found = report.phones.is_empty() && trouble.is_some();
    if !found {
        end(&report, arguments, &mut out)?;
    }
    out.flush()?;
    if let Some(error) = trouble {
        return Err(unreadable(error));
    }
    if let Some(conn) = arguments.follow
        && !report.connections.iter().any(|one| one.conn == conn)
    {
        let last = report.connections.len();
        return Err(Failure::failed(format!(
            "there is no connection #{conn}: the last is #{last}"
        )));
    }
    if report.is_sound() { Ok(()) } else { Err(Failure::told()) }
}

/// Prints items up to the end, or to an error, which it returns.
fn copy(
    reader: &mut Reader<Box<dyn Read>>,
    arguments: &Trace,
    out: &mut Output,
) -> Result<Option<ReadError>, Failure> {
    loop {
        match reader.next_item() {
            Ok(Some(item)) => show(&item, arguments, out)?,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
    }
}

fn show(item: &Item, arguments: &Trace, out: &mut Output) -> Result<(), Failure> {
    match (arguments.follow, item) {
        (Some(wanted), Item::Frame(frame)) => match payload(frame) {
            Some((conn, count)) if conn == wanted => out.payload(frame, conn, count),
            _ => Ok(()),
        },
        (Some(_), _) => Ok(()),
        (None, _) if arguments.summary => Ok(()),
        (None, item) => out.item(item),
    }
}

/// The connection of a frame with payload, and how much it has.
fn payload(frame: &Frame) -> Option<(u32, usize)> {
    match &frame.body {
        Body::Segment { conn: Some(conn), payload, text, .. }
            if *payload > 0 && text.is_empty() =>
        {
            Some((*conn, *payload))
        }
        _ => None,
    }
}

fn end(report: &Report, arguments: &Trace, out: &mut Output) -> Result<(), Failure> {
    if let Some(conn) = arguments.follow {
        return out.followed(conn);
    }
    if out.json {
        for one in &report.connections {
            out.text(&json::connection(one).to_string())?;
        }
        return out.text(&json::report(report).to_string());
    }
    if arguments.summary {
        for line in summary(report) {
            out.line(&line)?;
        }
    }
    out.text("")?;
    let tone = if report.is_sound() { Tone::Heading } else { Tone::Violation };
    for sentence in &report.diagnosis {
        for text in wrapped(sentence, WIDTH) {
            out.line(&Line { tone, text })?;
        }
    }
    Ok(())
}

/// Standard output, in the form that was asked for.
struct Output {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    colours: bool,
    ladder: Ladder,
    /// With --follow: bytes of payload, and how many of them are in the trace.
    followed: (u64, u64),
}

impl Output {
    fn new(json: bool) -> Self {
        let out = io::stdout().lock();
        let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let out = BufWriter::new(out);
        Output { out, json, colours, ladder: Ladder::new(), followed: (0, 0) }
    }

    fn item(&mut self, item: &Item) -> Result<(), Failure> {
        if self.json {
            return self.text(&json::item(item).to_string());
        }
        let lines = self.ladder.draw(item);
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// What the ladder held back.
    fn rest(&mut self) -> Result<(), Failure> {
        let lines = self.ladder.end();
        lines.iter().try_for_each(|line| self.line(line))
    }

    fn payload(&mut self, frame: &Frame, conn: u32, count: usize) -> Result<(), Failure> {
        let bytes = frame.payload();
        self.followed.0 += count as u64;
        self.followed.1 += bytes.len() as u64;
        if self.json {
            return self.text(&json::payload(frame, conn, count).to_string());
        }
        let plural = if count == 1 { "byte" } else { "bytes" };
        let cut = match bytes.len() {
            whole if whole == count => String::new(),
            0 => ", not in the trace".to_owned(),
            some => format!(", {some} of them in the trace"),
        };
        let other = frame.from.other();
        let head = format!(
            "{:.6} {} > {other}: {count} {plural}{cut}",
            frame.at.as_secs_f64(),
            frame.from
        );
        self.line(&Line { tone: Tone::Heading, text: head })?;
        for (row, bytes) in bytes.chunks(ROW).enumerate() {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let shown =
                |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
            let text: String = bytes.iter().map(shown).collect();
            let width = ROW * 3 - 1;
            self.text(&format!("  {:06x}  {:<width$}  {text}", row * ROW, hex.join(" ")))?;
        }
        Ok(())
    }

    fn followed(&mut self, conn: u32) -> Result<(), Failure> {
        let (all, captured) = self.followed;
        if self.json || captured == all {
            return Ok(());
        }
        self.text(&format!(
            "#{conn}: of {all} bytes of payload {captured} are in this trace; the others were left out when \
             it was made"
        ))
    }

    fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let colour = match line.tone {
            Tone::Plain => "",
            Tone::Heading => "\x1b[1m",
            Tone::Remark => "\x1b[36m",
            Tone::Violation => "\x1b[31m",
        };
        match self.colours && !colour.is_empty() && !line.text.is_empty() {
            true => self.text(&format!("{colour}{}\x1b[0m", line.text)),
            false => self.text(&line.text),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(|error| broken(&error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| broken(&error))
    }
}

fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::done(),
        _ => Failure::failed(format!("cannot write to standard output ({error})")),
    }
}
