//! `skep-docker`: what `skep docker-api` and `skep compose` execute.

use std::process::ExitCode;

use locked_pages::Wiping;

/// What libraries copied of a value ends when its memory is given back.
#[global_allocator]
static MEMORY: Wiping = Wiping;

fn main() -> ExitCode {
    skep_docker::words::main()
}
