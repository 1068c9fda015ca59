//! Spreading records: the own one, news of others, and who was asked when.
//!
//! News goes once from every peer that learns of it to a few of its links, so that it reaches everyone in a
//! few hops; the periodic exchange with a random peer finds what news has missed. Its pause is short while exchanges bring
//! something and doubles while they do not, as in Trickle (RFC 6206).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use crate::envelope::{Record, SignedRecord, mark};
use crate::message::{Marks, Missing};
use crate::types::bounds::{MISSED_PER_FRAME_MAX, PART_BITS_MAX, RECORD_MARKS_MAX, RECORDS_PER_FRAME_MAX};
use crate::types::{LinkId, PeerId, Time, WallTime};
use crate::view::Size;

/// News waits this long for company in its frame. Guess.
const NEWS_BATCH: Duration = Duration::from_millis(10);
/// Nobody waits for a record that only renews another: in a network of 1,000 one comes every second by default. Guess, well below
/// the hour after which the last one would expire.
const NEWS_BATCH_PERIODIC: Duration = Duration::from_secs(10);
/// And goes out this often at most, so that many peers that come one after the other make few frames. Guess: the five hops to a
/// thousand peers take about a second then.
const NEWS_EVERY: Duration = Duration::from_millis(250);
/// Records of news waiting to go out; beyond it the periodic exchange has to do.
const NEWS_MAX: usize = 1024;
/// Members that were not there, waiting to be told of; others find out about the rest when they dial them.
const MISSED_MAX: usize = 1024;
/// Records whose signatures are being checked; beyond it they are dropped and come again.
const CHECKING_MAX: usize = 4096;
/// Full answers: this many at once, then one per `ANSWER_EVERY`. A full roster of 1,000 is 1 MB.
const ANSWERS_BURST: u32 = 16;
const ANSWER_EVERY: Duration = Duration::from_secs(1);
/// Requests on new links: this many at once, then one per `REQUEST_EVERY`.
const REQUESTS_BURST: u32 = 4;
const REQUEST_EVERY: Duration = Duration::from_secs(2);
/// The same link is not asked again within this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The pause between exchanges while they bring something: what was spread while few links stood, at the start, has missed
/// some. An exchange between equal rosters costs a digest. Guess: some round trips.
const EXCHANGE_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Bytes of records in one frame, where one is not longer. What reads a link keeps room for the longest frame that it has read, and
/// every link begins with records: eight of usual length make frames as long as the largest pushes.
const RECORD_BYTES_PER_FRAME_MAX: usize = 8 * 1024;

/// Lets a burst through, then one per interval (generic cell rate algorithm).
#[derive(Debug)]
struct Rate {
    burst: u32,
    every: Duration,
    spent_until: Time,
}

impl Rate {
    fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, spent_until: Time::ZERO }
    }

    fn allows(&mut self, now: Time) -> bool {
        let from = self.spent_until.max(now);
        let allowed = from.since(now) <= self.every * (self.burst - 1);
        if allowed {
            self.spent_until = from + self.every;
        }
        allowed
    }
}

/// The own record and what is under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    own: Option<Arc<SignedRecord>>,
    sequence: u64,
    sealing: bool,
    /// Something changed while the last record was being sealed.
    again: bool,
    sealed_at: Time,
    /// When the own record first carried its certificate.
    certificate_since: Time,
    news: BTreeMap<PeerId, Arc<SignedRecord>>,
    /// Members that were not there, to be told of.
    missed: BTreeSet<Missing>,
    /// When news may go out again.
    news_from: Time,
    checking: BTreeMap<PeerId, (u64, u64)>,
    asked: BTreeMap<LinkId, Time>,
    requests: Rate,
    answers: Rate,
    pause: Duration,
    /// Something came by exchange, not as news, since the last one began.
    brought: bool,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            own: None,
            sequence: 0,
            sealing: false,
            again: false,
            sealed_at: Time::ZERO,
            certificate_since: Time::ZERO,
            news: BTreeMap::new(),
            missed: BTreeSet::new(),
            news_from: Time::ZERO,
            checking: BTreeMap::new(),
            asked: BTreeMap::new(),
            requests: Rate::new(REQUESTS_BURST, REQUEST_EVERY),
            answers: Rate::new(ANSWERS_BURST, ANSWER_EVERY),
            pause: EXCHANGE_PAUSE_MIN,
            brought: false,
        }
    }
}

impl Exchange {
    /// How full it is.
    pub(crate) fn sizes(&self) -> [Size; 3] {
        [
            Size { name: "records to be passed on", len: self.news.len(), max: NEWS_MAX },
            Size { name: "members to be told of as missed", len: self.missed.len(), max: MISSED_MAX },
            Size { name: "records being checked", len: self.checking.len(), max: CHECKING_MAX },
        ]
    }

    /// A record came by exchange that news had missed.
    pub(crate) fn brought(&mut self) {
        self.brought = true;
    }

    /// How long to wait for the next exchange; `most` is the refresh interval.
    pub(crate) fn pause(&mut self, most: Duration) -> Duration {
        let pause = self.pause.min(most);
        if !std::mem::take(&mut self.brought) {
            self.pause = (pause * 2).min(most).max(EXCHANGE_PAUSE_MIN);
        }
        pause
    }

    /// The own record, once it is sealed.
    pub(crate) fn own(&self) -> Option<&Arc<SignedRecord>> {
        self.own.as_ref()
    }

    /// When the own record first carried the certificate that it carries.
    pub(crate) fn certificate_since(&self) -> Time {
        self.certificate_since
    }

    /// When the own record was last sealed.
    pub(crate) fn sealed_at(&self) -> Time {
        self.sealed_at
    }

    /// Numbers a new own record, unless one is being sealed: then it is done again afterwards.
    pub(crate) fn seal(&mut self, mut record: Record, wall: WallTime) -> Option<Record> {
        if self.sealing {
            self.again = true;
            return None;
        }
        self.sealing = true;
        self.sequence = wall.as_unix_ms().max(self.sequence + 1);
        record.sequence = self.sequence;
        Some(record)
    }

    /// The own record is sealed, or could not be. Returns whether it has to be done again.
    pub(crate) fn sealed(&mut self, record: Option<Arc<SignedRecord>>, now: Time) -> bool {
        self.sealing = false;
        self.sealed_at = now;
        if let Some(record) = record {
            if self.own.as_ref().is_none_or(|own| own.certificate != record.certificate) {
                self.certificate_since = now;
            }
            self.news.insert(record.peer, record.clone());
            self.own = Some(record);
        }
        std::mem::take(&mut self.again)
    }

    /// A record's signature is to be checked; `false` where that is under way, or too many are.
    pub(crate) fn check(&mut self, record: &SignedRecord) -> bool {
        let number = (record.record.incarnation, record.record.sequence);
        if self.checking.get(&record.peer).is_some_and(|checking| *checking >= number)
            || self.checking.len() >= CHECKING_MAX
        {
            return false;
        }
        self.checking.insert(record.peer, number);
        true
    }

    /// The check is done.
    pub(crate) fn checked(&mut self, record: &SignedRecord) {
        let number = (record.record.incarnation, record.record.sequence);
        if self.checking.get(&record.peer) == Some(&number) {
            self.checking.remove(&record.peer);
        }
    }

    /// To be passed on. Returns when. `periodic`: it says nothing but that its peer still lives.
    pub(crate) fn add_news(&mut self, record: Arc<SignedRecord>, periodic: bool, now: Time) -> Option<Time> {
        if self.news.len() >= NEWS_MAX && !self.news.contains_key(&record.peer) {
            return None;
        }
        self.news.insert(record.peer, record);
        let wait = if periodic { NEWS_BATCH_PERIODIC } else { NEWS_BATCH };
        Some(self.news_from.max(now + wait))
    }

    /// A member was not there: to be told of. Returns when.
    pub(crate) fn add_missed(&mut self, missing: Missing, now: Time) -> Option<Time> {
        if self.missed.len() >= MISSED_MAX {
            return None;
        }
        self.missed.insert(missing);
        Some(self.news_from.max(now + NEWS_BATCH))
    }

    /// Members that were not there, one frame full: a peer that is itself cut off misses all, and those who hear it dial them.
    pub(crate) fn take_missed(&mut self) -> Vec<Missing> {
        let mut taken = Vec::new();
        while taken.len() < MISSED_PER_FRAME_MAX
            && let Some(missing) = self.missed.pop_first()
        {
            taken.push(missing);
        }
        taken
    }

    /// When the next frame full may go out.
    pub(crate) fn more_missed(&self) -> Option<Time> {
        (!self.missed.is_empty()).then_some(self.news_from)
    }

    /// All news collected so far, packed into frames: of peers that leave, and of all others.
    pub(crate) fn take_news(&mut self, now: Time) -> (Frames, Frames) {
        self.news_from = now + NEWS_EVERY;
        let news = std::mem::take(&mut self.news).into_values();
        let (leaving, staying): (Vec<_>, Vec<_>) = news.partition(|record| record.record.leaving);
        (pack(leaving.into_iter()), pack(staying.into_iter()))
    }

    /// Whether a link that has just come up may be asked for records.
    pub(crate) fn may_ask(&mut self, link: LinkId, now: Time, unprompted: bool) -> bool {
        let recently = self.asked.get(&link).is_some_and(|at| now.since(*at) < ASK_AGAIN_AFTER);
        if recently || unprompted && !self.requests.allows(now) {
            return false;
        }
        self.asked.insert(link, now);
        true
    }

    /// Whether a full answer may go out now.
    pub(crate) fn may_answer(&mut self, now: Time) -> bool {
        self.answers.allows(now)
    }

    /// The link is gone.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.asked.remove(&link);
    }
}

/// Records in lists that each fit a frame.
type Frames = Vec<Vec<Arc<SignedRecord>>>;

/// What two peers know of each other's records.
pub(crate) struct Difference {
    /// Records that the one who asks lacks.
    pub(crate) lacked_there: Vec<Arc<SignedRecord>>,
    /// It has some that are not known here.
    pub(crate) lacked_here: bool,
}

fn short(record: &SignedRecord) -> [u8; 8] {
    mark(&record.peer, &record.record).prefix().to_be_bytes()
}

/// What of `records`, `count` in all, a request says to know: all of them, or of a part drawn by lot that fits a frame.
pub(crate) fn marks<'a>(
    records: impl Iterator<Item = &'a Arc<SignedRecord>>,
    count: usize,
    rng: &mut impl Rng,
) -> Marks {
    // Ids are hashes: a part is seldom larger than twice its share.
    let part_bits = (2 * count).div_ceil(RECORD_MARKS_MAX).next_power_of_two().trailing_zeros();
    let part_bits = if count <= RECORD_MARKS_MAX { 0 } else { part_bits.min(PART_BITS_MAX) };
    let mut marks = Marks { part_bits, part: rng.random_range(0..1 << part_bits), marks: Vec::new() };
    let covered = records.filter(|record| marks.covers(&record.peer));
    marks.marks = covered.take(RECORD_MARKS_MAX).map(|record| short(record)).collect();
    marks
}

/// What the one who says to know these lacks of `records`; all where it says nothing.
pub(crate) fn compare<'a>(
    known: Option<&Marks>,
    records: impl Iterator<Item = &'a Arc<SignedRecord>>,
) -> Difference {
    let Some(known) = known else {
        return Difference { lacked_there: records.cloned().collect(), lacked_here: true };
    };
    let mut theirs = known.marks.clone();
    theirs.sort_unstable();
    theirs.dedup();
    let (mut lacked_there, mut shared) = (Vec::new(), 0);
    for record in records.filter(|record| known.covers(&record.peer)) {
        if theirs.binary_search(&short(record)).is_ok() {
            shared += 1;
        } else {
            lacked_there.push(record.clone());
        }
    }
    Difference { lacked_there, lacked_here: shared < theirs.len() }
}

/// Packs records into lists that each fit a frame.
pub(crate) fn pack(records: impl Iterator<Item = Arc<SignedRecord>>) -> Frames {
    let mut frames = Frames::new();
    let mut bytes = 0;
    for record in records {
        let length = record.signed.len() + record.signature.len() + record.certificate.len() + 16;
        match frames.last_mut() {
            Some(frame)
                if frame.len() < RECORDS_PER_FRAME_MAX && bytes + length <= RECORD_BYTES_PER_FRAME_MAX =>
            {
                frame.push(record);
                bytes += length;
            }
            _ => {
                frames.push(vec![record]);
                bytes = length;
            }
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::testing::record;

    #[test]
    fn own_sequences_rise_even_when_the_clock_falls() {
        let mut exchange = Exchange::default();
        let mut last = 0;
        for wall in [1_000, 500, 2_000, 2_000] {
            let record = exchange.seal(record("me", 1, 0).record.clone(), WallTime::from_unix_ms(wall));
            let sequence = record.expect("nothing is being sealed").sequence;
            assert!(sequence > last && sequence >= wall);
            last = sequence;
            assert!(!exchange.sealed(None, Time::ZERO));
        }
    }

    #[test]
    fn a_change_during_sealing_is_sealed_afterwards() {
        let mut exchange = Exchange::default();
        let own = record("me", 1, 0).record.clone();
        assert!(exchange.seal(own.clone(), WallTime::default()).is_some());
        assert!(exchange.seal(own, WallTime::default()).is_none());
        assert!(exchange.sealed(None, Time::ZERO));
    }

    #[test]
    fn only_what_the_other_side_lacks_is_sent_and_asked_for() {
        let of = |range: std::ops::Range<u64>| -> Vec<Arc<SignedRecord>> {
            range.map(|number| record(&number.to_string(), 1, 1)).collect()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let known = |records: &[Arc<SignedRecord>], rng: &mut _| marks(records.iter(), records.len(), rng);
        let (here, there) = (of(0..100), of(10..110));
        let difference = compare(Some(&known(&there, &mut rng)), here.iter());
        assert_eq!(difference.lacked_there, here[..10]);
        assert!(difference.lacked_here);
        let difference = compare(Some(&known(&there[..90], &mut rng)), here.iter());
        assert!(!difference.lacked_here, "it has nothing that is not here");
        let newer = [record("5", 1, 2)];
        let difference = compare(Some(&known(&here, &mut rng)), newer.iter());
        assert_eq!(difference.lacked_there, newer);
        let difference = compare(None, here.iter());
        assert_eq!((difference.lacked_there.len(), difference.lacked_here), (100, true));
    }

    #[test]
    fn of_very_many_records_a_part_is_spoken_of() {
        let records: Vec<_> =
            (0..3 * RECORD_MARKS_MAX).map(|number| record(&number.to_string(), 1, 1)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let known = marks(records.iter(), records.len(), &mut rng);
        let covered = records.iter().filter(|record| known.covers(&record.peer)).count();
        assert_eq!((known.part_bits, known.marks.len()), (3, covered));
        assert!((1..RECORD_MARKS_MAX).contains(&covered), "{covered}");
        let difference = compare(Some(&known), records.iter());
        assert!(difference.lacked_there.is_empty() && !difference.lacked_here);
    }

    #[test]
    fn news_that_comes_in_a_row_goes_out_together() {
        let (mut exchange, at) = (Exchange::default(), |ms| Time::ZERO + Duration::from_millis(ms));
        assert_eq!(exchange.add_news(record("a", 1, 1), false, at(1000)), Some(at(1010)));
        assert_eq!(exchange.take_news(at(1010)).1.len(), 1);
        for (name, ms) in [("b", 1020), ("c", 1200)] {
            assert_eq!(exchange.add_news(record(name, 1, 1), false, at(ms)), Some(at(1260)));
        }
        assert_eq!(exchange.take_news(at(1260)).1[0].len(), 2);
        assert_eq!(exchange.add_news(record("d", 1, 1), false, at(9000)), Some(at(9010)));
        assert_eq!(exchange.add_news(record("e", 1, 1), true, at(9000)), Some(at(19_000)));
    }

    #[test]
    fn a_record_that_only_renews_another_is_told_from_one_that_brings_news() {
        let (old, new) = (record("a", 1, 1000), record("a", 1, 2000));
        assert!(new.only_renews(&old, 1000));
        assert!(!new.only_renews(&old, 1001), "it comes sooner than by itself: its peer has a reason");
        assert!(!record("a", 2, 2000).only_renews(&old, 1000), "it was started again");
        let mut moved = (*new).clone();
        moved.record.addresses.push(crate::types::Address::new("b:1"));
        assert!(!moved.only_renews(&old, 1000));
    }

    #[test]
    fn packed_records_fit_their_frames() {
        let records = (0..100).map(|number| record(&number.to_string(), 1, 1));
        let frames = pack(records);
        assert_eq!(frames.iter().map(Vec::len).sum::<usize>(), 100);
        assert!(frames.iter().all(|frame| frame.len() <= RECORDS_PER_FRAME_MAX));
        let large = (0..8).map(|_| {
            let mut large = (*record("a", 1, 1)).clone();
            large.certificate = vec![0; 20 * 1024].into();
            Arc::new(large)
        });
        assert_eq!(pack(large).len(), 8, "one that is longer than the others travels alone");
    }

    #[test]
    fn requests_come_in_a_burst_and_then_at_a_rate() {
        let mut exchange = Exchange::default();
        let allowed = (0..100).filter(|link| exchange.may_ask(LinkId(*link), Time::ZERO, true)).count();
        assert_eq!(allowed, REQUESTS_BURST as usize);
        assert!(exchange.may_ask(LinkId(200), Time::ZERO + REQUEST_EVERY, true));
        assert!(!exchange.may_ask(LinkId(0), Time::ZERO + REQUEST_EVERY, false));
    }
}
