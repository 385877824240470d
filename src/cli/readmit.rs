//! `skep node readmit`.

use super::acts::{self, Named};
use super::args::ClientArgs;
use super::filter::Filter;
use super::link::link;
use super::problem::Trouble;
use super::shell::Shell;
use skep_client::{Change, lookup};
use skep_core::domain::Member;
use skep_core::wire::api::{ManagerStanding, NodeRole, NodeView};

/// How a person finds out what came of it.
const LOOK: &str = "skep node ls";

/// Which nodes are readmitted.
pub(super) enum Which {
    /// These, whether their certificate has ended or not.
    Named(Vec<String>),
    /// Those that fit, and whose certificate has ended.
    Fit(Filter),
    /// Whose certificate has ended.
    All,
}

impl Which {
    /// As it was typed.
    pub(super) fn of(
        nodes: Vec<String>,
        label: Option<String>,
        all: bool,
    ) -> Result<Self, Trouble> {
        if all {
            return Ok(Self::All);
        }
        let Some(label) = label else { return Ok(Self::Named(nodes)) };
        let filters = Filter::parse_all(&[format!("label={label}")])?;
        Ok(filters.into_iter().next().map_or(Self::All, Self::Fit))
    }
}

/// Lets them renew certificates whose grace is over.
pub(super) async fn run(
    shell: &mut Shell,
    which: Which,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let mut link = link(shell, client)?;
    let mut nodes: Vec<(String, NodeView)> = Vec::new();
    match which {
        Which::Named(typed) => {
            for what in typed {
                let node = lookup::exact(&mut link, &what).await?;
                nodes.push((what, node));
            }
        }
        fit @ (Which::Fit(_) | Which::All) => {
            let now = shell.clock.now().0;
            let all: Vec<NodeView> = lookup::all(&mut link, false).await?;
            let fits = |node: &NodeView| match &fit {
                Which::Fit(filter) => filter.fits(node),
                Which::All | Which::Named(_) => true,
            };
            // A manager that is in touch renews by itself, and is about to say so.
            let away = |node: &NodeView| {
                let away = node.manager_status() == ManagerStanding::Unreachable;
                node.role() != NodeRole::Manager || away
            };
            let ended = |node: &NodeView| node.certificate_ends <= now && away(node);
            let chosen = all.into_iter().filter(|node| ended(node) && fits(node));
            nodes.extend(chosen.map(|node| (node.name.clone(), node)));
            if nodes.is_empty() {
                shell.screen.say("there is no such node whose certificate has ended");
            }
        }
    }
    let mut changes = Vec::with_capacity(nodes.len());
    for (name, node) in nodes {
        let change = Change::Readmit { member: Member::Node(lookup::id(&node.id)?) };
        changes.push(Named { name, change });
    }
    if changes.is_empty() {
        return Ok(());
    }
    acts::apply_all(shell, &mut link, LOOK, &changes, true).await?;
    shell.screen.hint(
        "start the agent or manager there again within a day: it renews its certificate by \
         itself, and keeps its id and what is placed on it",
    );
    Ok(())
}
