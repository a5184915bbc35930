//! Log lines for people: one macro per level over `log`, `defmt`, both, or nothing.
//!
//! debug: one line a state change; info: what a user wants to know; warn: once per surprise.

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

macro_rules! debug {
    ($($arg:tt)*) => { line!(debug, $($arg)*) };
}
macro_rules! info {
    ($($arg:tt)*) => { line!(info, $($arg)*) };
}
macro_rules! warning {
    ($($arg:tt)*) => { line!(warn, $($arg)*) };
}
