//! Hashes over fields.

/// BLAKE3 over a sequence of fields under a label. Every field is written with
/// its width or length, so that no two sequences give the same bytes.
#[derive(Clone, Debug)]
pub struct Digest(blake3::Hasher);

impl Digest {
    /// Begins one; different labels never give the same hash.
    #[must_use]
    pub fn new(label: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(label))
    }

    /// Adds a number, 8 bytes little-endian.
    pub fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Adds a count.
    pub fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Adds bytes after their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    /// Adds a number that may be missing.
    pub fn option(&mut self, number: Option<u64>) {
        self.number(u64::from(number.is_some()));
        self.number(number.unwrap_or(0));
    }

    /// The hash.
    #[must_use]
    pub fn end(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let of = |parts: [&[u8]; 2]| {
            let mut hash = Digest::new("test");
            for part in parts {
                hash.bytes(part);
            }
            hash.end()
        };
        assert_ne!(of([b"ab", b"c"]), of([b"a", b"bc"]));
        assert_ne!(Digest::new("a").end(), Digest::new("b").end());
    }
}
