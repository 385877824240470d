//! The rules: what is asked for, who may have it, and who is who. Pure: no file, socket, clock
//! or environment is touched here, so that every decision can be repeated from its arguments.

pub mod acl;
mod action;
#[cfg(test)]
pub(crate) mod counting;
pub mod credential;
pub mod file;
mod glob;
pub mod grant;
pub mod hold;
mod hole;
pub mod image;
pub mod import;
pub mod labels;
pub mod login;
pub mod manifest;
pub mod password;
mod pattern;
pub mod record;
mod regexp;
pub mod scope;
pub mod settings;
mod shown;
pub mod sign_settings;
pub mod signing;
pub mod slug;

pub use acl::{AccountLabels, Acl, Ask, BadAcl, Explanation, Missed, RuleAt, Verdict};
pub use action::{Action, Actions};
pub use scope::{BadScope, ResourceKind, Scope, parse_scopes};
pub use shown::shown;
