//! `inspect`, the same for every kind of thing.

use serde_json::Value;
use skep_client::{Listed, lookup};

use super::args::{ClientArgs, ShowArgs};
use super::link::link;
use super::problem::Trouble;
use super::render::{self, Format};
use super::shell::Shell;

/// Shows each thing that was typed, or none where one is not found.
pub(super) async fn inspect<T: Listed>(
    shell: &mut Shell,
    typed: &[String],
    show: &ShowArgs,
    client: ClientArgs,
    shown: impl Fn(&T) -> Value,
) -> Result<(), Trouble> {
    let format = Format::parse(show.format.of.as_deref())?;
    let mut link = link(shell, client)?;
    let mut things = Vec::new();
    for what in typed {
        things.push(shown(&lookup::one(&mut link, what, show.stale).await?));
    }
    render::inspect(shell, &format, things)
}
