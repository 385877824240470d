//! For which of its local users another manager asks: a header of a call.

use prost::Message;
use tonic::codegen::http::request::Parts;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::manager::admit::local::LocalUser;
use crate::manager::problem;
use skep_client::transport::Problem;
use skep_core::domain::{OperatorRole, Who};
use skep_core::wire::api::{self, LocalRole};

/// For which of its local users another manager asks. Stands in a request's
/// extensions once [`Behalf::take`] has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manager) struct Behalf {
    /// What that user may be.
    pub who: Who,
    /// Its number there.
    pub uid: u32,
}

/// Where a request that is sent on says for whom.
const BEHALF: &str = "skep-on-behalf-bin";

impl Behalf {
    /// Writes it into a request that goes to the leader.
    pub(in crate::manager) fn write(self, metadata: &mut MetadataMap) {
        let role = i32::from(role_of(self.who));
        let bytes = api::OnBehalf { uid: self.uid, role }.encode_to_vec();
        metadata.insert_bin(BEHALF, MetadataValue::from_bytes(&bytes));
    }
    /// Moves it from a request's metadata to its extensions. Whether the caller may
    /// speak for others is asked when the call is admitted.
    ///
    /// # Errors
    /// Nobody that is known.
    pub(in crate::manager) fn take(parts: &mut Parts) -> Result<(), Problem> {
        if !parts.headers.contains_key(BEHALF) {
            return Ok(());
        }
        let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
        let read = metadata.get_bin(BEHALF).and_then(|value| value.to_bytes().ok());
        parts.headers = metadata.into_headers();
        let sent = || {
            let read = api::OnBehalf::decode(read?).ok()?;
            let who = who_of(LocalRole::try_from(read.role).ok()?)?;
            Some(Self { who, uid: read.uid })
        };

        let behalf = sent().ok_or_else(problem::request::bad_behalf)?;
        parts.extensions.insert(behalf);
        Ok(())
    }
}

impl From<LocalUser> for Behalf {
    fn from(LocalUser { who, uid }: LocalUser) -> Self {
        Self { who, uid }
    }
}

fn role_of(who: Who) -> LocalRole {
    match who {
        Who::Local => LocalRole::Owner,
        Who::Operator(OperatorRole::Admin) => LocalRole::Admin,
        Who::Operator(OperatorRole::Editor) => LocalRole::Editor,
        Who::Operator(OperatorRole::Viewer) => LocalRole::Viewer,
        Who::Operator(OperatorRole::Auditor) => LocalRole::Auditor,
        // No user of a socket has a scope.
        Who::Anonymous | Who::Expired | Who::Worker | Who::Manager | Who::Scoped(_) => {
            LocalRole::Unspecified
        }
    }
}

fn who_of(role: LocalRole) -> Option<Who> {
    match role {
        LocalRole::Owner => Some(Who::Local),
        LocalRole::Admin => Some(Who::Operator(OperatorRole::Admin)),
        LocalRole::Editor => Some(Who::Operator(OperatorRole::Editor)),
        LocalRole::Viewer => Some(Who::Operator(OperatorRole::Viewer)),
        LocalRole::Auditor => Some(Who::Operator(OperatorRole::Auditor)),
        LocalRole::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(metadata: MetadataMap) -> Parts {
        let (mut parts, ()) = tonic::codegen::http::Request::new(()).into_parts();
        parts.headers = metadata.into_headers();
        parts
    }

    #[test]
    fn for_whom_travels_in_the_metadata() {
        let operator = |role| Who::Operator(role);
        for who in [
            Who::Local,
            operator(OperatorRole::Admin),
            operator(OperatorRole::Editor),
            operator(OperatorRole::Viewer),
            operator(OperatorRole::Auditor),
        ] {
            let behalf = Behalf { who, uid: 7 };
            let mut metadata = MetadataMap::new();
            behalf.write(&mut metadata);
            let mut parts = parts(metadata);
            Behalf::take(&mut parts).expect("sound");
            assert_eq!(parts.extensions.get(), Some(&behalf));
        }
        for bytes in [
            &b"\xff\xff"[..],
            b"",
            &api::OnBehalf { uid: 0, role: 0 }.encode_to_vec(),
            &api::OnBehalf { uid: 0, role: 99 }.encode_to_vec(),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert_bin(BEHALF, MetadataValue::from_bytes(bytes));
            assert!(Behalf::take(&mut parts(metadata)).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn only_local_users_are_spoken_for() {
        for who in [Who::Anonymous, Who::Expired, Who::Worker, Who::Manager] {
            let mut metadata = MetadataMap::new();
            Behalf { who, uid: 7 }.write(&mut metadata);
            assert!(Behalf::take(&mut parts(metadata)).is_err(), "{who:?}");
        }
    }
}
