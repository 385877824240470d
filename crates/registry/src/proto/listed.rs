//! What a registry answers to somebody who looks around: tokens, lists, the next page, refusals.
//!
//! Nothing of it is believed: names that could be none are refused, for they go to a terminal
//! and into addresses.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::place::WebPlace;
use crate::rules::image::is_tag;
use crate::rules::scope::is_repository;
use crate::rules::shown;

/// Bytes of a token.
const TOKEN_BYTES: usize = 64 * 1024;
/// Bytes of a header's line that names the next page.
const LINK_BYTES: usize = 8 * 1024;

/// Why an answer is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadListing {
    /// No JSON, or none of this shape.
    #[error("it doesn't read")]
    Shape,
    /// The token.
    #[error("the token in it is empty, too long, or no text that a header carries")]
    Token,
    /// A name in a list.
    #[error("{0} is no name of a repository or tag")]
    Name(String),
    /// The link to the next page.
    #[error("its next page is nowhere in this registry")]
    Next,
}

#[derive(Deserialize)]
struct TokenShape {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct CatalogShape {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TagsShape {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ErrorsShape {
    errors: Vec<ErrorShape>,
}

#[derive(Deserialize)]
struct ErrorShape {
    #[serde(default)]
    message: String,
}

/// The token that a token server gives.
///
/// # Errors
/// There is none.
pub fn token_of(body: &[u8]) -> Result<Zeroizing<String>, BadListing> {
    let shape: TokenShape = serde_json::from_slice(body).map_err(|_| BadListing::Shape)?;
    let given = [shape.token, shape.access_token].into_iter().flatten().map(Zeroizing::new);
    let mut given = given.filter(|token| !token.is_empty());
    let token = given.next().ok_or(BadListing::Token)?;
    let sound = token.len() <= TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic());
    if sound { Ok(token) } else { Err(BadListing::Token) }
}

/// The repositories of a page of the catalog.
///
/// # Errors
/// It doesn't read, or one of them is none.
pub fn repositories_of(body: &[u8]) -> Result<Vec<String>, BadListing> {
    let shape: CatalogShape = serde_json::from_slice(body).map_err(|_| BadListing::Shape)?;
    named(shape.repositories, is_repository)
}

/// The tags of a page of a repository's.
///
/// # Errors
/// It doesn't read, or one of them is none.
pub fn tags_of(body: &[u8]) -> Result<Vec<String>, BadListing> {
    let shape: TagsShape = serde_json::from_slice(body).map_err(|_| BadListing::Shape)?;
    named(shape.tags, is_tag)
}

/// A list that is null is an empty one: so some registries write it.
fn named(list: Option<Vec<String>>, fits: fn(&str) -> bool) -> Result<Vec<String>, BadListing> {
    let list = list.unwrap_or_default();
    match list.iter().find(|name| !fits(name)) {
        Some(bad) => Err(BadListing::Name(format!("'{}'", shown(bad)))),
        None => Ok(list),
    }
}

/// What a refusal says, fit for one line.
#[must_use]
pub fn said(body: &[u8]) -> Option<String> {
    let shape: ErrorsShape = serde_json::from_slice(body).ok()?;
    let message = shape.errors.into_iter().map(|error| error.message).find(|text| !text.is_empty());
    message.map(|text| shown(&text))
}

/// The next page of this one, as `Link` names it (RFC 8288). It is in the same registry, and
/// below `/v2/`.
///
/// # Errors
/// It is elsewhere, or doesn't read.
pub fn next_page(page: &WebPlace, link: &str) -> Result<Option<WebPlace>, BadListing> {
    if link.len() > LINK_BYTES {
        return Err(BadListing::Next);
    }
    let mut rest = link.trim();
    while !rest.is_empty() {
        let target = rest.strip_prefix('<').ok_or(BadListing::Next)?;
        let (target, more) = target.split_once('>').ok_or(BadListing::Next)?;
        let (parameters, behind) = until_comma(more);
        if is_next(parameters) {
            return placed(page, target).map(Some);
        }
        rest = behind.trim_start();
    }
    Ok(None)
}

/// Up to a comma that stands between no quotation marks, and what is behind it.
fn until_comma(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (place, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                let (before, behind) = text.split_at_checked(place).unwrap_or((text, ""));
                return (before, behind.strip_prefix(',').unwrap_or(behind));
            }
            _ => {}
        }
    }
    (text, "")
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        let mut words = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel")
            && words.any(|word| word.eq_ignore_ascii_case("next"))
    })
}

fn placed(page: &WebPlace, target: &str) -> Result<WebPlace, BadListing> {
    let place = if target.starts_with('/') && !target.starts_with("//") {
        WebPlace::of(page.tls, &page.host, target)
    } else {
        WebPlace::read(target)
    };
    let place = place.map_err(|_bad| BadListing::Next)?;
    // A page that names itself would never end.
    let is_ours = place.is_beside(page) && place.path().starts_with("/v2/");
    if is_ours && place.path() != page.path() { Ok(place) } else { Err(BadListing::Next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_text_of_a_header() {
        let token = |body: &str| token_of(body.as_bytes()).map(|token| token.to_string());
        assert_eq!(token(r#"{"token":"a.b.c","expires_in":3}"#), Ok("a.b.c".into()));
        assert_eq!(token(r#"{"access_token":"x"}"#), Ok("x".into()));
        assert_eq!(token(r#"{"token":"","access_token":"x"}"#), Ok("x".into()));
        for bad in ["", "[]", "null", "{\"token\":3}", "<html>"] {
            assert_eq!(token(bad), Err(BadListing::Shape), "{bad}");
        }
        let long = format!("{{\"token\":\"{}\"}}", "x".repeat(TOKEN_BYTES + 1));
        for bad in
            ["{}", r#"{"token":"a b"}"#, r#"{"token":"a\r\nx: y"}"#, r#"{"token":"é"}"#, &long]
        {
            assert_eq!(token(bad), Err(BadListing::Token), "{bad:.40}");
        }
    }

    #[test]
    fn names_in_lists_are_names() {
        let listed = repositories_of(br#"{"repositories":["a","team/app"],"more":1}"#);
        assert_eq!(listed, Ok(vec!["a".into(), "team/app".into()]));
        assert_eq!(repositories_of(br#"{"repositories":null}"#), Ok(vec![]));
        assert_eq!(tags_of(br#"{"name":"a","tags":["1.0","_x-Y"]}"#).unwrap().len(), 2);
        assert_eq!(tags_of(br#"{"name":"a","tags":null}"#), Ok(vec![]));
        for bad in ["../x", "A", "a\\nb", "", "a b", "a//b", "\\u001b[2J"] {
            let body = format!(r#"{{"repositories":["ok","{bad}"]}}"#);
            let refused = repositories_of(body.as_bytes());
            assert!(matches!(refused, Err(BadListing::Name(_))), "{bad}: {refused:?}");
        }
        for bad in [".x", "-x", "", "a/b", "a\\nb", &"x".repeat(129)] {
            let body = format!(r#"{{"tags":["{bad}"]}}"#);
            assert!(matches!(tags_of(body.as_bytes()), Err(BadListing::Name(_))), "{bad}");
        }
        assert_eq!(tags_of(b"{\"tags\":\"x\"}"), Err(BadListing::Shape));
    }

    #[test]
    fn a_refusal_is_one_line() {
        let body = br#"{"errors":[{"code":"X"},{"code":"DENIED","message":"no\n\u001b[2J"}]}"#;
        assert_eq!(said(body).as_deref(), Some("no\\n\\u{1b}[2J"));
        assert_eq!(said(b"<html>"), None);
        assert_eq!(said(br#"{"errors":[]}"#), None);
    }

    #[test]
    fn the_next_page_is_in_the_same_registry() {
        let page = WebPlace::read("https://r.example/v2/_catalog?n=2").unwrap();
        let next =
            |link: &str| next_page(&page, link).map(|next| next.map(|it| it.path().to_owned()));
        let there = || Ok(Some("/v2/_catalog?last=b&n=2".to_owned()));
        assert_eq!(next(r#"</v2/_catalog?last=b&n=2>; rel="next""#), there());
        assert_eq!(next("</v2/_catalog?last=b&n=2>;rel=next"), there());
        assert_eq!(next(r#"<https://R.example:443/v2/_catalog?last=b&n=2>; rel="next""#), there());
        let two =
            r#"</v2/_catalog>; rel="first"; title="a, b", </v2/_catalog?last=b&n=2>; rel="x next""#;
        assert_eq!(next(two), there());
        assert_eq!(next(""), Ok(None));
        assert_eq!(next(r#"</v2/_catalog>; rel="first""#), Ok(None));
        for bad in [
            r#"<https://evil.example/v2/_catalog>; rel="next""#,
            r#"<http://r.example/v2/_catalog>; rel="next""#,
            r#"<//evil.example/v2/x>; rel="next""#,
            r#"</admin>; rel="next""#,
            r#"<v2/_catalog>; rel="next""#,
            r#"</v2/_catalog?n=2>; rel="next""#,
            r#"</v2/a b>; rel="next""#,
            "</v2/_catalog",
            "x",
            &format!("</v2/{}>; rel=next", "x".repeat(LINK_BYTES)),
        ] {
            assert_eq!(next(bad), Err(BadListing::Next), "{bad:.60}");
        }
    }
}
