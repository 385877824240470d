//! Waiting for those who are granted what has changed.

use super::args::WaitArgs;
use super::problem::Trouble;
use super::shell::Shell;
use super::wait::{self, Concerned};
use skep_client::{Link, lookup};
use skep_core::base::{Revision, SecretId};
use skep_core::wire::api::{SecretView, ServiceView};

/// Services looked up one by one; of more, the whole list is asked for.
const FEW: usize = 8;

/// Waits until the services that are granted these secrets have what is due.
pub(super) async fn wait_for_services_of(
    shell: &mut Shell,
    link: &mut Link,
    wait: WaitArgs,
    revision: u64,
    secrets: &[SecretId],
) -> Result<(), Trouble> {
    if wait.detach {
        return Ok(());
    }
    let mut interrupt = wait::Interrupt::listen()?;
    let found = tokio::select! {
        found = services_of(link, secrets) => found,
        () = interrupt.comes() => return Err(wait::interrupted().into()),
    };
    let services = match found {
        Ok(services) => services,
        Err(Trouble::Failed(failure)) => {
            let failure = skep_core::base::Failure {
                exit: skep_core::base::Exit::NotConfirmed,
                text: format!("committed, but who is concerned is not known: {}", failure.text),
                hint: failure.hint,
            };
            return Err(failure.into());
        }
        Err(told @ Trouble::Told(_)) => return Err(told),
    };
    let secrets = secrets.iter().map(|id| id.as_bytes().to_vec()).collect();
    let concerned = if services.is_empty() {
        Concerned::default()
    } else {
        Concerned { services, secrets, ..Concerned::default() }
    };
    let revision = Revision(revision);
    wait::delivered_unless(shell, link, revision, concerned, &mut interrupt).await
}

async fn services_of(link: &mut Link, secrets: &[SecretId]) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut names = std::collections::BTreeSet::new();
    for secret in secrets {
        let view: SecretView = lookup::one(link, &secret.to_string(), false).await?;
        names.extend(view.services);
    }
    if names.len() > FEW {
        let all: Vec<ServiceView> = lookup::all(link, false).await?;
        let granted = all.into_iter().filter(|service| names.contains(&service.name));
        return Ok(granted.map(|service| service.id).collect());
    }
    let mut ids = Vec::new();
    for name in names {
        let view: ServiceView = lookup::one(link, &name, false).await?;
        ids.push(view.id);
    }
    Ok(ids)
}
