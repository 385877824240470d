//! `skep registry sign`: one image by hand, or the signer as a process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use skep_client::machine::SystemClock;
use skep_core::base::{Exit, Failure, Name};
use skep_program::Screen;

use super::cluster::registry_name;
use super::probe;
use super::serving::{self, machine};
use crate::proto::sign::{SignAsked, SignRefused, annotations};
use crate::rules::image::{ImageRef, is_of_digest};
use crate::work::{Door, SignDesk, serve_signer};

/// Sign an image by the keys that this service was granted, or serve that
///
/// Run it under the agent, as a workload of the service NAME.sign: each key is
/// opened when it signs, and that is on record. What is signed is what the tag is
/// at in the registry; where IMAGE names a digest, the tag must be at that.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep exec --service web.sign -- skep registry sign web team/app:1.0
  skep exec --service web.sign --user skep-registry -- skep registry sign web --serve
  skep registry sign web --health")]
#[command(group = clap::ArgGroup::new("what").args(["image", "serve", "health"]).required(true))]
pub(super) struct SignArgs {
    /// The registry's name, as it was set up
    #[arg(value_name = "NAME", value_parser = registry_name)]
    name: Name,
    /// The image: REPOSITORY:TAG, or REPOSITORY:TAG@DIGEST
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// Say this beside the signatures, as KEY=VALUE; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, requires = "image")]
    annotation: Vec<(String, String)>,
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

/// Signs, or serves until it is asked to end.
///
/// # Errors
/// What a process ends with.
pub(super) fn run(screen: &mut Screen, args: SignArgs) -> Result<(), Failure> {
    let image = args.image.as_deref().map(image).transpose()?;
    let (runtime, connections) = serving::prepare()?;
    if args.health {
        let said = "nothing can be signed";
        return runtime.block_on(probe::ask(args.listen, &args.secrets, said));
    }
    runtime.block_on(async {
        match image {
            Some(image) => by_hand(screen, args, image).await,
            None => serve(args, connections).await,
        }
    })
}

/// A repository and a tag, and what the tag must be at.
fn image(text: &str) -> Result<ImageRef, Failure> {
    let hint = "for example team/app:1.0; the registry is that of the service";
    let usage = |why: String| Failure::new(Exit::Usage, why).hint(hint);
    let shown = crate::rules::shown(text);
    let image: ImageRef = text.parse().map_err(|bad| usage(format!("{shown} {bad}")))?;
    if image.host.is_some() {
        return Err(usage(format!("{shown} names a registry")));
    }
    match &image.tag {
        Some(tag) if !is_of_digest(tag) => Ok(image),
        Some(_) => Err(usage(format!("{shown} is where signatures are kept"))),
        None => Err(usage(format!("{shown} names no tag, and signatures name one"))),
    }
}

fn desk(args: &SignArgs) -> Result<SignDesk, Failure> {
    let limit = args.stale_limit.map(|limit| limit.as_secs());
    let clock = Arc::new(SystemClock);
    let record = serving::record(&args.audit, &args.name, clock.clone())?;
    let desk = SignDesk::open(args.secrets.clone(), limit, clock, record);
    desk.map_err(|error| machine("cannot start", &error))
}

async fn by_hand(screen: &mut Screen, args: SignArgs, image: ImageRef) -> Result<(), Failure> {
    let desk = desk(&args)?;
    let (repository, tag) = (image.repository, image.tag.unwrap_or_default());
    let annotations = args.annotation.into_iter().collect();
    let named = image.digest;
    let asked = {
        let (repository, tag) = (repository.clone(), tag.clone());
        move |found| SignAsked { repository, tag, digest: named.unwrap_or(found), annotations }
    };
    let signed = desk.sign_by_hand(asked, (&repository, &tag)).await;
    desk.close().await;
    let signed = signed.map_err(|refused| failure(&refused))?;
    for made in &signed.signatures {
        screen.data(&format!("{}  {}  {}", made.digest, made.form, made.key))?;
    }
    screen.say(&format!("{}@{} is signed", signed.reference, signed.digest));
    Ok(())
}

async fn serve(args: SignArgs, connections: usize) -> Result<(), Failure> {
    let ended = serving::ended()?;
    let desk = Arc::new(desk(&args)?);
    let ready = desk.ready().await.is_ok();
    let tls = desk.has_certificate();
    let listener = serving::listen(&args.name, args.listen, (tls, ready)).await?;
    let served = serve_signer(Door { listener, tls, connections }, Arc::clone(&desk), ended).await;
    desk.close().await;
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
