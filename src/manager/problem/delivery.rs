//! Why a delivery is not done yet, in words.

use skep_core::base::Stamp;

/// Why a node without a session is behind.
pub(in crate::manager) fn away(last_seen: Option<Stamp>) -> String {
    let down = |time| format!("down since {time}");
    last_seen.and_then(written).map_or_else(|| "not connected".to_owned(), down)
}

/// When and from where somebody was refused who has the identity of a node.
pub(in crate::manager) fn refused_from(address: &str, at: Stamp) -> String {
    match written(at) {
        Some(time) => format!("refused from {address}, last at {time}"),
        None => format!("refused from {address}"),
    }
}

/// A time as people read it; `None` where it is out of all bounds.
pub(super) fn written(at: Stamp) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
    Some(at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Its agent has said that all is gone or in place, and the cluster has not written it down.
pub(in crate::manager) fn being_confirmed() -> String {
    "being confirmed".to_owned()
}

/// A node of which whoever waits is not told.
pub(in crate::manager) fn elsewhere() -> String {
    "a node outside of this identity's scope".to_owned()
}

/// Nothing is delivered after a recovery until operators have seen what it dropped.
pub(in crate::manager) fn held() -> String {
    "held back until `skep cluster resume`".to_owned()
}

/// Its agent was told, and has said nothing yet.
pub(in crate::manager) fn waiting() -> String {
    "its agent has not answered".to_owned()
}

/// What is due is in place, and what is to be done then is not over.
pub(in crate::manager) fn hook_runs() -> String {
    "hook still running".to_owned()
}

/// What is due is in place, and what was to be done then failed.
pub(in crate::manager) fn hook_failed(why: &str) -> String {
    format!("its hook failed: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_a_node_is_away_has_a_date_and_a_zone() {
        let since = Some(Stamp(1_780_000_000_000));
        assert_eq!(away(since), "down since 2026-05-28 20:26:40 UTC");
        assert_eq!(away(None), "not connected");
    }
}
