//! What workloads write, in commands and in the state.

use super::parts::{id, sealed, there, wrapped, write_wrapped};
use super::{Bad, Read, shape};
use crate::domain::{NewVersion, PublicPart, Put, PutValue, WrittenBy};

pub(super) fn read_put(of: shape::Put) -> Read<Put> {
    let one = |of: shape::PutValue| {
        Ok(PutValue {
            secret: id("secret", &of.secret)?,
            expect: of.expect,
            version: read_version(of.version)?,
        })
    };
    Ok(Put {
        node: id("node", &of.node)?,
        service: id("service", &of.service)?,
        values: of.values.into_iter().map(one).collect::<Read<_>>()?,
    })
}

pub(super) fn write_put(of: &Put) -> shape::Put {
    let one = |of: &PutValue| shape::PutValue {
        secret: of.secret.as_bytes().to_vec(),
        expect: of.expect,
        version: Some(write_version(&of.version)),
    };
    shape::Put {
        node: of.node.as_bytes().to_vec(),
        service: of.service.as_bytes().to_vec(),
        values: of.values.iter().map(one).collect(),
    }
}

/// Of a version: the node and the service, or neither.
pub(super) fn writer(node: &[u8], service: &[u8]) -> Read<Option<WrittenBy>> {
    match (node, service) {
        ([], []) => Ok(None),
        ([], _) | (_, []) => Err(Bad::new("writer", "a node or a service is missing")),
        (node, service) => {
            Ok(Some(WrittenBy { node: id("writer", node)?, service: id("writer", service)? }))
        }
    }
}

pub(super) fn write_writer(of: Option<WrittenBy>) -> (Vec<u8>, Vec<u8>) {
    let bytes = |of: WrittenBy| (of.node.as_bytes().to_vec(), of.service.as_bytes().to_vec());
    of.map(bytes).unwrap_or_default()
}

pub(super) fn read_version(of: Option<shape::NewVersion>) -> Read<NewVersion> {
    let of = there("version", of)?;
    Ok(NewVersion {
        id: id("version", &of.id)?,
        size: of.size,
        value: sealed(of.value),
        data_key: wrapped(of.data_key)?,
        public: public(of.public)?,
    })
}

pub(super) fn public(of: Option<String>) -> Read<Option<PublicPart>> {
    let part = of.map(|part| part.parse());
    part.transpose().map_err(|_bad| Bad::new("version", "no public part"))
}

pub(super) fn write_version(of: &NewVersion) -> shape::NewVersion {
    shape::NewVersion {
        id: of.id.as_bytes().to_vec(),
        size: of.size,
        value: of.value.0.to_vec(),
        data_key: Some(write_wrapped(&of.data_key)),
        public: of.public.as_ref().map(ToString::to_string),
    }
}
