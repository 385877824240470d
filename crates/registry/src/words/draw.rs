//! `skep-registry draw-openpgp`, which `skep secret create --generate openpgp` runs: a key to a
//! pipe. It is no command of people's, and is not in the help.

use std::io::{self, Write as _};

use clap::Args;
use rustix::fs::{FileType, fstat};
use skep_client::machine::OsDice;
use skep_core::base::{Exit, Failure};
use skep_program::harden;

use super::cluster::now_s;
use crate::rules::signing::openpgp::OpenPgpKey;

/// Draw a key of OpenPGP to a pipe
#[derive(Args, Debug)]
pub(super) struct DrawArgs {
    /// Whose key it says that it is
    #[arg(value_name = "USER_ID")]
    user_id: String,
}

/// Writes the private key and behind it the public one, both as ASCII armour.
pub(super) fn openpgp(args: &DrawArgs) -> Result<(), Failure> {
    let out = io::stdout();
    let is_pipe =
        fstat(&out).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    if !is_pipe {
        let text = "a private key is written to a pipe alone";
        let hint = "`skep secret create NAME --generate openpgp` keeps it where it belongs";
        return Err(Failure::new(Exit::Usage, text).hint(hint));
    }
    harden(16).map_err(|error| {
        Failure::new(Exit::MachineLimit, format!("cannot protect this process: {error}"))
    })?;
    let key = OpenPgpKey::draw(&args.user_id, now_s(), &mut OsDice);
    let key = key.map_err(|bad| Failure::new(Exit::Usage, bad).hint("choose a shorter name"))?;
    let text = key.text().map_err(|bad| Failure::new(Exit::Bug, bad))?;
    let mut out = out.lock();
    let written = out
        .write_all(text.expose())
        .and_then(|()| out.write_all(key.public_text().as_bytes()))
        .and_then(|()| out.flush());
    written.map_err(|error| Failure::new(Exit::WriteFailed, format!("the pipe: {error}")))
}
