//! Chance that can be had again: the same seed gives the same choices.

use std::time::Duration;

/// `splitmix64`: small, and good enough to choose by.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The choices of `seed`, and among them those of one of several who choose side by side.
    pub(super) const fn new(seed: u64, who: u64) -> Self {
        Self(seed ^ who.wrapping_mul(0xd134_2543_de82_ef95))
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// A time from `least` to `most` milliseconds.
    pub(super) fn pause(&mut self, least: usize, most: usize) -> Duration {
        let millis = least + self.below(most.saturating_sub(least) + 1);
        Duration::from_millis(millis.try_into().unwrap_or(u64::MAX))
    }

    /// One of `all`, by their weights.
    pub(super) fn weighed<T: Copy>(&mut self, all: &[(usize, T)]) -> Option<T> {
        let mut left = self.below(all.iter().map(|(weight, _)| weight).sum());
        all.iter()
            .find(|(weight, _)| match left.checked_sub(*weight) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            })
            .map(|(_, chosen)| *chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn a_seed_gives_its_choices_again_and_weights_are_kept() {
        let mut chance = Chance::new(7, 1);
        let all = [(0, 'n'), (1, 'a'), (9, 'b')];
        let chosen: Vec<_> = (0..1_000).filter_map(|_| chance.weighed(&all)).collect();
        let mut again = Chance::new(7, 1);
        assert_eq!(chosen, (0..1_000).filter_map(|_| again.weighed(&all)).collect::<Vec<_>>());
        let rare = chosen.iter().filter(|chosen| **chosen == 'a').count();
        assert!(chosen.len() == 1_000 && (50..200).contains(&rare) && !chosen.contains(&'n'), "{rare}");
        assert_ne!(chosen, {
            let mut other = Chance::new(7, 2);
            (0..1_000).filter_map(|_| other.weighed(&all)).collect::<Vec<_>>()
        });
    }
}
