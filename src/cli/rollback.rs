//! `skep secret rollback`.

use super::args::SecretRollbackArgs;
use super::granted::wait_for_services_of;
use super::link::link;
use super::problem::Trouble;
use super::shell::Shell;
use skep_client::{Change, apply, lookup};
use skep_core::base::{Exit, Failure, SecretId};
use skep_core::wire::api::{SecretView, changed::Of};

/// Runs it. What was seen is what is rolled back: refused where something else stands by then.
pub(super) async fn run(shell: &mut Shell, args: SecretRollbackArgs) -> Result<(), Trouble> {
    let mut link = link(shell, args.client)?;
    let secret: SecretView = lookup::exact(&mut link, &args.secret).await?;
    let id: SecretId = lookup::id(&secret.id)?;
    let to = match args.to {
        Some(to) => to,
        None => before_current(&secret)?,
    };
    let expect = Some(args.expect.unwrap_or(secret.current));
    let look = format!("skep secret versions {}", secret.name);
    let change = [Change::RollBackSecret { id, expect, to }];
    let reply = apply(&mut link, &mut *shell.dice, &look, &change).await?;
    match reply.changed.first().and_then(|changed| changed.of.as_ref()) {
        Some(Of::Version(added)) => {
            shell.screen.echo(&format!("{} {}", secret.name, added.number));
        }
        _ => shell.screen.echo(&format!("{} {}", secret.name, secret.current)),
    }
    wait_for_services_of(shell, &mut link, args.wait, reply.revision, &[id]).await
}

/// The newest version that is kept and older than the current one.
fn before_current(secret: &SecretView) -> Result<u32, Failure> {
    let numbers = secret.versions.iter().map(|version| version.number);
    // Of one that goes forward only managers say so, whatever is kept of it.
    let older = numbers.filter(|number| *number < secret.current || secret.forward_only);
    older.max().ok_or_else(|| {
        let text = format!("no older version of secret {} is kept", secret.name);
        Failure::new(Exit::Refused, text)
            .hint(format!("`skep secret versions {}` lists those that are", secret.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::wire::api::VersionView;

    fn secret(current: u32, numbers: &[u32]) -> SecretView {
        let version = |number: &u32| VersionView { number: *number, ..VersionView::default() };
        let versions = numbers.iter().map(version).collect();
        SecretView { name: "db".to_owned(), current, versions, ..SecretView::default() }
    }

    #[test]
    fn it_goes_back_by_one_that_is_kept() {
        assert_eq!(before_current(&secret(7, &[1, 4, 7])).expect("there is one"), 4);
        for none in [secret(1, &[1]), secret(4, &[4])] {
            let told = before_current(&none).expect_err("none").text;
            assert_eq!(told, "no older version of secret db is kept");
        }
        let forward = SecretView { forward_only: true, ..secret(1, &[1]) };
        assert_eq!(before_current(&forward).expect("for managers to refuse"), 1);
    }
}
