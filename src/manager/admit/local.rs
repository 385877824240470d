//! Who may use the control socket: the kernel says who calls.

use tonic::Extensions;

use crate::manager::problem;
use skep_client::transport::{Problem, local_caller};
use skep_core::domain::{OperatorRole, Who};

/// A caller on the control socket that may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) struct LocalUser {
    /// What it may be.
    pub who: Who,
    /// Its number.
    pub uid: u32,
}

/// Which local users may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalRules {
    /// The daemon's own user.
    pub uid: u32,
    /// What groups may do, beside uid 0 and the daemon's own.
    pub groups: Vec<(u32, OperatorRole)>,
}

impl LocalRules {
    /// Whether it is root, or the daemon's own user.
    pub(in crate::manager) fn is_owner(&self, uid: u32) -> bool {
        uid == 0 || uid == self.uid
    }
    /// Of several groups that a user is in, the first one given counts.
    fn role(&self, uid: u32, gid: u32, others: &[u32]) -> Option<Who> {
        if self.is_owner(uid) {
            return Some(Who::Local);
        }
        let group = self.groups.iter().find(|(group, _)| *group == gid || others.contains(group));
        group.map(|(_, role)| Who::Operator(*role))
    }
    /// The local user that made this request.
    ///
    /// # Errors
    /// What a user without a role is told.
    pub(super) fn user(&self, extensions: &Extensions) -> Result<LocalUser, Problem> {
        let caller = local_caller(extensions);
        let caller = caller.ok_or_else(problem::access::no_caller)?;
        let uid = caller.uid();
        let who = self
            .role(uid, caller.gid(), caller.groups())
            .ok_or_else(|| problem::access::no_role(uid))?;
        Ok(LocalUser { who, uid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_for_root_the_daemon_and_named_groups() {
        let rules = LocalRules { uid: 900, groups: vec![(50, OperatorRole::Viewer)] };
        assert_eq!(rules.role(0, 0, &[]), Some(Who::Local));
        assert_eq!(rules.role(900, 1, &[]), Some(Who::Local));
        assert_eq!(rules.role(1000, 50, &[]), Some(Who::Operator(OperatorRole::Viewer)));
        assert_eq!(rules.role(1000, 1000, &[]), None);
        let viewer = Some(Who::Operator(OperatorRole::Viewer));
        assert_eq!(rules.role(1000, 1000, &[7, 50]), viewer, "a supplementary group");
    }
}
