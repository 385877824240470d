//! Remembered answers.

use std::sync::Arc;

use super::parts::{id, node, role, text, there, write_node, write_role};
use super::shape::{self, changed, outcome};
use super::{Bad, Read};
use crate::base::Name;
use crate::domain::{Changed, ChangedList, Counted, Few, Outcome, Refusal, Stays, Thing, Unfit};

type Answered = Result<Outcome, Refusal>;

pub(super) fn read(shape: Option<shape::Outcome>) -> Read<Answered> {
    Ok(match there("outcome", shape.and_then(|shape| shape.of))? {
        outcome::Of::Done(_) => Ok(Outcome::Done),
        outcome::Of::Changed(list) => {
            let runs = list.changed.into_iter().map(read_run).collect::<Read<Vec<_>>>()?;
            let list = ChangedList::from_runs(runs);
            Ok(Outcome::Changed(list.ok_or_else(|| Bad::new("changed", "too many, or none"))?))
        }
        outcome::Of::Joined(of) => Ok(Outcome::Joined(Arc::new(node(Some(of))?))),
        outcome::Of::Refusal(refusal) => Err(read_refusal(refusal)?),
    })
}

pub(super) fn write(of: &Answered) -> shape::Outcome {
    let of = match of {
        Ok(Outcome::Done) => outcome::Of::Done(true),
        Ok(Outcome::Changed(list)) => outcome::Of::Changed(shape::ChangedList {
            changed: list.runs().iter().map(write_run).collect(),
        }),
        Ok(Outcome::Joined(of)) => outcome::Of::Joined(write_node(of)),
        Err(refusal) => outcome::Of::Refusal(write_refusal(refusal)),
    };
    shape::Outcome { of: Some(of) }
}

fn read_run(shape: shape::Changed) -> Read<(Changed, u32)> {
    let times = shape.times;
    let changed = match there("changed", shape.of)? {
        changed::Of::Done(_) => Changed::Done,
        changed::Of::Already(_) => Changed::Already,
        changed::Of::Version(of) => {
            Changed::Version { secret: id("secret", &of.secret)?, number: of.number }
        }
        changed::Of::Service(service) => Changed::Service(id("service", &service)?),
    };
    Ok((changed, times))
}

fn write_run((of, times): &(Changed, u32)) -> shape::Changed {
    let of = match of {
        Changed::Done => changed::Of::Done(true),
        Changed::Already => changed::Of::Already(true),
        Changed::Version { secret, number } => changed::Of::Version(shape::VersionAdded {
            secret: secret.as_bytes().to_vec(),
            number: *number,
        }),
        Changed::Service(id) => changed::Of::Service(id.as_bytes().to_vec()),
    };
    shape::Changed { of: Some(of), times: *times }
}

fn read_refusal(of: shape::Refusal) -> Read<Refusal> {
    let not_known = || Bad::new("refusal", format_args!("{} is not known", of.which));
    let thing = || Thing::of_number(of.which).ok_or_else(not_known);
    let counted = || Counted::of_number(of.which).ok_or_else(not_known);
    let name = || text::<Name>("refusal", &of.name);
    let few = || {
        let names = of.names.iter().map(|name| text("refusal", name)).collect::<Read<_>>()?;
        Few::read(names, of.first).ok_or_else(|| Bad::new("refusal", "more names than it counts"))
    };
    let number = || u32::try_from(of.first).map_err(|bad| Bad::new("refusal", bad));
    let role_of = |number| role(u32::try_from(number).unwrap_or_default());
    Ok(match of.code {
        1 => Refusal::AlreadyInitialised,
        2 => Refusal::NotInitialised,
        3 => Refusal::TooLate,
        4 => Refusal::BadAct,
        5 => Refusal::Exists { thing: thing()?, name: name()? },
        6 => Refusal::NotFound { thing: thing()?, what: of.target },
        7 => Refusal::InUse { secret: name()?, services: few()? },
        8 => Refusal::VersionInUse {
            secret: name()?,
            number: number()?,
            why: match of.which {
                1 => Stays::Current,
                2 => Stays::PinnedBy(text("refusal", &of.target)?),
                3 => Stays::PinnedOutside,
                _ => return Err(not_known()),
            },
        },
        9 => Refusal::Conflict { what: of.text, expected: of.first, found: of.second },
        10 => Refusal::TargetTaken {
            service: name()?,
            target: text("refusal", &of.target)?,
            secret: text("refusal", &of.text)?,
        },
        11 => Refusal::Limit { what: counted()?, limit: of.first },
        12 => Refusal::Token {
            role: role_of(of.first)?,
            why: match of.which {
                1 => Unfit::NotKnown,
                2 => Unfit::Ended,
                3 => Unfit::UsedUp,
                4 => Unfit::ForRole(role_of(of.second)?),
                5 => Unfit::NotForName(name()?),
                _ => return Err(not_known()),
            },
        },
        13 => Refusal::Holds { node: name()?, services: few()? },
        14 => Refusal::LastManager { node: name()? },
        15 => Refusal::Invalid(of.text),
        16 => Refusal::Retired { found: of.first, wanted: of.second },
        17 => Refusal::Busy { what: counted()?, limit: of.first },
        18 => Refusal::NotGranted {
            service: name()?,
            secret: text("refusal", &of.text)?,
            target: (!of.target.is_empty()).then(|| text("refusal", &of.target)).transpose()?,
        },
        19 => Refusal::NameIsId { name: name()? },
        20 => Refusal::Reserved { name: name()? },
        21 => Refusal::NotWritable { service: name()?, secret: text("refusal", &of.text)? },
        22 => Refusal::ForwardOnly { secret: name()? },
        30 => Refusal::LastAdmin { operator: name()? },
        31 => Refusal::NotAllowed(of.text),
        32 => Refusal::OutOfScope { thing: thing()?, name: name()? },
        33 => Refusal::HoldsOutside { service: name()? },
        34 => {
            Refusal::TargetTakenOutside { service: name()?, target: text("refusal", &of.target)? }
        }
        other => return Err(Bad::new("refusal", format_args!("{other} is not known"))),
    })
}

fn write_refusal(of: &Refusal) -> shape::Refusal {
    let mut shape = shape::Refusal { code: of.code(), ..shape::Refusal::default() };
    let written = |shape: &mut shape::Refusal, few: &Few| {
        shape.names = few.names().iter().map(ToString::to_string).collect();
        shape.first = few.count();
    };
    match of {
        Refusal::AlreadyInitialised
        | Refusal::NotInitialised
        | Refusal::TooLate
        | Refusal::BadAct => {}
        Refusal::Exists { thing, name } | Refusal::OutOfScope { thing, name } => {
            shape.which = thing.number();
            shape.name = name.to_string();
        }
        Refusal::NotFound { thing, what } => {
            shape.which = thing.number();
            shape.target.clone_from(what);
        }
        Refusal::InUse { secret, services } => {
            shape.name = secret.to_string();
            written(&mut shape, services);
        }
        Refusal::VersionInUse { secret, number, why } => {
            shape.name = secret.to_string();
            shape.first = (*number).into();
            shape.which = match why {
                Stays::Current => 1,
                Stays::PinnedBy(service) => {
                    shape.target = service.to_string();
                    2
                }
                Stays::PinnedOutside => 3,
            };
        }
        Refusal::Conflict { what, expected, found } => {
            shape.text.clone_from(what);
            shape.first = *expected;
            shape.second = *found;
        }
        Refusal::TargetTaken { service, target, secret } => {
            shape.name = service.to_string();
            shape.target = target.to_string();
            shape.text = secret.to_string();
        }
        Refusal::Limit { what, limit } | Refusal::Busy { what, limit } => {
            shape.which = what.number();
            shape.first = *limit;
        }
        Refusal::Token { role, why } => {
            shape.first = write_role(*role).into();
            shape.which = match why {
                Unfit::NotKnown => 1,
                Unfit::Ended => 2,
                Unfit::UsedUp => 3,
                Unfit::ForRole(role) => {
                    shape.second = write_role(*role).into();
                    4
                }
                Unfit::NotForName(of) => {
                    shape.name = of.to_string();
                    5
                }
            };
        }
        Refusal::Holds { node, services } => {
            shape.name = node.to_string();
            written(&mut shape, services);
        }
        Refusal::LastManager { node: name }
        | Refusal::ForwardOnly { secret: name }
        | Refusal::LastAdmin { operator: name }
        | Refusal::HoldsOutside { service: name }
        | Refusal::NameIsId { name }
        | Refusal::Reserved { name } => shape.name = name.to_string(),
        Refusal::NotGranted { service, secret, target } => {
            shape.name = service.to_string();
            shape.text = secret.to_string();
            shape.target = target.as_ref().map(ToString::to_string).unwrap_or_default();
        }
        Refusal::NotWritable { service, secret } => {
            shape.name = service.to_string();
            shape.text = secret.to_string();
        }
        Refusal::TargetTakenOutside { service, target } => {
            shape.name = service.to_string();
            shape.target = target.to_string();
        }
        Refusal::Invalid(text) | Refusal::NotAllowed(text) => shape.text.clone_from(text),
        Refusal::Retired { found, wanted } => {
            shape.first = *found;
            shape.second = *wanted;
        }
    }
    shape
}
