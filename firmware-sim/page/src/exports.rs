//! How a browser calls: it writes a question into memory, and reads the answer there.
//!
//! `#[unsafe(no_mangle)]` counts as unsafe code because two functions of one name would be a bug that no
//! compiler sees; a WebAssembly module has no other way to export a name without a generator of
//! bindings. That is all that is unsafe here: memory is handed out as the address of an ordinary buffer,
//! into which the browser writes while nothing runs here.
#![allow(unsafe_code, reason = "exported names, see above")]

use crate::answer::Desk;
use std::cell::RefCell;

/// The longest question, in bytes: a trace in base64 and a little more.
const LONGEST: usize = 64 << 20;

#[derive(Default)]
struct Memory {
    desk: Desk,
    question: Vec<u8>,
    answer: String,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// Makes room for a question of so many bytes; its address, 0 if it is too long.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn question(length: usize) -> usize {
    if length > LONGEST {
        return 0;
    }
    MEMORY.with_borrow_mut(|memory| {
        memory.question.clear();
        memory.question.resize(length, 0);
        memory.question.as_mut_ptr() as usize
    })
}

/// Answers the question; the length of the answer.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn answer() -> usize {
    MEMORY.with_borrow_mut(|memory| {
        memory.answer = memory.desk.answer(&memory.question);
        memory.question = Vec::new();
        memory.answer.len()
    })
}

/// The address of the answer.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn answer_address() -> usize {
    MEMORY.with_borrow(|memory| memory.answer.as_ptr() as usize)
}
