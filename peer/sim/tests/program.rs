//! The program as people call it: exit codes, sentences, forms of output.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sorcha-peer-sim")).args(args).output().expect("the program starts")
}

#[test]
fn a_bad_argument_exits_2_and_says_flag_value_and_range() {
    let output = sim(&["reach", "--peers", "1"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("--peers") && text.contains("'1'") && text.contains("2..=20000"), "{text}");
}

#[test]
fn help_names_every_flag_and_exits_0() {
    let output = sim(&["reach", "--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for flag in ["--peers", "--transactions", "--drop", "--dead", "--nat", "--tcp-loss", "--seed", "--output"]
    {
        assert!(text.contains(flag), "{flag} is missing in:\n{text}");
    }
}

#[test]
fn json_and_yaml_carry_what_the_table_shows() {
    let args = |form| ["reach", "--peers", "3", "--transactions", "1", "--warm-up", "0", "-o", form];
    let json = sim(&args("json"));
    assert_eq!(json.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("the output is JSON");
    assert_eq!(json["conditions"]["peers"], 3);
    let trace = json["trace"].as_str().expect("the trace is a text").to_owned();
    for form in ["yaml", "table"] {
        let text = String::from_utf8(sim(&args(form)).stdout).expect("the output is UTF-8");
        assert!(text.contains(&trace), "{form}:\n{text}");
    }
}

#[test]
fn a_scenario_file_is_run_judged_and_drawn_and_a_bad_one_is_refused() {
    let directory = std::env::temp_dir().join(format!("sorcha-sim-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let (file, picture) = (directory.join("a.yaml"), directory.join("a.svg"));
    let (file_text, picture_text) = (file.display().to_string(), picture.display().to_string());
    let good = "name: tiny\npeers: [3]\ndelayMs: [20]\ntransactions: 1\nwarmUp: 0\nseeds: 2\nrepairRounds: 0\n\
                bars: [{ p95Ms: BAR }]\n";
    for (bar, code, says) in [("500", 0, "met (<= 500 ms)"), ("1", 1, "MISSED: p95")] {
        std::fs::write(&file, good.replace("BAR", bar)).expect("it is written");
        let output = sim(&["reach", "--scenario", &file_text, "--check", "--picture", &picture_text]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(says) && text.contains("tiny"), "{text}");
        let svg = std::fs::read_to_string(&picture).expect("it is drawn");
        assert!(svg.starts_with("<svg") && svg.contains("tiny, 3 peers, 20 ms"), "{svg}");
    }
    std::fs::write(&file, good.replace("seeds", "seed")).expect("it is written");
    let output = sim(&["reach", "--scenario", &file_text]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("a.yaml") && text.contains("did you mean seeds?"), "{text}");
    std::fs::remove_dir_all(&directory).expect("it is removed");
}

#[test]
fn a_violated_property_exits_1_and_prints_the_command() {
    let output =
        sim(&["soak", "--seed", "3", "--seeds", "1", "--seconds", "5", "--plant", "answer-before-durable"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let command = "sorcha-peer-sim soak --seed 3 --seeds 1 --seconds 5 --plant answer-before-durable";
    assert!(text.contains(command), "{text}");
}

#[test]
fn two_processes_make_the_same_run_of_one_seed_and_write_the_same_trace() {
    let directory = std::env::temp_dir().join(format!("sorcha-sim-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let run = |name: &str| {
        let file = directory.join(name);
        let file = file.to_str().expect("a UTF-8 path");
        let args = ["soak", "--seed", "5", "--seeds", "1", "--seconds", "5", "--peers", "8", "--trace", file];
        let output = sim(&[args.as_slice(), &["-o", "json"]].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the output is JSON");
        (report["runs"][0]["trace"].clone(), std::fs::read(file).expect("the trace was written"))
    };
    let (one, other) = (run("one"), run("other"));
    std::fs::remove_dir_all(&directory).expect("removed");
    assert!(one.0.is_string() && !one.1.is_empty());
    assert!(one == other, "{} and {}", one.0, other.0);
}

#[test]
fn a_mix_that_is_printed_runs_as_its_seed_does_and_an_unknown_field_is_refused() {
    let directory = std::env::temp_dir().join(format!("sorcha-mix-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("mix.yaml");
    let path = file.to_str().expect("a UTF-8 path");
    let seed = ["soak", "--seed", "4", "--seeds", "1"];
    let small = ["--seconds", "5", "--peers", "8"];
    std::fs::write(&file, sim(&[seed.as_slice(), &small, &["--print-mix"]].concat()).stdout)
        .expect("written");
    let trace = |more: &[&str]| {
        let output = sim(&[seed.as_slice(), more, &["-o", "json"]].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the output is JSON");
        report["runs"][0]["trace"].as_str().map(str::to_owned)
    };
    assert_eq!(trace(&["--file", path]), trace(&small));
    std::fs::write(&file, "crashEveryMinutes: 3\n").expect("written");
    let refused = sim(&["soak", "--file", path]);
    std::fs::remove_dir_all(&directory).expect("removed");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("crashEveryMinutes") && text.contains(path), "{text}");
}
