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
fn a_violated_property_exits_1_and_prints_the_command() {
    let output =
        sim(&["soak", "--seed", "3", "--seeds", "1", "--seconds", "5", "--plant", "answer-before-durable"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let command = "sorcha-peer-sim soak --seed 3 --seeds 1 --seconds 5 --plant answer-before-durable";
    assert!(text.contains(command), "{text}");
}
