//! What the cluster knows and how it may change: a pure function.
//!
//! [`apply`] takes the state and one command and says what changed, or why not,
//! the same on every replica. No clock, file, socket, task or random number is
//! in here: time, ids and sealed keys travel in the command. It deliberately
//! knows nothing of bytes on disk (`wire`, `store`), of keys (`seal`) or of who
//! calls over which connection (`manager::admit`). What an operator may change it asks
//! itself ([`may_change`]), for whatever was true when the call came may not be by now.

mod answers;
mod apply;
mod assignment;
mod changed;
mod changes;
mod command;
mod deeds;
mod draft;
mod hook;
mod indexes;
pub mod invariant;
mod keep;
mod lookup;
mod named;
mod opened;
mod placement;
mod places;
mod policy;
mod public;
mod put;
mod record;
mod refusal;
mod rights;
mod scope;
mod spec;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod weight;

pub use answers::always_admitted;
pub use apply::{Applied, LEVEL, Recorded, apply};
pub use assignment::{FileAssignment, ServiceSet, assignments, is_due, nodes_of, placed, set_of};
pub use changed::{Changed, ChangedList};
pub use changes::{Bid, admitting};
pub use command::{
    Act, Actor, Change, Command, Confirmation, Fact, Genesis, Join, NewVersion, Outcome, Recover,
    Rekey,
};
pub use deeds::doer;
pub use hook::{BadHook, BadUnit, HookPath, HookSignal, OnChange, UnitName};
pub use indexes::Indexes;
pub use lookup::{
    NotOne, holders, is_pending, node_by, nodes_touched, operator_by, secret_by, service_by,
    token_by,
};
pub use named::{Counted, Stays, Thing, Unfit};
pub use opened::{Lapsed, Opened, OpenedList, Reader, Reporter, Span};
pub use placement::BadConstraint;
pub use places::Places;
pub use policy::{Method, Policy, Who};
pub use public::{BadPublicPart, PublicPart};
pub use put::{Put, PutValue, WrittenBy};
pub use refusal::{Few, Refusal};
pub use rights::{concerns, may_change};
pub use scope::{BadScope, Scope};
pub use spec::{
    Activation, Attribute, Constraint, Grant, GrantAsked, MountKind, NO_ONE, OfflinePolicy, Owner,
    Pin, Placement, ServiceSpec,
};
pub use state::{
    Anchor, Answer, Availability, Cluster, ClusterKey, Exposure, Issuers, Member, NameIndex, Node,
    NodeRole, Nodes, Operator, OperatorRole, Recipient, Recovered, Renewal, Secret, Service, State,
    Token, Version,
};
