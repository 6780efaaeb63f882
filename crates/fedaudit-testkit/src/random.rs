//! A small seeded generator of random numbers (splitmix64): the same seed gives the same world on every machine and in
//! every release, which no general-purpose crate promises.

use std::fmt::Write as _;

/// A stream of pseudo-random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A stream for this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent stream: what one part of the world draws does not disturb another.
    #[must_use]
    pub fn fork(&mut self, label: u64) -> Self {
        Self(self.bits() ^ label.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number in `[low, high)`; `low` if the range is empty.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        if high <= low {
            return low;
        }
        let width = (high - low) as u64;
        low + ((u128::from(self.bits()) * u128::from(width)) >> 64) as i64
    }

    /// An index below `length`.
    pub fn index(&mut self, length: usize) -> usize {
        self.range(0, length as i64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.bits() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Skewed to the low end: the mean of the square of a uniform number over `[0, limit)`.
    pub fn skewed(&mut self, limit: usize) -> usize {
        let uniform = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        (uniform * uniform * limit as f64) as usize
    }

    /// A random (version 4) UUID.
    pub fn uuid(&mut self) -> String {
        let high = (self.bits() & 0xFFFF_FFFF_FFFF_0FFF) | 0x4000;
        let low = (self.bits() & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000;
        let mut text = String::with_capacity(36);
        let _ = write!(
            text,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        );
        text
    }

    /// Letters and digits.
    pub fn token(&mut self, length: usize) -> String {
        const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..length).map(|_| char::from(self.pick(DIGITS))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (random.uuid(), random.range(-5, 5), random.token(8))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn numbers_stay_in_range() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!((-3..4).contains(&random.range(-3, 4)));
            assert!(random.skewed(10) < 10);
        }
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
        assert_eq!(random.range(5, 5), 5);
    }
}
