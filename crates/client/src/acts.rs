//! Acts: changes that are applied together or not at all. Values are sealed here, in the
//! client, and opened only by agents (P5).

use skep_core::base::{
    ClusterId, Dice, Exit, RequestId, SecretBytes, SecretId, SentKey, VersionId, limits,
};
use skep_core::domain::{self, PublicPart};
use skep_core::seal::{
    DataKey, IntakeAgreement, IntakePublic, SealError, ValueContext, open_value, seal_value,
};
use skep_core::wire::{api, convert};

use crate::error::CallError;
use crate::link::{CallKind, Control, Link};

/// What is meant: the core's change, a value's key still as it is sent to the leader.
pub type Change = domain::Change<SentKey>;
/// A version as it is sealed here.
pub type NewVersion = domain::NewVersion<SentKey>;

/// A value and the secret that it becomes a version of.
#[derive(Debug)]
pub struct Draft {
    /// The secret, drawn here if it is new.
    pub secret: SecretId,
    /// 1 byte to 512,000 bytes.
    pub value: SecretBytes,
    /// What is public of it.
    pub public: Option<PublicPart>,
}

/// Seals the values for the intake key, makes changes of them and applies these as
/// one act. Where the intake key was retired on the way, all is sealed again.
///
/// `look` is how a person finds out what came of it, in the caller's words.
///
/// First under the same request id: if the act was done and its answer lost, that
/// answers so. Only what was surely refused is asked under another one.
///
/// # Errors
/// [`CallError`].
pub async fn apply_sealed(
    link: &mut Link,
    dice: &mut dyn Dice,
    look: &str,
    drafts: &[Draft],
    changes_of: impl Fn(Vec<NewVersion>) -> Vec<Change>,
) -> Result<api::ApplyReply, CallError> {
    let mut intake = match link.intake() {
        Some(intake) => intake,
        None => intake_of(link).await?,
    };
    let (first, second) = (RequestId::draw(dice), RequestId::draw(dice));
    let mut refused = None;
    for request in [first, first, second] {
        let sealed = seal_all(link, dice, &intake, drafts).map_err(CallError::NotSealed)?;
        let failure = match apply_as(link, look, request, &changes_of(sealed)).await {
            Err(CallError::Answered(failure)) if failure.exit == Exit::Refused => failure,
            other => return other,
        };
        // Refused for good, unless the key was another one by then.
        let newer = intake_of(link).await?;
        if refused.is_none() && newer.number == intake.number {
            return Err(CallError::Answered(failure));
        }
        (intake, refused) = (newer, Some(failure));
    }
    Err(refused.map_or(CallError::Bug("a value was never sent"), CallError::Answered))
}

/// Applies changes as one act, under a request id of its own.
///
/// # Errors
/// [`CallError`].
pub async fn apply(
    link: &mut Link,
    dice: &mut dyn Dice,
    look: &str,
    changes: &[Change],
) -> Result<api::ApplyReply, CallError> {
    let request = RequestId::draw(dice);
    apply_as(link, look, request, changes).await
}

async fn apply_as(
    link: &mut Link,
    look: &str,
    request: RequestId,
    changes: &[Change],
) -> Result<api::ApplyReply, CallError> {
    if changes.len() > limits::CHANGES {
        return Err(CallError::TooManyChanges(changes.len()));
    }
    let changes = changes.iter().filter_map(convert::write_change).collect();
    let request = api::ApplyRequest { request_id: request.as_bytes().to_vec(), changes };
    let kind = CallKind::Repeatable(look.to_owned());
    link.call(kind, request, async |mut client: Control, request| client.apply(request).await).await
}

async fn intake_of(link: &mut Link) -> Result<IntakePublic, CallError> {
    let request = api::IntakeRequest {};
    let send = async |mut client: Control, request| client.intake(request).await;
    let reply = link.call(CallKind::Read, request, send).await?;
    if let Some(own) = link.fingerprint()
        && own.0.as_slice() != reply.fingerprint
    {
        return Err(CallError::OtherCluster);
    }
    let intake = convert::read_intake(&reply).map_err(|_bad| CallError::Malformed("intake"))?;
    link.keep_intake(intake);
    Ok(intake)
}

/// Seals values, all under what the connection agreed on.
fn seal_all(
    link: &mut Link,
    dice: &mut dyn Dice,
    intake: &IntakePublic,
    drafts: &[Draft],
) -> Result<Vec<NewVersion>, SealError> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    let agreement = link.agreement(dice, intake)?;
    drafts.iter().map(|draft| seal(dice, intake.cluster, agreement, draft)).collect()
}

/// Seals one value, and opens it again: nobody else could tell that it does not open.
fn seal(
    dice: &mut dyn Dice,
    cluster: ClusterId,
    agreement: &IntakeAgreement,
    draft: &Draft,
) -> Result<NewVersion, SealError> {
    let size = u32::try_from(draft.value.len()).map_err(|_too_long| SealError::Malformed)?;
    let version = VersionId::draw(dice);
    let context = ValueContext { cluster, secret: draft.secret, version, size };
    let key = DataKey::draw(dice);
    let sealed = seal_value(dice, &key, &context, &draft.value)?;
    let opened = open_value(&key, &context, &sealed.0)?;
    if opened.expose() != draft.value.expose() {
        return Err(SealError::DoesNotOpen);
    }
    let data_key = agreement.seal(dice, &key, &context)?;
    let public = draft.public.clone();
    Ok(NewVersion { id: version, size, value: sealed, data_key, public })
}
