//! Whatever comes in, in whatever order: no panic, and every collection under its bound.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::Peer;
use crate::config::{Config, Identity, Start};
use crate::envelope::{Carried, Envelope, Header, SignedRecord};
use crate::event::{
    DialError, Input, LinkUp, Loaded, Opened, Output, RangeDetail, RangeView, Rung, StoreFault, Submit,
    Verdict,
};
use crate::membership::window::Window;
use crate::message::{
    Fingerprint, Frame, GoodbyeReason, Hello, LinkPeer, Message, Missing, Push, Sync, SyncBound, SyncContent,
    SyncRange,
};
use crate::payload::Codings;
use crate::testing;
use crate::tree::Body;
use crate::types::{Address, Hash, LinkId, Now, OpId, PeerId, Time, TxId, WallTime};

const WALL_MS: u64 = 1_800_000_000_000;

fn id() -> impl Strategy<Value = TxId> {
    (0_u8..6).prop_map(|byte| testing::envelope(byte.into(), 10).id())
}

fn bound() -> impl Strategy<Value = SyncBound> {
    (any::<u64>(), any::<[u8; 32]>())
        .prop_map(|(published, id)| SyncBound { published: WallTime::from_unix_ms(published), id })
}

fn record() -> impl Strategy<Value = Arc<SignedRecord>> {
    (0_u8..5, 0_u64..3, any::<u64>(), any::<bool>()).prop_map(|(name, incarnation, sequence, leaving)| {
        let mut record = (*testing::record(&format!("n{name}"), incarnation, sequence)).clone();
        record.record.leaving = leaving;
        Arc::new(record)
    })
}

fn push() -> impl Strategy<Value = Push> {
    let published = prop_oneof![Just(WALL_MS), Just(0), Just(u64::MAX), any::<u64>()];
    let network = prop_oneof![9 => Just("test"), 1 => Just("other")];
    let length = prop_oneof![Just(3_u64), Just(100_000), any::<u64>()];
    (0_u64..6, published, network, length, any::<bool>(), 0_u32..6, any::<bool>(), any::<u32>()).prop_map(
        |(number, published, network, body_bytes, with_body, rows, head, hops)| {
            let body = Body::new(Bytes::from_static(b"abc"));
            let header = Header {
                network: network.into(),
                origin: PeerId::of_uri("origin"),
                incarnation: 1,
                sequence: number,
                register: String::new(),
                published: WallTime::from_unix_ms(published),
                body_bytes,
                body_root: body.root(),
            };
            let signed = Bytes::from(format!("{header:?}"));
            let signature = Bytes::from(vec![hops as u8 % 3]);
            Push {
                envelope: Arc::new(Envelope::new(header, signed, signature, Bytes::new())),
                body: with_body.then(|| body.payload().clone()),
                rows: 1 << rows,
                head,
                hops,
                chunks_follow: !with_body && hops > 1,
            }
        },
    )
}

/// That of the certificate which records and envelopes carry here, or another.
fn hash() -> impl Strategy<Value = Hash> {
    let known = crate::envelope::certificate_digest(b"");
    prop_oneof![Just(known), any::<[u8; 32]>().prop_map(Hash::from_bytes)]
}

fn message() -> impl Strategy<Value = Message> {
    let shorts = || proptest::collection::vec(any::<[u8; 8]>(), 0..4);
    let salt = || {
        prop_oneof![
            Just(crate::gossip::announce::salt("test", WallTime::from_unix_ms(WALL_MS))),
            any::<u64>()
        ]
    };
    let content = prop_oneof![
        (any::<u64>(), any::<[u8; 32]>())
            .prop_map(|(count, sum)| SyncContent::Fingerprint(Fingerprint { count, sum })),
        proptest::collection::vec(id(), 0..4).prop_map(SyncContent::Ids),
    ];
    let range =
        (bound(), bound(), content).prop_map(|(lower, upper, content)| SyncRange { lower, upper, content });
    let hello = (0_u32..3, 0_u32..3, any::<bool>(), proptest::option::of(record())).prop_map(
        |(version, version_min, same, record)| {
            let network = if same { "test" } else { "other" }.to_owned();
            let session = [0; 16];
            Message::Hello(Hello {
                version,
                version_min,
                network,
                incarnation: 1,
                session,
                received: 0,
                rows: 8,
                record,
                keeps_nothing: false,
                codings: Codings::ALL,
                references: true,
            })
        },
    );
    prop_oneof![
        hello,
        Just(Message::Ack),
        any::<u64>().prop_map(|nonce| Message::Ping { nonce }),
        any::<u64>().prop_map(|nonce| Message::Pong { nonce }),
        Just(Message::Goodbye { reason: GoodbyeReason::Duplicate, detail: String::new() }),
        push().prop_map(Message::from),
        push().prop_map(Message::from),
        (push(), hash()).prop_map(|(push, digest)| {
            let envelope = Carried::Referring(push.envelope.referring(digest));
            Message::Push(push.with(envelope))
        }),
        (salt(), shorts()).prop_map(|(salt, short_ids)| Message::Announce { salt, short_ids }),
        (proptest::collection::vec(id(), 0..4), salt(), shorts(), any::<bool>())
            .prop_map(|(ids, salt, short_ids, whole)| Message::Fetch { ids, salt, short_ids, whole }),
        (id(), any::<u32>(), 0_u32..64).prop_map(|(id, first, count)| Message::ChunkRequest {
            id,
            first,
            count
        }),
        (id(), any::<u32>(), any::<[u8; 32]>()).prop_map(|(id, index, hash)| Message::Chunk {
            id,
            index,
            data: Bytes::from_static(b"x").into(),
            proof: vec![Hash::from_bytes(hash)]
        }),
        (id(), proptest::option::of(any::<u32>())).prop_map(|(id, chunk)| Message::Garbled {
            id,
            chunk,
            detail: String::new()
        }),
        proptest::collection::vec(id(), 0..4).prop_map(|ids| Message::Unavailable { ids }),
        any::<u32>().prop_map(|limit| Message::RecordsRequest { limit, digest: Bytes::new(), known: None }),
        (proptest::collection::vec(record(), 0..4), any::<bool>())
            .prop_map(|(records, news)| Message::Records { records, news }),
        proptest::collection::vec((0..9_u8, 0..3_u64, any::<u64>()), 0..4).prop_map(|peers| {
            let missing = |(number, incarnation, sequence)| Missing {
                peer: link_peer(number).id,
                incarnation,
                sequence,
            };
            Message::Missed { peers: peers.into_iter().map(missing).collect() }
        }),
        (
            0_u64..3,
            proptest::collection::vec(range, 0..4),
            proptest::collection::vec(id(), 0..4),
            any::<bool>()
        )
            .prop_map(|(round, ranges, want, opening)| Message::Sync(Sync {
                round,
                ranges,
                floor: WallTime::default(),
                want,
                opening,
                partial: false
            })),
        Just(Message::Unknown),
    ]
}

/// What happens next to the peer.
#[derive(Debug, Clone)]
enum Step {
    Up(u64, u8, bool),
    Down(u64),
    Hello(u64),
    Frame(u64, u64, u64, Message),
    Bad(u64),
    /// Time passes, effects are answered: with success or not.
    Pass(u64, bool),
    Submit(usize),
    Shutdown(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let sequence = prop_oneof![0_u64..100, any::<u64>()];
    prop_oneof![
        2 => (0_u64..8, 0_u8..5, any::<bool>()).prop_map(|(link, peer, ours)| Step::Up(link, peer, ours)),
        1 => (0_u64..8).prop_map(Step::Down),
        3 => (0_u64..8).prop_map(Step::Hello),
        20 => (0_u64..8, sequence, any::<u64>(), message())
            .prop_map(|(link, sequence, ack, message)| Step::Frame(link, sequence, ack, message)),
        1 => (0_u64..8).prop_map(Step::Bad),
        6 => (0_u64..100_000_000, any::<bool>()).prop_map(|(us, good)| Step::Pass(us, good)),
        1 => (0_usize..20_000).prop_map(Step::Submit),
        1 => prop_oneof![19 => Just(None), 1 => Just(Some(true))]
            .prop_map(|leaving| leaving.map_or(Step::Pass(1, true), Step::Shutdown)),
    ]
}

/// Answers an effect, well or badly.
fn answer(output: Output, good: bool) -> Option<Input> {
    let failed = || "it failed".to_owned();
    Some(match output {
        Output::Dial { op, .. } => Input::DialFailed { op, error: DialError::Unreachable(failed()) },
        Output::Seal { op, header } => {
            let signed = Bytes::from(format!("{header:?}"));
            let envelope = Arc::new(Envelope::new(header, signed, Bytes::new(), Bytes::new()));
            Input::Sealed { op, result: good.then_some(envelope).ok_or_else(failed) }
        }
        Output::SealRecord { op, .. } => {
            Input::RecordSealed { op, result: good.then(|| testing::record("me", 1, 1)).ok_or_else(failed) }
        }
        Output::Recall { op, .. } => {
            Input::Recalled { op, result: good.then_some(None).ok_or_else(|| StoreFault::Failed(failed())) }
        }
        Output::Verify { op, .. } if good => Input::Verified { op, verdict: Verdict::Valid },
        Output::Verify { op, .. } if op.0.is_multiple_of(2) => {
            Input::Verified { op, verdict: Verdict::Forged(failed()) }
        }
        Output::Verify { op, .. } => Input::Verified { op, verdict: Verdict::Untrusted(failed()) },
        Output::Persist { op, .. } if good => Input::Persisted { op },
        Output::Persist { op, .. } => Input::PersistFailed { op, fault: StoreFault::Failed(failed()) },
        Output::Load { op, .. } => {
            let found = Loaded::Envelope { envelope: testing::envelope(1, 3), body: None };
            Input::Loaded { op, found: good.then_some(found) }
        }
        Output::Lookup { op, ids } => Input::LookedUp { op, held: vec![!good; ids.len()] },
        Output::Inspect { op, queries } => {
            let detail = RangeDetail::Ids(vec![testing::envelope(2, 10).id()]);
            let view = RangeView { fingerprint: Fingerprint::default(), detail };
            Input::Inspected { op, views: if good { vec![view; queries.len()] } else { Vec::new() } }
        }
        _ => return None,
    })
}

fn settle(peer: &mut Peer, now: Now, good: bool) {
    for _ in 0..10_000 {
        let mut outputs = Vec::new();
        while let Some(output) = peer.poll_output() {
            outputs.push(output);
        }
        let answers: Vec<Input> = outputs.into_iter().filter_map(|output| answer(output, good)).collect();
        if answers.is_empty() {
            return;
        }
        for input in answers {
            peer.handle(now, input);
        }
    }
    panic!("the peer never comes to rest");
}

fn link_peer(number: u8) -> LinkPeer {
    let uri = testing::record(&format!("n{number}"), 1, 1).record.uri.clone();
    LinkPeer { id: PeerId::of_uri(&uri), uri }
}

fn hello() -> Message {
    Message::Hello(Hello {
        version: 1,
        version_min: 1,
        network: "test".into(),
        incarnation: 1,
        session: [0; 16],
        received: 0,
        rows: 1,
        record: None,
        keeps_nothing: false,
        codings: Codings::ALL,
        references: true,
    })
}

/// Whether anybody is blamed.
fn blames(peer: &mut Peer) -> bool {
    std::iter::from_fn(|| peer.poll_output())
        .any(|output| matches!(output, Output::Event(crate::event::Event::Evidence { .. })))
}

#[test]
fn a_second_hello_is_a_fault_and_one_on_a_link_that_was_given_up_is_none() {
    let start = Start { incarnation: 1, ..Start::default() };
    let (wall, mut seconds) = (WallTime::from_unix_ms(WALL_MS), 0);
    let config = Config { network: "test".into(), ..Config::default() };
    let interval = config.heartbeat_interval;
    let mut peer =
        Peer::new(config, Identity { uri: link_peer(0).uri }, start, Now { time: Time::ZERO, wall });
    let mut at = |later: Duration| {
        seconds += later.as_secs();
        Now { time: Time::ZERO + Duration::from_secs(seconds), wall }
    };
    let up = |link| LinkUp {
        link: LinkId(link),
        opened: Opened::Accepted,
        peer: link_peer(link as u8),
        address: Address::new("x:1"),
        rung: Rung::Stream,
    };
    let said = |link, sequence| Input::Frame {
        link: LinkId(link),
        frame: Frame { sequence, ack: 0, ack_bits: 0, message: hello() },
        bytes: 1,
    };
    peer.handle(at(Duration::ZERO), Input::LinkUp(up(1)));
    peer.handle(at(Duration::ZERO), said(1, 1));
    assert!(!blames(&mut peer));
    peer.handle(at(Duration::ZERO), said(1, 2));
    assert!(blames(&mut peer));

    peer.handle(at(Duration::ZERO), Input::LinkUp(up(2)));
    for _ in 0..5 {
        peer.handle(at(interval), Input::Tick);
    }
    let closed = std::iter::from_fn(|| peer.poll_output())
        .any(|output| matches!(output, Output::Close { link: LinkId(2), .. }));
    assert!(closed, "nobody says hello on it");
    assert_eq!(peer.dial_window.width(), Window::default().width(), "this peer did not dial it");
    peer.handle(at(Duration::ZERO), said(2, 1));
    assert!(!blames(&mut peer));
}

#[test]
fn a_peer_that_stood_still_blames_nobody_for_it() {
    let config = Config { network: "test".into(), ..Config::default() };
    let (start, interval) = (Start { incarnation: 1, ..Start::default() }, config.heartbeat_interval);
    let now = |time| Now { time: Time::ZERO + time, wall: WallTime::from_unix_ms(WALL_MS) };
    let mut peer = Peer::new(config, Identity { uri: link_peer(0).uri }, start, now(Duration::ZERO));
    let up = LinkUp {
        link: LinkId(1),
        opened: Opened::Accepted,
        peer: link_peer(1),
        address: Address::new("x:1"),
        rung: Rung::Stream,
    };
    peer.handle(now(Duration::ZERO), Input::LinkUp(up));
    let frame = Frame { sequence: 1, ack: 0, ack_bits: 0, message: hello() };
    peer.handle(now(Duration::ZERO), Input::Frame { link: LinkId(1), frame, bytes: 1 });
    let mut is_closed = |at| {
        peer.handle(now(at), Input::Tick);
        std::iter::from_fn(|| peer.poll_output()).any(|output| matches!(output, Output::Close { .. }))
    };
    // It was to be woken after one interval, and is woken after ten: what has come meanwhile is still to be read.
    assert!(!is_closed(interval * 10));
    for more in 1..30 {
        if is_closed(interval * 10 + interval / 10 * more) {
            assert!(more >= 20, "{more} tenths of an interval after it");
            return;
        }
    }
    panic!("a link that stays silent is given up");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_input_panics_or_breaks_a_bound(steps in proptest::collection::vec(step(), 1..80)) {
        let config = Config {
            network: "test".into(),
            bootstrap: vec![Address::new("n0:1")],
            links_max: 6,
            ..Config::default()
        };
        let mut now = Now { time: Time::ZERO, wall: WallTime::from_unix_ms(WALL_MS) };
        let identity = Identity { uri: link_peer(0).uri };
        let mut peer = Peer::new(config, identity, Start { incarnation: 1, ..Start::default() }, now);
        settle(&mut peer, now, true);
        for step in steps {
            match step {
                Step::Up(link, number, ours) => peer.handle(now, Input::LinkUp(LinkUp {
                    link: LinkId(link),
                    opened: if ours { Opened::Dialled(OpId(u64::from(number))) } else { Opened::Accepted },
                    peer: link_peer(number),
                    address: Address::new("x:1"),
                    rung: Rung::Stream,
                })),
                Step::Down(link) => {
                    peer.handle(now, Input::LinkDown { link: LinkId(link), reason: String::new() });
                }
                Step::Hello(link) => {
                    let frame = Frame { sequence: 1, ack: 0, ack_bits: 0, message: hello() };
                    peer.handle(now, Input::Frame { link: LinkId(link), frame, bytes: 1 });
                }
                Step::Frame(link, sequence, ack, message) => {
                    let frame = Frame { sequence, ack, ack_bits: ack.rotate_left(7), message };
                    peer.handle(now, Input::Frame { link: LinkId(link), frame, bytes: 1 });
                }
                Step::Bad(link) => {
                    peer.handle(now, Input::BadFrame { link: LinkId(link), error: String::new() });
                }
                Step::Pass(us, good) => {
                    settle(&mut peer, now, good);
                    now.time = now.time + Duration::from_micros(us);
                    now.wall = WallTime::from_unix_ms(WALL_MS + now.time.as_micros() / 1000);
                    for _ in 0..100 {
                        if peer.poll_deadline().is_none_or(|(at, _)| at > now.time) { break }
                        peer.handle(now, Input::Tick);
                        settle(&mut peer, now, good);
                    }
                    let late = peer.poll_deadline().is_some_and(|(at, _)| at <= now.time);
                    prop_assert!(!late, "a deadline never passes: {:?}", peer.timers);
                }
                Step::Submit(bytes) => peer.handle(now, Input::Submit(Submit {
                    token: 1,
                    register: String::new(),
                    body: Arc::new(Body::new(Bytes::from(vec![0; bytes]))),
                    idempotency_key: String::new(),
                })),
                Step::Shutdown(leaving) => peer.handle(now, Input::Shutdown { leaving }),
            }
            prop_assert!(peer.links.len() <= 6 + 32);
            prop_assert!(peer.roster.len() <= 5);
            prop_assert!(peer.bodies.len() <= 6);
            prop_assert!(peer.dialling <= 32);
        }
        settle(&mut peer, now, true);
        prop_assert!(peer.ops.is_empty(), "every effect was answered: {:?}", peer.ops);
        prop_assert_eq!(peer.admission.len(), 0);
    }
}
