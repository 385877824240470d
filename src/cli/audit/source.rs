//! The managers whose logs are read.

use std::time::Duration;

use crate::cli::args::{ClientArgs, WantedArgs};
use crate::cli::link::managers;
use crate::cli::problem::{Trouble, usage};
use crate::cli::shell::Shell;
use skep_client::{CallError, CallKind, Control, Link};
use skep_core::audit::Chain;
use skep_core::base::Stamp;
use skep_core::wire::api;

/// How long one manager of several is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What lines are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) since: Stamp,
    pub(super) actor: String,
    pub(super) name: String,
    pub(super) secret: String,
    /// Where files begin, too.
    pub(super) whole: bool,
}

impl Wanted {
    /// As it was typed.
    pub(super) fn read(args: &WantedArgs, now: Stamp) -> Result<Self, Trouble> {
        let since = args.since.as_deref().map(|text| since(text, now)).transpose()?;
        Ok(Self {
            since: since.unwrap_or_default(),
            actor: args.actor.clone().unwrap_or_default(),
            name: args.name.clone().unwrap_or_default(),
            ..Self::default()
        })
    }
}

/// A manager whose log is read.
pub(super) struct Source {
    /// Its name.
    pub(super) name: String,
    /// Its id; empty: whichever answers.
    pub(super) id: Vec<u8>,
    link: Link,
    /// Whether the manager that is asked asks that one.
    relayed: bool,
}

/// Each manager of the cluster, with a way to it.
pub(super) async fn sources(shell: &mut Shell, client: ClientArgs) -> Result<Vec<Source>, Trouble> {
    let (all, one) = managers(shell, client, PATIENCE).await?;
    if all.is_empty() {
        shell.screen.warn("whoever has a scope reads the log of one manager alone");
        return Ok(vec![Source { name: String::new(), id: Vec::new(), link: one, relayed: false }]);
    }
    Ok(all
        .into_iter()
        .map(|of| Source { name: of.name, id: of.id, link: of.link, relayed: of.relayed })
        .collect())
}

impl Source {
    /// A page of one of its chains.
    pub(super) async fn page(
        &mut self,
        chain: Chain,
        wanted: &Wanted,
        after: Option<api::AuditCursor>,
    ) -> Result<api::ReadAuditReply, CallError> {
        let chain = match chain {
            Chain::Commands => api::AuditChain::Commands,
            Chain::Acts => api::AuditChain::Acts,
        };
        let request = api::ReadAuditRequest {
            manager: if self.relayed { self.id.clone() } else { Vec::new() },
            chain: chain.into(),
            since: wanted.since.0,
            after,
            actor: wanted.actor.clone(),
            name: wanted.name.clone(),
            secret: wanted.secret.clone(),
            wait_ms: 0,
            whole: wanted.whole,
        };
        let send = async |mut client: Control, request| client.read_audit(request).await;
        self.link.call(CallKind::Read, request, send).await
    }
}

/// A time as it is typed: exact, a day, or how long ago.
fn since(text: &str, now: Stamp) -> Result<Stamp, Trouble> {
    let ms = |time: std::time::SystemTime| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    };
    if let Ok(ago) = humantime::parse_duration(text) {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        return Ok(Stamp(now.0.saturating_sub(ago)));
    }
    let exact = humantime::parse_rfc3339(text);
    let day = || humantime::parse_rfc3339(&format!("{text}T00:00:00Z"));
    exact.or_else(|_| day()).map(ms).map_err(|_| {
        usage("--since: is no time", "such as 2h, 2026-11-29 or 2026-11-29T08:00:00Z (UTC)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_exact_a_day_or_so_long_ago() {
        let now = Stamp(1_764_469_538_000);
        assert_eq!(since("1h", now).expect("a time"), Stamp(now.0 - 3_600_000));
        let day = since("2025-11-30", now).expect("a day");
        assert_eq!(since("2025-11-30T00:00:00Z", now).expect("exact"), day);
        for bad in ["", "yesterday", "2025-13-01", "-1h"] {
            assert!(since(bad, now).is_err(), "{bad}");
        }
    }
}
