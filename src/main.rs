//! `skep`: one binary for managers, agents and the people who talk to them.

use std::process::ExitCode;

fn main() -> ExitCode {
    skep::cli::main()
}
