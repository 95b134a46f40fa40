//! The length of drills and their random sequence.

use std::time::Duration;

/// Maximum wait for something that takes seconds on an idle machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Whether drills run at full length (`make drill`) instead of in their short form.
pub(crate) fn is_drill() -> bool {
    std::env::var("FORMLINE_DRILL").is_ok_and(|length| length == "full")
}

/// A random sequence. It prints its seed, and `SEED=` repeats it.
pub(crate) struct Seed(u64);

// === impl Seed ===

impl Seed {
    pub(crate) fn new() -> Self {
        let given = std::env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("SEED={seed}");
        Self(seed)
    }

    /// A number below `limit` (SplitMix64).
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// An index into a slice of this length.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}
