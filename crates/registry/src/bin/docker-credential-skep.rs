//! `docker-credential-skep`: gives docker and others a robot's password.

use std::process::ExitCode;

use locked_pages::Wiping;

/// What libraries copied of a password ends when its memory is given back.
#[global_allocator]
static MEMORY: Wiping = Wiping;

fn main() -> ExitCode {
    skep_registry::words::helper_main()
}
