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
