//! One end of the cable: an engine, the programs behind it, and what it says of itself.

use usbmux_core::{
    CloseReason, Config, ConnId, Instant, LinkState, Mux, Received, Role, Slot, Transfer,
};

/// A connection as the program at one end sees it.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) conn: ConnId,
    name: &'static str,
    pub(crate) state: String,
    /// Whether the program takes what arrives at once.
    pub(crate) reads: bool,
    /// Delivered by the engine, not yet read by the program.
    pub(crate) unread: Vec<u8>,
    /// What the program has read.
    pub(crate) read: Vec<u8>,
}

/// One end: an engine and its program.
pub(crate) struct Side {
    pub(super) who: &'static str,
    pub(crate) mux: Mux<[Slot; 4]>,
    pub(crate) talks: Vec<Talk>,
    /// What happened and is not printed yet.
    pub(super) notes: Vec<String>,
    shown: Vec<Figure>,
}

/// What an end says of itself: of which connection (none: of the link), what, and the value.
type Figure = (Option<usize>, &'static str, String);

impl Side {
    pub(super) fn new(who: &'static str, role: Role, config: Config) -> Side {
        let mux = Mux::new(role, config, [Slot::EMPTY; 4]);
        Side { who, mux, talks: Vec::new(), notes: Vec::new(), shown: Vec::new() }
    }

    pub(super) fn open(&mut self, conn: ConnId, name: &'static str, state: &str) {
        let (unread, read) = (Vec::new(), Vec::new());
        self.talks.push(Talk { conn, name, state: state.to_owned(), reads: true, unread, read });
    }

    pub(super) fn talk(&mut self, conn: ConnId) -> Option<&mut Talk> {
        self.talks.iter_mut().find(|talk| talk.conn == conn)
    }

    /// Takes a transfer, as step 1 of the run loop does.
    pub(super) fn take(&mut self, now: Instant, bytes: &[u8]) {
        let mut transfer = Transfer::new(bytes);
        while let Some(received) = self.mux.receive(now, &mut transfer) {
            let Received::Data { conn, payload, .. } = received else { continue };
            let Some(talk) = self.talk(conn) else { continue };
            if talk.reads {
                talk.read.extend_from_slice(payload);
                continue;
            }
            talk.unread.extend_from_slice(payload);
            let held = talk.unread.len() as u32;
            self.mux.set_held(now, conn, held).expect("it has just delivered");
        }
    }

    /// A phone drops what its program has not read when the host resets; a host keeps it.
    pub(super) fn drop_unread(&mut self, conn: ConnId, reason: CloseReason) {
        let is_phone = self.who == "phone";
        let Some(talk) = self.talk(conn).filter(|talk| !talk.unread.is_empty()) else { return };
        if is_phone && reason == CloseReason::Reset {
            let dropped = core::mem::take(&mut talk.unread).len();
            self.notes.push(format!("{dropped} unread bytes are dropped"));
        }
    }

    fn figures(&self, watch: &[&'static str]) -> Vec<Figure> {
        let mut figures = vec![(None, "link", in_words(self.mux.link()))];
        for (at, talk) in self.talks.iter().enumerate() {
            figures.push((Some(at), "state", talk.state.clone()));
            for what in watch.iter().filter(|_| talk.state == "Established") {
                let figure = match *what {
                    "in flight" => self.mux.unacknowledged(talk.conn),
                    "credit" => self.mux.credit(talk.conn),
                    "read" => talk.read.len() as u32,
                    _ => talk.unread.len() as u32,
                };
                figures.push((Some(at), what, figure.to_string()));
            }
        }
        figures
    }

    /// Compares with what was shown last.
    pub(super) fn changes(&mut self, watch: &[&'static str]) -> Vec<String> {
        let figures = self.figures(watch);
        let mut changes = core::mem::take(&mut self.notes);
        for (at, what, value) in &figures {
            let name = match at {
                Some(at) if self.talks.len() > 1 => format!("{}: {what}", self.talks[*at].name),
                _ => (*what).to_owned(),
            };
            match self.shown.iter().find(|(shown, name, _)| (shown, name) == (at, what)) {
                Some((_, _, before)) if before == value => {}
                Some((_, _, before)) => changes.push(format!("{name} {before} -> {value}")),
                None if *what == "link" => changes.push(format!("link Down -> {value}")),
                None if *what == "state" => changes.push(format!("{name} Free -> {value}")),
                None => changes.push(format!("{name} {value}")),
            }
        }
        self.shown = figures;
        changes
    }
}

fn in_words(link: LinkState) -> String {
    match link {
        LinkState::Up { version } => format!("Up (version {version})"),
        LinkState::Dead { .. } => "Dead".to_owned(),
        other => format!("{other:?}"),
    }
}
