//! Random numbers that a seed repeats, and the seed's way in and out of a test.

/// xorshift64*: small, good enough to shuffle faults, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for a seed; every seed is fine.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below a limit above 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() >> 16) as usize % limit.max(1)
    }

    /// A number from one limit up to another, both included.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A length, with those around the edges of packets and frames more often than others.
    pub fn length(&mut self, most: usize) -> usize {
        let edges =
            [1, 27, 28, 63, 64, 475, 476, 477, 511, 512, 513, 4060, 4096, 32728, 49115, 49116];
        let length = if self.once_in(2) { *self.pick(&edges) } else { self.between(1, most) };
        length.min(most)
    }
}

/// The seeds to run: the one in `USBMUX_SEED`, else from 1 to `count`, or to `USBMUX_SEEDS` for a long run.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let all = || (1..=number("USBMUX_SEEDS").unwrap_or(count)).collect();
    number("USBMUX_SEED").map_or_else(all, |seed| vec![seed])
}

/// Bytes that tell their place in a stream: a lost, doubled or moved piece shows.
#[must_use]
pub fn pattern(salt: u32, from: usize, length: usize) -> Vec<u8> {
    let byte = |at: usize| {
        let mixed = (at as u32).wrapping_add(salt).wrapping_mul(0x9e37_79b1);
        (mixed ^ mixed >> 15) as u8
    };
    (from..from + length).map(byte).collect()
}
