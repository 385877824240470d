//! New values, and what a workload wrote, as the audit chain sees them.

use crate::audit::Digest;
use crate::domain::command::NewVersion;
use crate::domain::public::PublicPart;
use crate::domain::put::Put;

pub(super) fn put(hash: &mut Digest, of: &Put) {
    hash.bytes(of.node.as_bytes());
    hash.bytes(of.service.as_bytes());
    hash.count(of.values.len());
    for one in &of.values {
        hash.bytes(one.secret.as_bytes());
        hash.number(one.expect.into());
        new_version(hash, &one.version);
    }
}

pub(super) fn new_version(hash: &mut Digest, of: &NewVersion) {
    hash.bytes(of.id.as_bytes());
    hash.number(of.size.into());
    hash.bytes(&of.value.0);
    hash.number(of.data_key.number);
    hash.bytes(&of.data_key.bytes);
    hash.bytes(of.public.as_ref().map_or("", PublicPart::as_str).as_bytes());
}
