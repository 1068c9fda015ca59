//! `sorcha-operator`: the command line lives in [`sorcha_operator::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sorcha_operator::cli::main()
}
