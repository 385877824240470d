//! `skep registry policy`: what clients demand of a registry's images, from the public halves of
//! its keys. Managers know those; no private key is looked at.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use skep_client::lookup;
use skep_core::base::{Exit, Failure, Name, SecretBytes, SecretId};
use skep_core::wire::api::{SecretView, ServiceView};
use skep_program::{Screen, WaitArgs, Way, WayArgs};

use super::act::{Act, FileOf};
use super::ends::{KEY_DAYS, days_left, now_s, until};
use super::key::{SIGN_KEY, public_of};
use super::site::{self, KIND, REGISTRY, Site, registry_name};
use crate::rules::shown;
use crate::rules::signing::cosign_key::CosignPublic;
use crate::rules::signing::key::{BadKey, PublicKey};
use crate::rules::signing::openpgp::Certificate;
use crate::rules::signing::policy::{Written as Demanded, registries_d};
use crate::words::written::Written;

/// Bytes of an address.
const URL: usize = 512;
/// What a host's service gets: the label `kind` of the secret, and its file.
const POLICY: &str = "policy.json";

/// Write what clients demand of a registry's images: policy.json, registries.d and public keys
///
/// In it are the public halves of all versions that are kept of the registry's keys, so
/// that images stay good whose key was rotated. An image then needs a signature of
/// `OpenPGP`, and with --sigstore one of cosign's beside it. Everything that is not of
/// this registry is rejected.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry policy web --out policy \\
      --lookaside https://sign.example.com:5002/sigstore
  skep registry policy web --service web-policy \\
      --lookaside https://sign.example.com:5002/sigstore")]
pub(in crate::words) struct PolicyArgs {
    /// The registry
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// The new folder that files are written to
    #[arg(long, value_name = "DIR", required_unless_present = "service")]
    out: Option<PathBuf>,
    /// Where signatures of OpenPGP are asked for: NAME.sign, at /sigstore
    #[arg(long, value_name = "URL", value_parser = address)]
    lookaside: Option<String>,
    /// Demand a signature of cosign's too: older readers take one such key at most
    #[arg(long)]
    sigstore: bool,
    /// A service of hosts that gets policy and registries.d as files, and newer ones when this is
    /// typed again
    #[arg(long, value_name = "SERVICE")]
    service: Option<Name>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

/// An address, as it was typed.
fn address(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let sound = |c: char| c.is_ascii_graphic() && !"\"'\\<>{}|^`?#".contains(c);
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if text.len() <= URL && text.chars().all(sound) && !host.is_empty() && !host.contains('@') {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err("is written https://HOST[:PORT]/sigstore".to_owned())
}

/// The public halves of a registry's keys.
#[derive(Debug, Default)]
struct Halves {
    openpgp: Vec<Certificate>,
    cosign: Vec<CosignPublic>,
}

impl Halves {
    /// Of all versions that are kept, by the names of their secrets; each once.
    fn of(screen: &mut Screen, keys: &[SecretView], now_s: u64) -> Self {
        let (mut halves, mut known) = (Self::default(), BTreeSet::new());
        for (view, version) in
            keys.iter().flat_map(|view| std::iter::repeat(view).zip(&view.versions))
        {
            let Some(key) = public_of(version) else {
                screen.say(&format!(
                    "warning: {}, version {}: its public half is none that signs",
                    view.name, version.number
                ));
                continue;
            };
            if !known.insert(key.fingerprint()) {
                continue;
            }
            // Clients look at the end themselves, and take nothing from then on.
            let ends = key.ends_s().filter(|end| days_left(*end, now_s).unwrap_or(0) < KEY_DAYS);
            if let Some(end) = ends {
                screen.say(&format!(
                    "warning: {}, version {}: {}, and then nothing that it signed counts",
                    view.name,
                    version.number,
                    until(end, now_s)
                ));
            }
            match key {
                PublicKey::Cosign(key) => halves.cosign.push(key),
                PublicKey::OpenPgp(key) => halves.openpgp.push(*key),
            }
        }
        halves
    }

    /// Each as a file of its own kind.
    fn files(&self) -> Result<Vec<(String, String)>, BadKey> {
        let mut files = Vec::new();
        if !self.openpgp.is_empty() {
            let keys: Result<Vec<String>, BadKey> =
                self.openpgp.iter().map(Certificate::text).collect();
            files.push(("openpgp.asc".to_owned(), keys?.concat()));
        }
        let keys = self.cosign.iter().enumerate();
        files.extend(keys.map(|(at, key)| (format!("cosign-{}.pub", at + 1), key.text())));
        Ok(files)
    }
}

pub(super) async fn run(screen: &mut Screen, args: PolicyArgs) -> Result<(), Failure> {
    let mut way = Way::open(screen, args.way)?;
    let site = Site::find(&mut way, args.registry).await?;
    let host = site.host()?;
    let mut keys = site.accounts(&mut way, SIGN_KEY).await?;
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    let halves = Halves::of(screen, &keys, now_s());
    if halves.openpgp.is_empty() && (halves.cosign.is_empty() || !args.sigstore) {
        let text = format!("the registry {} has no key that a policy could demand", site.name);
        let hint = format!(
            "`skep registry key create {} NAME --kind openpgp` draws one; with --sigstore \
             cosign's do",
            site.name
        );
        return Err(Failure::new(Exit::Refused, text).hint(hint));
    }
    if args.sigstore && halves.cosign.len() > 1 {
        screen.say("warning: skopeo 1.9.3 reads no policy with several keys of cosign's");
    }
    if args.lookaside.is_none() && !halves.openpgp.is_empty() {
        screen.say("warning: without --lookaside clients look for signatures on their own disks");
    }
    let bug = |bad: BadKey| Failure::new(Exit::Bug, bad);
    let demanded = Demanded {
        host: host.as_str(),
        openpgp: &halves.openpgp,
        cosign: &halves.cosign,
        sigstore: args.sigstore,
    };
    let policy = demanded.policy().map_err(bug)?;
    let places = registries_d(host.as_str(), args.lookaside.as_deref(), args.sigstore);
    if let Some(out) = &args.out {
        let mut files = vec![
            (POLICY.to_owned(), policy.clone()),
            (format!("registries.d/{}.yaml", site.name), places.clone()),
        ];
        files.extend(halves.files().map_err(bug)?);
        Written::of(out, &files)?.keep();
        let shown = out.display();
        screen.data(&format!("{shown}: {} files", files.len()))?;
        screen.say(&format!(
            "next: skopeo --policy {shown}/{POLICY} --registries.d {shown}/registries.d …"
        ));
    }
    let Some(service) = args.service else { return Ok(()) };
    let view = site::service(&mut way, service.as_str()).await?;
    let view = view.ok_or_else(|| {
        let hint = format!(
            "`skep service create --activation placed --node NODE {service}` makes one of hosts"
        );
        Failure::new(Exit::Refused, format!("there is no service {service}")).hint(hint)
    })?;
    let files = [(POLICY.to_owned(), policy), (format!("{}.yaml", site.name), places)];
    let revision = give(&mut way, &site, &view, files).await?;
    screen.data(service.as_str())?;
    way.wait(screen, args.wait, revision, vec![view.id], false).await
}

/// Puts the files as secrets, or newer versions of them, and grants them, in one act.
async fn give(
    way: &mut Way,
    site: &Site,
    service: &ServiceView,
    files: [(String, String); 2],
) -> Result<u64, Failure> {
    let to = lookup::id(&service.id).map_err(|error| error.failure())?;
    let mut act = Act::default();
    for (file, text) in files {
        let part = if file == POLICY { POLICY } else { "registries.yaml" };
        let name = format!("{}.{part}", site.name);
        let value = SecretBytes::take(text.into_bytes());
        let there: Option<SecretView> =
            lookup::maybe(&mut way.link, &name).await.map_err(|error| error.failure())?;
        let secret: SecretId = match there {
            None => {
                let labels = [(REGISTRY, site.name.as_str()), (KIND, part)];
                act.create(&mut way.dice, &name, &labels, value)?
            }
            Some(view) => {
                let id = lookup::id(&view.id).map_err(|error| error.failure())?;
                act.update(id, view.current, value);
                if view.services.contains(&service.name) {
                    continue;
                }
                id
            }
        };
        act.grant(to, secret, &file, FileOf::default())?;
    }
    let look = format!("skep service inspect {}", shown(&service.name));
    act.apply(way, &look).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_itself() {
        let sound = "https://sign.example:5002/sigstore";
        assert_eq!(address(&format!("{sound}/")).as_deref(), Ok(sound));
        for bad in [
            "",
            "sign.example/sigstore",
            "https:///sigstore",
            "file:///etc",
            "https://u@h/sigstore",
            "https://h/\"x",
            "https://h/a b",
            "https://h/?x",
            &format!("https://h/{}", "x".repeat(URL)),
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
