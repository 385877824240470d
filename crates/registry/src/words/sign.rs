//! `skep registry sign`: one image by hand, the signer as a process, or one that is asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use skep_client::machine::SystemClock;
use skep_core::base::{Exit, Failure, Name};
use skep_program::Screen;

use super::cluster::{registry_name, runtime};
use super::probe;
use super::remote::{self, AskerArgs};
use super::serving::{self, machine};
use crate::proto::place::WebPlace;
use crate::proto::sign::{SignAnswer, SignAsked, SignRefused, annotations};
use crate::rules::image::{ImageRef, is_of_digest};
use crate::rules::shown;
use crate::work::{AgentAt, Anchors, Door, SignDesk, serve_signer};

/// Sign an image by the keys that a service was granted, serve that, or ask a server
///
/// Run it under the agent, as a workload of the service NAME.sign: each key is
/// opened when it signs, and that is on record. What is signed is what the tag is
/// at in the registry; where IMAGE names a digest, the tag must be at that.
///
/// With --server it has no key: it asks a server for a signature, as this machine's
/// robot or --user, and IMAGE names its registry. Name the digest of what was built:
/// without it the registry is asked what the tag is at.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep exec --service web.sign -- skep registry sign web team/app:1.0
  skep registry sign --server https://sign.example.com:5002 \\
      registry.example.com/team/app:1.0
  skep exec --service web.sign --user skep-registry -- skep registry sign web --serve
  skep registry sign web --health")]
#[command(override_usage = "skep registry sign [OPTIONS] <NAME> <IMAGE|--serve|--health>
       skep registry sign [OPTIONS] --server <URL> <IMAGE>")]
#[command(group = clap::ArgGroup::new("what").args(["image", "serve", "health", "server"]).required(true))]
pub(super) struct SignArgs {
    /// The registry's name, as it was set up; with --server the image instead of it
    #[arg(value_name = "NAME")]
    name: String,
    /// The image: REPOSITORY:TAG[@DIGEST], with --server HOST[:PORT]/REPOSITORY:TAG[@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// Say this beside the signatures, as KEY=VALUE; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    #[arg(conflicts_with_all = ["serve", "health"])]
    annotation: Vec<(String, String)>,
    /// Ask this server to sign, at `https://HOST[:PORT]`
    #[arg(long, value_name = "URL", value_parser = server)]
    #[arg(conflicts_with_all = ["listen", "secrets", "stale_limit", "audit"])]
    server: Option<WebPlace>,
    #[command(flatten)]
    asker: AskerArgs,
    /// Sign for whoever shows a token of the token server
    #[arg(long)]
    serve: bool,
    /// Where to listen; off loopback only with tls.key and tls.crt
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5002")]
    listen: SocketAddr,
    /// The folder that the agent fills
    #[arg(long, value_name = "DIR", default_value = "/run/secrets")]
    secrets: PathBuf,
    /// Sign nothing where no manager has confirmed the files for so long
    #[arg(long, value_name = "TIME", value_parser = serving::stale_limit)]
    stale_limit: Option<Duration>,
    /// Write what is signed to this file; may be given several times
    #[arg(long, value_name = "FILE")]
    audit: Vec<PathBuf>,
    /// This machine's agent, by which managers hear of the record
    #[arg(long, value_name = "PATH", env = "SKEP_AGENT", hide_env_values = true)]
    #[arg(default_value = "/run/skep/agent.sock")]
    agent_socket: PathBuf,
    /// Ask the server at --listen whether it could sign, and end
    #[arg(long)]
    health: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or_else(|| "is written KEY=VALUE".to_owned())?;
    let pair = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    annotations(&pair)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Where a signer is, as it was typed.
fn server(text: &str) -> Result<WebPlace, String> {
    let place = WebPlace::read(text).ok().filter(|place| place.path() == "/");
    place.ok_or_else(|| "is written https://HOST[:PORT]".to_owned())
}

/// Signs, asks for it, or serves until it is asked to end.
///
/// # Errors
/// What a process ends with.
pub(super) fn run(screen: &mut Screen, mut args: SignArgs) -> Result<(), Failure> {
    if let Some(server) = args.server.take() {
        return runtime()?.block_on(ask(screen, args, server));
    }
    if args.asker.is_said() {
        let text = "--ca, --plain-http and --user say how a server is asked";
        let hint = "name it with --server URL; sign.toml says how a signer asks";
        return Err(Failure::new(Exit::Usage, text).hint(hint));
    }
    let name = registry_name(&args.name).map_err(|bad| {
        let text = format!("{}: {bad}", shown(&args.name));
        Failure::new(Exit::Usage, text).hint("NAME is what the registry was set up as")
    })?;
    let image = args.image.as_deref().map(image).transpose()?;
    let (runtime, connections) = serving::prepare()?;
    if args.health {
        let said = "nothing can be signed";
        return runtime.block_on(probe::ask(args.listen, &args.secrets, said));
    }
    runtime.block_on(async {
        match image {
            Some(image) => by_hand(screen, args, &name, image).await,
            None => serve(args, &name, connections).await,
        }
    })
}

fn usage(text: String, hint: &str) -> Failure {
    Failure::new(Exit::Usage, text).hint(hint)
}

/// A repository and a tag, and what the tag must be at.
fn tagged(text: &str, hint: &str) -> Result<ImageRef, Failure> {
    let read = shown(text);
    let image: ImageRef = text.parse().map_err(|bad| usage(format!("{read} {bad}"), hint))?;
    match &image.tag {
        Some(tag) if !is_of_digest(tag) => Ok(image),
        Some(_) => Err(usage(format!("{read} is where signatures are kept"), hint)),
        None => Err(usage(format!("{read} names no tag, and signatures name one"), hint)),
    }
}

/// One in the signer's own registry.
fn image(text: &str) -> Result<ImageRef, Failure> {
    let hint = "for example team/app:1.0; the registry is that of the service";
    let image = tagged(text, hint)?;
    if image.host.is_some() {
        return Err(usage(format!("{} names a registry", shown(text)), hint));
    }
    Ok(image)
}

/// Has a server sign, which knows the keys and whose they are.
async fn ask(screen: &mut Screen, args: SignArgs, server: WebPlace) -> Result<(), Failure> {
    let hint = "for example registry.example.com/team/app:1.0";
    let image = tagged(&args.name, hint)?;
    let names_none = || usage(format!("{} names no registry", shown(&args.name)), hint);
    let host = image.host.ok_or_else(names_none)?;
    let (mut registry, _) = args.asker.open(screen, host, Some(&server))?;
    let (repository, tag) = (image.repository, image.tag.unwrap_or_default());
    let digest = if let Some(digest) = image.digest {
        digest
    } else {
        let there = registry.repository(&repository, "pull").manifest(&tag).await;
        let there = there.map_err(|error| remote::failure(&error))?;
        let missing = || {
            let hint = "push it first; `skep registry tags --help` says how to list tags";
            let text = format!("{} is not there", shown(&args.name));
            Failure::new(Exit::Refused, text).hint(hint)
        };
        there.ok_or_else(missing)?.digest
    };
    let annotations = args.annotation.into_iter().collect();
    let asked = SignAsked { repository, tag, digest, annotations };
    let signed = registry.have_signed(&server, &asked).await;
    tell(screen, &signed.map_err(|error| remote::failure(&error))?)
}

/// A line for each signature.
fn tell(screen: &mut Screen, signed: &SignAnswer) -> Result<(), Failure> {
    for made in &signed.signatures {
        screen.data(&format!("{}  {}  {}", made.digest, made.form, made.key))?;
    }
    screen.say(&format!("{}@{} is signed", shown(&signed.reference), signed.digest));
    Ok(())
}

fn desk(args: &SignArgs, name: &Name) -> Result<(SignDesk, Anchors), Failure> {
    let limit = args.stale_limit.map(|limit| limit.as_secs());
    let clock = Arc::new(SystemClock);
    let record = serving::record(&args.audit, name, clock.clone())?;
    let (reached, service) = (record.reached(), serving::service(name, "sign")?);
    let anchors = Anchors::new(AgentAt { socket: args.agent_socket.clone(), service }, reached);
    let desk = SignDesk::open(args.secrets.clone(), limit, clock, record);
    Ok((desk.map_err(|error| machine("cannot start", &error))?, anchors))
}

async fn by_hand(
    screen: &mut Screen,
    args: SignArgs,
    name: &Name,
    image: ImageRef,
) -> Result<(), Failure> {
    let (desk, mut anchors) = desk(&args, name)?;
    let (repository, tag) = (image.repository, image.tag.unwrap_or_default());
    let annotations = args.annotation.into_iter().collect();
    let named = image.digest;
    let asked = {
        let (repository, tag) = (repository.clone(), tag.clone());
        move |found| SignAsked { repository, tag, digest: named.unwrap_or(found), annotations }
    };
    let signed = desk.sign_by_hand(asked, (&repository, &tag)).await;
    desk.close().await;
    anchors.end().await;
    tell(screen, &signed.map_err(|refused| failure(&refused))?)
}

async fn serve(args: SignArgs, name: &Name, connections: usize) -> Result<(), Failure> {
    let ended = serving::ended()?;
    let (desk, mut anchors) = desk(&args, name)?;
    let desk = Arc::new(desk);
    let ready = desk.ready().await.is_ok();
    let tls = desk.has_certificate();
    let listener = serving::listen(name, args.listen, (tls, ready)).await?;
    let serving = serve_signer(Door { listener, tls, connections }, Arc::clone(&desk), ended);
    let served = tokio::select! {
        served = serving => served,
        never = anchors.keep() => match never {},
    };
    desk.close().await;
    anchors.end().await;
    served.map_err(|error| machine("cannot serve", &error))?;
    tracing::info!(event = "ended");
    Ok(())
}

/// What is wrong, and what to do.
fn failure(refused: &SignRefused) -> Failure {
    let (exit, hint) = match refused {
        SignRefused::Invalid(_) => (Exit::Usage, "`skep registry sign --help` has examples"),
        SignRefused::NoSuchImage(_) => {
            (Exit::Refused, "push it first; `skep registry tags --help` says how to list tags")
        }
        SignRefused::Moved(_) => (Exit::Refused, "sign what the tag is at now, or another tag"),
        SignRefused::Unsignable(_) => {
            (Exit::Refused, "sign.toml binds keys to repositories; the registry keeps the rest")
        }
        SignRefused::Upstream(_) => {
            (Exit::Unreachable, "does the registry run, and may the signer's robot push there?")
        }
        SignRefused::Unavailable(_) => (
            Exit::Configuration,
            "run it as a workload of the service NAME.sign: `skep exec --service NAME.sign -- ...`",
        ),
        SignRefused::Unauthorized(_)
        | SignRefused::Denied(_)
        | SignRefused::NoSuchPath
        | SignRefused::NoSuchMethod
        | SignRefused::TooLarge
        | SignRefused::SlowDown => (Exit::Refused, "`skep registry sign --help` has examples"),
    };
    Failure::new(exit, refused).hint(hint)
}
