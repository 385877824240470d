//! Values are sealed here, in the client, and opened only by agents (P5).

use skep_core::base::{
    BoxedKey, ClusterId, Dice, Exit, Failure, RequestId, SecretBytes, SecretId, VersionId, limits,
};
use skep_core::domain;
use skep_core::seal::{DataKey, SealError, ValueContext, open_value, seal_value};
use skep_core::wire::{api, convert};

use super::client::{Control, Kind, Link};
use super::problem::Trouble;
use super::shell::Shell;

/// What is meant: the core's change, a value's key still boxed to the intake key.
pub(super) type Change = domain::Change<BoxedKey>;
/// A version as it is sealed here.
pub(super) type NewVersion = domain::NewVersion<BoxedKey>;

/// A value and the secret that it becomes a version of.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) secret: SecretId,
    pub(super) value: SecretBytes,
}

/// Seals the values to the intake key, makes changes of them and applies these as
/// one act. Where the intake key was retired on the way, all is sealed again.
///
/// First under the same request id: if the act was done and its answer lost, that
/// answers so. Only what was surely refused is asked under another one.
pub(super) async fn apply_sealed(
    shell: &mut Shell,
    link: &mut Link,
    look: &str,
    drafts: &[Draft],
    changes_of: impl Fn(Vec<NewVersion>) -> Vec<Change>,
) -> Result<api::ApplyReply, Trouble> {
    let mut intake = match link.intake() {
        Some(intake) => intake,
        None => intake_of(link).await?,
    };
    let (first, second) = (RequestId::draw(&mut *shell.dice), RequestId::draw(&mut *shell.dice));
    let mut refused = None;
    for request in [first, first, second] {
        let sealed = drafts.iter().map(|draft| seal(&mut *shell.dice, &intake, draft));
        let sealed = sealed.collect::<Result<Vec<_>, _>>().map_err(unsealed)?;
        let failure = match apply_as(link, look, request, &changes_of(sealed)).await {
            Err(Trouble::Failed(failure)) if failure.exit == Exit::Refused => failure,
            other => return other,
        };
        // Refused for good, unless the key was another one by then.
        let newer = intake_of(link).await?;
        if refused.is_none() && newer.number == intake.number {
            return Err(failure.into());
        }
        (intake, refused) = (newer, Some(failure));
    }
    let none = || Failure::new(Exit::Bug, "a value was never sent");
    Err(refused.unwrap_or_else(none).into())
}

/// Applies changes as one act, under a request id of its own.
pub(super) async fn apply(
    shell: &mut Shell,
    link: &mut Link,
    look: &str,
    changes: &[Change],
) -> Result<api::ApplyReply, Trouble> {
    let request = RequestId::draw(&mut *shell.dice);
    apply_as(link, look, request, changes).await
}

async fn apply_as(
    link: &mut Link,
    look: &str,
    request: RequestId,
    changes: &[Change],
) -> Result<api::ApplyReply, Trouble> {
    if changes.len() > limits::CHANGES {
        let most = limits::CHANGES;
        return Err(super::problem::usage(
            format!("{} changes in one act: at most {most}", changes.len()),
            "do it in several commands",
        ));
    }
    let changes = changes.iter().filter_map(convert::write_change).collect();
    let request = api::ApplyRequest { request_id: request.as_bytes().to_vec(), changes };
    let kind = Kind::Repeatable(look.to_owned());
    link.call(kind, request, async |mut client: Control, request| client.apply(request).await).await
}

/// To what values are sealed; it is another one after a manager was removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intake {
    cluster: ClusterId,
    number: u64,
    public: [u8; 32],
}

async fn intake_of(link: &mut Link) -> Result<Intake, Trouble> {
    let request = api::IntakeRequest {};
    let send = async |mut client: Control, request| client.intake(request).await;
    let reply = link.call(Kind::Read, request, send).await?;
    if let Some(own) = link.fingerprint()
        && own.0.as_slice() != reply.fingerprint
    {
        return Err(Failure::new(Exit::Refused, "this manager is of another cluster")
            .hint("the identity names the cluster's fingerprint; check --host")
            .into());
    }
    let broken = || Trouble::from(Failure::new(Exit::Refused, "the manager's intake is malformed"));
    let intake = Intake {
        cluster: reply.cluster_id.as_slice().try_into().map_err(|_bad| broken())?,
        number: reply.number,
        public: reply.intake.as_slice().try_into().map_err(|_bad| broken())?,
    };
    link.keep_intake(intake);
    Ok(intake)
}

/// Seals one value, and opens it again: nobody else could tell that it does not open.
fn seal(dice: &mut dyn Dice, intake: &Intake, draft: &Draft) -> Result<NewVersion, SealError> {
    let size = u32::try_from(draft.value.len()).map_err(|_too_long| SealError::Malformed)?;
    let version = VersionId::draw(dice);
    let context = ValueContext { cluster: intake.cluster, secret: draft.secret, version, size };
    let key = DataKey::draw(dice);
    let sealed = seal_value(dice, &key, &context, &draft.value)?;
    let opened = open_value(&key, &context, &sealed.0)?;
    if opened.expose() != draft.value.expose() {
        return Err(SealError::DoesNotOpen);
    }
    let data_key = key.box_to_intake(dice, &intake.public, intake.number, &context)?;
    Ok(NewVersion { id: version, size, value: sealed, data_key })
}

fn unsealed(error: SealError) -> Trouble {
    Failure::new(Exit::Bug, format!("the value was not sealed: what was sealed {error}"))
        .hint("nothing was sent; this machine's memory may be faulty")
        .into()
}
