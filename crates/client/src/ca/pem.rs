//! PEM blocks (RFC 7468, strict form), written and read without a copy of a
//! key left behind.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use skep_core::base::SecretBytes;

/// Bytes that are set aside for what a block holds: more than any of ours has.
const BODY_BYTES: usize = 64 * 1024;

/// Characters of a line of base 64.
const LINE: usize = 64;

/// Characters of a block of this many bytes: an upper bound, to size buffers.
pub(super) fn size(label: &str, bytes: usize) -> usize {
    let encoded = BASE64.encode_len(bytes);
    encoded + encoded / LINE + 2 * label.len() + 40
}

/// Appends a block.
pub(super) fn push(text: &mut String, label: &str, bytes: &[u8]) {
    let mut encoded = Zeroizing::new(vec![0; BASE64.encode_len(bytes.len())]);
    BASE64.encode_mut(bytes, &mut encoded);
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    for line in encoded.chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
}

/// A private key (PKCS#8 DER) as a text of its own.
pub(crate) fn key_block(pkcs8: &[u8]) -> SecretBytes {
    const LABEL: &str = "PRIVATE KEY";
    let mut text = Zeroizing::new(String::with_capacity(size(LABEL, pkcs8.len())));
    push(&mut text, LABEL, pkcs8);
    SecretBytes::copy_of(text.as_bytes())
}

/// Takes the block with this label from the front of `lines`. Only what
/// [`push`] writes is sure to be accepted; the caller compares.
pub(super) fn take<'a>(
    lines: &mut impl Iterator<Item = &'a str>,
    label: &str,
) -> Option<SecretBytes> {
    let mark = |line: &str, word: &str| {
        line.strip_prefix("-----")
            .and_then(|rest| rest.strip_prefix(word))
            .and_then(|rest| rest.strip_prefix(label))
            == Some("-----")
    };
    if !mark(lines.next()?, "BEGIN ") {
        return None;
    }
    let mut encoded = Zeroizing::new(Vec::with_capacity(BODY_BYTES));
    loop {
        let line = lines.next()?;
        if mark(line, "END ") {
            break;
        }
        if line.len() > LINE || encoded.len() + line.len() > encoded.capacity() {
            return None;
        }
        encoded.extend_from_slice(line.as_bytes());
    }
    let mut bytes = SecretBytes::zeroed(BASE64.decode_len(encoded.len()).ok()?);
    let length = BASE64.decode_mut(&encoded, bytes.expose_mut()).ok()?;
    Some(bytes.truncated(length))
}
