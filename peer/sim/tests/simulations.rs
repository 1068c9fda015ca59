//! Whole simulations of the shipping core, small enough for every test run.

use std::time::Duration;

use sorcha_peer_sim::network::Conditions;
use sorcha_peer_sim::plant::Plant;
use sorcha_peer_sim::report::ReachReport;
use sorcha_peer_sim::scenario::cells;
use sorcha_peer_sim::scenario::reach::{Faults, Reach};
use sorcha_peer_sim::scenario::soak::Soak;
use sorcha_peer_sim::scenario::soak::mix::Mix;
use sorcha_peer_sim::world::Settings;

fn reach(peers: usize) -> Reach {
    Reach {
        peers,
        transactions: 5,
        warm_up: 5,
        body_bytes: 1024,
        spacing: 1_000_000,
        repair_rounds: 1,
        cold: false,
        warm_start: false,
        faults: Faults::default(),
        conditions: Conditions::default(),
        settings: Settings::default(),
    }
}

fn soak(seed: u64, seeds: u64, planted: Option<Plant>) -> Soak {
    Soak {
        seed,
        seeds,
        peers: Some(8),
        seconds: 20,
        mix: None,
        planted,
        trace: None,
        settings: Settings::default(),
    }
}

/// What must hold wherever nothing fails.
fn holds_everything(report: &ReachReport) {
    assert_eq!(report.accepted, 5, "{report:?}");
    assert_eq!(report.incomplete, 0, "{report:?}");
    assert!((report.reach_3_s - 1.0).abs() < f64::EPSILON, "{report:?}");
    assert!(report.evidence.is_empty(), "{report:?}");
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let run = |seed| {
        let mut scenario = reach(12);
        scenario.settings.seed = seed;
        let report = scenario.run();
        (report.trace, report.events)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn one_seed_gives_one_trace_whatever_goes_wrong() {
    let run = || {
        let mut scenario = reach(40);
        scenario.conditions.drop = 0.1;
        scenario.faults =
            Faults { nat: 0.2, withholding: 0.1, churn_per_minute: 3.0, newcomers: 0.1, ..Faults::default() };
        let report = scenario.run();
        assert!(report.replaced > 5, "{report:?}");
        (report.trace, report.events)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_small_network_sends_to_all_and_holds_everything() {
    let report = reach(5).run();
    holds_everything(&report);
    assert_eq!(report.hops_max, 1, "below the grid everyone is sent to directly: {report:?}");
}

#[test]
fn sixty_peers_hold_everything_over_the_grid_for_about_one_copy_each() {
    let report = reach(60).run();
    holds_everything(&report);
    assert!(report.copies_sent < 1.3, "{report:?}");
    assert!(report.hops_max <= 3, "{report:?}");
}

#[test]
fn a_cold_start_finds_everybody() {
    let mut scenario = reach(12);
    scenario.cold = true;
    holds_everything(&scenario.run());
}

#[test]
fn what_is_dropped_is_repaired() {
    let mut scenario = reach(30);
    scenario.conditions.drop = 0.2;
    // Frames of reconciliation are dropped too.
    scenario.repair_rounds = 6;
    let report = scenario.run();
    assert_eq!((report.accepted, report.incomplete), (5, 0), "{report:?}");
}

#[test]
fn a_large_body_reaches_everybody_in_chunks() {
    let mut scenario = reach(8);
    scenario.body_bytes = 100_000;
    scenario.conditions.bandwidth_bps = 100_000_000;
    let report = scenario.run();
    assert_eq!((report.accepted, report.incomplete), (5, 0), "{report:?}");
}

#[test]
fn what_must_hold_holds_under_random_faults() {
    let report = soak(1, 4, None).run().expect("no file is written");
    let violations: Vec<_> = report.runs.iter().map(|run| (&run.reproduce, &run.violations)).collect();
    assert!(!report.failed(), "{violations:#?}");
    assert!(report.runs.iter().all(|run| run.acknowledged > 0), "{report:?}");
}

#[test]
fn a_file_of_faults_is_played_and_named_in_the_command() {
    let mix = Mix { peers: 5, seconds: 15, restore_every_seconds: 3.0, leave: true, ..Mix::default() };
    let scenario = Soak { mix: Some(("some/mix.yaml".into(), mix)), ..soak(3, 1, None) };
    let report = scenario.run().expect("no file is written");
    assert!(!report.failed(), "{report:#?}");
    let run = &report.runs[0];
    assert!(run.faults["disks restored"] > 0 && run.faults.len() == 1, "{:?}", run.faults);
    assert_eq!(run.reproduce, "sorcha-peer-sim soak --seed 3 --seeds 1 --file some/mix.yaml");
}

/// Plants that show in every small run; `sorcha-peer-sim plants` has all of them.
#[test]
fn the_checker_catches_planted_faults() {
    for plant in [
        Plant::AnswerBeforeDurable,
        Plant::BodyAltered,
        Plant::OmittedSync,
        Plant::KeysForgotten,
        Plant::SwallowedLinkDown,
        Plant::LostRetry,
    ] {
        let report = soak(1, 6, Some(plant)).run().expect("no file is written");
        let caught = report.caught();
        assert!(caught.is_some(), "{plant:?} was not caught: {report:#?}");
        let run = report.runs.last().expect("one ran");
        assert!(run.reproduce.contains(&format!("--plant {}", plant.as_str())), "{run:?}");
        assert!(!run.violations[0].last_events.is_empty(), "{run:?}");
    }
}

#[test]
fn peers_that_cannot_be_dialled_send_and_receive_below_the_grid_and_in_it() {
    for peers in [9, 40] {
        let mut scenario = reach(peers);
        scenario.faults.nat = 0.5;
        let report = scenario.run();
        holds_everything(&report);
        assert!(report.copies_sent < 1.6, "{report:?}");
        assert!(report.hops_max <= 3, "{report:?}");
    }
}

#[test]
fn peers_that_pass_nothing_on_do_not_keep_it_from_the_others() {
    let mut scenario = reach(60);
    scenario.faults.withholding = 0.2;
    let report = scenario.run();
    assert_eq!((report.accepted, report.incomplete), (5, 0), "{report:?}");
    assert!(report.copies_sent < 2.2, "{report:?}");
}

#[test]
fn views_that_differ_cost_little() {
    let mut scenario = reach(60);
    scenario.faults.views = 0.1;
    let report = scenario.run();
    assert_eq!((report.accepted, report.incomplete), (5, 0), "{report:?}");
    assert!(report.copies_sent < 1.6, "{report:?}");
}

/// Mean bytes of a push.
fn push_bytes(report: &ReachReport) -> f64 {
    let push = report.kinds.iter().find(|kind| kind.kind == "push").expect("there are pushes");
    push.bytes_per_peer / push.frames_per_peer
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are the point")]
fn certificates_by_reference_halve_small_pushes() {
    let run = |references_after| {
        let mut scenario = reach(60);
        scenario.body_bytes = 256;
        scenario.settings.through_wire = true;
        scenario.settings.config.references_after = references_after;
        let report = scenario.run();
        holds_everything(&report);
        report
    };
    let (whole, referring) = (run(None), run(Some(Duration::ZERO)));
    let (before, after) = (push_bytes(&whole), push_bytes(&referring));
    println!("a push of 256 bytes takes {before:.0} bytes whole, {after:.0} by reference");
    assert!(after < 0.55 * before, "{after:.0} of {before:.0} bytes");
    assert!(referring.copies_sent < 1.01 * whole.copies_sent, "{referring:?}");
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are the point")]
fn newcomers_and_those_who_do_not_know_a_record_lose_nothing_to_references() {
    for (cold, views, newcomers) in [(true, 0.0, 0.0), (true, 0.0, 0.3), (false, 0.2, 0.0)] {
        let mut scenario = reach(40);
        scenario.cold = cold;
        scenario.repair_rounds = 2;
        (scenario.faults.views, scenario.faults.newcomers) = (views, newcomers);
        scenario.settings.through_wire = true;
        scenario.settings.config.references_after = Some(Duration::ZERO);
        let report = scenario.run();
        assert_eq!((report.accepted, report.incomplete), (5, 0), "{report:?}");
        assert!(views > 0.0 || report.evidence.is_empty(), "{report:?}");
        println!(
            "{:.0} bytes a push, {:.2} copies, evidence {:?}",
            push_bytes(&report),
            report.copies_sent,
            report.evidence
        );
    }
}

#[test]
fn a_warm_start_makes_the_links_that_the_network_would_have_made() {
    let run = |warm_start, nat| {
        let mut scenario = reach(60);
        scenario.faults.nat = nat;
        scenario.warm_start = warm_start;
        scenario.run()
    };
    for nat in [0.0, 0.3] {
        let (warm, linked) = (run(true, nat), run(false, nat));
        holds_everything(&warm);
        assert!((warm.links_mean / linked.links_mean - 1.0).abs() < 0.1, "{warm:?}\n{linked:?}");
        assert!((warm.copies_sent / linked.copies_sent - 1.0).abs() < 0.1, "{warm:?}\n{linked:?}");
        assert!(warm.conditions.warm_start && !linked.conditions.warm_start);
        assert_eq!(warm.trace, run(true, nat).trace);
    }
}

#[test]
fn every_scenario_file_can_be_read() {
    let directories = ["scenarios/reach", "scenarios/quick"].map(std::path::PathBuf::from);
    let cells = cells::read(&directories).expect("they are good");
    assert!(cells.len() > 100, "{}", cells.len());
    let bar = cells.iter().find(|cell| cell.reach.peers == 10_000).and_then(|cell| cell.bars.p95_ms);
    assert_eq!(bar, Some(215.0));
}
