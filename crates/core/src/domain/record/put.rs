//! What a workload wrote, as the audit chain sees it.

use crate::audit::Digest;
use crate::domain::command::NewVersion;
use crate::domain::put::Put;

pub(super) fn put(hash: &mut Digest, of: &Put, new_version: fn(&mut Digest, &NewVersion)) {
    hash.bytes(of.node.as_bytes());
    hash.bytes(of.service.as_bytes());
    hash.count(of.values.len());
    for one in &of.values {
        hash.bytes(one.secret.as_bytes());
        hash.number(one.expect.into());
        new_version(hash, &one.version);
    }
}
