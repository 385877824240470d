//! From where somebody asks: the peer, or what a trusted proxy says.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use super::answer::Refused;

/// The header that proxies append to.
const FORWARDED: &str = "x-forwarded-for";

/// The address that rules and records see. The header is believed as far as it was written by
/// proxies of `trusted`: the last address in it that is none of them. One of IPv4 within IPv6
/// is IPv4.
///
/// # Errors
/// A trusted proxy sent what is no list of addresses.
pub fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Result<IpAddr, Refused> {
    let peer = peer.to_canonical();
    let is_proxy = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_proxy(&peer) {
        return Ok(peer);
    }
    let mut seen = peer;
    let lines: Vec<_> = headers.get_all(FORWARDED).iter().collect();
    for line in lines.into_iter().rev() {
        for text in line.to_str().map_err(|_| unreadable())?.rsplit(',') {
            seen = text.trim().parse::<IpAddr>().map_err(|_| unreadable())?.to_canonical();
            if !is_proxy(&seen) {
                return Ok(seen);
            }
        }
    }
    Ok(seen)
}

fn unreadable() -> Refused {
    Refused::invalid("X-Forwarded-For is no list of addresses")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let address = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED, line.parse().unwrap());
            }
            client_address(peer.parse().unwrap(), &headers, &trusted).map(|ip| ip.to_string()).ok()
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(address("192.0.2.1", &["1.2.3.4"]), is("192.0.2.1"), "not a proxy");
        assert_eq!(address("10.0.0.1", &[]), is("10.0.0.1"));
        assert_eq!(address("10.0.0.1", &["1.2.3.4"]), is("1.2.3.4"));
        assert_eq!(address("::ffff:10.0.0.1", &["::ffff:1.2.3.4"]), is("1.2.3.4"));
        assert_eq!(address("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.9.9.9"]), is("1.2.3.4"));
        assert_eq!(address("10.0.0.1", &["6.6.6.6", "1.2.3.4"]), is("1.2.3.4"));
        assert_eq!(address("10.0.0.1", &["10.2.2.2,10.1.1.1"]), is("10.2.2.2"));
        assert_eq!(address("10.0.0.1", &["unknown"]), None);
        assert_eq!(address("10.0.0.1", &["1.2.3.4:80"]), None);
        assert_eq!(address("192.0.2.1", &["unknown"]), is("192.0.2.1"));
    }
}
