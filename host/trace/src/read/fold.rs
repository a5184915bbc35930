//! Frames in a row with the same mark, of which a ladder shows the first two and the last. Only the last one
//! is kept, so a run may be as long as it likes.

use std::time::Duration;

use super::ladder::Line;
use super::mark::Mark;
use super::model::Side;

/// Frames of a run that are shown before the rest is folded.
const SHOWN: u64 = 2;

/// A run of frames, and the frame that may or may not continue it.
#[derive(Debug, Default)]
pub(super) struct Fold {
    run: Run,
    /// The last frame, to which notes may still come.
    open: Option<Open>,
}

#[derive(Debug, Default)]
struct Run {
    /// What its frames have in common.
    common: Option<(u32, Side, Mark)>,
    count: u64,
    /// How many were left out, and the lines of the last one.
    hidden: u64,
    last: Option<Vec<Line>>,
}

#[derive(Debug)]
struct Open {
    at: Duration,
    phone: u32,
    from: Side,
    marks: Vec<Mark>,
    /// Its lines, if they are held back.
    held: Option<Vec<Line>>,
}

impl Fold {
    /// A frame came; returns the lines that can be shown now.
    pub(super) fn frame(
        &mut self,
        (at, phone, from): (Duration, u32, Side),
        marks: &[Mark],
        lines: Vec<Line>,
    ) -> Vec<Line> {
        let mut out = self.close();
        let held = match self.run.count >= SHOWN {
            true => Some(lines),
            false => {
                out.extend(lines);
                None
            }
        };
        self.open = Some(Open { at, phone, from, marks: marks.to_vec(), held });
        out
    }

    /// Whether a note stands at the last frame.
    pub(super) fn belongs(&self, at: Duration, phone: u32) -> bool {
        self.open.as_ref().is_some_and(|open| (open.at, open.phone) == (at, phone))
    }

    /// A note at the last frame.
    pub(super) fn note(&mut self, mark: &Mark, lines: Vec<Line>) -> Vec<Line> {
        let Some(open) = &mut self.open else { return lines };
        open.marks.push(mark.clone());
        match &mut open.held {
            Some(held) => {
                held.extend(lines);
                Vec::new()
            }
            None => lines,
        }
    }

    /// Something else comes, or nothing more: what was held back.
    pub(super) fn end(&mut self) -> Vec<Line> {
        let mut out = self.close();
        out.extend(std::mem::take(&mut self.run).end());
        out
    }

    /// The last frame is complete.
    fn close(&mut self) -> Vec<Line> {
        let Some(Open { phone, from, marks, held, .. }) = self.open.take() else {
            return Vec::new();
        };
        let common = match marks.as_slice() {
            [mark] => Some((phone, from, mark.clone())),
            _ => None,
        };
        if common.is_some() && common == self.run.common {
            self.run.count += 1;
            if held.is_some() {
                let before = std::mem::replace(&mut self.run.last, held);
                self.run.hidden += u64::from(before.is_some());
            }
            return Vec::new();
        }
        let count = u64::from(common.is_some());
        let run = std::mem::replace(&mut self.run, Run { common, count, ..Run::default() });
        let mut out = run.end();
        out.extend(held.unwrap_or_default());
        out
    }
}

impl Run {
    fn end(self) -> Vec<Line> {
        let mut out = Vec::new();
        if self.hidden > 0 {
            out.push(Line::folded(self.hidden));
        }
        out.extend(self.last.unwrap_or_default());
        out
    }
}
