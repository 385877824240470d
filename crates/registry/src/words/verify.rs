//! `skep registry verify`: whether an image has the signatures that a policy demands.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use skep_client::machine::read_file;
use skep_core::base::{Exit, Failure};
use skep_program::Screen;

use super::cluster::{now_s, runtime};
use super::remote::{AskerArgs, failure};
use crate::proto::place::WebPlace;
use crate::rules::image::ImageRef;
use crate::rules::login::Host;
use crate::rules::shown;
use crate::rules::signing::key::KEY_BYTES;
use crate::rules::signing::policy::{Evidence, POLICY_BYTES, Policy, Reference};
use crate::work::FoundSignatures;
use crate::work::remote::beside;

/// Say whether an image has the signatures that a policy demands
///
/// The policy is a file as skopeo and podman have it (containers-policy.json). The
/// status is 0 where all that it demands is there, and 1 with the reason where not.
/// Of an image for several platforms its index is judged, as it is named.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry verify registry.example.com/team/app:1.0 --policy policy.json
  skep registry verify registry.example.com/team/app:1.0 --policy policy.json \\
      --lookaside https://sign.example.com:5002/sigstore")]
pub(super) struct VerifyArgs {
    /// The image: HOST[:PORT]/REPOSITORY:TAG, with @DIGEST where the tag must be at that
    #[arg(value_name = "IMAGE")]
    image: String,
    /// What is demanded: a file of JSON
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Ask for signatures of OpenPGP here, as skopeo does [default: in the registry]
    #[arg(long, value_name = "URL")]
    lookaside: Option<String>,
    #[command(flatten)]
    asker: AskerArgs,
}

fn usage(text: impl std::fmt::Display, hint: &str) -> Failure {
    Failure::new(Exit::Usage, text).hint(hint)
}

/// The image as it is fetched, with its registry, and as policies know it.
fn image(text: &str) -> Result<(ImageRef, Host, Reference), Failure> {
    let hint = "for example registry.example.com/team/app:1.0";
    let bad = |why: &dyn std::fmt::Display| usage(format!("{} {why}", shown(text)), hint);
    let image: ImageRef = text.parse().map_err(|why| bad(&why))?;
    let host = image.host.clone().ok_or_else(|| bad(&"names no registry"))?;
    if image.tag.is_none() && image.digest.is_none() {
        return Err(bad(&"names neither a tag nor a digest"));
    }
    // Where a tag is named the digest says what it must be at, and the signature names the tag.
    let named = if image.tag.is_some() { text.split('@').next().unwrap_or(text) } else { text };
    let reference =
        Reference::read(named).ok_or_else(|| bad(&"is no image that a policy knows"))?;
    Ok((image, host, reference))
}

fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let bytes = read_file(path, most).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "it does not exist".to_owned(),
            io::ErrorKind::FileTooLarge => format!("it is larger than {most} bytes"),
            _ => error.to_string(),
        };
        usage(format!("{}: {why}", path.display()), "name a file that you may read")
    })?;
    Ok(bytes.expose().to_vec())
}

pub(super) fn run(screen: &mut Screen, args: VerifyArgs) -> Result<(), Failure> {
    let (image, host, reference) = image(&args.image)?;
    let policy = Policy::read(&read(&args.policy, POLICY_BYTES)?).map_err(|bad| {
        let hint = "`man containers-policy.json` describes it; `skep registry policy` writes one";
        usage(format!("{}: {bad}", args.policy.display()), hint)
    })?;
    let mut files = BTreeMap::new();
    for path in policy.paths(&reference) {
        files.insert(path.to_owned(), read(Path::new(path), 4 * KEY_BYTES)?);
    }
    let lookaside = args.lookaside.as_deref().map(WebPlace::read).transpose();
    let lookaside = lookaside.map_err(|bad| usage(bad, "--lookaside https://HOST/sigstore"))?;
    runtime()?.block_on(async {
        let (mut registry, roots) = args.asker.open(screen, host, lookaside.as_ref())?;
        let mut repository = registry.repository(&image.repository, "pull");
        let digest = image.digest.map(|digest| digest.to_string());
        let at = image.tag.clone().or_else(|| digest.clone()).unwrap_or_default();
        let there = repository.manifest(&at).await.map_err(|error| failure(&error))?;
        let named = shown(&args.image);
        let there = there.ok_or_else(|| {
            let hint = "`skep registry tags --help` says how to list what is there";
            Failure::new(Exit::Refused, format!("{named} is not there")).hint(hint)
        })?;
        let digest = there.digest;
        if image.digest.is_some_and(|wanted| wanted != digest) {
            let text = format!("{named}: the tag is at {digest}");
            return Err(Failure::new(Exit::Refused, text).hint("somebody pushed another image"));
        }
        let found = FoundSignatures::in_repository(&mut repository, &digest).await;
        let mut found = found.map_err(|error| failure(&error))?;
        if let Some(at) = &lookaside {
            let served = beside(at, roots.as_ref(), &image.repository, &digest).await;
            found.openpgp = served.map_err(|error| failure(&error))?;
        }
        let (said, now_s) = (digest.to_string(), now_s());
        let (openpgp, cosign) = (found.openpgp.as_slice(), found.cosign.as_slice());
        let evidence =
            Evidence { image: &reference, digest: &said, openpgp, cosign, files: &files, now_s };
        match policy.decide(&evidence) {
            Ok(()) => screen.data(&format!("{reference} {digest}")),
            Err(denied) => {
                let text = format!("{named} is not as the policy demands: {denied}");
                let hint =
                    "who signs it: `skep registry sign --help`; what is demanded: the policy";
                Err(Failure::new(Exit::Refused, text).hint(hint))
            }
        }
    })
}
