//! What refusals name: kinds of things, what is counted, and why a thing doesn't serve.
//! Each has a number that stored answers hold, and never changes.

use std::fmt;

use super::state::NodeRole;
use crate::base::Name;

macro_rules! numbered {
    ($(#[$doc:meta])* $of:ident { $($name:ident = $number:literal: $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $of {
            $(
                #[doc = concat!("`", $text, "`")]
                $name = $number,
            )*
        }

        impl $of {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its number in stored answers.
            #[must_use]
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// The one with this number.
            #[must_use]
            pub fn of_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

numbered! {
    /// A kind of things that have names or numbers.
    Thing {
        Secret = 1: "secret",
        Service = 2: "service",
        Node = 3: "node",
        Operator = 4: "operator",
        Token = 5: "token",
        Version = 6: "version",
        Worker = 7: "worker",
    }
}

numbered! {
    /// What is counted against a limit, with its unit.
    Counted {
        Secrets = 1: "secrets",
        Versions = 2: "versions of a secret",
        Services = 3: "services",
        PlacementNodes = 4: "nodes named by a service",
        Constraints = 5: "constraints of a service",
        Grants = 6: "grants of a service",
        ServiceBytes = 7: "bytes of secrets of a service",
        Nodes = 8: "nodes",
        Managers = 9: "managers",
        Tokens = 10: "join tokens",
        Recipients = 11: "recipients",
        Pairs = 12: "pairs in one act",
        ClusterKeys = 13: "older cluster keys in use",
        Opened = 14: "records of opens in one act",
        StateBytes = 15: "bytes in the cluster's state",
        Answers = 16: "commands by all callers within a minute",
        AnswersOfOne = 17: "commands by one caller within a minute",
        AnswerBytes = 18: "bytes of answers to all callers within a minute",
        AnswerBytesOfOne = 19: "bytes of answers to one caller within a minute",
        Labels = 20: "labels in one change",
        Placements = 21: "places where services may run",
        LookedAt = 22: "nodes and services that one act places",
        Pinned = 23: "versions of a secret that are pinned",
        Units = 24: "units of all services",
        UnitsOfOne = 25: "units of a service",
        Operators = 30: "operators",
        OperatorConstraints = 31: "constraints of an operator",
    }
}

/// Why a join token doesn't admit a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is none with this id and this secret.
    NotKnown,
    /// Its time is over.
    Ended,
    /// It has admitted as many as it may.
    UsedUp,
    /// It is for this role, and another one was asked for.
    ForRole(NodeRole),
    /// Its pattern of names doesn't match this name.
    NotForName(Name),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKnown => f.write_str("is not known"),
            Self::Ended => f.write_str("has ended"),
            Self::UsedUp => f.write_str("is used up"),
            Self::ForRole(NodeRole::Manager) => f.write_str("is for a manager"),
            Self::ForRole(NodeRole::Worker) => f.write_str("is for a worker"),
            Self::NotForName(name) => write!(f, "is not for the name {name}"),
        }
    }
}

/// Why a version stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It is what services get.
    Current,
    /// This service gets it whatever is newer.
    PinnedBy(Name),
    /// A service outside of the scope of whoever asked gets it so.
    PinnedOutside,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the current one"),
            Self::PinnedBy(service) => write!(f, "pinned by service {service}"),
            Self::PinnedOutside => {
                f.write_str("pinned by a service outside of this identity's scope")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_as_it_is_written() {
        for thing in Thing::ALL {
            assert_eq!(Thing::of_number(thing.number()), Some(*thing));
        }
        for counted in Counted::ALL {
            assert_eq!(Counted::of_number(counted.number()), Some(*counted));
        }
        assert_eq!((Thing::of_number(0), Counted::of_number(99)), (None, None));
    }
}
