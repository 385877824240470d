//! Robots' passwords: 256 drawn bits with a checksum, told from all others by their form
//! (docs/registry/keys.md, 3).

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest as _, Sha256};
use skep_core::base::Dice;
use zeroize::{Zeroize as _, Zeroizing};

use super::labels;

/// What it begins with.
const MARK: &str = "skr1_";
/// Letters behind that.
const LETTERS: usize = 58;

/// Bytes of a person's password.
pub const PERSON: std::ops::RangeInclusive<usize> = 8..=256;

/// Why this can't be a person's password.
#[must_use]
pub fn unfit(password: &[u8]) -> Option<&'static str> {
    if !PERSON.contains(&password.len()) {
        return Some("a password has 8 to 256 bytes");
    }
    let text = std::str::from_utf8(password).ok().filter(|text| !text.contains(char::is_control));
    if text.is_none() {
        return Some("a password is one line of text in UTF-8");
    }
    is_robot_password(password)
        .then_some("that is a robot's password, which no person's account takes")
}

/// Draws one.
#[must_use]
pub fn draw_robot_password(dice: &mut dyn Dice) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 36]);
    let (random, check) = bytes.split_at_mut(32);
    dice.fill(random);
    let hash = labels::hash(labels::ROBOT_PASSWORD, &[random]);
    check.copy_from_slice(hash.split_at(4).0);
    let mut letters = BASE32_NOPAD.encode(bytes.as_slice());
    letters.make_ascii_lowercase();
    let mut text = Zeroizing::new(String::with_capacity(MARK.len() + LETTERS));
    text.push_str(MARK);
    text.push_str(&letters);
    letters.zeroize();
    text
}

/// Whether a text has the form of a robot's password, checksum included.
#[must_use]
pub fn is_robot_password(text: &[u8]) -> bool {
    let Some(letters) = text.strip_prefix(MARK.as_bytes()) else { return false };
    if letters.len() != LETTERS || letters.iter().any(u8::is_ascii_uppercase) {
        return false;
    }
    let upper = Zeroizing::new(letters.to_ascii_uppercase());
    let Ok(bytes) = BASE32_NOPAD.decode(&upper).map(Zeroizing::new) else { return false };
    let Some((random, check)) = bytes.split_at_checked(32) else { return false };
    let hash = labels::hash(labels::ROBOT_PASSWORD, &[random]);
    hash.split_at(4).0 == check
}

/// The verifier of a robot's password: 64 hexadecimal digits.
#[must_use]
pub fn robot_verifier(password: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::counting::Counting;

    #[test]
    fn what_people_may_not_take() {
        assert_eq!(unfit(b"correct horse"), None);
        assert_eq!(unfit("pässwört".as_bytes()), None);
        for bad in [&b"short"[..], &[b'x'; 257], b"two\nlines", b"\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(unfit(bad).is_some(), "{bad:?}");
        }
        assert!(unfit(draw_robot_password(&mut Counting(0)).as_bytes()).is_some());
    }

    #[test]
    fn a_password_is_told_by_its_form() {
        let password = draw_robot_password(&mut Counting(0));
        assert_eq!(password.len(), 63);
        assert!(is_robot_password(password.as_bytes()), "{}", *password);
        for place in 0..password.len() {
            let mut changed = password.as_bytes().to_vec();
            changed[place] = if changed[place] == b'a' { b'b' } else { b'a' };
            assert!(!is_robot_password(&changed), "changed at {place}");
            assert!(!is_robot_password(&password.as_bytes()[..place]), "cut at {place}");
        }
        let upper = password.to_ascii_uppercase();
        assert!(!is_robot_password(upper.as_bytes()));
        assert!(!is_robot_password(b"skr1_") && !is_robot_password(b"hunter2"));
        assert!(!is_robot_password(format!("{}a", *password).as_bytes()));
    }

    #[test]
    fn the_verifier_is_what_sha256sum_says() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(robot_verifier(b"abc"), known);
    }
}
