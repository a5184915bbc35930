//! The numbers of the mux: each side's own, and what it says about the other's.

use std::time::Duration;

use usbmux_core::wire::RX_SEQ_NONE;

use super::{REMEMBERED, STUCK, Sent, Session};
use crate::read::mark::{Kind, Mark};
use crate::read::model::{Body, Frame, Numbers, Side};
use crate::read::reader::index;
use crate::read::words::{in_words, seconds};

impl Session {
    pub(super) fn numbers(&mut self, frame: &Frame, marks: &mut Vec<Mark>) {
        let Some(Numbers { tx_seq, rx_seq, .. }) = frame.numbers else { return };
        let is_setup = matches!(frame.body, Body::Setup(_));
        if frame.from == Side::Host && std::mem::take(&mut self.setup_due) && !is_setup {
            let text = "version 2 begins without SETUP";
            marks.push(Mark::new(Kind::NoSetup, Side::Host, text));
            self.sides[0].next = None;
        }
        if is_setup {
            self.sides[index(frame.from)].next = Some(0);
        }
        let direction = &mut self.sides[index(frame.from)];
        match direction.next {
            Some(next) if next != tx_seq => {
                let text = gap(next, tx_seq);
                // The first one after VERSION has always been seen as 0, but nobody says it must.
                marks.push(Mark::new(Kind::TxGap, frame.from, text));
            }
            Some(_) | None => {}
        }
        direction.next = Some(tx_seq.wrapping_add(1));
        if self.dying().is_some() {
            return;
        }
        match frame.from {
            Side::Host => self.host_rx(rx_seq, marks),
            Side::Phone => self.phone_rx(frame.at, rx_seq, marks),
        }
    }

    /// A host's word about what it received: phones ignore it, and some hosts do not keep it.
    fn host_rx(&mut self, rx: u16, marks: &mut Vec<Mark>) {
        let last = self.sides[1].next.map_or(RX_SEQ_NONE, |next| next.wrapping_sub(1));
        let known = self.sides[1].frames > 0;
        let ahead = rx.wrapping_sub(last).cast_signed();
        if known && ahead > 0 && self.once(Kind::HostRx) {
            let what = match (last, self.sides[1].last_rx) {
                (RX_SEQ_NONE, _) => "tells of a frame that the phone has not sent yet".to_owned(),
                (_, Some(theirs)) if theirs == rx => {
                    format!("is the phone's rx_seq, and not its last tx_seq {last}")
                }
                _ => format!("is not the phone's last tx_seq {last}"),
            };
            let text = format!("its rx_seq {rx} {what}; phones do not mind");
            marks.push(Mark::new(Kind::HostRx, Side::Host, text));
        }
    }

    fn phone_rx(&mut self, at: Duration, rx: u16, marks: &mut Vec<Mark>) {
        let Some(last) = self.sides[0].next.map(|next| next.wrapping_sub(1)) else { return };
        if rx.wrapping_sub(last).cast_signed() > 0 {
            let text = format!(
                "it claims to have taken frame {}, but the host's last was {}",
                number(rx),
                number(last)
            );
            marks.push(Mark::new(Kind::RxWrong, Side::Phone, text));
            return;
        }
        let phone = &mut self.sides[1];
        if let Some(before) = phone.last_rx
            && rx.wrapping_sub(before).cast_signed() < 0
        {
            let text = format!("its rx_seq went back from {} to {}", number(before), number(rx));
            marks.push(Mark::new(Kind::RxWrong, Side::Phone, text));
        }
        phone.last_rx = Some(rx);
        let missed = rx.wrapping_add(1);
        let old = self.sent.iter().find(|sent| sent.tx == missed);
        let old = old.filter(|sent| at.saturating_sub(sent.at) > STUCK);
        let Some(sent) = old.cloned() else {
            self.sides[1].stuck = 0;
            return;
        };
        self.sides[1].stuck += 1;
        // One such frame may have been under way for long; two in a row are a verdict.
        if self.sides[1].stuck == 2 {
            let text = format!(
                "the phone takes no frames any more: it does not know of frame {missed} ({}), sent {} \
                 before",
                sent.words,
                seconds(at.saturating_sub(sent.at))
            );
            marks.push(Mark::new(Kind::RxStuck, Side::Phone, text));
        }
    }

    pub(super) fn remember(&mut self, frame: &Frame) {
        let Some(numbers) = frame.numbers else { return };
        if let Some(death) = self.dying() {
            death.in_vain += 1;
        }
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        let words = in_words(frame);
        self.sent.push_back(Sent { tx: numbers.tx_seq, at: frame.at, words });
    }
}

/// How many frames after the one that was expected another came; negative if it came before.
pub(super) fn received_after(expected: u16, received: u16) -> i16 {
    received.wrapping_sub(expected).cast_signed()
}

fn gap(next: u16, tx: u16) -> String {
    match received_after(next, tx) {
        1 => format!("tx_seq {tx}, but {next} was due: a frame is missing"),
        missing @ 2.. => format!("tx_seq {tx}, but {next} was due: {missing} frames are missing"),
        -1 => format!("tx_seq {tx} for the second time: {next} was due"),
        _ => format!("tx_seq {tx}, but {next} was due: the numbering went back"),
    }
}

/// A frame's number; 0xffff is none.
pub(crate) fn number(seq: u16) -> String {
    match seq {
        RX_SEQ_NONE => "none".to_owned(),
        seq => seq.to_string(),
    }
}
