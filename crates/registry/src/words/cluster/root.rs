//! `skep registry root`: the token CA that a registry trusts.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use skep_client::{Change, lookup};
use skep_core::base::{Exit, Failure, Label, Name, SecretBytes, SecretId};
use skep_program::{Screen, WaitArgs, Way, WayArgs};

use super::act::Act;
use super::ends::ends_label;
use super::keys::{Root, now};
use super::site::{ENDS, Site, registry_name};
use crate::words::written::Written;

/// What takes the place of what.
const KEY: &str = "ca.key";
const CERTIFICATE: &str = "root.crt";

/// The token CA, whose certificate a registry trusts
#[derive(Debug, Subcommand)]
pub(in crate::words) enum RootCommand {
    /// Draw another token CA, for when its key or a signing key may be known to others
    ///
    /// Tokens are signed as before until `signer rotate` draws a key below the new one. Have
    /// the registry trust the certificate that this writes before that, and the old one no more
    /// afterwards.
    #[command(after_help = "Examples:
  skep registry root rotate web --out web-next")]
    Rotate(RootRotateArgs),
}

#[derive(Args, Debug)]
pub(in crate::words) struct RootRotateArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// A new folder for root.crt, which the registry is to trust
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

pub(super) async fn run(screen: &mut Screen, command: RootCommand) -> Result<(), Failure> {
    let RootCommand::Rotate(args) = command;
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let bug = |error: &dyn std::fmt::Display| Failure::new(Exit::Bug, error);
    let root = Root::draw(&site.name, now()?).map_err(|error| bug(&error))?;
    let mut act = Act::default();
    for (part, text) in [(KEY, root.key.as_str()), (CERTIFICATE, root.certificate.as_str())] {
        let view = site.made(&mut way, part).await?;
        let id: SecretId = lookup::id(&view.id).map_err(|error| error.failure())?;
        act.update(id, view.current, SecretBytes::copy_of(text.as_bytes()));
        if part == CERTIFICATE {
            let put = Label::new(ENDS, &ends_label(root.ends_s)).map_err(|error| bug(&error))?;
            act.change(Change::LabelSecret { id, put: vec![put], gone: Vec::new() });
        }
    }
    // On the disk before the act: nobody else could read it afterwards.
    let mut written = Written::of(&args.out, &[(CERTIFICATE.to_owned(), root.certificate)])?;
    let look = format!("skep secret versions {}.{CERTIFICATE}", site.name);
    let applied = act.apply(&mut way, &look).await;
    if applied.as_ref().err().is_none_or(|failure| failure.exit == Exit::Unknown) {
        written.keep();
    }
    let revision = applied?;
    screen.data(site.name.as_str())?;
    for next in steps(&site.name, &args.out) {
        screen.say(&format!("next: {next}"));
    }
    // Where it is placed nowhere, nobody is waited for.
    let ca = site.ca(&mut way).await?.map(|id| id.as_bytes().to_vec());
    way.wait(screen, args.wait, revision, ca.into_iter().collect(), false).await
}

/// What is left to do, in this order.
fn steps(name: &Name, out: &Path) -> [String; 3] {
    let out = out.display();
    [
        format!("add {out}/{CERTIFICATE} to the registry's rootcertbundle, and start it again"),
        format!("run `skep exec --service {name}.ca -- skep registry signer rotate {name}`"),
        format!(
            "five minutes later: leave {out}/{CERTIFICATE} alone in the rootcertbundle, and start \
             the registry again"
        ),
    ]
}
