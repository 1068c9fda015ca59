//! Who cannot reach whom for a while.

/// The sides of a cut; peers on different sides do not hear each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    side: Vec<u8>,
    one_way: bool,
}

impl Partition {
    /// Nobody is cut off.
    pub fn none() -> Self {
        Self::default()
    }

    /// `side[i]` is the side of peer `i`; peers beyond the list stand on side 0. With `one_way`, frames
    /// from a higher side still reach a lower one.
    pub fn new(side: Vec<u8>, one_way: bool) -> Self {
        Self { side, one_way }
    }

    /// Whether frames from one peer do not reach the other.
    pub fn blocks(&self, from: usize, to: usize) -> bool {
        let side = |peer: usize| self.side.get(peer).copied().unwrap_or(0);
        if self.one_way { side(from) < side(to) } else { side(from) != side(to) }
    }

    /// Whether a new connection between the two fails: it needs both directions.
    pub fn blocks_either(&self, a: usize, b: usize) -> bool {
        self.blocks(a, b) || self.blocks(b, a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_parts_sides_and_a_one_way_cut_only_one_direction() {
        let both = Partition::new(vec![0, 1, 1], false);
        assert!(both.blocks(0, 1) && both.blocks(1, 0) && !both.blocks(1, 2));
        assert!(both.blocks(3, 2) && !both.blocks(3, 0));
        let one = Partition::new(vec![0, 1], true);
        assert!(one.blocks(0, 1) && !one.blocks(1, 0) && one.blocks_either(1, 0));
        assert!(!Partition::none().blocks(0, 9));
    }
}
