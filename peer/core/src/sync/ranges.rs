//! One step of range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", SRDS 2023).
//!
//! Pure: what the other side said of some ranges, and what the store holds there, give what to say next.
//! Equal fingerprints end a range; small ranges are listed; large ones are split. A list is answered with
//! what the answerer wants and with what the lister lacks, so that both sides ask for what they miss and
//! nobody is sent what another already sends. Where much is held of what the other side has little or nothing of, as by a
//! peer that was away, its first ids are listed instead of splitting further: the order is that of time, so a long gap
//! fills from its begin.

use crate::event::{RangeDetail, RangeQuery, RangeView};
use crate::message::{SyncBound, SyncContent, SyncRange};
use crate::types::TxId;
use crate::types::bounds::{IDS_PER_FRAME_MAX, SYNC_IDS_MAX, SYNC_RANGES_MAX};

/// Ranges of at most this many ids are listed.
const LIST_IDS_MAX: u32 = 64;
/// Parts that a larger range is split into.
const PARTS: u32 = 16;

/// What to ask the store before a round about a range is opened: its fingerprint.
pub(crate) fn opening_query(lower: SyncBound, upper: SyncBound) -> RangeQuery {
    RangeQuery { lower, upper, ids_max: 0, parts: 1, unless: None }
}

/// What to ask the store about ranges that the other side spoke of. The first that it has little of may fill a message.
pub(crate) fn queries(said: &[SyncRange]) -> Vec<RangeQuery> {
    let mut ids_max = SYNC_IDS_MAX as u32;
    said.iter()
        .map(|range| {
            let unless = match &range.content {
                SyncContent::Fingerprint(said) => Some(*said),
                SyncContent::Ids(_) => None,
            };
            let (ids_max, parts) = match listed_ids(&range.content) {
                Some(ids) if ids.is_empty() || ids_max > LIST_IDS_MAX => {
                    (std::mem::replace(&mut ids_max, LIST_IDS_MAX), 0)
                }
                _ => (LIST_IDS_MAX, PARTS),
            };
            RangeQuery { lower: range.lower, upper: range.upper, ids_max, parts, unless }
        })
        .collect()
}

/// All that the other side holds there, where it said so: a fingerprint of nothing does.
fn listed_ids(content: &SyncContent) -> Option<&[TxId]> {
    match content {
        SyncContent::Ids(ids) => Some(ids),
        SyncContent::Fingerprint(said) if said.count == 0 => Some(&[]),
        SyncContent::Fingerprint(_) => None,
    }
}

/// Those of `ids` that are not among `others`.
pub(crate) fn without(mut ids: Vec<TxId>, others: &[TxId]) -> Vec<TxId> {
    if !others.is_empty() {
        let mut others = others.to_vec();
        others.sort_unstable();
        ids.retain(|id| others.binary_search(id).is_err());
    }
    ids
}

fn is_within(listed: &[Listed], lower: SyncBound, upper: SyncBound) -> bool {
    listed.iter().any(|(from, to)| *from <= lower && upper <= *to)
}

/// A range that was listed to the other side: its answer there is what this side lacks.
pub(crate) type Listed = (SyncBound, SyncBound);

/// What to say next. What differs and does not fit is left to the next round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) ranges: Vec<SyncRange>,
    pub(crate) want: Vec<TxId>,
    /// Ranges listed by this step whose answer is final.
    pub(crate) listed: Vec<Listed>,
    /// Something that differs did not fit.
    pub(crate) partial: bool,
    /// Held here, and not by what the other side said so far.
    pub(crate) uncovered: Vec<TxId>,
    /// Held there and not here, whether wanted or not.
    pub(crate) missing: Vec<TxId>,
}

/// The first word of a round about `lower..upper`: a fingerprint, whose silent answer says that the other side holds
/// all of it.
pub(crate) fn open(lower: SyncBound, upper: SyncBound, view: &RangeView) -> Step {
    let mut step = Step::default();
    step.add(SyncRange { lower, upper, content: SyncContent::Fingerprint(view.fingerprint) });
    step
}

/// Answers `theirs`; `views` are of the same ranges in the same order. `listed`: what this side listed last.
pub(crate) fn answer(
    theirs: Vec<SyncRange>,
    views: Vec<RangeView>,
    listed: &[Listed],
    mut wants: impl FnMut(&TxId) -> bool,
) -> Step {
    let mut step = Step::default();
    for (range, view) in theirs.into_iter().zip(views) {
        let (lower, upper) = (range.lower, range.upper);
        match (range.content, view.detail) {
            (SyncContent::Fingerprint(said), _) if said == view.fingerprint => {}
            (SyncContent::Ids(ids), RangeDetail::Parts(_) | RangeDetail::First { .. })
                if is_within(listed, lower, upper) =>
            {
                // The range has grown since it was listed: what of it is here is known by its ids alone.
                step.lack(ids, &mut wants);
            }
            (content, RangeDetail::First { ids: ours, until }) => {
                step.partial = true;
                let extra = without(ours, listed_ids(&content).unwrap_or_default());
                if !extra.is_empty() {
                    step.list(lower, until, extra, false);
                }
            }
            (SyncContent::Fingerprint(_), RangeDetail::Ids(ours)) => {
                step.uncovered.extend(&ours);
                step.list(lower, upper, ours, true);
            }
            (SyncContent::Ids(ids), RangeDetail::Ids(ours)) => {
                step.lack(without(ids.clone(), &ours), &mut wants);
                let extra = without(ours, &ids);
                if !is_within(listed, lower, upper) && !extra.is_empty() {
                    step.uncovered.extend(&extra);
                    step.list(lower, upper, extra, false);
                }
            }
            (_, RangeDetail::Parts(parts)) => {
                let mut from = lower;
                for (to, fingerprint) in parts {
                    step.add(SyncRange {
                        lower: from,
                        upper: to,
                        content: SyncContent::Fingerprint(fingerprint),
                    });
                    from = to;
                }
            }
        }
    }
    step
}

impl Step {
    fn add(&mut self, range: SyncRange) {
        if self.ranges.len() < SYNC_RANGES_MAX {
            self.ranges.push(range);
        } else {
            self.partial = true;
        }
    }

    fn list(&mut self, lower: SyncBound, upper: SyncBound, ids: Vec<TxId>, expect_answer: bool) {
        let listed =
            |range: &SyncRange| if let SyncContent::Ids(ids) = &range.content { ids.len() } else { 0 };
        let before: usize = self.ranges.iter().map(listed).sum();
        if self.ranges.len() >= SYNC_RANGES_MAX || before + ids.len() > SYNC_IDS_MAX {
            self.partial = true;
            return;
        }
        if expect_answer {
            self.listed.push((lower, upper));
        }
        self.ranges.push(SyncRange { lower, upper, content: SyncContent::Ids(ids) });
    }

    fn lack(&mut self, ids: Vec<TxId>, wants: &mut impl FnMut(&TxId) -> bool) {
        for id in &ids {
            if self.want.len() < IDS_PER_FRAME_MAX && wants(id) {
                self.want.push(*id);
            }
        }
        self.missing.extend(ids);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::message::Fingerprint;
    use crate::types::WallTime;

    type Set = BTreeSet<(u64, [u8; 32])>;

    fn bound((published, id): (u64, [u8; 32])) -> SyncBound {
        SyncBound { published: WallTime::from_unix_ms(published), id }
    }

    /// What a store answers.
    fn view(set: &Set, query: RangeQuery) -> RangeView {
        let inside: Vec<_> =
            set.iter().filter(|key| bound(**key) >= query.lower && bound(**key) < query.upper).collect();
        let sum = |keys: &[&(u64, [u8; 32])]| {
            let mut fingerprint = Fingerprint::default();
            for (_, id) in keys {
                fingerprint.add(&TxId::from_bytes(*id));
            }
            fingerprint
        };
        let ids = |keys: &[&(u64, [u8; 32])]| keys.iter().map(|(_, id)| TxId::from_bytes(*id)).collect();
        let ids_max = query.ids_max as usize;
        let detail = if query.unless == Some(sum(&inside)) {
            RangeDetail::Parts(Vec::new())
        } else if inside.len() <= ids_max {
            RangeDetail::Ids(ids(&inside))
        } else if query.parts == 0 {
            RangeDetail::First { ids: ids(&inside[..ids_max]), until: bound(*inside[ids_max]) }
        } else {
            let chunks: Vec<_> = inside.chunks(inside.len().div_ceil(query.parts as usize)).collect();
            let upper = |at: usize| chunks.get(at + 1).map_or(query.upper, |next| bound(*next[0]));
            RangeDetail::Parts(chunks.iter().enumerate().map(|(at, keys)| (upper(at), sum(keys))).collect())
        };
        RangeView { fingerprint: sum(&inside), detail }
    }

    /// Runs rounds until nothing is wanted; returns the number of messages.
    fn reconcile(one: &mut Set, two: &mut Set) -> usize {
        let mut messages = 0;
        loop {
            let moved = round(one, two, &mut messages);
            if moved == 0 {
                return messages;
            }
        }
    }

    fn round(one: &mut Set, two: &mut Set, messages: &mut usize) -> usize {
        let all = opening_query(SyncBound::MIN, SyncBound::MAX);
        let first = open(SyncBound::MIN, SyncBound::MAX, &view(one, all));
        let mut listed = [first.listed, Vec::new()];
        let mut ranges = first.ranges;
        let mut moved = Vec::new();
        for turn in 0.. {
            *messages += 1;
            let at = 1 - turn % 2;
            let set: &Set = if at == 0 { one } else { two };
            let views = queries(&ranges).into_iter().map(|query| view(set, query)).collect();
            let step = answer(ranges, views, &listed[at], |_| true);
            listed[at] = step.listed;
            assert!(step.ranges.len() <= SYNC_RANGES_MAX && step.want.len() <= IDS_PER_FRAME_MAX);
            moved.extend(step.want.into_iter().map(|id| (at, id)));
            ranges = step.ranges;
            if ranges.is_empty() {
                break;
            }
            assert!(turn < 50, "a round ends");
        }
        let both: Set = one.union(two).copied().collect();
        for (at, id) in &moved {
            let key =
                both.iter().find(|(_, other)| other == id.as_bytes()).expect("only real ids are wanted");
            let set = if *at == 0 { &mut *one } else { &mut *two };
            assert!(set.insert(*key), "nothing is wanted that is held");
        }
        moved.len()
    }

    fn keys(range: std::ops::Range<u64>) -> Set {
        range.map(|number| (number / 3, *TxId::of_header(&number.to_le_bytes()).as_bytes())).collect()
    }

    #[test]
    fn an_empty_side_gets_everything() {
        for swap in [false, true] {
            let (mut one, mut two) = (keys(0..3000), Set::new());
            if swap {
                std::mem::swap(&mut one, &mut two);
            }
            reconcile(&mut one, &mut two);
            assert_eq!(one.len(), 3000);
            assert_eq!(one, two);
        }
    }

    #[test]
    fn a_long_gap_fills_from_its_begin_in_few_messages() {
        for (held, opens) in [(0, true), (0, false), (5_000, true), (5_000, false)] {
            let (mut behind, mut ahead) = (keys(0..held), keys(0..30_000));
            let mut messages = 0;
            let moved = if opens {
                round(&mut behind, &mut ahead, &mut messages)
            } else {
                round(&mut ahead, &mut behind, &mut messages)
            };
            assert!(messages <= 8, "{held} held: {messages} messages");
            assert!(moved >= IDS_PER_FRAME_MAX, "{held} held: {moved} wanted");
            let gap: Vec<_> = ahead.iter().filter(|key| !behind.contains(*key)).collect();
            assert!(gap.len() < ahead.len() - held as usize);
        }
    }

    #[test]
    fn equal_sides_say_it_in_one_message() {
        let (mut one, mut two) = (keys(0..1000), keys(0..1000));
        assert_eq!(reconcile(&mut one, &mut two), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_two_sets_become_one(
            shared in 0_u64..400,
            left in 0_u64..300,
            right in 0_u64..300,
        ) {
            let mut one: Set = keys(0..shared).union(&keys(10_000..10_000 + left)).copied().collect();
            let mut two: Set = keys(0..shared).union(&keys(9_900..9_900 + right)).copied().collect();
            let all: Set = one.union(&two).copied().collect();
            reconcile(&mut one, &mut two);
            prop_assert_eq!(&one, &all);
            prop_assert_eq!(&two, &all);
        }
    }
}
