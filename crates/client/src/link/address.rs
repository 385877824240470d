//! Addresses as people write them.

/// The port that managers listen on where nothing else is said.
pub const PORT: u16 = 4440;

/// `host`, `host:port`, `[v6]:port` or `v6`, with [`PORT`] where there is none.
#[must_use]
pub fn with_port(address: String) -> String {
    if address.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("[{address}]:{PORT}");
    }
    let after_bracket = address.rsplit(']').next().unwrap_or_default();
    if after_bracket.contains(':') { address } else { format!("{address}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_usual_port() {
        let all =
            ["m1", "m1:1", "10.0.0.1", "::1", "[::1]", "[::1]:2"].map(|a| with_port(a.into()));
        assert_eq!(
            all,
            ["m1:4440", "m1:1", "10.0.0.1:4440", "[::1]:4440", "[::1]:4440", "[::1]:2"]
        );
    }
}
