//! `WWW-Authenticate`, as a registry asks for a token or a password (RFC 9110, 11.6.1).

use super::place::{BadPlace, WebPlace};

/// Bytes of one line, lines, and parameters of one challenge.
const BYTES: usize = 4_096;
const LINES: usize = 8;
const PARAMETERS: usize = 16;
/// Bytes of a service's name.
const SERVICE_BYTES: usize = 255;

/// What a registry wants to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token, from there.
    Bearer(BearerRealm),
    /// A name and a password.
    Basic,
}

/// Where tokens are given, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerRealm {
    /// Where.
    pub realm: WebPlace,
    /// For which service, if it is said.
    pub service: Option<String>,
}

/// Why nothing can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChallenge {
    /// The header is not there.
    #[error("it refuses, and doesn't say what it wants")]
    Absent,
    /// Not as RFC 9110 has it, or out of bounds.
    #[error("what it wants doesn't read")]
    Shape,
    /// Neither a token nor a password.
    #[error("it wants neither a token nor a password")]
    Unknown,
    /// The realm.
    #[error("where it sends one for a token: {0}")]
    Realm(BadPlace),
    /// The service.
    #[error("the service that it names is too long, or no text")]
    Service,
}

impl Challenge {
    /// Reads the header's lines. A token goes before a password.
    ///
    /// # Errors
    /// Where what is wanted doesn't read, or is nothing that is known.
    pub fn read<'t>(lines: impl IntoIterator<Item = &'t str>) -> Result<Self, BadChallenge> {
        let mut basic = false;
        let mut seen = false;
        for (number, line) in lines.into_iter().enumerate() {
            if number == LINES || line.len() > BYTES {
                return Err(BadChallenge::Shape);
            }
            let mut rest = Rest(line);
            while let Some((scheme, parameters)) = rest.challenge()? {
                seen = true;
                if scheme.eq_ignore_ascii_case("bearer") {
                    return bearer(parameters).map(Self::Bearer);
                }
                basic |= scheme.eq_ignore_ascii_case("basic");
            }
        }
        match (basic, seen) {
            (true, _) => Ok(Self::Basic),
            (false, true) => Err(BadChallenge::Unknown),
            (false, false) => Err(BadChallenge::Absent),
        }
    }
}

fn bearer(parameters: Vec<(&str, String)>) -> Result<BearerRealm, BadChallenge> {
    let (mut realm, mut service) = (None, None);
    for (name, value) in parameters {
        let place = match name.to_ascii_lowercase().as_str() {
            "realm" => &mut realm,
            "service" => &mut service,
            _ => continue,
        };
        // What is said twice could be taken for two things.
        if place.replace(value).is_some() {
            return Err(BadChallenge::Shape);
        }
    }
    let realm = WebPlace::read(&realm.ok_or(BadChallenge::Shape)?).map_err(BadChallenge::Realm)?;
    let sound = |text: &String| text.len() <= SERVICE_BYTES && !text.contains(char::is_control);
    if !service.as_ref().is_none_or(sound) {
        return Err(BadChallenge::Service);
    }
    Ok(BearerRealm { realm, service: service.filter(|text| !text.is_empty()) })
}

/// What is not read yet of a line.
struct Rest<'t>(&'t str);

/// A scheme and its parameters.
type Wanted<'t> = (&'t str, Vec<(&'t str, String)>);

impl<'t> Rest<'t> {
    /// The next challenge; none at the end.
    fn challenge(&mut self) -> Result<Option<Wanted<'t>>, BadChallenge> {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
        if self.0.is_empty() {
            return Ok(None);
        }
        let scheme = self.token().ok_or(BadChallenge::Shape)?;
        let mut parameters = Vec::new();
        loop {
            self.space();
            let before = self.0;
            let Some(name) = self.token() else {
                // What is neither a name nor a comma is no list of parameters.
                break if self.0.is_empty() || self.0.starts_with(',') {
                    Ok(Some((scheme, parameters)))
                } else {
                    Err(BadChallenge::Shape)
                };
            };
            self.space();
            let Some(value) = self.0.strip_prefix('=') else {
                if !parameters.is_empty() {
                    // It is the next challenge's scheme.
                    self.0 = before;
                    return Ok(Some((scheme, parameters)));
                }
                return if self.0.is_empty() || self.0.starts_with(',') {
                    // A scheme with one bare word behind it.
                    Ok(Some((scheme, parameters)))
                } else {
                    Err(BadChallenge::Shape)
                };
            };
            self.0 = value;
            self.space();
            let padding = self.0.trim_start_matches('=');
            if parameters.is_empty() && (padding.is_empty() || padding.starts_with(',')) {
                // The word ended in `=`, as base 64 does.
                self.0 = padding;
                return Ok(Some((scheme, parameters)));
            }
            if parameters.len() == PARAMETERS {
                return Err(BadChallenge::Shape);
            }
            parameters.push((name, self.value().ok_or(BadChallenge::Shape)?));
            self.space();
            if !self.0.is_empty() && !self.0.starts_with(',') {
                return Err(BadChallenge::Shape);
            }
            let next = self.0.trim_start_matches([' ', '\t', ',']);
            if next.is_empty() {
                self.0 = next;
                return Ok(Some((scheme, parameters)));
            }
            self.0 = next;
        }
    }

    fn space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn token(&mut self) -> Option<&'t str> {
        let inside = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        // Base 64 has a slash as well: it stands in no name that is looked for.
        let end = self.0.find(|c| !inside(c) && c != '/').unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A word, or a text between quotation marks.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.token().map(str::to_owned);
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((place, c)) = characters.next() {
            match c {
                '"' => {
                    self.0 = quoted.get(place + 1..)?;
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                c => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<(String, Option<String>), BadChallenge> {
        Challenge::read([line]).map(|challenge| match challenge {
            Challenge::Bearer(bearer) => {
                (format!("{}{}", bearer.realm.host, bearer.realm.path()), bearer.service)
            }
            Challenge::Basic => ("basic".to_owned(), None),
        })
    }

    #[test]
    fn what_registries_send_is_read() {
        let auth = |service: Option<&str>| Ok(("a.example/auth".into(), service.map(Into::into)));
        for (line, wanted) in [
            (
                r#"Bearer realm="https://a.example/auth",service="registry.example",scope="registry:catalog:*""#,
                auth(Some("registry.example")),
            ),
            (
                r#"Bearer realm="https://a.example/auth",service="r",scope="x:y:pull,push",error="insufficient_scope""#,
                auth(Some("r")),
            ),
            (r#"bearer Realm = "https://a.example/auth" , Service=r"#, auth(Some("r"))),
            (r#"Bearer realm="https://a.example/auth""#, auth(None)),
            (r#"Bearer realm="https://a.example/auth",service="""#, auth(None)),
            (
                r#"Bearer service="a \"b\" \\ é",realm="https://a.example/auth""#,
                auth(Some(r#"a "b" \ é"#)),
            ),
            (r#"Basic realm="x", Bearer realm="https://a.example/auth""#, auth(None)),
            (r#"Negotiate abc/d+==, Bearer realm="https://a.example/auth""#, auth(None)),
            (r#"Negotiate, Bearer realm="https://a.example/auth""#, auth(None)),
            (r#"Basic realm="Registry Realm""#, Ok(("basic".into(), None))),
            ("Basic", Ok(("basic".into(), None))),
        ] {
            assert_eq!(read(line), wanted, "{line}");
        }
        // Each in a line of its own.
        let both = [r#"Basic realm="x""#, r#"Bearer realm="https://a.example/auth""#];
        assert!(matches!(Challenge::read(both), Ok(Challenge::Bearer(_))));
    }

    #[test]
    fn what_does_not_read_is_refused() {
        let many = (0..=PARAMETERS).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join(",");
        for (line, wanted) in [
            ("", BadChallenge::Absent),
            (" , ", BadChallenge::Absent),
            ("Negotiate", BadChallenge::Unknown),
            ("Bearer", BadChallenge::Shape),
            (r#"Bearer service="x""#, BadChallenge::Shape),
            (r#"Bearer realm="https://a/", realm="https://b/""#, BadChallenge::Shape),
            (r#"Bearer realm="https://a/"#, BadChallenge::Shape),
            (r#"Bearer realm="https://a/" x"#, BadChallenge::Shape),
            ("Bearer realm=", BadChallenge::Shape),
            ("\"", BadChallenge::Shape),
            (&format!("Bearer {many}"), BadChallenge::Shape),
            (
                &format!("Bearer realm=\"https://a/\",x=\"{}\"", "x".repeat(BYTES)),
                BadChallenge::Shape,
            ),
            (r#"Bearer realm="/auth""#, BadChallenge::Realm(BadPlace)),
            (r#"Bearer realm="file:///etc/passwd""#, BadChallenge::Realm(BadPlace)),
            ("Bearer realm=\"https://a/\",service=\"a\tb\"", BadChallenge::Service),
            (
                &format!("Bearer realm=\"https://a/\",service=\"{}\"", "x".repeat(256)),
                BadChallenge::Service,
            ),
        ] {
            assert_eq!(read(line), Err(wanted), "{line}");
        }
        assert_eq!(Challenge::read(["Negotiate"; LINES + 1]), Err(BadChallenge::Shape));
    }

    proptest! {
        #[test]
        fn whatever_a_registry_sends_ends(line in r#"[Bearlm ,="\\/:a-z\t]{0,64}"#) {
            drop(read(&line));
        }
    }
}
