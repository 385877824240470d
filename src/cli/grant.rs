//! `skep service grant` and `skep service revoke`.

use super::acts::{self, Named};
use super::args::{GrantArgs, RevokeArgs};
use super::link::link;
use super::names::name;
use super::placed::{say_placed, wait_for};
use super::problem::Trouble;
use super::shell::Shell;
use super::spec;
use super::wait::{self, Concerned};
use skep_client::{Change, lookup};
use skep_core::base::{Revision, SecretId, ServiceId, Target};
use skep_core::domain::GrantAsked;
use skep_core::wire::api::{SecretView, ServiceView};

/// What is not said is left out: managers know what stands.
pub(super) async fn grant(shell: &mut Shell, args: GrantArgs) -> Result<(), Trouble> {
    let mode = args.mode.as_deref().map(spec::mode).transpose()?;
    let pin = args.pin.as_deref().map(spec::pin).transpose()?;
    let typed = args.secrets.iter().map(|text| Ok((text, spec::grant(text)?)));
    let typed = typed.collect::<Result<Vec<_>, Trouble>>()?;
    let mut link = link(shell, args.client)?;
    let service: ServiceView = lookup::exact(&mut link, &args.service).await?;
    let id: ServiceId = lookup::id(&service.id)?;
    let mut changes = Vec::new();
    for (text, (what, target)) in typed {
        let secret: SecretView = lookup::exact(&mut link, what).await?;
        let target = match target {
            Some(target) => target,
            None => Target::from(&name(&secret.name)?),
        };
        let secret: SecretId = lookup::id(&secret.id)?;
        let (uid, gid, replace, write) = (args.uid, args.gid, args.replace, args.write);
        let grant = GrantAsked { secret, target, uid, gid, mode, pin, write, replace };
        let change = Change::Grant { service: id, grant };
        changes.push(Named { name: text.clone(), change });
    }
    let look = format!("skep service inspect {}", args.service);
    let revision = acts::apply_all(shell, &mut link, &look, &changes, false).await?;
    say_placed(shell, &mut link, &id.to_string()).await;
    wait_for(shell, &mut link, args.wait, revision, vec![service.id]).await
}

/// Takes secrets, each under all its targets or under one.
pub(super) async fn revoke(shell: &mut Shell, args: RevokeArgs) -> Result<(), Trouble> {
    let typed = args.secrets.iter().map(|text| Ok((text, spec::grant(text)?)));
    let typed = typed.collect::<Result<Vec<_>, Trouble>>()?;
    let mut link = link(shell, args.client)?;
    let service: ServiceView = lookup::exact(&mut link, &args.service).await?;
    let id: ServiceId = lookup::id(&service.id)?;
    let mut changes: Vec<Named> = Vec::new();
    for (text, (what, target)) in typed {
        let secret: SecretView = lookup::exact(&mut link, what).await?;
        let change = Change::Revoke { service: id, secret: lookup::id(&secret.id)?, target };
        // What is named twice is taken once.
        if !changes.iter().any(|named| named.change == change) {
            changes.push(Named { name: text.clone(), change });
        }
    }
    let look = format!("skep service inspect {}", args.service);
    let revision = acts::apply_all(shell, &mut link, &look, &changes, false).await?;
    let taken = Concerned::taken_from(vec![service.id]);
    wait::delivered(shell, &mut link, args.wait, Revision(revision), taken).await
}
