//! `application/x-www-form-urlencoded`, as queries and bodies have it.

use zeroize::Zeroizing;

use super::place::encode;

/// Parameters of one request.
const PARAMETERS: usize = 256;

/// Names and values in their order. Values may be passwords.
pub(super) type Parameters = Vec<(String, Zeroizing<String>)>;

/// Reads what a query or a body holds; nothing where anything in it doesn't read.
pub(super) fn parameters(text: &[u8]) -> Option<Parameters> {
    let parts = text.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    let mut read = Vec::new();
    for part in parts {
        if read.len() == PARAMETERS {
            return None;
        }
        let mut halves = part.splitn(2, |byte| *byte == b'=');
        let name = decoded(halves.next().unwrap_or_default())?;
        let value = decoded(halves.next().unwrap_or_default())?;
        read.push((name.to_string(), value));
    }
    Some(read)
}

fn decoded(text: &[u8]) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(*rest.next()?)?, digit(*rest.next()?)?);
                high * 16 + low
            }
            byte => *byte,
        });
    }
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

/// One parameter, as a body has it.
pub(super) fn field(name: &str, value: &str) -> Zeroizing<String> {
    // No byte takes more than three; so no copy is left behind.
    let mut text = Zeroizing::new(String::with_capacity(name.len() + 1 + value.len() * 3));
    text.push_str(name);
    text.push('=');
    encode(value, &mut text);
    text
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_or_refused_whole() {
        let read = |text: &str| {
            parameters(text.as_bytes()).map(|all| {
                all.into_iter()
                    .map(|(name, value)| format!("{name}={}", *value))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(read("a=b&&c"), Some(vec!["a=b".into(), "c=".into()]));
        assert_eq!(read("a=b+c%20d%3D=&%61=1"), Some(vec!["a=b c d==".into(), "a=1".into()]));
        for bad in ["a=%", "a=%2", "a=%zz", "a=%ff", "%=a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(parameters(b"a=\xff"), None);
        assert!(parameters("a&".repeat(256).as_bytes()).is_some());
        assert!(parameters("a&".repeat(257).as_bytes()).is_none());
    }
}
