//! The one form in which every bench prints its figures, so that together they make one table.
//!
//! A row is a line of a Markdown table with four columns: what, figure, bound, and whether the bound
//! is kept. Everything else that a bench says begins otherwise:
//! `cargo bench --quiet -p usbmux-tests --bench '*' | grep '^|'` is the table.

use std::fmt;

/// One figure and what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    what: String,
    figure: String,
    bound: String,
    kept: Option<bool>,
}

impl Row {
    /// A figure of which nothing is asked.
    #[must_use]
    pub fn new(what: impl Into<String>, figure: impl Into<String>) -> Row {
        Row { what: what.into(), figure: figure.into(), bound: String::new(), kept: None }
    }

    /// The same figure with what is asked of it, and whether it is so.
    #[must_use]
    pub fn bound(self, bound: impl Into<String>, kept: bool) -> Row {
        Row { bound: bound.into(), kept: Some(kept), ..self }
    }

    /// Whether the figure is not what was asked for.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        self.kept == Some(false)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.kept {
            None => "",
            Some(true) => "kept",
            Some(false) => "MISSED",
        };
        write!(f, "| {:<50} | {:<38} | {:<8} | {verdict:<6} |", self.what, self.figure, self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_says_whether_its_bound_is_kept() {
        let row = Row::new("a", "7");
        assert!(!row.is_missed());
        assert!(row.clone().bound("< 8", true).to_string().ends_with("| < 8      | kept   |"));
        let missed = row.bound("< 7", false);
        assert!(missed.is_missed());
        assert!(missed.to_string().contains("MISSED"));
    }
}
