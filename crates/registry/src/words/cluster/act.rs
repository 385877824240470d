//! One command is one act: secrets with their values, services, grants, all or none.

use skep_client::{Change, Draft, Drawn, NewVersion, apply, apply_sealed};
use skep_core::base::{
    Dice, Exit, Failure, Label, Labels, Name, SecretBytes, SecretId, ServiceId, Target,
};
use skep_core::domain::GrantAsked;

use skep_program::Way;

/// One step of it, whose value is sealed on the way.
#[derive(Debug)]
enum Step {
    Create { id: SecretId, name: Name, labels: Labels, forward_only: bool },
    Update { id: SecretId, expect: u32 },
    Plain(Change),
}

/// Changes that are applied together or not at all.
#[derive(Debug, Default)]
pub(super) struct Act {
    steps: Vec<Step>,
    drafts: Vec<Draft>,
}

/// Who owns a file that a service gets; root's, and for everybody in the workload, unless said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FileOf {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mode: Option<u32>,
    /// Whether the service's processes may write the next value too.
    pub(super) write: Option<bool>,
}

impl Act {
    /// A new secret of this registry.
    pub(super) fn create(
        &mut self,
        dice: &mut dyn Dice,
        name: &str,
        labels: &[(&str, &str)],
        value: SecretBytes,
    ) -> Result<SecretId, Failure> {
        self.add(dice, (name, labels), value.into(), false)
    }

    /// One of which no older version is ever in force again: by what it says somebody is let in.
    pub(super) fn create_forward_only(
        &mut self,
        dice: &mut dyn Dice,
        name: &str,
        labels: &[(&str, &str)],
        value: SecretBytes,
    ) -> Result<SecretId, Failure> {
        self.add(dice, (name, labels), value.into(), true)
    }

    /// One with what is public of its value.
    pub(super) fn create_key(
        &mut self,
        dice: &mut dyn Dice,
        name: &str,
        labels: &[(&str, &str)],
        drawn: Drawn,
    ) -> Result<SecretId, Failure> {
        self.add(dice, (name, labels), drawn, false)
    }

    fn add(
        &mut self,
        dice: &mut dyn Dice,
        (name, labels): (&str, &[(&str, &str)]),
        drawn: Drawn,
        forward_only: bool,
    ) -> Result<SecretId, Failure> {
        let bad = |error| Failure::new(Exit::Usage, error).hint("choose a shorter name");
        let name = name.parse::<Name>().map_err(bad)?;
        let labels = labels.iter().map(|(key, value)| Label::new(key, value));
        let labels = labels.collect::<Result<Vec<_>, _>>().and_then(Labels::new).map_err(bad)?;
        let id = SecretId::draw(dice);
        self.steps.push(Step::Create { id, name, labels, forward_only });
        let Drawn { value, public } = drawn;
        self.drafts.push(Draft { secret: id, value, public });
        Ok(id)
    }

    /// A new value, refused unless the secret still has this version.
    pub(super) fn update(&mut self, id: SecretId, expect: u32, value: SecretBytes) {
        self.update_key(id, expect, Drawn { value, public: None });
    }

    /// The same, with what is public of the value.
    pub(super) fn update_key(&mut self, id: SecretId, expect: u32, drawn: Drawn) {
        self.steps.push(Step::Update { id, expect });
        let Drawn { value, public } = drawn;
        self.drafts.push(Draft { secret: id, value, public });
    }

    /// A change without a value.
    pub(super) fn change(&mut self, change: Change) {
        self.steps.push(Step::Plain(change));
    }

    /// A grant under this file name.
    pub(super) fn grant(
        &mut self,
        service: ServiceId,
        secret: SecretId,
        target: &str,
        of: FileOf,
    ) -> Result<(), Failure> {
        let target = target.parse::<Target>();
        let target = target
            .map_err(|error| Failure::new(Exit::Usage, error).hint("give another file name"))?;
        let FileOf { uid, gid, mode, write } = of;
        let grant = GrantAsked { secret, target, uid, gid, mode, pin: None, write, replace: false };
        self.change(Change::Grant { service, grant });
        Ok(())
    }

    /// Applies it; `look` says how one finds out what came of it. Answers the revision.
    pub(super) async fn apply(self, way: &mut Way, look: &str) -> Result<u64, Failure> {
        let steps = self.steps;
        let changes = |versions: Vec<NewVersion>| {
            let mut versions = versions.into_iter();
            let change = |step: &Step| {
                Some(match step {
                    Step::Create { id, name, labels, forward_only } => Change::CreateSecret {
                        id: *id,
                        name: name.clone(),
                        labels: labels.clone(),
                        forward_only: *forward_only,
                        version: versions.next()?,
                    },
                    Step::Update { id, expect } => Change::UpdateSecret {
                        id: *id,
                        expect: Some(*expect),
                        version: versions.next()?,
                    },
                    Step::Plain(change) => change.clone(),
                })
            };
            steps.iter().filter_map(change).collect::<Vec<Change>>()
        };
        let Way { link, dice, .. } = way;
        if self.drafts.is_empty() {
            let plain = changes(Vec::new());
            let applied = apply(link, dice, look, &plain).await;
            return applied.map(|reply| reply.revision).map_err(|error| error.failure());
        }
        let applied = apply_sealed(link, dice, look, &self.drafts, changes).await;
        applied.map(|reply| reply.revision).map_err(|error| error.failure())
    }
}
