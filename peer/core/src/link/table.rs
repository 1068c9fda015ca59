//! All sessions, and which of them stands for its peer.
//!
//! Two links between the same two: both sides keep the one on the better rung; of two on the same the one dialled by the
//! lower peer id, or the newer of two dialled by the same side, so that they decide alike without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::session::{Phase, Session};
use crate::message::Frame;
use crate::types::{LinkId, PeerId, Time};

/// Sessions by link, standing links by peer.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Boxed: a tree's nodes are half empty, and some hundred bytes of a session would be so too.
    sessions: BTreeMap<LinkId, Box<Session>>,
    standing: BTreeMap<PeerId, LinkId>,
    /// Links with an acknowledgement to be sent, by the time when it is due; one entry for each link at most, and it may
    /// have gone with another frame since.
    acks_due: BTreeSet<(Time, LinkId)>,
    /// Links that may not have said hello yet: those that have not are among them.
    greeting: Vec<LinkId>,
    mean_rtt_us: u64,
}

/// What became of a link that said hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The only one to this peer.
    First,
    /// It takes the place of this one.
    Replaces(LinkId),
    /// This other one stays.
    Loses(LinkId),
}

impl Links {
    pub(crate) fn insert(&mut self, session: Session) {
        self.greeting.push(session.link);
        self.sessions.insert(session.link, Box::new(session));
    }

    /// Takes a session out; its peer has no standing link any more if it was that.
    pub(crate) fn remove(&mut self, link: LinkId) -> Option<Session> {
        let session = self.sessions.remove(&link)?;
        self.greeting.retain(|greeting| *greeting != link);
        self.release(&session.peer.id, link);
        Some(*session)
    }

    /// The link stands for its peer no longer.
    pub(crate) fn release(&mut self, peer: &PeerId, link: LinkId) {
        if self.standing.get(peer) == Some(&link) {
            self.standing.remove(peer);
        }
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Session> {
        self.sessions.get(&link).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, link: LinkId) -> Option<&mut Session> {
        self.sessions.get_mut(&link).map(Box::as_mut)
    }

    /// The standing link to a peer.
    pub(crate) fn of(&self, peer: &PeerId) -> Option<&Session> {
        self.get(*self.standing.get(peer)?)
    }

    /// The standing link to a peer.
    pub(crate) fn of_mut(&mut self, peer: &PeerId) -> Option<&mut Session> {
        self.get_mut(*self.standing.get(peer)?)
    }

    /// All sessions, whatever their phase.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// One of the peers with a standing link, by its place in the order of their ids.
    pub(crate) fn nth_linked(&self, place: usize) -> Option<PeerId> {
        self.standing.keys().nth(place).copied()
    }

    /// Peers with a standing link, by id, and that link.
    pub(crate) fn standing_links(&self) -> impl Iterator<Item = (&PeerId, LinkId)> {
        self.standing.iter().map(|(peer, link)| (peer, *link))
    }

    /// Peers with a standing link.
    pub(crate) fn linked(&self) -> usize {
        self.standing.len()
    }

    /// Peers whose link is about to say hello, or that have one that stands, by id.
    pub(crate) fn reached(&self) -> Vec<PeerId> {
        let greeting = self.greeting.iter().filter_map(|link| self.sessions.get(link));
        let greeting = greeting.filter(|session| session.phase == Phase::Greeting);
        let mut reached: Vec<PeerId> =
            self.standing.keys().copied().chain(greeting.map(|session| session.peer.id)).collect();
        reached.sort_unstable();
        reached
    }

    /// Peers whose standing link is a visit, by id.
    pub(crate) fn visited(&self) -> Vec<PeerId> {
        self.standing().filter(|session| session.visit).map(|session| session.peer.id).collect()
    }

    /// Links that were dialled and have not said hello yet.
    pub(crate) fn greeting_dialled(&self) -> usize {
        let greeting = self.greeting.iter().filter_map(|link| self.sessions.get(link));
        greeting.filter(|session| session.is_unfinished_dial()).count()
    }

    pub(crate) fn is_linked(&self, peer: &PeerId) -> bool {
        self.standing.contains_key(peer)
    }

    /// Standing links in the order of their peers' ids.
    pub(crate) fn standing(&self) -> impl Iterator<Item = &Session> {
        self.standing.values().filter_map(|link| self.get(*link))
    }

    pub(crate) fn ids(&self) -> Vec<LinkId> {
        self.sessions.keys().copied().collect()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.sessions.values_mut().map(Box::as_mut)
    }

    /// A frame may be acknowledged. Answers the acknowledgements that are due at once.
    pub(crate) fn acknowledge(
        &mut self,
        link: LinkId,
        sequence: u64,
        now: Time,
        delay: Duration,
    ) -> Vec<Frame> {
        let Some(session) = self.sessions.get_mut(&link) else { return Vec::new() };
        let due = session.mark(sequence, now, delay);
        let frames = session.acks_due(now);
        if let Some(due) = due.filter(|due| *due > now)
            && session.ack_listed.is_none_or(|listed| due < listed)
        {
            if let Some(listed) = session.ack_listed.replace(due) {
                self.acks_due.remove(&(listed, link));
            }
            self.acks_due.insert((due, link));
        }
        frames
    }

    /// All acknowledgements that are due.
    pub(crate) fn acks_due(&mut self, now: Time) -> Vec<(LinkId, Frame)> {
        let mut all = Vec::new();
        while let Some((due, link)) = self.acks_due.first().copied()
            && due <= now
        {
            self.acks_due.pop_first();
            let Some(session) = self.sessions.get_mut(&link) else { continue };
            all.extend(session.acks_due(now).into_iter().map(|frame| (link, frame)));
            session.ack_listed = session.ack_due();
            if let Some(due) = session.ack_listed {
                self.acks_due.insert((due, link));
            }
        }
        all
    }

    /// When the next acknowledgement may be due.
    pub(crate) fn next_ack(&self) -> Option<Time> {
        self.acks_due.first().map(|(due, _)| *due)
    }

    /// The link has said hello: decides which link stands for its peer.
    pub(crate) fn settle(&mut self, me: &PeerId, link: LinkId) -> Option<Standing> {
        self.greeting.retain(|greeting| *greeting != link);
        let new = self.sessions.get(&link)?;
        let peer = new.peer.id;
        let Some(old) = self.standing.get(&peer).and_then(|old| self.sessions.get(old)) else {
            self.standing.insert(peer, link);
            return Some(Standing::First);
        };
        let wins = if old.incarnation != new.incarnation {
            new.incarnation > old.incarnation
        } else if old.rung != new.rung {
            new.rung < old.rung
        } else if old.dialled == new.dialled {
            true
        } else {
            new.dialled == (*me < peer)
        };
        let old = old.link;
        if wins {
            self.standing.insert(peer, link);
            Some(Standing::Replaces(old))
        } else {
            Some(Standing::Loses(old))
        }
    }

    /// A round trip was measured somewhere.
    pub(crate) fn measured(&mut self, rtt: Duration) {
        let us = rtt.as_micros() as u64;
        self.mean_rtt_us = if self.mean_rtt_us == 0 { us } else { (15 * self.mean_rtt_us + us) / 16 };
    }

    /// Mean one-way delay over all links; 25 ms while nothing is measured (guess: one continent).
    pub(crate) fn mean_delay(&self) -> Duration {
        if self.mean_rtt_us == 0 {
            Duration::from_millis(25)
        } else {
            Duration::from_micros(self.mean_rtt_us / 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Rung;
    use crate::link::session::{ACK_DELAY, ACK_DELAY_LAZY, Opening};
    use crate::message::{LinkPeer, Message};
    use crate::types::{Address, WallTime};

    fn open(links: &mut Links, link: u64, peer: &str, dialled: bool, incarnation: u64) {
        let mut session = Session::new(Opening {
            link: LinkId(link),
            peer: LinkPeer { id: PeerId::of_uri(peer), uri: peer.into() },
            dialled,
            address: Address::new("x:1"),
            rung: Rung::Stream,
            wall: WallTime::default(),
            time: Time::ZERO,
        });
        session.incarnation = incarnation;
        links.insert(session);
    }

    #[test]
    fn both_sides_keep_the_link_that_the_lower_id_dialled() {
        let (a, b) = ("a", "b");
        let (low, high) = if PeerId::of_uri(a) < PeerId::of_uri(b) { (a, b) } else { (b, a) };
        // Link 1 was dialled by the lower id, link 2 by the higher; each side may see them in either order.
        for (me, other, mine) in [(low, high, true), (high, low, false)] {
            for order in [[1, 2], [2, 1]] {
                let mut links = Links::default();
                open(&mut links, 1, other, mine, 1);
                open(&mut links, 2, other, !mine, 1);
                let me = PeerId::of_uri(me);
                assert_eq!(links.settle(&me, LinkId(order[0])), Some(Standing::First));
                links.settle(&me, LinkId(order[1]));
                assert_eq!(links.of(&PeerId::of_uri(other)).map(|session| session.link), Some(LinkId(1)));
            }
        }
    }

    #[test]
    fn both_sides_keep_the_link_on_the_better_rung_whoever_dialled_it() {
        let (me, other) = (PeerId::of_uri("me"), PeerId::of_uri("other"));
        for better_is_ours in [true, false] {
            for order in [[1, 2], [2, 1]] {
                let mut links = Links::default();
                open(&mut links, 1, "other", better_is_ours, 1);
                open(&mut links, 2, "other", !better_is_ours, 1);
                links.get_mut(LinkId(2)).expect("it is there").rung = Rung::Rest;
                for link in order {
                    links.settle(&me, LinkId(link));
                }
                assert_eq!(links.of(&other).map(|session| session.link), Some(LinkId(1)));
            }
        }
    }

    #[test]
    fn acknowledgements_are_found_when_they_are_due_and_only_then() {
        let mut links = Links::default();
        for link in 0..5 {
            open(&mut links, link, &link.to_string(), true, 1);
        }
        let at = |ms: u64| Time::from_micros(ms * 1000);
        for link in 0..5 {
            assert!(links.acknowledge(LinkId(link), 1, at(link), ACK_DELAY_LAZY).is_empty());
            links.acknowledge(LinkId(link), 2, at(link), ACK_DELAY);
        }
        assert_eq!((links.acks_due.len(), links.next_ack()), (5, Some(at(40))));
        // One goes with another frame, one link ends.
        links.get_mut(LinkId(1)).expect("it is there").stamp(Message::Ack);
        links.remove(LinkId(3));
        assert_eq!(links.acks_due(at(39)), []);
        let due: Vec<u64> = links.acks_due(at(50)).into_iter().map(|(link, _)| link.0).collect();
        assert_eq!(due, [0, 2, 4]);
        assert_eq!((links.acks_due.len(), links.next_ack()), (0, None));
        links.acknowledge(LinkId(1), 3, at(60), ACK_DELAY);
        assert_eq!(links.next_ack(), Some(at(100)));
    }

    #[test]
    fn a_restarted_peer_replaces_its_old_link() {
        let mut links = Links::default();
        let me = PeerId::of_uri("me");
        for dialled in [true, false] {
            open(&mut links, 1, "other", true, 1);
            links.settle(&me, LinkId(1));
            open(&mut links, 2, "other", dialled, 2);
            assert_eq!(links.settle(&me, LinkId(2)), Some(Standing::Replaces(LinkId(1))));
            links.remove(LinkId(1));
            assert!(links.is_linked(&PeerId::of_uri("other")));
            links.remove(LinkId(2));
            assert!(!links.is_linked(&PeerId::of_uri("other")));
        }
    }
}
