//! Where all managers are: told to operators with every answer, as a header.

use prost::Message;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

use skep_core::wire::api;
use skep_core::wire::convert::read_managers;

/// The header that carries an [`api::Managers`].
const HEADER: &str = "skep-managers-bin";
/// Bytes of it, a quarter of all headers that a client takes: of more addresses the last
/// are left out.
const MOST: usize = 4 * 1024;

/// Puts where managers are into an answer's headers.
pub fn name_managers(addresses: Vec<String>, headers: &mut HeaderMap) {
    let mut managers = api::Managers { addresses: read_managers(addresses) };
    while managers.encoded_len() > MOST / 4 * 3 {
        managers.addresses.pop();
    }
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(HEADER, BinaryMetadataValue::from_bytes(&managers.encode_to_vec()));
    headers.extend(metadata.into_headers());
}

/// Where managers are, as an answer says; empty where it doesn't.
#[must_use]
pub fn managers_named(answer: &MetadataMap) -> Vec<String> {
    let bytes = answer.get_bin(HEADER).and_then(|value| value.to_bytes().ok());
    let managers = bytes.filter(|bytes| bytes.len() <= MOST).map(api::Managers::decode);
    managers.and_then(Result::ok).map(|of| read_managers(of.addresses)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_read_and_not_too_much_of_it() {
        let named = |addresses: Vec<String>| {
            let mut headers = HeaderMap::new();
            name_managers(addresses, &mut headers);
            managers_named(&MetadataMap::from_headers(headers))
        };
        let two = vec!["m1:4440".to_owned(), "m2:4440".to_owned()];
        assert_eq!(named(two.clone()), two);
        let many = named(vec!["a".repeat(255); 28]);
        assert!((10..28).contains(&many.len()), "{}", many.len());
        assert_eq!(named(vec![String::new()]), Vec::<String>::new());
        let mut hostile = MetadataMap::new();
        hostile.insert_bin(HEADER, BinaryMetadataValue::from_bytes(&[255; 9]));
        assert_eq!(managers_named(&hostile), Vec::<String>::new());
    }
}
