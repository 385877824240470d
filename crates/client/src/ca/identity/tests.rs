use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::ca::{CertificateRole, Issuer, Root, Subject};
use skep_core::base::{ClusterId, OperatorId};

const NOW: Stamp = Stamp(1_800_000_000_000);

fn identity() -> Identity {
    let name: Name = "prod".parse().expect("a name");
    let cluster = ClusterId::from_bytes([1; 16]);
    let root = Root::generate(cluster, &name, NOW).expect("a root");
    let key = PrivateKey::generate().expect("a key");
    let issuing = root.sign_issuing(&key.public(), cluster, NOW).expect("an issuing CA");
    let issuer = Issuer::new(issuing.clone(), key).expect("an issuer");
    let key = PrivateKey::generate().expect("a key");
    let role = CertificateRole::Operator(OperatorId::from_bytes([2; 16]));
    let subject = Subject { cluster, role, name: "admin".parse().expect("a name") };
    let leaf = issuer.sign_leaf(&key.public(), &subject, NOW, NOW.plus_ms(90_000));
    Identity {
        cluster: name,
        fingerprint: Fingerprint::of_root(&root.certificate),
        addresses: vec!["manager-1:4440".to_owned(), "[2001:db8::1]:4440".to_owned()],
        oldest_issuer: Stamp(1_700_000_000_000),
        chain: vec![leaf.expect("a leaf"), issuing, root.certificate],
        key,
        hello: hello(),
        sealed: None,
    }
}

fn hello() -> HelloKey {
    HelloKey::parse(&SecretBytes::copy_of(&[7; HELLO_BYTES])).expect("a hello key")
}

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| identity().to_text().expose().to_vec());

#[test]
fn identities_are_written_and_read_alike() {
    let made = identity();
    let text = made.to_text();
    let read = Identity::parse(text.expose()).expect("an identity");
    assert_eq!(read.cluster, made.cluster);
    assert_eq!(read.fingerprint, made.fingerprint);
    assert_eq!(read.addresses, made.addresses);
    assert_eq!(read.oldest_issuer, made.oldest_issuer);
    assert_eq!(read.chain, made.chain);
    assert_eq!(read.key.public(), made.key.public());
    assert_eq!(read.hello.to_bytes().expose(), made.hello.to_bytes().expose());
    assert!(Identity::parse(text.expose().trim_ascii()).is_ok(), "a last line without its end");
}

#[test]
fn the_head_is_toml() {
    let text = str::from_utf8(&TEXT).expect("text");
    let (head, blocks) = text.split_once("\n\n").expect("a head");
    let head: toml::Table = head.parse().expect("TOML");
    assert_eq!(head["version"].as_integer(), Some(i64::from(FORMAT)));
    assert_eq!(head["cluster"].as_str(), Some("prod"));
    assert_eq!(head["addresses"].as_array().map(Vec::len), Some(2));
    assert_eq!(blocks.matches("-----BEGIN CERTIFICATE-----").count(), 3);
    assert!(blocks.ends_with("-----END SKEP HELLO KEY-----\n"));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let reason = |made: &Identity| Identity::parse(made.to_text().expose()).err();
    let mut made = identity();
    made.key = PrivateKey::generate().expect("a key");
    let expected = IdentityError::Not("the private key is not its certificate's");
    assert_eq!(reason(&made), Some(expected));
    let mut made = identity();
    made.fingerprint = Fingerprint([0; 32]);
    let expected =
        IdentityError::Not("its certificates belong to another cluster than its fingerprint");
    assert_eq!(reason(&made), Some(expected));
    let mut made = identity();
    made.chain.swap(0, 1);
    assert!(reason(&made).is_some());
    let mut made = identity();
    made.chain.truncate(2);
    assert!(reason(&made).is_some());
}

#[test]
fn every_byte_counts() {
    for at in 0..TEXT.len() - 1 {
        for change in [0x01, 0x20, 0x80] {
            let mut text = TEXT.clone();
            text[at] ^= change;
            assert!(Identity::parse(&text).is_err(), "byte {at}");
        }
        assert!(Identity::parse(&TEXT[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn hostile_texts_are_refused() {
    assert!(Identity::parse(&vec![b'a'; TEXT_BYTES + 1]).is_err());
    assert!(Identity::parse(b"").is_err());
    let nested = ["version = 11\nx = ", &"[".repeat(30_000)].concat();
    assert!(Identity::parse([nested.as_bytes(), b"\n\n"].concat().as_slice()).is_err());
    let twice = [&TEXT[..], &TEXT[..]].concat();
    assert!(Identity::parse(&twice).is_err());
    let windows = str::from_utf8(&TEXT).expect("text").replace('\n', "\r\n");
    assert!(Identity::parse(windows.as_bytes()).is_err());
}

#[test]
fn only_addresses_are_written() {
    for bad in ["", "host", ":4440", "host:0", "host:99999", "a\"b:1", "a b:1", "a\n:1"] {
        assert!(!is_address(bad), "{bad}");
    }
    let mut made = identity();
    made.addresses.push("bad\"\n:1".to_owned());
    let read = Identity::parse(made.to_text().expose()).expect("an identity");
    assert_eq!(read.addresses.len(), 2);
}

fn lock(passphrase: &str) -> Arc<PassphraseLock> {
    let spec = "argon2id m=19456 t=1 p=1 salt=000102030405060708090a0b0c0d0e0f";
    let passphrase = SecretBytes::copy_of(passphrase.as_bytes());
    let lock = PassphraseLock::of(spec.parse().expect("sound"), &passphrase);
    Arc::new(lock.expect("a key"))
}

fn encrypted() -> Identity {
    let mut made = identity();
    made.seal(&mut crate::machine::OsDice, Some(lock("correct horse"))).expect("sealed");
    made
}

#[test]
fn an_encrypted_identity_shows_its_certificate_and_hides_its_keys() {
    let made = encrypted();
    let text = made.to_text();
    let shown = str::from_utf8(text.expose()).expect("text");
    assert!(!shown.contains("PRIVATE KEY") && !shown.contains("HELLO"), "{shown}");
    for secret in [made.key.expose(), made.hello.to_bytes().expose()] {
        let base64 = data_encoding::BASE64.encode(&secret[secret.len() - 24..]);
        assert!(!shown.contains(&base64) && !shown.replace('\n', "").contains(&base64));
    }
    assert_eq!(Identity::parse(text.expose()).err(), Some(IdentityError::Encrypted));
    let read = || IdentityText::parse(text.expose()).expect("an identity file");
    assert_eq!(read().cluster, made.cluster);
    assert!(read().sealed_under().is_some());
    let wrong = read().open_with(Some(&lock("Correct horse"))).err();
    assert_eq!(wrong, Some(IdentityError::WrongPassphrase));
    let opened = read().open_with(Some(&lock("correct horse"))).expect("opened");
    assert_eq!(opened.key.public(), made.key.public());
    assert_eq!(opened.hello.to_bytes().expose(), made.hello.to_bytes().expose());
    assert_eq!(opened.to_text().expose(), text.expose(), "it stays as it was written");
}

#[test]
fn a_passphrase_comes_and_goes_and_outlives_a_renewal() {
    let mut made = encrypted();
    // The same key, another certificate: what is sealed stays.
    let before = made.to_text();
    made.addresses.push("manager-9:4440".to_owned());
    let after = made.to_text();
    assert_ne!(before.expose(), after.expose());
    let read = IdentityText::parse(after.expose()).expect("an identity file");
    assert!(read.open_with(Some(&lock("correct horse"))).is_ok());
    made.seal(&mut crate::machine::OsDice, None).expect("open");
    assert!(Identity::parse(made.to_text().expose()).is_ok());
}

#[test]
fn another_key_is_sealed_anew() {
    let mut made = encrypted();
    let before = made.sealed.as_ref().expect("sealed").bytes.clone();
    made.take_key(&mut crate::machine::OsDice, PrivateKey::generate().expect("a key"))
        .expect("sealed");
    assert_ne!(made.sealed.as_ref().expect("sealed").bytes, before);
    // Its certificate is another key's: what was sealed for that one does not open here.
    let read = IdentityText::parse(made.to_text().expose()).expect("an identity file");
    let opened = read.open_with(Some(&lock("correct horse"))).err();
    assert_eq!(opened, Some(IdentityError::WrongPassphrase));
}

#[test]
fn sealed_keys_of_another_identity_do_not_open_here() {
    let (made, other) = (encrypted(), encrypted());
    let moved = Identity { sealed: other.sealed, ..made };
    let read = IdentityText::parse(moved.to_text().expose()).expect("an identity file");
    let opened = read.open_with(Some(&lock("correct horse"))).err();
    assert_eq!(opened, Some(IdentityError::WrongPassphrase));
}

#[test]
fn every_byte_of_an_encrypted_one_counts() {
    let whole = encrypted().to_text().expose().to_vec();
    for at in 0..whole.len() - 1 {
        let mut text = whole.clone();
        text[at] ^= 0x01;
        assert!(IdentityText::parse(&text).is_err(), "byte {at}");
        assert!(IdentityText::parse(&whole[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn what_an_encrypted_file_asks_of_memory_is_bounded() {
    // Whoever edits the head can write a checksum that fits.
    let text = encrypted().to_text();
    let text = str::from_utf8(text.expose()).expect("text").replace("m=19456", "m=4000000000");
    let rest = text.splitn(3, '\n').nth(2).expect("a rest").trim_end();
    let text = format!("version = {FORMAT}\nchecksum = \"{}\"\n{rest}\n", checksum(rest));
    let said = IdentityText::parse(text.as_bytes()).err();
    assert!(
        matches!(said, Some(IdentityError::Not(why)) if why.contains("passphrase")),
        "{said:?}"
    );
}

proptest! {
    #[test]
    fn a_changed_byte_is_found(at in 0..TEXT.len() - 1, change in 1_u8..) {
        let mut text = TEXT.clone();
        text[at] ^= change;
        prop_assert!(Identity::parse(&text).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Identity::parse(&bytes).is_err());
    }
}
