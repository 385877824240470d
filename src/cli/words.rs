//! The words for states and roles, in tables and in JSON: scripts compare them.

use skep_core::wire::local::{AgentState, ServiceState};

/// How an agent stands with its cluster.
pub(super) fn agent_state(state: AgentState) -> &'static str {
    match state {
        AgentState::Unspecified => "unknown",
        AgentState::Joining => "joining",
        AgentState::Connected => "connected",
        AgentState::Offline => "offline",
        AgentState::Refused => "refused",
    }
}

/// What there is of a service on a machine.
pub(super) fn service_state(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Unspecified => "unknown",
        ServiceState::Idle => "idle",
        ServiceState::Waiting => "waiting",
        ServiceState::InPlace => "in-place",
        ServiceState::Failed => "failed",
    }
}
