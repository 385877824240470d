//! `skep registry signer`: the key that signs tokens.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use skep_client::{Change, lookup};
use skep_core::base::{Exit, Failure, Label, Name, SecretBytes, SecretId};
use skep_core::wire::api::SecretView;
use zeroize::Zeroizing;

use super::act::Act;
use super::ends::ends_label;
use super::keys::{Signer, now};
use super::site::{ENDS, Site, registry_name};
use super::usage;
use crate::words::file::read_text;
use skep_program::Screen;
use skep_program::{WaitArgs, Way, WayArgs};

/// Bytes of a key or certificate.
const TEXT: usize = 16 * 1024;

/// The key that signs tokens
#[derive(Debug, Subcommand)]
pub(in crate::words) enum SignerCommand {
    /// Sign with another key from now on; tokens of the one before stay good to their end
    ///
    /// It reads the token CA's key, which the service NAME.ca alone is granted: place that
    /// service on one node, and run this there as a workload of it.
    #[command(after_help = "Examples:
  skep service update --node-add n1 web.ca
  skep exec --service web.ca -- skep registry signer rotate web")]
    Rotate(RotateArgs),
}

#[derive(Args, Debug)]
pub(in crate::words) struct RotateArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// Where ca.key and root.crt are
    #[arg(long, value_name = "DIR", default_value = "/run/secrets")]
    secrets: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

pub(super) async fn run(screen: &mut Screen, command: SignerCommand) -> Result<(), Failure> {
    let SignerCommand::Rotate(args) = command;
    let RotateArgs { registry, secrets, wait, way } = args;
    let ca_key = Zeroizing::new(read_text(&secrets.join("ca.key"), TEXT)?);
    let root = read_text(&secrets.join("root.crt"), TEXT)?;
    let next = Signer::next(&registry, now()?, &ca_key, &root).map_err(|error| {
        usage(
            format!("{}: {error}", secrets.display()),
            "run it as a workload of the registry's `.ca` service",
        )
    })?;
    let mut way = Way::open(screen, way)?;
    let site = Site::find(&mut way, registry).await?;
    let mut act = Act::default();
    // Key and certificate change together: no server ever sees one without the other.
    for (part, text) in [("signer.key", next.key.as_str()), ("signer.crt", next.leaf.as_str())] {
        let name = format!("{}.{part}", site.name);
        let view: Option<SecretView> =
            lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())?;
        let view = view.ok_or_else(|| {
            let hint = "`skep secret ls` lists what is there";
            Failure::new(Exit::Refused, format!("there is no secret {name}")).hint(hint)
        })?;
        let id: SecretId = lookup::id(&view.id).map_err(|error| error.failure())?;
        act.update(id, view.current, SecretBytes::copy_of(text.as_bytes()));
        if part == "signer.crt" {
            let ends = Label::new(ENDS, &ends_label(next.ends_s));
            let put = ends.map_err(|error| Failure::new(Exit::Bug, error))?;
            act.change(Change::LabelSecret { id, put: vec![put], gone: Vec::new() });
        }
    }
    let look = format!("skep secret versions {}.signer.crt", site.name);
    let revision = act.apply(&mut way, &look).await?;
    screen.data(site.name.as_str())?;
    way.wait(screen, wait, revision, vec![site.auth.as_bytes().to_vec()], false).await
}
