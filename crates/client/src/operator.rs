//! An operator's connection for programs that act many times: one mTLS
//! connection, kept and made anew where the leader moves, with the same rules
//! for trying again as the commands have. Values are sealed here as they are by
//! `skep secret create`.

use std::fmt;
use std::time::Duration;

use crate::acts::{Change, Draft, NewVersion, apply, apply_sealed};
use crate::ca::{CaError, Identity};
use crate::error::CallError;
use crate::link::Link;
use crate::lookup;
use crate::machine::OsDice;
use skep_core::base::{Labels, Name, SecretBytes, SecretId, VersionId};
use skep_core::wire::api::{ApplyReply, HolderView, SecretView, ServiceView};

/// An identity's connection to the managers.
///
/// What a call that failed came to is its [`CallError::exit`]: `Unreachable`,
/// nothing was done; `Unknown`, it may have been done; anything else, it was
/// refused.
pub struct Operator {
    dice: OsDice,
    link: Link,
    sent: Vec<VersionId>,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operator")
    }
}

impl Operator {
    /// With this identity, to `hosts` (none: those that the identity names). Nothing is
    /// connected yet; each call takes `timeout` at most.
    ///
    /// # Errors
    /// Where the identity's certificates are not sound.
    pub fn new(
        identity: &Identity,
        hosts: Vec<String>,
        timeout: Duration,
    ) -> Result<Self, CaError> {
        let mut link = Link::to_managers(identity, hosts, timeout)?;
        link.renew_in_time();
        Ok(Self { dice: OsDice, link, sent: Vec::new() })
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
    /// [`CallError`].
    pub async fn create(&mut self, name: &Name, value: SecretBytes) -> Result<SecretId, CallError> {
        let id = SecretId::draw(&mut self.dice);
        let create = |version| {
            let (name, labels) = (name.clone(), Labels::default());
            Change::CreateSecret { id, name, labels, forward_only: false, version }
        };
        let drafts = [Draft { secret: id, value, public: None }];
        let each = |versions: Vec<NewVersion>| versions.into_iter().map(create).collect();
        self.seal("skep secret ls", &drafts, each).await?;
        Ok(id)
    }

    /// Gives each of these secrets a new version, in one act, and answers their
    /// numbers.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn update(
        &mut self,
        values: impl IntoIterator<Item = (SecretId, SecretBytes)>,
    ) -> Result<Vec<u32>, CallError> {
        use skep_core::wire::api::changed::Of;
        let draft = |(secret, value)| Draft { secret, value, public: None };
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
        let reply = self.seal("skep secret ls", &drafts, each).await?;
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
    ) -> Result<ApplyReply, CallError> {
        let sent = std::cell::RefCell::new(Vec::new());
        let noted = |versions: Vec<NewVersion>| {
            *sent.borrow_mut() = versions.iter().map(|version| version.id).collect();
            changes_of(versions)
        };
        let applied = apply_sealed(&mut self.link, &mut self.dice, look, drafts, noted).await;
        self.sent = sent.into_inner();
        applied
    }

    /// Applies changes without values as one act, and answers its revision.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn apply(&mut self, changes: &[Change]) -> Result<u64, CallError> {
        let look = "skep service ls";
        let applied = apply(&mut self.link, &mut self.dice, look, changes).await;
        applied.map(|reply| reply.revision)
    }

    /// All secrets, without their values; `stale`: as the manager asked knows them.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn secrets(&mut self, stale: bool) -> Result<Vec<SecretView>, CallError> {
        lookup::all(&mut self.link, stale).await
    }

    /// One secret, by its full id or name.
    ///
    /// # Errors
    /// [`CallError`]; `Refused` where there is none.
    pub async fn secret(&mut self, what: &str) -> Result<SecretView, CallError> {
        lookup::exact(&mut self.link, what).await
    }

    /// One service, by its full id or name.
    ///
    /// # Errors
    /// [`CallError`]; `Refused` where there is none.
    pub async fn service(&mut self, what: &str) -> Result<ServiceView, CallError> {
        lookup::exact(&mut self.link, what).await
    }

    /// Who holds a secret, or may still.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn holders(&mut self, secret: SecretId) -> Result<Vec<HolderView>, CallError> {
        lookup::holders(&mut self.link, secret.as_bytes(), false).await.map(|(holders, _)| holders)
    }
}
