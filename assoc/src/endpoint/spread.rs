//! The hash of names that this endpoint chose itself: verification tags, which are random, and the numbers of associations.
//!
//! No peer can choose such names so that they collide, so their hash needs no key. What peers choose, their addresses, is
//! hashed by the standard library's keyed function.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by names of our own making.
pub(super) type OwnMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// Spreads one number over 64 bits.
#[derive(Debug, Default)]
pub(super) struct Spread(u64);

/// 2^64 divided by the golden ratio: neighbours end up far apart (Knuth, volume 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The map takes its buckets from the low bits, and the product is best in the high ones.
        self.0 = (self.0 ^ number).wrapping_mul(GOLDEN).rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn numbers_that_follow_each_other_or_differ_in_high_bits_fall_into_different_buckets() {
        let hash = |number: u64| BuildHasherDefault::<Spread>::default().hash_one(number);
        for shift in [0, 8, 16, 24] {
            let buckets: HashSet<u64> = (0..256).map(|n| hash(n << shift) & 0xfff).collect();
            assert!(buckets.len() > 200, "{} buckets of 256, {shift} bits up", buckets.len());
            let marks: HashSet<u64> = (0..256).map(|n| hash(n << shift) >> 57).collect();
            assert!(marks.len() > 64, "{} marks, {shift} bits up", marks.len());
        }
    }
}
