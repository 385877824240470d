//! Addresses as people write them.

use std::net::{IpAddr, Ipv6Addr};

/// The port that managers listen on where nothing else is said.
pub const PORT: u16 = 4440;
/// Bytes of an address: a host name has up to 253.
const ADDRESS_BYTES: usize = 300;

/// Why text is no address of a manager. It shows the text, which is no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// There is a scheme or a path, as in a URL.
    #[error("{0}: is a URL and not host:port")]
    Url(String),
    /// No port has this number.
    #[error("{0}: a port has a number from 1 to 65535")]
    Port(String),
    /// Neither a name nor an IP address.
    #[error("{0}: is not host:port")]
    Host(String),
    /// It stands for all addresses of a machine: one listens there, and reaches nobody.
    #[error("{0}: stands for every address of a machine, and nobody reaches it there")]
    Unspecified(String),
}

/// Reads `host`, `host:port`, `[v6]:port` or `v6`, with blanks around it, and answers
/// `host:port` with [`PORT`] where there is none.
///
/// # Errors
/// [`BadAddress`], but for [`BadAddress::Unspecified`].
pub fn read_address(text: &str) -> Result<String, BadAddress> {
    let text = text.trim();
    let shown = || text.chars().take(ADDRESS_BYTES).collect::<String>();
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]:{PORT}"));
    }
    if text.contains('/') {
        return Err(BadAddress::Url(shown()));
    }
    let after_bracket = text.rsplit(']').next().unwrap_or_default();
    let (host, port) = match after_bracket.rsplit_once(':') {
        Some((_, port)) => (text.get(..text.len() - port.len() - 1).unwrap_or_default(), port),
        None => (text, ""),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let sound = if let Some(v6) = bracketed {
        // What comes behind % names an interface.
        v6.split('%').next().is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok())
    } else {
        let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !host.is_empty() && host.bytes().all(of_a_name)
    };
    if !sound || text.len() > ADDRESS_BYTES {
        return Err(BadAddress::Host(shown()));
    }
    if host.len() == text.len() {
        return Ok(format!("{text}:{PORT}"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        Ok(0) | Err(_) => Err(BadAddress::Port(shown())),
    }
}

/// The same for an address where others shall reach a machine.
///
/// # Errors
/// [`BadAddress`].
pub fn read_own_address(text: &str) -> Result<String, BadAddress> {
    let address = read_address(text)?;
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(BadAddress::Unspecified(address));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_usual_port() {
        for (typed, read) in [
            ("m1", "m1:4440"),
            ("m1:1", "m1:1"),
            (" m1:1 ", "m1:1"),
            ("10.0.0.1", "10.0.0.1:4440"),
            ("::1", "[::1]:4440"),
            ("[::1]", "[::1]:4440"),
            ("[::1]:2", "[::1]:2"),
            ("[fe80::1%eth0]:2", "[fe80::1%eth0]:2"),
            ("0.0.0.0:4440", "0.0.0.0:4440"),
        ] {
            assert_eq!(read_address(typed).as_deref(), Ok(read), "{typed}");
        }
    }

    #[test]
    fn what_nobody_can_reach_is_no_address() {
        let is = |typed: &str, bad: fn(String) -> BadAddress| {
            assert_eq!(read_own_address(typed), Err(bad(typed.to_owned())));
        };
        for typed in ["h:0", "h:99999", "h:", "h:4440x", "[::1]:0"] {
            is(typed, BadAddress::Port);
        }
        for typed in ["", ":1", "a b:1", "h\u{1b}:1", "[m1]:1", "1:2:3", "[::1]x:1", "ä:1", "a,b"]
        {
            is(typed, BadAddress::Host);
        }
        for typed in ["http://h:1", "h:1/", "h/x"] {
            is(typed, BadAddress::Url);
        }
        for typed in ["0.0.0.0:4440", "[::]:1"] {
            is(typed, BadAddress::Unspecified);
        }
        assert_eq!(read_own_address("::"), Err(BadAddress::Unspecified("[::]:4440".to_owned())));
        assert!(read_own_address(&"x".repeat(301)).is_err());
    }
}
