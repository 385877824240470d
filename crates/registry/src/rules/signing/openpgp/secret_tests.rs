//! Keys that are drawn, read and damaged; messages of theirs.

use super::*;
use crate::rules::counting::Counting;
use crate::rules::signing::openpgp::{BadMessage, Certificate, Ring};
use pgp::ser::Serialize as _;

const AT_S: u64 = 1_800_000_000;

fn key(seed: u8) -> OpenPgpKey {
    OpenPgpKey::draw("web.release", AT_S, &mut Counting(seed)).expect("a key")
}

fn ring(of: &OpenPgpKey) -> Ring {
    Ring::read(of.public_text().as_bytes()).expect("a ring")
}

#[test]
fn what_was_drawn_is_read_and_signs() {
    let drawn = key(1);
    let text = drawn.text().expect("a text");
    assert!(text.expose().starts_with(b"-----BEGIN PGP PRIVATE KEY BLOCK-----"));
    let read = OpenPgpKey::read(text.expose()).expect("a key");
    assert_eq!(read.fingerprint(), drawn.fingerprint());
    assert_eq!(read.public_text(), drawn.public_text());
    assert!(read.public_text().len() < 4096, "{}", read.public_text().len());
    assert_eq!(key(1).public_text(), drawn.public_text(), "the same dice");
    assert_ne!(key(2).fingerprint(), drawn.fingerprint());
    assert_eq!(format!("{drawn:?}"), format!("OpenPgpKey({})", drawn.fingerprint()));
    let message = drawn.sign(b"text", AT_S + 5).expect("a message");
    assert_eq!(read.sign(b"text", AT_S + 5), Ok(message.clone()));
    let verified = ring(&drawn).verify(&message, AT_S + 10).expect("verified");
    assert_eq!((verified.payload.as_slice(), verified.at_s), (&b"text"[..], AT_S + 5));
    assert_eq!(verified.fingerprint, drawn.fingerprint());
    assert_eq!(ring(&key(2)).verify(&message, AT_S + 10), Err(BadMessage::Key));
}

#[test]
fn no_changed_message_is_taken() {
    let key = key(1);
    let ring = ring(&key);
    let message = key.sign(b"some text", AT_S).expect("a message");
    for place in 0..message.len() {
        for bit in [1, 0x80] {
            let mut changed = message.clone();
            changed[place] ^= bit;
            match ring.verify(&changed, AT_S) {
                Err(_) => {}
                // The literal packet's date, and the key id outside of the signature's hash,
                // are bound by nothing: what is signed is the text.
                Ok(verified) => assert_eq!(verified.payload, b"some text", "changed at {place}"),
            }
        }
        assert!(ring.verify(&message[..place], AT_S).is_err(), "cut at {place}");
    }
    let twice = [message.clone(), message.clone()].concat();
    assert_eq!(ring.verify(&twice, AT_S), Err(BadMessage::Shape));
    assert_eq!(ring.verify(&vec![0; 200_000], AT_S), Err(BadMessage::Size));
    assert_eq!(ring.verify(&[0xcb; 1000], AT_S), Err(BadMessage::Shape));
}

#[test]
fn a_signature_is_of_its_time() {
    let key = key(1);
    let ring = ring(&key);
    let message = key.sign(b"text", AT_S + 1000).expect("a message");
    assert!(ring.verify(&message, AT_S + 1000 - 300).is_ok());
    let early = ring.verify(&message, AT_S + 1000 - 301);
    assert_eq!(early, Err(BadMessage::Time(key.fingerprint().to_owned())));
    let before = key.sign(b"text", AT_S - 1).expect("a message");
    assert!(ring.verify(&before, AT_S).is_err(), "older than its key");
    assert_eq!(key.sign(b"text", 1 << 32), Err(BadKey::Time));
}

#[test]
fn what_is_no_key_is_refused() {
    let key = key(1);
    let text = key.text().expect("a text");
    let binary = key.key.to_bytes().expect("bytes");
    assert!(OpenPgpKey::read(&binary).is_ok());
    for end in 0..binary.len() {
        assert!(OpenPgpKey::read(&binary[..end]).is_err(), "cut at {end}");
    }
    for end in (0..text.expose().len() - 50).step_by(7) {
        assert!(OpenPgpKey::read(&text.expose()[..end]).is_err(), "cut at {end}");
    }
    let twice = [binary.clone(), binary.clone()].concat();
    assert_eq!(OpenPgpKey::read(&twice).map(|_| ()), Err(BadKey::Several));
    let public = key.public_text().as_bytes();
    assert_eq!(OpenPgpKey::read(public).map(|_| ()), Err(BadKey::OpenPgp));
    assert!(Ring::read(text.expose()).is_err(), "a private key is in no ring");
    // What is changed is no key, or one that signs as it says.
    for place in 0..binary.len() {
        let mut changed = binary.clone();
        changed[place] ^= 1;
        if let Ok(read) = OpenPgpKey::read(&changed) {
            let message = read.sign(b"text", AT_S).expect("a message");
            assert!(ring(&read).verify(&message, AT_S).is_ok(), "changed at {place}");
        }
    }
    for bad in ["", "a\nb", &"x".repeat(257)] {
        let drawn = OpenPgpKey::draw(bad, AT_S, &mut Counting(1));
        assert_eq!(drawn.map(|_| ()), Err(BadKey::UserId), "{bad:?}");
    }
}

#[test]
fn a_ring_is_keys_behind_each_other() {
    let (one, two) = (key(1), key(2));
    let armoured = format!("first\n{}\nsecond\n{}", one.public_text(), two.public_text());
    let both = Ring::read(armoured.as_bytes()).expect("a ring");
    let names: Vec<_> = both.certificates.iter().map(Certificate::fingerprint).collect();
    assert_eq!(names, [one.fingerprint(), two.fingerprint()]);
    let bytes: Vec<u8> =
        both.certificates.iter().flat_map(|key| key.bytes().expect("bytes")).collect();
    assert_eq!(Ring::read(&bytes).expect("a ring").certificates.len(), 2);
    assert_eq!(both.certificates[0].user_id(), Some("web.release"));
    let message = two.sign(b"text", AT_S).expect("a message");
    let verified = both.verify(&message, AT_S).expect("verified");
    assert_eq!(verified.fingerprint, two.fingerprint());
    for bad in [&b""[..], b"x", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxx", &[0x98; 40]] {
        assert!(Ring::read(bad).is_err(), "{bad:?}");
    }
}
