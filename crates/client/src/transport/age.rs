//! How old what a manager answers may be: told with each read that need not be up to date, as a
//! header.

use prost::Message;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

use skep_core::wire::api::AsOf;

/// The header that carries an [`AsOf`].
const HEADER: &str = "skep-as-of-bin";
/// Bytes of it: four numbers.
const MOST: usize = 64;

/// Puts it into an answer's headers.
pub fn tell_age(as_of: &AsOf, headers: &mut MetadataMap) {
    headers.insert_bin(HEADER, BinaryMetadataValue::from_bytes(&as_of.encode_to_vec()));
}

/// How old an answer may be, as it says.
#[must_use]
pub fn age_told(answer: &MetadataMap) -> Option<AsOf> {
    let bytes = answer.get_bin(HEADER)?.to_bytes().ok()?;
    AsOf::decode(bytes).ok().filter(|as_of| as_of.encoded_len() <= MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read() {
        let as_of = AsOf { revision: 9, age_ms: 180_000, led: false, since_start: true };
        let mut headers = MetadataMap::new();
        assert_eq!(age_told(&headers), None);
        tell_age(&as_of, &mut headers);
        assert_eq!(age_told(&headers), Some(as_of));
        headers.insert_bin(HEADER, BinaryMetadataValue::from_bytes(&[255; 9]));
        assert_eq!(age_told(&headers), None);
    }
}
