//! `skep registry import`: what another token server had, as files for Skep.

use std::path::{Path, PathBuf};

use clap::Args;
use data_encoding::HEXLOWER;
use serde_json::json;
use skep_client::machine::os_dice;
use skep_core::base::{Exit, Failure, draw};

use super::file::read_text;
use super::written::Written;
use crate::rules::import::{CONFIG_BYTES, Imported, docker_auth};
use crate::rules::shown;
use skep_program::Screen;

/// Things in the way that are shown; more are counted.
const SHOWN: usize = 100;

/// Turn another token server's configuration into files for Skep
///
/// Users, labels and rules of `docker_auth` come over. What can't is named, all of it, and
/// nothing is written then.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry import docker_auth.yml
  skep registry import /etc/docker_auth/config.yml --out new")]
pub(super) struct ImportArgs {
    /// The configuration, in YAML
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The folder to write to; it is made if it isn't there
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) out: PathBuf,
}

pub(super) fn run(screen: &mut Screen, args: &ImportArgs) -> Result<(), Failure> {
    let imported = read_docker_auth(screen, &args.file)?;
    let files = files(&imported);
    Written::private(&args.out, &files)?.keep();
    told(screen, &args.out, &imported)
}

/// What a configuration has, or all of it that can't come over.
pub(super) fn read_docker_auth(screen: &mut Screen, path: &Path) -> Result<Imported, Failure> {
    let text = read_text(path, CONFIG_BYTES)?;
    docker_auth(&text).map_err(|bad| {
        for one in bad.iter().take(SHOWN) {
            screen.say(&format!("{}: {one}", path.display()));
        }
        if let Some(more) = bad.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            screen.say(&format!("and {more} more"));
        }
        let things = if bad.len() == 1 { "1 thing" } else { &format!("{} things", bad.len()) };
        let text = format!("{things} can't come over, and nothing was written");
        let hint = "take them out of a copy once you know what takes their place: \
                    docs/registry/import.md";
        Failure::new(Exit::Refused, text).hint(hint)
    })
}

/// Names and contents.
fn files(imported: &Imported) -> Vec<(String, String)> {
    let mut dice = os_dice();
    let mut tag = || HEXLOWER.encode(&draw::<16>(&mut *dice));
    let mut files = vec![("acl.toml".to_owned(), imported.acl.clone())];
    for user in &imported.users {
        let slug = user.account.slug();
        let verifier = json!({
            "version": 1, "id": tag(), "gen": tag(), "kind": "bcrypt", "hash": user.hash,
            "overlap_s": 0,
        });
        let rights = json!({ "version": 1, "labels": user.labels });
        files.push((format!("user.{slug}"), format!("{verifier}\n")));
        files.push((format!("rights.{slug}"), format!("{rights}\n")));
    }
    files
}

fn told(screen: &mut Screen, folder: &Path, imported: &Imported) -> Result<(), Failure> {
    screen.data(&format!("{}: {} rules", folder.join("acl.toml").display(), imported.rules))?;
    for user in &imported.users {
        let (name, slug) = (shown(user.account.as_str()), user.account.slug());
        screen.data(&format!("{name}: user.{slug}, rights.{slug}"))?;
    }
    if imported.anonymous {
        screen.say("auth.toml: anonymous = true, for somebody without a name may ask");
    }
    if let Some(issuer) = &imported.issuer {
        screen.say(&format!("auth.toml: issuer = \"{}\"", shown(issuer)));
    }
    if !imported.anew.is_empty() {
        screen.say(&format!("made anew, so not taken over: {}", imported.anew.join(", ")));
    }
    Ok(())
}
