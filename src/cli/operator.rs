//! An operator's connection for programs that act many times: one mTLS
//! connection, kept and made anew where the leader moves, with the same rules
//! for trying again as the commands have. Values are sealed here as they are by
//! `skep secret create`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use skep_core::base::{BoxedKey, Failure, Labels, Name, SecretBytes, SecretId, VersionId};
use skep_core::domain;
use skep_core::wire::api::{ApplyReply, HolderView, SecretView, ServiceView};

use super::client::Link;
use super::lookup;
use super::problem::Trouble;
use super::sealing::{Change, Draft, NewVersion, apply, apply_sealed};
use super::settings::ClientSettings;
use super::shell::{Screen, Shell};

/// An identity's connection to the managers.
///
/// What a call that failed came to is its [`Failure::exit`]: `Unreachable`,
/// nothing was done; `Unknown`, it may have been done; anything else, it was
/// refused.
pub struct Operator {
    shell: Shell,
    link: Link,
    sent: Vec<VersionId>,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operator")
    }
}

/// A trouble that was told on the screen has no more to say here.
fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Failed(failure) => failure,
        Trouble::Told(exit) => Failure::new(exit, "it was not done"),
    }
}

impl Operator {
    /// With the identity in this file, to `hosts` (none: those that the identity
    /// names). Nothing is connected yet; each call takes `timeout` at most.
    ///
    /// # Errors
    /// Where the file is no identity.
    pub fn new(identity: &Path, hosts: Vec<String>, timeout: Duration) -> Result<Self, Failure> {
        let nowhere = || Box::new(std::io::sink());
        let screen = Screen::captured(nowhere(), nowhere());
        let mut shell = Shell { screen, ..Shell::real() };
        let settings = ClientSettings::of_identity(identity, hosts, timeout);
        let link = Link::new(settings, &mut shell.screen).map_err(failure)?;
        Ok(Self { shell, link, sent: Vec::new() })
    }

    /// Ids of the versions in the act sent last: by them one finds out what came
    /// of it, should its outcome be unknown.
    #[must_use]
    pub fn sent(&self) -> &[VersionId] {
        &self.sent
    }

    /// Creates a secret.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn create(&mut self, name: &Name, value: SecretBytes) -> Result<SecretId, Failure> {
        let id = SecretId::draw(&mut *self.shell.dice);
        let create = |version| {
            let (name, labels) = (name.clone(), Labels::default());
            Change::CreateSecret { id, name, labels, version }
        };
        let drafts = [Draft { secret: id, value }];
        let each = |versions: Vec<NewVersion>| versions.into_iter().map(create).collect();
        self.seal("skep secret ls", &drafts, each).await?;
        Ok(id)
    }

    /// Gives each of these secrets a new version, in one act, and answers their
    /// numbers.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn update(
        &mut self,
        values: impl IntoIterator<Item = (SecretId, SecretBytes)>,
    ) -> Result<Vec<u32>, Failure> {
        use skep_core::wire::api::changed::Of;
        let draft = |(secret, value)| Draft { secret, value };
        let drafts: Vec<Draft> = values.into_iter().map(draft).collect();
        let ids: Vec<SecretId> = drafts.iter().map(|draft| draft.secret).collect();
        let each = |versions: Vec<NewVersion>| {
            let update = |(id, version): (&SecretId, _)| Change::UpdateSecret {
                id: *id,
                expect: None,
                version,
            };
            ids.iter().zip(versions).map(update).collect()
        };
        let reply = self.seal("skep secret versions", &drafts, each).await?;
        let number = |changed: &skep_core::wire::api::Changed| match &changed.of {
            Some(Of::Version(added)) => Some(added.number),
            _ => None,
        };
        Ok(reply.changed.iter().filter_map(number).collect())
    }

    async fn seal(
        &mut self,
        look: &str,
        drafts: &[Draft],
        changes_of: impl Fn(Vec<NewVersion>) -> Vec<Change>,
    ) -> Result<ApplyReply, Failure> {
        let sent = std::cell::RefCell::new(Vec::new());
        let noted = |versions: Vec<NewVersion>| {
            *sent.borrow_mut() = versions.iter().map(|version| version.id).collect();
            changes_of(versions)
        };
        let applied = apply_sealed(&mut self.shell, &mut self.link, look, drafts, noted).await;
        self.sent = sent.into_inner();
        applied.map_err(failure)
    }

    /// Applies changes without values as one act, and answers its revision.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn apply(&mut self, changes: &[domain::Change<BoxedKey>]) -> Result<u64, Failure> {
        let look = "skep service ls";
        let applied = apply(&mut self.shell, &mut self.link, look, changes).await;
        applied.map(|reply| reply.revision).map_err(failure)
    }

    /// All secrets, without their values; `stale`: as the manager asked knows them.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn secrets(&mut self, stale: bool) -> Result<Vec<SecretView>, Failure> {
        lookup::all(&mut self.link, stale).await.map_err(failure)
    }

    /// One secret, by its full id or name.
    ///
    /// # Errors
    /// [`Failure`]; `Refused` where there is none.
    pub async fn secret(&mut self, what: &str) -> Result<SecretView, Failure> {
        lookup::exact(&mut self.link, what).await.map_err(failure)
    }

    /// One service, by its full id or name.
    ///
    /// # Errors
    /// [`Failure`]; `Refused` where there is none.
    pub async fn service(&mut self, what: &str) -> Result<ServiceView, Failure> {
        lookup::exact(&mut self.link, what).await.map_err(failure)
    }

    /// Who holds a secret, or may still.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn holders(&mut self, secret: SecretId) -> Result<Vec<HolderView>, Failure> {
        lookup::holders(&mut self.link, secret.as_bytes(), false).await.map_err(failure)
    }
}
