//! How full the rooms' collections are, each beside its bound: for a checker that holds the one against the other.

use super::Peer;
use crate::gossip::intake;
use crate::link::budget::LOADS_MAX;
use crate::link::session::Session;
use crate::view::Size;

/// Effects under way beside those that are counted by rooms: dials, records being checked, a round's questions, lookups
/// and loads for the own row. Generous: the point is that the number does not grow without end.
const OTHER_EFFECTS_MAX: usize = 16_384;

impl Peer {
    /// Every bounded collection of the core with its bound.
    pub fn sizes(&self) -> Vec<Size> {
        let mut sizes = Vec::new();
        sizes.extend(self.admission.sizes());
        sizes.extend(self.seen.sizes());
        sizes.extend(self.intake.sizes());
        sizes.extend(self.misses.sizes());
        sizes.extend(self.announcements.sizes());
        sizes.extend(self.fetches.sizes());
        sizes.extend(self.references.unresolved.sizes());
        sizes.extend(self.bodies.sizes());
        sizes.extend(self.sync.sizes());
        sizes.extend(self.outbox.sizes());
        sizes.extend(self.roster.sizes());
        sizes.extend(self.exchange.sizes());
        for link in self.links.ids() {
            sizes.extend(self.links.get(link).map(Session::sizes).into_iter().flatten());
        }
        sizes.push(Size { name: "links", len: self.links.len(), max: self.config.links_max });
        let effects = self.config.submissions_max
            + intake::PENDING_MAX
            + self.links.len() * usize::from(LOADS_MAX)
            + OTHER_EFFECTS_MAX;
        sizes.push(Size { name: "effects under way", len: self.ops.len(), max: effects });
        sizes
    }

    /// Effects that the core waits for.
    pub fn effects_under_way(&self) -> usize {
        self.ops.len()
    }
}
