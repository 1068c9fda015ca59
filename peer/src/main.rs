//! The program `sorcha-peer`; everything is in the library.

fn main() -> std::process::ExitCode {
    sorcha_peer::cli::main()
}
