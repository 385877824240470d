//! Acts of an import, several under way: each line to the managers has a thread of its own, for
//! a value is sealed here and that takes most of the time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use skep_client::machine::OsDice;
use skep_client::{CallError, Change, Draft, Link, apply_sealed};
use skep_core::base::{Exit, Failure, Labels, Name, SecretBytes, SecretId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How a person finds out what came of it.
const LOOK: &str = "skep secret ls";

/// A secret to be made, or to get a new value.
pub(super) struct Item {
    pub(super) name: Name,
    pub(super) value: SecretBytes,
    /// The one that is there.
    pub(super) known: Option<SecretId>,
}

/// What is applied together.
pub(super) struct Act(pub(super) Vec<Item>);

/// What came of an act.
pub(super) enum Told {
    /// It is done: so many secrets, and the revision.
    Done(usize, u64),
    /// It is not, or not known to be.
    Failed(Box<Failure>),
}

/// Sends acts over these lines. The first that fails lets none begin after it; those that are under
/// way then are told of still.
pub(super) fn start(
    links: Vec<Link>,
    acts: Vec<Act>,
    labels: &Labels,
) -> Result<UnboundedReceiver<Told>, Failure> {
    let queue = Arc::new(Mutex::new(VecDeque::from(acts)));
    let (told, hear) = unbounded_channel();
    for mut link in links {
        let (queue, told, labels) = (Arc::clone(&queue), told.clone(), labels.clone());
        let work = move || send(&mut link, &queue, &told, &labels);
        std::thread::Builder::new().name("import".to_owned()).spawn(work).map_err(|error| {
            Failure::new(Exit::MachineLimit, format!("cannot start a thread: {error}"))
        })?;
    }
    Ok(hear)
}

fn send(
    link: &mut Link,
    queue: &Mutex<VecDeque<Act>>,
    told: &UnboundedSender<Told>,
    labels: &Labels,
) {
    let failed = |failure| told.send(Told::Failed(Box::new(failure))).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let text = format!("cannot wait for sockets: {error}");
            failed(Failure::new(Exit::MachineLimit, text));
            return;
        }
    };
    loop {
        let Some(act) = queue.lock().pop_front() else { return };
        let count = act.0.len();
        match runtime.block_on(apply(link, act, labels)) {
            // Nobody hears it only where the command has ended.
            Ok(revision) => told.send(Told::Done(count, revision)).ok(),
            Err(error) => {
                queue.lock().clear();
                failed(error.failure())
            }
        };
    }
}

async fn apply(link: &mut Link, act: Act, labels: &Labels) -> Result<u64, CallError> {
    let mut dice = OsDice;
    let (mut drafts, mut names) = (Vec::new(), Vec::new());
    for Item { name, value, known } in act.0 {
        let secret = known.unwrap_or_else(|| SecretId::draw(&mut dice));
        drafts.push(Draft { secret, value, public: None });
        names.push((secret, name, known.is_some()));
    }
    let changes = |versions: Vec<_>| {
        let of = |((id, name, known), version): (&(SecretId, Name, bool), _)| {
            if *known {
                return Change::UpdateSecret { id: *id, expect: None, version };
            }
            let (name, labels) = (name.clone(), labels.clone());
            Change::CreateSecret { id: *id, name, labels, forward_only: false, version }
        };
        names.iter().zip(versions).map(of).collect()
    };
    Ok(apply_sealed(link, &mut dice, LOOK, &drafts, changes).await?.revision)
}
