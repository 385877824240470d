//! `skep-registry`: what `skep registry` executes.

use std::process::ExitCode;

fn main() -> ExitCode {
    skep_registry::words::main()
}
