//! Where a service may run: only what managers wrote is read.

use std::fmt;
use std::str::FromStr;

use super::spec::{Attribute, Constraint, Placement};
use super::state::{Node, NodeRole};
use crate::base::{Label, NodeId, limits};

/// Text that is not a constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConstraint {
    /// Neither `==` nor `!=` in it.
    #[error("invalid constraint: written ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE")]
    Operator,
    /// An attribute that managers do not write.
    #[error("invalid constraint: it reads one of node.id, node.name, node.labels.KEY")]
    Attribute,
    /// No value, or one that no node can have.
    #[error("invalid constraint: the value has 1 to 4,096 bytes and no control characters")]
    Value,
}

impl FromStr for Attribute {
    type Err = BadConstraint;

    fn from_str(text: &str) -> Result<Self, BadConstraint> {
        match text {
            "node.id" => Ok(Self::Id),
            "node.name" => Ok(Self::Name),
            _ => {
                let key = text.strip_prefix("node.labels.").ok_or(BadConstraint::Attribute)?;
                let label = Label::new(key, "").ok().ok_or(BadConstraint::Attribute)?;
                Ok(Self::Label(label.key))
            }
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("node.id"),
            Self::Name => f.write_str("node.name"),
            Self::Label(key) => write!(f, "node.labels.{key}"),
        }
    }
}

impl FromStr for Constraint {
    type Err = BadConstraint;

    /// The first operator divides: a value may hold `==`, an attribute cannot.
    fn from_str(text: &str) -> Result<Self, BadConstraint> {
        let at = text.find("==").into_iter().chain(text.find("!=")).min();
        let (attribute, rest) =
            at.and_then(|at| text.split_at_checked(at)).ok_or(BadConstraint::Operator)?;
        let (operator, value) = rest.split_at_checked(2).ok_or(BadConstraint::Operator)?;
        let constraint = Self {
            attribute: attribute.trim().parse()?,
            equal: operator == "==",
            value: value.trim().to_owned(),
        };
        constraint.check()?;
        Ok(constraint)
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = if self.equal { "==" } else { "!=" };
        write!(f, "{}{operator}{}", self.attribute, self.value)
    }
}

impl Constraint {
    /// Whether its parts, however they were made, are ones that a text can give.
    ///
    /// # Errors
    /// [`BadConstraint`] where they are not.
    pub fn check(&self) -> Result<(), BadConstraint> {
        if let Attribute::Label(key) = &self.attribute {
            Label::new(key, "").ok().ok_or(BadConstraint::Attribute)?;
        }
        let sound = (1..=limits::LABELS_BYTES).contains(&self.value.len())
            && !self.value.chars().any(char::is_control);
        if sound { Ok(()) } else { Err(BadConstraint::Value) }
    }

    /// Whether it holds for a node. A label that the node lacks equals nothing.
    #[must_use]
    pub fn holds(&self, id: NodeId, node: &Node) -> bool {
        let equal = match &self.attribute {
            Attribute::Id => id.to_string() == self.value,
            Attribute::Name => node.name.as_str().eq_ignore_ascii_case(&self.value),
            Attribute::Label(key) => node.labels.get(key) == Some(self.value.as_str()),
        };
        equal == self.equal
    }
}

impl Placement {
    /// Whether a service so placed may run on a node: a worker that is named (or
    /// any, where the placement says everywhere or only constrains) and for which
    /// every constraint holds. A placement that says nothing allows no node.
    #[must_use]
    pub fn allows(&self, id: NodeId, node: &Node) -> bool {
        let named = if self.nodes.is_empty() {
            self.everywhere || !self.constraints.is_empty()
        } else {
            let same =
                |name: &crate::base::Name| name.as_str().eq_ignore_ascii_case(node.name.as_str());
            self.nodes.iter().any(same)
        };
        node.role == NodeRole::Worker
            && named
            && self.constraints.iter().all(|constraint| constraint.holds(id, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Labels;
    use crate::domain::testing;

    #[test]
    fn constraints_are_read_and_written() {
        for (text, written) in [
            ("node.labels.zone==eu", "node.labels.zone==eu"),
            (" node.labels.zone != eu-1 ", "node.labels.zone!=eu-1"),
            ("node.name==DB1", "node.name==DB1"),
            ("node.labels.a==b!=c", "node.labels.a==b!=c"),
        ] {
            assert_eq!(text.parse::<Constraint>().map(|c| c.to_string()), Ok(written.to_owned()));
        }
        assert_eq!("node.name".parse::<Constraint>(), Err(BadConstraint::Operator));
        assert_eq!("node.os==linux".parse::<Constraint>(), Err(BadConstraint::Attribute));
        assert_eq!("node.labels.==x".parse::<Constraint>(), Err(BadConstraint::Attribute));
        assert_eq!("node.name==".parse::<Constraint>(), Err(BadConstraint::Value));
        assert_eq!("!=".parse::<Constraint>(), Err(BadConstraint::Attribute));
    }

    #[test]
    fn placement_reads_what_managers_wrote() {
        let id = NodeId::from_bytes([7; 16]);
        let mut node = testing::worker("db1");
        node.labels = Labels::new(["zone=eu".parse().expect("label")]).expect("labels");
        let constraint = |text: &str| text.parse::<Constraint>().expect("a constraint");
        let mut placement = Placement::default();
        assert!(!placement.allows(id, &node), "a placement that says nothing");
        placement.constraints = vec![constraint("node.labels.zone==eu")];
        assert!(placement.allows(id, &node), "constraints alone");
        placement.constraints.push(constraint("node.labels.disk!=slow"));
        assert!(placement.allows(id, &node), "a label that is not there differs");
        placement.constraints.push(constraint("node.labels.disk==fast"));
        assert!(!placement.allows(id, &node), "all must hold");
        placement.constraints.clear();
        placement.nodes = vec!["db2".parse().expect("name"), "DB1".parse().expect("name")];
        assert!(placement.allows(id, &node), "any name, ignoring case");
        placement.constraints = vec![constraint(&format!("node.id!={id}"))];
        assert!(!placement.allows(id, &node), "names and constraints together");
        let everywhere = Placement { everywhere: true, ..Placement::default() };
        assert!(everywhere.allows(id, &node));
        node.role = NodeRole::Manager;
        assert!(!everywhere.allows(id, &node), "managers run nothing");
    }
}
