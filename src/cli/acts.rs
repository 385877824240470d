//! One command is one act. What is more than an act holds is done in several, one after the
//! other, and that is said; where one of them fails, what was done by then is said too.

use super::problem::Trouble;
use super::shell::Shell;
use skep_client::{Change, Link, apply};
use skep_core::base::limits;

/// A change, and what was typed for it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// What was typed.
    pub(super) name: String,
    /// What is meant.
    pub(super) change: Change,
}

/// Applies them, and answers the last revision. With `echo` each name is printed when its
/// change is done.
pub(super) async fn apply_all(
    shell: &mut Shell,
    link: &mut Link,
    look: &str,
    changes: &[Named],
    echo: bool,
) -> Result<u64, Trouble> {
    let mut parts = Parts::new(changes.chunks(limits::CHANGES).map(<[Named]>::len).collect());
    let mut revision = 0;
    for act in changes.chunks(limits::CHANGES) {
        let list: Vec<Change> = act.iter().map(|named| named.change.clone()).collect();
        let first = act.first().map_or("", |named| &named.name);
        match apply(link, &mut *shell.dice, look, &list).await {
            Ok(reply) => revision = reply.revision,
            Err(error) => return Err(parts.failed(shell, first, error.into())),
        }
        parts.done();
        if echo {
            for named in act {
                shell.screen.echo(&named.name);
            }
        }
    }
    parts.told(shell);
    Ok(revision)
}

/// How many values go into each act, by their number and bytes.
pub(super) fn sizes_of_acts(values: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut sizes: Vec<usize> = Vec::new();
    let mut bytes = 0;
    for length in values {
        // A sealed value is longer than the value, and its data key comes with it.
        let more = length + limits::BOX_BYTES * 2;
        match sizes.last_mut() {
            Some(size) if *size < limits::CHANGES && bytes + more <= limits::CHANGE_BYTES => {
                *size += 1;
                bytes += more;
            }
            _ => {
                sizes.push(1);
                bytes = more;
            }
        }
    }
    sizes
}

/// How far a command of several acts is.
#[derive(Debug)]
pub(super) struct Parts {
    sizes: Vec<usize>,
    done: usize,
}

impl Parts {
    /// Acts of so many names each.
    pub(super) fn new(sizes: Vec<usize>) -> Self {
        Self { sizes, done: 0 }
    }

    /// One more is done.
    pub(super) fn done(&mut self) {
        self.done += 1;
    }

    /// The next one is not, whose first name is this: says what was done before it.
    pub(super) fn failed(&self, shell: &mut Shell, first: &str, trouble: Trouble) -> Trouble {
        let names = |acts: &[usize]| acts.iter().sum::<usize>();
        let done = self.sizes.get(..self.done).map_or(0, names);
        if done > 0 {
            let all = names(&self.sizes);
            shell.screen.say(&format!(
                "done: {done} of {all} names; what went wrong is about those from {first} on"
            ));
        }
        trouble
    }

    /// All are done: where they were several, that they were.
    pub(super) fn told(&self, shell: &mut Shell) {
        if self.sizes.len() > 1 {
            let (acts, most) = (self.sizes.len(), limits::CHANGES);
            shell.screen.say(&format!("done in {acts} acts of at most {most} names"));
        }
    }
}
