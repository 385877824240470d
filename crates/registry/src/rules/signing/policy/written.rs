//! A policy for one registry, from public keys, and where its signatures are found.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::rules::signing::cosign_key::CosignPublic;
use crate::rules::signing::key::BadKey;
use crate::rules::signing::openpgp::Certificate;

/// What a policy is written from. Everything that is not of this registry is rejected by it.
#[derive(Clone, Copy, Debug)]
pub struct Written<'w> {
    /// Where the registry is: HOST or HOST:PORT.
    pub host: &'w str,
    /// One of these keys has to have signed, where there is one.
    pub openpgp: &'w [Certificate],
    /// And one of these, where that is asked for.
    pub cosign: &'w [CosignPublic],
    /// Whether it is: older readers know of one such key at most, and the oldest of none.
    pub sigstore: bool,
}

impl Written<'_> {
    /// The text of policy.json, with the keys in it. Without any key it rejects everything.
    ///
    /// # Errors
    /// [`BadKey::OpenPgp`]: none in practice.
    pub fn policy(&self) -> Result<String, BadKey> {
        let mut demanded: Vec<Value> = Vec::new();
        if !self.openpgp.is_empty() {
            demanded.push(json!({
                "type": "signedBy", "keyType": "GPGKeys", "keyData": BASE64.encode(&self.ring()?),
            }));
        }
        let keys = self.cosign.iter().map(|key| BASE64.encode(key.text().as_bytes()));
        let keys: Vec<String> = if self.sigstore { keys.collect() } else { Vec::new() };
        match keys.as_slice() {
            [] => {}
            [one] => demanded.push(json!({ "type": "sigstoreSigned", "keyData": one })),
            all => demanded.push(json!({ "type": "sigstoreSigned", "keyDatas": all })),
        }
        if demanded.is_empty() {
            demanded.push(json!({ "type": "reject" }));
        }
        let policy = json!({
            "default": [{ "type": "reject" }],
            "transports": { "docker": { self.host: demanded } },
        });
        Ok(format!("{policy:#}\n"))
    }

    /// The keys of OpenPGP behind each other, as GnuPG imports them.
    ///
    /// # Errors
    /// [`BadKey::OpenPgp`]: none in practice.
    pub fn ring(&self) -> Result<Vec<u8>, BadKey> {
        let keys: Result<Vec<Vec<u8>>, BadKey> =
            self.openpgp.iter().map(Certificate::bytes).collect();
        keys.map(|keys| keys.concat())
    }
}

/// The text of a file of registries.d: where signatures of OpenPGP are asked for, and whether
/// those of cosign's beside images are looked at. `sigstore` is what `lookaside` was called.
#[must_use]
pub fn registries_d(host: &str, lookaside: Option<&str>, sigstore: bool) -> String {
    // Text in double quotes is the same in JSON and in YAML.
    let quoted = |text: &str| Value::from(text).to_string();
    let mut lines = vec!["docker:".to_owned(), format!("  {}:", quoted(host))];
    for (key, url) in ["lookaside", "sigstore"].into_iter().zip(std::iter::repeat(lookaside)) {
        lines.extend(url.map(|url| format!("    {key}: {}", quoted(url))));
    }
    lines.push(format!("    use-sigstore-attachments: {sigstore}"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::counting::Counting;
    use crate::rules::signing::cosign_key::tests::key;
    use crate::rules::signing::openpgp::{OpenPgpKey, Ring};
    use crate::rules::signing::policy::{Keys, Policy, Reference, Requirement};

    #[test]
    fn what_is_written_is_read() {
        let text = ["1", "2"].map(|of| {
            let seed = of.parse().expect("a number");
            let key = OpenPgpKey::draw(of, 1_800_000_000, &mut Counting(seed)).expect("a key");
            key.public_text().to_owned()
        });
        let ring = Ring::read(text.concat().as_bytes()).expect("a ring");
        let cosign = [key(1).public(), key(2).public()];
        let image = Reference::read("r.example:5000/a/b:1").expect("a reference");
        let demanded = |openpgp: &[Certificate], cosign: &[CosignPublic], sigstore| {
            let written = Written { host: "r.example:5000", openpgp, cosign, sigstore };
            let text = written.policy().expect("a policy");
            let policy = Policy::read(text.as_bytes()).expect("a policy");
            policy.demanded(&image).to_vec()
        };
        let all = &ring.certificates;
        match demanded(all, &cosign, false).as_slice() {
            [Requirement::SignedBy(Keys::Data(data), _)] => {
                let read = Ring::read(&data.concat()).expect("a ring");
                assert_eq!(read.certificates.len(), 2);
            }
            other => panic!("{other:?}"),
        }
        match demanded(all, &cosign, true).as_slice() {
            [Requirement::SignedBy(..), Requirement::SigstoreSigned(Keys::Data(data), _)] => {
                assert_eq!(data[1], cosign[1].text().as_bytes());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(demanded(&[], &cosign, false), [Requirement::Reject]);
        assert_eq!(demanded(&[], &[], true), [Requirement::Reject]);
        let text = registries_d("r.example:5000", Some("https://s.example/sigstore"), true);
        let known = "docker:\n  \"r.example:5000\":\n    \
                     lookaside: \"https://s.example/sigstore\"\n    \
                     sigstore: \"https://s.example/sigstore\"\n    \
                     use-sigstore-attachments: true\n";
        assert_eq!(text, known);
    }
}
