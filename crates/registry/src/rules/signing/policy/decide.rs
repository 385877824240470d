//! Whether an image has what a policy demands, by the signatures that were found for it.

use std::collections::BTreeMap;
use std::fmt;

use super::identity::Identity;
use super::reference::Reference;
use super::{Keys, Policy, Requirement};
use crate::rules::shown;
use crate::rules::signing::cosign::Signed;
use crate::rules::signing::cosign_key::CosignPublic;
use crate::rules::signing::openpgp::Ring;
use crate::rules::signing::payload::{Payload, PayloadKind};

/// Reasons that are named: each is that of one signature.
const REASONS: usize = 4;

/// What is known of an image.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'e> {
    /// As which it was asked for.
    pub image: &'e Reference,
    /// The digest of its manifest, which was computed.
    pub digest: &'e str,
    /// Messages of OpenPGP that were found.
    pub openpgp: &'e [Vec<u8>],
    /// Payloads and signatures of cosign's that were found.
    pub cosign: &'e [Signed],
    /// The content of files that the policy names.
    pub files: &'e BTreeMap<String, Vec<u8>>,
    /// Seconds since 1970.
    pub now_s: u64,
}

/// Why an image has not what is demanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Policy {
    /// Whether the image has everything that is demanded of it.
    ///
    /// # Errors
    /// It has not; why not, in one line.
    pub fn decide(&self, of: &Evidence<'_>) -> Result<(), Denied> {
        self.demanded(of.image).iter().try_for_each(|requirement| match requirement {
            Requirement::AcceptAnything => Ok(()),
            Requirement::Reject => Err(Denied("the policy rejects it".to_owned())),
            Requirement::SignedBy(keys, identity) => openpgp(of, keys, identity),
            Requirement::SigstoreSigned(keys, identity) => cosign(of, keys, identity),
        })
    }
}

/// The content of the keys, each with what it is called.
fn contents<'k>(of: &'k Evidence<'_>, keys: &'k Keys) -> Result<Vec<&'k [u8]>, Denied> {
    match keys {
        Keys::Data(all) => Ok(all.iter().map(Vec::as_slice).collect()),
        Keys::Paths(paths) => {
            let file = |path: &String| {
                let missing = || Denied(format!("the key {} is not there", shown(path)));
                of.files.get(path).map(Vec::as_slice).ok_or_else(missing)
            };
            paths.iter().map(file).collect()
        }
    }
}

fn openpgp(of: &Evidence<'_>, keys: &Keys, identity: &Identity) -> Result<(), Denied> {
    let mut ring = Ring::default();
    for bytes in contents(of, keys)? {
        let read = Ring::read(bytes);
        let read = read.map_err(|bad| Denied(format!("a key of the policy: {bad}")))?;
        ring.certificates.extend(read.certificates);
    }
    let one = |message: &Vec<u8>| {
        let verified = ring.verify(message, of.now_s).map_err(|bad| bad.to_string())?;
        let read = Payload::read(&verified.payload, PayloadKind::OpenPgp);
        fits(of, identity, &read.map_err(|bad| bad.to_string())?)
    };
    any("OpenPGP", of.openpgp.iter().map(one))
}

fn cosign(of: &Evidence<'_>, keys: &Keys, identity: &Identity) -> Result<(), Denied> {
    let read = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        CosignPublic::read(text).map_err(|bad| Denied(format!("a key of the policy: {bad}")))
    };
    let keys: Vec<CosignPublic> =
        contents(of, keys)?.into_iter().map(read).collect::<Result<_, _>>()?;
    let one = |signed: &Signed| {
        if !keys.iter().any(|key| key.verify(&signed.payload, &signed.signature)) {
            return Err("the signature is by none of the keys, or is not over this text".to_owned());
        }
        let read = Payload::read(&signed.payload, PayloadKind::Cosign);
        fits(of, identity, &read.map_err(|bad| bad.to_string())?)
    };
    any("sigstore", of.cosign.iter().map(one))
}

/// Whether what was signed is about this image.
fn fits(of: &Evidence<'_>, identity: &Identity, payload: &Payload) -> Result<(), String> {
    if payload.digest() != of.digest {
        return Err(format!("the signature is about another digest, {}", payload.digest()));
    }
    if !identity.fits(of.image, payload.reference()) {
        return Err(format!("the signature is about {}", shown(payload.reference())));
    }
    Ok(())
}

/// One sound signature is enough; without one, why each is none.
fn any(kind: &str, signatures: impl Iterator<Item = Result<(), String>>) -> Result<(), Denied> {
    let mut reasons = Vec::new();
    for signature in signatures {
        match signature {
            Ok(()) => return Ok(()),
            Err(why) if reasons.contains(&why) => {}
            Err(why) => reasons.push(why),
        }
    }
    let more = reasons.len().saturating_sub(REASONS);
    reasons.truncate(REASONS);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    if reasons.is_empty() {
        return Err(Denied(format!("it has no signature of {kind}, and the policy demands one")));
    }
    Err(Denied(reasons.join("; ")))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
