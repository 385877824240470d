//! One of each refusal that is stored.

use crate::domain::testing::name;
use crate::domain::{Counted, Few, NodeRole, Refusal, Stays, Thing, Unfit};

/// Every refusal there is.
pub(super) fn refusals() -> Vec<Refusal> {
    let services = Few::of([name("web"), name("api")], 15_900);
    vec![
        Refusal::AlreadyInitialised,
        Refusal::NotInitialised,
        Refusal::TooLate,
        Refusal::BadAct,
        Refusal::Exists { thing: Thing::Secret, name: name("db") },
        Refusal::NotFound { thing: Thing::Version, what: "7".to_owned() },
        Refusal::InUse { secret: name("db"), services: services.clone() },
        Refusal::VersionInUse { secret: name("db"), number: 3, why: Stays::PinnedBy(name("web")) },
        Refusal::Conflict { what: "secret db".to_owned(), expected: 1, found: 2 },
        Refusal::TargetTaken {
            service: name("web"),
            target: "a b".parse().expect("a target"),
            secret: name("db"),
        },
        Refusal::Limit { what: Counted::StateBytes, limit: 5 },
        Refusal::Token { role: NodeRole::Manager, why: Unfit::NotForName(name("db1")) },
        Refusal::Holds { node: name("n1"), services },
        Refusal::LastManager { node: name("m1") },
        Refusal::Invalid("no".to_owned()),
        Refusal::Retired { found: 1, wanted: 2 },
        Refusal::Busy { what: Counted::AnswerBytesOfOne, limit: 7 },
        Refusal::NotWritable { service: name("web"), secret: name("db") },
        Refusal::ForwardOnly { secret: name("db") },
        Refusal::VersionInUse { secret: name("db"), number: 3, why: Stays::PinnedOutside },
        Refusal::LastAdmin { operator: name("admin") },
        Refusal::NotAllowed("a viewer may not change secrets".to_owned()),
        Refusal::OutOfScope { thing: Thing::Service, name: name("web") },
        Refusal::HoldsOutside { service: name("web") },
        Refusal::TargetTakenOutside {
            service: name("web"),
            target: "a b".parse().expect("a target"),
        },
    ]
}
