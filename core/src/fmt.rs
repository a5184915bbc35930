//! Log lines for people: one macro per level over `log`, `defmt`, both, or nothing.
//!
//! trace: one line a frame; debug: one line a state change; warn: once per surprise. Never payload.

/// Sends one line at one level to every logger that the features chose.
macro_rules! line {
    ($level:ident, $text:literal $(, $arg:expr)* $(,)?) => {{
        #[cfg(feature = "log")]
        ::log::$level!($text $(, $arg)*);
        #[cfg(feature = "defmt")]
        ::defmt::$level!($text $(, $arg)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        {
            $(let _ = &$arg;)*
        }
    }};
}

macro_rules! trace {
    ($($arg:tt)*) => { line!(trace, $($arg)*) };
}
macro_rules! debug {
    ($($arg:tt)*) => { line!(debug, $($arg)*) };
}
macro_rules! warning {
    ($($arg:tt)*) => { line!(warn, $($arg)*) };
}
