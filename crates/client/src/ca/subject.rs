//! Whom a certificate names, and how that is written in it.

use rcgen::{DistinguishedName, DnType, SanType};
use x509_parser::x509::X509Name;

use super::CaError;
use skep_core::base::{ClusterId, Name, NodeId, OperatorId};

/// `title` (2.5.4.12): the one attribute of RFC 4519 for a person's word that
/// no tool reads a meaning into.
const TITLE: &[u64] = &[2, 5, 4, 12];

/// What a certificate says its holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRole {
    /// A Raft member.
    Manager(NodeId),
    /// An agent.
    Worker(NodeId),
    /// A person or CI job.
    Operator(OperatorId),
}

impl CertificateRole {
    /// The word in the certificate's OU.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Manager(_) => "manager",
            Self::Worker(_) => "worker",
            Self::Operator(_) => "operator",
        }
    }

    /// The id's text, of a node or an operator.
    #[must_use]
    pub fn id_text(self) -> String {
        match self {
            Self::Manager(id) | Self::Worker(id) => id.to_string(),
            Self::Operator(id) => id.to_string(),
        }
    }

    /// The one DNS name: `<id>.skep.internal`.
    #[must_use]
    pub fn dns_name(self) -> String {
        format!("{}.skep.internal", self.id_text())
    }

    fn read(word: &str, id: &str) -> Option<Self> {
        match word {
            "manager" => id.parse().ok().map(Self::Manager),
            "worker" => id.parse().ok().map(Self::Worker),
            "operator" => id.parse().ok().map(Self::Operator),
            _ => None,
        }
    }
}

/// Whom a leaf names. In the certificate: CN = id, OU = role, O = cluster id,
/// `title` = name, and the id as its one DNS name (`<id>.skep.internal`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The cluster.
    pub cluster: ClusterId,
    /// Role and id.
    pub role: CertificateRole,
    /// Its name, for people.
    pub name: Name,
}

impl Subject {
    pub(super) fn distinguished_name(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, self.cluster.to_string());
        name.push(DnType::OrganizationalUnitName, self.role.word());
        name.push(DnType::CommonName, self.role.id_text());
        name.push(DnType::from_oid(TITLE), self.name.as_str());
        name
    }

    pub(super) fn alternative_name(&self) -> Result<SanType, CaError> {
        let name = self.role.dns_name();
        name.try_into().map(SanType::DnsName).map_err(|_| CaError::Malformed("node id"))
    }

    /// Reads a leaf's subject: each attribute once, and no other.
    pub(super) fn read(name: &X509Name<'_>) -> Option<Self> {
        let mut fields = Fields::default();
        fields.fill(name)?;
        Some(Self {
            cluster: fields.organization?.parse().ok()?,
            role: CertificateRole::read(fields.unit?, fields.common?)?,
            name: fields.title?.parse().ok()?,
        })
    }
}

/// The subject of a root or issuing CA: O = cluster id, CN = what it is.
pub(super) fn authority_name(cluster: ClusterId, common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, cluster.to_string());
    name.push(DnType::CommonName, common);
    name
}

/// The cluster that a root or issuing CA names, if it is the kind that
/// `common` says and names nothing else (a `title` may tell a root's cluster).
pub(super) fn read_authority(name: &X509Name<'_>, common: &str) -> Option<ClusterId> {
    let mut fields = Fields::default();
    fields.fill(name)?;
    if fields.common != Some(common) || fields.unit.is_some() {
        return None;
    }
    fields.organization?.parse().ok()
}

/// A root's subject, with the cluster's name for people.
pub(super) fn root_name(cluster: ClusterId, common: &str, title: &Name) -> DistinguishedName {
    let mut name = authority_name(cluster, common);
    name.push(DnType::from_oid(TITLE), title.as_str());
    name
}

#[derive(Default)]
struct Fields<'a> {
    organization: Option<&'a str>,
    unit: Option<&'a str>,
    common: Option<&'a str>,
    title: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn fill(&mut self, name: &'a X509Name<'a>) -> Option<()> {
        for attribute in name.iter_attributes() {
            let oid = attribute.attr_type();
            let field = match oid.to_id_string().as_str() {
                "2.5.4.10" => &mut self.organization,
                "2.5.4.11" => &mut self.unit,
                "2.5.4.3" => &mut self.common,
                "2.5.4.12" => &mut self.title,
                _ => return None,
            };
            let value = attribute.as_str().ok()?;
            if field.replace(value).is_some() {
                return None;
            }
        }
        Some(())
    }
}
