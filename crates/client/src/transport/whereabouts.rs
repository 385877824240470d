//! Where all managers are, and which issuing CAs are in use: told to operators with every
//! answer, as a header. And what time it is, told to whoever is refused.

use prost::Message;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

use skep_core::base::Stamp;
use skep_core::wire::api;
use skep_core::wire::convert::read_managers;

/// The header that carries an [`api::Managers`].
const HEADER: &str = "skep-managers-bin";
/// Bytes of it, a quarter of all headers that a client takes: of more addresses the last
/// are left out.
const MOST: usize = 4 * 1024;

/// What managers tell of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where they all are.
    pub addresses: Vec<String>,
    /// When the issuing CA in use begins; 0: it was not said.
    pub issuer: Stamp,
    /// When the oldest one begins whose certificates are accepted.
    pub oldest_issuer: Stamp,
}

impl From<api::Managers> for Told {
    fn from(sent: api::Managers) -> Self {
        Self {
            addresses: read_managers(sent.addresses),
            issuer: Stamp(sent.issuer),
            oldest_issuer: Stamp(sent.oldest_issuer),
        }
    }
}

impl From<Told> for api::Managers {
    fn from(told: Told) -> Self {
        let (issuer, oldest_issuer) = (told.issuer.0, told.oldest_issuer.0);
        Self { addresses: read_managers(told.addresses), issuer, oldest_issuer }
    }
}

/// Puts what managers tell of themselves into an answer's headers.
pub fn name_managers(told: Told, headers: &mut HeaderMap) {
    let mut managers = api::Managers::from(told);
    while managers.encoded_len() > MOST / 4 * 3 {
        managers.addresses.pop();
    }
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(HEADER, BinaryMetadataValue::from_bytes(&managers.encode_to_vec()));
    headers.extend(metadata.into_headers());
}

/// What time it is at a manager, as it says to those whom it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedTime(pub Stamp);

impl NamedTime {
    /// Milliseconds since 1970, in decimal.
    const HEADER: &str = "skep-now";

    /// Puts it into an answer's headers.
    pub fn name(self, headers: &mut HeaderMap) {
        let mut metadata = MetadataMap::new();
        if let Ok(value) = self.0.0.to_string().parse() {
            metadata.insert(Self::HEADER, value);
        }
        headers.extend(metadata.into_headers());
    }

    /// What an answer names, if it does.
    #[must_use]
    pub fn read(answer: &MetadataMap) -> Option<Self> {
        let value = answer.get(Self::HEADER)?.to_str().ok()?;
        value.parse().ok().map(Stamp).map(Self)
    }
}

/// What managers tell of themselves in an answer; nothing where it doesn't say.
#[must_use]
pub fn managers_named(answer: &MetadataMap) -> Told {
    let bytes = answer.get_bin(HEADER).and_then(|value| value.to_bytes().ok());
    let managers = bytes.filter(|bytes| bytes.len() <= MOST).map(api::Managers::decode);
    managers.and_then(Result::ok).map(Told::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_named_is_read() {
        let mut headers = HeaderMap::new();
        NamedTime(Stamp(u64::MAX)).name(&mut headers);
        let mut answer = MetadataMap::from_headers(headers);
        assert_eq!(NamedTime::read(&answer), Some(NamedTime(Stamp(u64::MAX))));
        for odd in ["", "-1", "1.5", "99999999999999999999999", "noon"] {
            answer.insert(NamedTime::HEADER, odd.parse().expect("a header"));
            assert_eq!(NamedTime::read(&answer), None, "{odd}");
        }
    }

    #[test]
    fn what_is_named_is_read_and_not_too_much_of_it() {
        let named = |addresses: Vec<String>| {
            let mut headers = HeaderMap::new();
            let (issuer, oldest_issuer) = (Stamp(9), Stamp(8));
            name_managers(Told { addresses, issuer, oldest_issuer }, &mut headers);
            let told = managers_named(&MetadataMap::from_headers(headers));
            assert_eq!((told.issuer, told.oldest_issuer), (Stamp(9), Stamp(8)));
            told.addresses
        };
        let two = vec!["m1:4440".to_owned(), "m2:4440".to_owned()];
        assert_eq!(named(two.clone()), two);
        let many = named(vec!["a".repeat(255); 28]);
        assert!((10..28).contains(&many.len()), "{}", many.len());
        assert_eq!(named(vec![String::new()]), Vec::<String>::new());
        let mut hostile = MetadataMap::new();
        hostile.insert_bin(HEADER, BinaryMetadataValue::from_bytes(&[255; 9]));
        assert_eq!(managers_named(&hostile), Told::default());
    }
}
