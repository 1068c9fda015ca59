//! One test for each fault that the core once had.

use std::time::Duration;

use super::Peer;
use crate::config::{Config, Identity, Start};
use crate::event::{Event, Input, LinkUp, Loaded, Opened, Output, RangeDetail, RangeView, Rung, Verdict};
use crate::gossip::grid;
use crate::message::{
    Fingerprint, Frame, Hello, LinkPeer, Message, Push, Sync, SyncBound, SyncContent, SyncRange,
};
use crate::payload::Codings;
use crate::testing;
use crate::types::{Address, LinkId, Now, OpId, PeerId, Time, TxId, WallTime};

/// A moment after the publication of the transactions of `testing`.
fn now_at(ms: u64) -> Now {
    Now { time: Time::from_micros(ms * 1000), wall: WallTime::from_unix_ms(1_000_500 + ms) }
}

fn outputs(peer: &mut Peer) -> Vec<Output> {
    std::iter::from_fn(|| peer.poll_output()).collect()
}

fn peer(config: Config) -> Peer {
    let config = Config { network: "test".into(), ..config };
    let identity = Identity { uri: "spiffe://test/test/me".into() };
    let start = Start { incarnation: 1, seed: 1, ..Start::default() };
    Peer::new(config, identity, start, Now { time: Time::ZERO, wall: WallTime::from_unix_ms(900_000) })
}

fn link_up(peer: &mut Peer, link: u64, name: &str, dial: Option<OpId>, now: Now) {
    let uri = format!("spiffe://test/test/{name}");
    let up = LinkUp {
        link: LinkId(link),
        opened: dial.map_or(Opened::Accepted, Opened::Dialled),
        peer: LinkPeer { id: PeerId::of_uri(&uri), uri },
        address: Address::new(format!("{name}:1")),
        rung: Rung::Stream,
    };
    peer.handle(now, Input::LinkUp(up));
}

fn say(peer: &mut Peer, link: u64, sequence: u64, message: Message, now: Now) {
    let frame = Frame { sequence, ack: 0, ack_bits: 0, message };
    peer.handle(now, Input::Frame { link: LinkId(link), frame, bytes: 1 });
}

fn hello(network: &str) -> Message {
    Message::Hello(Hello {
        version: 1,
        version_min: 1,
        network: network.into(),
        incarnation: 1,
        session: [0; 16],
        received: 0,
        rows: 4,
        record: None,
        keeps_nothing: false,
        codings: Codings::NONE,
        references: false,
    })
}

/// Links of everyone else of a network of this size, all saying hello; effects are not answered.
fn in_grid(names: u64, now: Now) -> Peer {
    let mut peer = peer(Config::default());
    for number in 0..names {
        let name = format!("n{number}");
        peer.roster.take(testing::record(&name, 1, 1), false, now.time);
        link_up(&mut peer, number, &name, None, now);
        say(&mut peer, number, 1, hello("test"), now);
    }
    peer.update_rows(now);
    peer.pushing_rows = peer.rows;
    outputs(&mut peer);
    peer
}

fn pushes(outputs: &[Output]) -> usize {
    let push = |output: &&Output| {
        matches!(output, Output::Send { frame: Frame { message: Message::Push(_), .. }, .. })
    };
    outputs.iter().filter(push).count()
}

/// Answers checks and writes until nothing more comes of it; returns all outputs.
fn settle(peer: &mut Peer, now: Now) -> Vec<Output> {
    let mut all = Vec::new();
    loop {
        let new = outputs(peer);
        if new.is_empty() {
            return all;
        }
        for output in &new {
            match output {
                Output::Verify { op, .. } => {
                    peer.handle(now, Input::Verified { op: *op, verdict: Verdict::Valid });
                }
                Output::Persist { op, .. } => peer.handle(now, Input::Persisted { op: *op }),
                Output::Load { op, .. } => {
                    let (envelope, body) = (testing::envelope(1, 10), testing::push(1, 10).body);
                    let found = Some(Loaded::Envelope { envelope, body });
                    peer.handle(now, Input::Loaded { op: *op, found });
                }
                _ => {}
            }
        }
        all.extend(new);
    }
}

#[test]
fn a_head_serves_its_row_though_another_copy_came_first_and_only_once() {
    for held in [false, true] {
        let now = now_at(0);
        let mut peer = in_grid(60, now);
        assert!(peer.rows > 1);
        let repaired = Push { hops: 0, ..testing::push(1, 10) };
        let rows = peer.rows;
        let as_head = Push { rows, head: true, hops: 1, ..testing::push(1, 10) };
        say(&mut peer, 1, 2, repaired.into(), now);
        if held {
            assert_eq!(pushes(&settle(&mut peer, now)), 0);
        }
        say(&mut peer, 2, 2, as_head.clone().into(), now);
        let sent = pushes(&settle(&mut peer, now));
        let own = grid::row(&peer.me, rows);
        let mates = peer.links.standing().filter(|session| grid::row(&session.peer.id, rows) == own);
        let holders = [1, 2].map(|link| peer.links.get(LinkId(link)).map(|session| session.peer.id));
        let open = mates.filter(|session| !holders.contains(&Some(session.peer.id))).count();
        assert!(
            open > 0 && sent >= open && sent <= open + 1,
            "held: {held}, {sent} pushes to {open} of the row"
        );
        say(&mut peer, 3, 2, as_head.into(), now);
        assert_eq!(pushes(&settle(&mut peer, now)), 0, "held: {held}");
    }
}

#[test]
fn a_round_that_only_sent_is_not_opened_again_at_once() {
    let now = now_at(0);
    let mut peer = peer(Config::default());
    link_up(&mut peer, 0, "other", None, now);
    say(&mut peer, 0, 1, hello("test"), now);
    outputs(&mut peer);
    let id = PeerId::of_uri("spiffe://test/test/other");
    peer.sync.enqueue(id);
    peer.sync_next(now);
    let round = inspect(&mut peer, now).expect("the round opens");
    let wanted = vec![testing::envelope(1, 10).id()];
    let sync = Sync {
        round,
        ranges: Vec::new(),
        floor: WallTime::default(),
        want: wanted,
        opening: false,
        partial: false,
    };
    say(&mut peer, 0, 2, Message::Sync(sync), now);
    settle(&mut peer, now);
    peer.handle(now, Input::Tick);
    assert_eq!(inspect(&mut peer, now), None, "the other side may be unable to keep what it asked for");
}

/// Answers the store's part of an own round; returns the round's number.
fn inspect(peer: &mut Peer, now: Now) -> Option<u64> {
    for output in outputs(peer) {
        if let Output::Inspect { op, queries } = output {
            let detail = RangeDetail::Ids(Vec::<TxId>::new());
            let view = RangeView { fingerprint: Fingerprint::default(), detail };
            peer.handle(now, Input::Inspected { op, views: vec![view; queries.len()] });
        }
    }
    outputs(peer).into_iter().find_map(|output| match output {
        Output::Send { frame: Frame { message: Message::Sync(sync), .. }, .. } => Some(sync.round),
        _ => None,
    })
}

#[test]
fn a_round_whose_frame_was_lost_is_tried_with_somebody_soon() {
    let now = now_at(0);
    let mut peer = peer(Config { sync_interval: Duration::from_secs(3600), ..Config::default() });
    link_up(&mut peer, 0, "other", None, now);
    say(&mut peer, 0, 1, hello("test"), now);
    outputs(&mut peer);
    peer.sync.enqueue(PeerId::of_uri("spiffe://test/test/other"));
    peer.sync_next(now);
    let first = inspect(&mut peer, now).expect("the round opens");
    let later = now_at(2_000);
    peer.handle(later, Input::Tick);
    let second = inspect(&mut peer, later).expect("another round opens");
    assert_ne!(first, second);
}

#[test]
fn a_peer_without_room_for_links_dials_nobody() {
    let now = now_at(0);
    let bootstrap = vec![Address::new("boot:1")];
    let mut peer = peer(Config { links_max: 1, bootstrap, ..Config::default() });
    let dial = outputs(&mut peer).into_iter().find_map(|output| match output {
        Output::Dial { op, .. } => Some(op),
        _ => None,
    });
    link_up(&mut peer, 0, "other", None, now);
    link_up(&mut peer, 1, "boot", dial, now);
    peer.handle(now, Input::LinkDown { link: LinkId(1), reason: "full".into() });
    assert_no_dial_for(&mut peer, 1_000);
}

#[test]
fn a_peer_of_another_network_is_not_dialled_again_at_once() {
    let now = now_at(0);
    let mut peer = peer(Config { bootstrap: vec![Address::new("boot:1")], ..Config::default() });
    let dial = outputs(&mut peer).into_iter().find_map(|output| match output {
        Output::Dial { op, .. } => Some(op),
        _ => None,
    });
    link_up(&mut peer, 0, "boot", dial, now);
    say(&mut peer, 0, 1, hello("other"), now);
    peer.handle(now, Input::LinkDown { link: LinkId(0), reason: "closed".into() });
    assert_no_dial_for(&mut peer, 10_000);
}

fn assert_no_dial_for(peer: &mut Peer, ms: u64) {
    for at in (0..ms).step_by(50) {
        peer.handle(now_at(at), Input::Tick);
        let dials = outputs(peer).into_iter().filter(|output| matches!(output, Output::Dial { .. })).count();
        assert_eq!(dials, 0, "after {at} ms");
    }
}

#[test]
fn what_is_held_back_is_not_asked_for_in_every_round() {
    let now = Now { time: Time::ZERO, wall: WallTime::from_unix_ms(1_000) };
    let mut peer = peer(Config::default());
    link_up(&mut peer, 0, "other", None, now);
    say(&mut peer, 0, 1, hello("test"), now);
    say(&mut peer, 0, 2, Push { hops: 0, ..testing::push(1, 10) }.into(), now);
    assert_eq!(peer.intake.held_back().into_iter().collect::<Vec<_>>(), [testing::envelope(1, 10).id()]);
    outputs(&mut peer);
    let content = SyncContent::Ids(vec![testing::envelope(1, 10).id()]);
    let (lower, upper) = (SyncBound::MIN, SyncBound::MAX);
    let ranges = vec![SyncRange { lower, upper, content }];
    let sync = Sync {
        round: 7,
        ranges,
        floor: WallTime::default(),
        want: Vec::new(),
        opening: true,
        partial: false,
    };
    say(&mut peer, 0, 3, Message::Sync(sync), now);
    let mut wanted = None;
    for output in outputs(&mut peer) {
        if let Output::Inspect { op, .. } = output {
            let detail = RangeDetail::Ids(Vec::new());
            let view = RangeView { fingerprint: Fingerprint::default(), detail };
            peer.handle(now, Input::Inspected { op, views: vec![view] });
        }
    }
    for output in outputs(&mut peer) {
        if let Output::Send { frame: Frame { message: Message::Sync(sync), .. }, .. } = output {
            wanted = Some(sync.want);
        }
    }
    assert_eq!(wanted, Some(Vec::new()));
}

#[test]
fn a_forged_record_is_held_against_whoever_sent_it() {
    let now = now_at(0);
    let mut peer = peer(Config::default());
    link_up(&mut peer, 0, "liar", None, now);
    say(&mut peer, 0, 1, hello("test"), now);
    outputs(&mut peer);
    let records = vec![testing::record("victim", 1, 1)];
    say(&mut peer, 0, 2, Message::Records { records, news: true }, now);
    for output in outputs(&mut peer) {
        if let Output::Verify { op, .. } = output {
            peer.handle(now, Input::Verified { op, verdict: Verdict::Forged("no".into()) });
        }
    }
    let accused: Vec<PeerId> = outputs(&mut peer)
        .into_iter()
        .filter_map(|output| match output {
            Output::Event(Event::Evidence { peer, .. }) => Some(peer),
            _ => None,
        })
        .collect();
    assert_eq!(accused, [PeerId::of_uri("spiffe://test/test/liar")]);
}
