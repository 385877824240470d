//! `skep registry signer`: the key that signs tokens.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use skep_client::put::{Answering, NextValue, NotPut, put};
use skep_client::{Change, lookup};
use skep_core::base::{Exit, Failure, Label, Name, SecretBytes, SecretId, Target};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::act::Act;
use super::ends::{ends_label, life_of};
use super::keys::{LEAF_S, Signer, is_due, leaf_life, now};
use super::site::{ENDS, LIFE, Site, registry_name};
use super::{not_yet_on, usage};
use crate::words::file::read_text;
use skep_program::Screen;
use skep_program::{WaitArgs, Way, WayArgs};

/// Bytes of a key or certificate.
const TEXT: usize = 16 * 1024;
/// What is rotated.
const KEY: &str = "signer.key";
const LEAF: &str = "signer.crt";
/// How long the agent may take, for each of two questions.
const WITHIN: Duration = Duration::from_secs(25);
const AS_WORKLOAD: &str = "run it as a workload of the registry's `.ca` service";

/// The key that signs tokens
#[derive(Debug, Subcommand)]
pub(in crate::words) enum SignerCommand {
    /// Sign with another key from now on; tokens of the one before stay good to their end
    ///
    /// It reads the token CA's key, which the service NAME.ca alone is granted: place that
    /// service on one node, and run this there as a workload of it.
    /// With --by-agent it writes what it drew as that service may, and needs no operator.
    #[command(after_help = "Examples:
  skep service update --node-add n1 web.ca
  skep exec --service web.ca -- skep registry signer rotate web
  skep exec --service web.ca -- skep registry signer rotate web \\
      --by-agent --if-due")]
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
    /// How long the next certificate is good, 24h to 90d [default: as the setup said, 30d by
    /// --by-agent]
    #[arg(long, value_name = "TIME", value_parser = leaf_life)]
    leaf_life: Option<u64>,
    /// Do nothing before a third of the certificate's life is over
    #[arg(long)]
    if_due: bool,
    /// Write through this machine's agent, as NAME.ca may
    #[arg(long, conflicts_with = "detach")]
    by_agent: bool,
    /// The agent's socket
    #[arg(long, value_name = "PATH", env = "SKEP_AGENT", hide_env_values = true)]
    #[arg(default_value = "/run/skep/agent.sock")]
    agent_socket: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

pub(super) async fn run(screen: &mut Screen, command: SignerCommand) -> Result<(), Failure> {
    let SignerCommand::Rotate(args) = command;
    // Before anything of the set is read: what is written takes the place of this one.
    let generation = std::fs::read_link(args.secrets.join("..data"));
    let Some(drawn) = Drawn::by(&args)? else {
        screen.say("not due yet: nothing was changed");
        return Ok(());
    };
    if args.by_agent {
        let generation = generation.map_err(|error| {
            let text = format!("{}: no set of a service: {error}", args.secrets.display());
            usage(text, AS_WORKLOAD)
        })?;
        let next = drawn.next(args.leaf_life.unwrap_or(LEAF_S))?;
        return by_agent(screen, &args, &generation.to_string_lossy(), &next).await;
    }
    let RotateArgs { registry, leaf_life, wait, way, .. } = args;
    let mut way = Way::open(screen, way)?;
    let site = Site::find(&mut way, registry).await?;
    let [key, leaf] = [site.made(&mut way, KEY).await?, site.made(&mut way, LEAF).await?];
    let life_s = leaf_life.unwrap_or_else(|| life_of(&leaf.labels));
    let next = drawn.next(life_s)?;
    let mut act = Act::default();
    // Key and certificate change together: no server ever sees one without the other.
    for (view, text) in [(key, next.key.as_str()), (leaf, next.leaf.as_str())] {
        let id: SecretId = lookup::id(&view.id).map_err(|error| error.failure())?;
        act.update(id, view.current, SecretBytes::copy_of(text.as_bytes()));
        if text == next.leaf {
            let put = [(ENDS, ends_label(next.ends_s)), (LIFE, life_s.to_string())];
            let put = put.iter().map(|(key, value)| Label::new(key, value));
            let put = put.collect::<Result<Vec<_>, _>>();
            let put = put.map_err(|error| Failure::new(Exit::Bug, error))?;
            act.change(Change::LabelSecret { id, put, gone: Vec::new() });
        }
    }
    let look = format!("skep secret versions {}.signer.crt", site.name);
    let revision = act.apply(&mut way, &look).await?;
    screen.data(site.name.as_str())?;
    way.wait(screen, wait, revision, vec![site.auth.as_bytes().to_vec()], false).await
}

/// What the next one is drawn from.
struct Drawn {
    registry: Name,
    now: OffsetDateTime,
    ca_key: Zeroizing<String>,
    root: String,
    /// Where it was read.
    place: String,
}

impl Drawn {
    /// Reads it, unless nothing is due.
    fn by(args: &RotateArgs) -> Result<Option<Self>, Failure> {
        let (secrets, now) = (&args.secrets, now()?);
        let place = secrets.display().to_string();
        if args.if_due {
            let leaf = read_text(&secrets.join(LEAF), TEXT)?;
            let due = is_due(&leaf, now);
            if !due.map_err(|error| usage(format!("{place}: {error}"), AS_WORKLOAD))? {
                return Ok(None);
            }
        }
        let ca_key = Zeroizing::new(read_text(&secrets.join("ca.key"), TEXT)?);
        let root = read_text(&secrets.join("root.crt"), TEXT)?;
        Ok(Some(Self { registry: args.registry.clone(), now, ca_key, root, place }))
    }

    fn next(&self, life_s: u64) -> Result<Signer, Failure> {
        let Self { registry, now, ca_key, root, place } = self;
        Signer::next(registry, (*now, life_s), ca_key, root)
            .map_err(|error| usage(format!("{place}: {error}"), AS_WORKLOAD))
    }
}

/// Writes both as a workload of NAME.ca, over the set that they were drawn from.
async fn by_agent(
    screen: &mut Screen,
    args: &RotateArgs,
    generation: &str,
    next: &Signer,
) -> Result<(), Failure> {
    let bug = |error: &dyn std::fmt::Display| Failure::new(Exit::Bug, error);
    let service = format!("{}.ca", args.registry).parse::<Name>();
    let service = service.map_err(|error| bug(&error))?;
    let value = |target: &str, text: &str| {
        let target = target.parse::<Target>().map_err(|error| bug(&error))?;
        Ok::<_, Failure>(NextValue { target, value: SecretBytes::copy_of(text.as_bytes()) })
    };
    let values = [value(KEY, &next.key)?, value(LEAF, &next.leaf)?];
    let answering = Answering { within: WITHIN, wait: true };
    let done = put(&args.agent_socket, &service, Some(generation), &values, answering).await;
    let done = done.map_err(NotPut::failure)?;
    screen.data(args.registry.as_str())?;
    if done.in_place {
        return Ok(());
    }
    let text = format!("committed, but not confirmed: {}", not_yet_on(&done.waiting_for));
    let hint = "token servers there go on with the key before, until they have it";
    Err(Failure::new(Exit::NotConfirmed, text).hint(hint))
}
