//! Registries that answer with anything.

use crate::fake::{CLOSED, Fake, answer};
use crate::{PASSWORD, registry};

/// Asks for the catalog where `/v2/` answers so, and everything else as the second says.
fn catalog(first: Vec<u8>, then: Vec<u8>) -> crate::Told {
    let fake = Fake::start(move |request, _| match request.path.as_str() {
        "/v2/" => first.clone(),
        _ => then.clone(),
    });
    let words = ["catalog", "--plain-http", "-u", "alice", &fake.host()];
    registry(&words, PASSWORD.as_bytes())
}

fn open() -> Vec<u8> {
    answer(200, "", "{}")
}

#[test]
fn whatever_is_answered_is_one_line_and_a_hint() {
    let challenge = |text: &str| answer(401, &format!("www-authenticate: {text}\r\n"), "{}");
    let redirect = answer(302, "location: http://127.0.0.1:1/v2/\r\n", "");
    let list = |body: &str| answer(200, "", body);
    let linked =
        |link: &str| answer(200, &format!("link: {link}\r\n"), r#"{"repositories":["a"]}"#);
    let broken = format!("HTTP/1.1 200 X\r\ncontent-length: 99\r\n{CLOSED}\r\n{{").into_bytes();
    let large = answer(200, "", &format!("{{\"x\":\"{}\"}}", "x".repeat(17 * 1024 * 1024)));
    let head = answer(200, &format!("x: {}\r\n", "y".repeat(100_000)), "{}");
    let many = answer(200, &"x: y\r\n".repeat(200), "{}");
    let rows = [
        (b"".to_vec(), open(), 3, "cannot reach"),
        (b"SSH-2.0-OpenSSH_9\r\n".to_vec(), open(), 3, "cannot reach"),
        (b"HTTP/1.1 200 X\r\n\r".to_vec(), open(), 3, "cannot reach"),
        (head, open(), 3, "cannot reach"),
        (many, open(), 3, "cannot reach"),
        (redirect.clone(), open(), 3, "status 302"),
        (answer(404, "", ""), open(), 1, "doesn't know that"),
        (answer(500, "", "<html>"), open(), 3, "status 500"),
        (answer(401, "", ""), open(), 3, "doesn't say what it wants"),
        (challenge("Negotiate"), open(), 3, "neither a token nor a password"),
        (challenge("Bearer realm=\"/auth\""), open(), 3, "no address"),
        (challenge("Bearer realm=\"x"), open(), 3, "doesn't read"),
        (challenge("Bearer realm=\"\u{e9}\""), open(), 3, "doesn't read"),
        (challenge("Bearer realm=\"http://192.0.2.1/\""), open(), 3, "not this machine"),
        (challenge("Bearer realm=\"https://127.0.0.1:1/\""), open(), 3, "cannot reach"),
        (open(), redirect, 3, "status 302"),
        (open(), broken, 3, "cannot reach"),
        (open(), large, 3, "at most"),
        (open(), answer(429, "retry-after: 7\r\n", ""), 3, "again after 7 s"),
        (open(), answer(503, "", r#"{"errors":[{"message":"no\u001b[2J"}]}"#), 3, "no\\u{1b}[2J"),
        (open(), list("<html>"), 3, "doesn't read"),
        (open(), list(r#"{"repositories":["a\nb"]}"#), 3, "no name of a repository"),
        (open(), linked("<http://192.0.2.1/v2/x>; rel=\"next\""), 3, "nowhere in this registry"),
        (open(), linked("</v2/_catalog?n=500>; rel=\"next\""), 3, "nowhere in this registry"),
        (open(), linked("</etc>; rel=\"next\""), 3, "nowhere in this registry"),
        (open(), answer(403, "", r#"{"errors":[{"message":"not you"}]}"#), 1, "not you"),
    ];
    for (number, (first, then, status, wanted)) in rows.into_iter().enumerate() {
        let told = catalog(first, then);
        assert_eq!(told.status, status, "{number}: {}", told.err);
        assert!(
            told.err.starts_with("error: ") && told.err.contains(wanted),
            "{number}: {}",
            told.err
        );
        assert!(told.err.contains("\nhint: "), "{number}: {}", told.err);
        assert_eq!(told.err.lines().count(), 2, "{number}: {}", told.err);
        assert!(!told.err.contains("horse") && !told.err.contains('\u{1b}'), "{}", told.err);
    }
}

#[test]
fn a_password_goes_to_the_token_server_alone() {
    let fake = Fake::start(|request, host| {
        let realm = format!("www-authenticate: Bearer realm=\"http://{host}/auth\"\r\n");
        match (request.path.as_str(), request.header("authorization")) {
            ("/v2/", None) => answer(401, &realm, "{}"),
            ("/auth?scope=registry%3Acatalog%3A%2A", Some(basic))
                if basic.starts_with("Basic ") =>
            {
                answer(200, "", r#"{"token":"t"}"#)
            }
            ("/v2/_catalog?n=500", Some(bearer)) if bearer == "Bearer t" => {
                answer(200, "", r#"{"repositories":[]}"#)
            }
            _ => answer(400, "", ""),
        }
    });
    let words = ["catalog", "--plain-http", "-u", "alice", &fake.host()];
    let told = registry(&words, PASSWORD.as_bytes());
    assert_eq!((told.status, told.out.as_str()), (0, "REPOSITORY\n"), "{}", told.err);
}

#[test]
fn one_that_takes_passwords_is_asked_with_one() {
    let fake = Fake::start(|request, _| match request.header("authorization") {
        None => answer(401, "www-authenticate: Basic realm=\"x\"\r\n", "{}"),
        Some(_) => answer(200, "", r#"{"repositories":["a"]}"#),
    });
    let words = ["--plain-http", "-u", "alice", "-q", &fake.host()];
    let told = registry(&[&["catalog"], &words[..]].concat(), PASSWORD.as_bytes());
    assert_eq!((told.status, told.out.as_str()), (0, "a\n"), "{}", told.err);
    let words = ["token", "--plain-http", "-u", "alice", &fake.host()];
    let told = registry(&words, PASSWORD.as_bytes());
    assert!(told.status == 1 && told.err.contains("no tokens"), "{}", told.err);
}

#[test]
fn a_token_that_ends_amid_the_pages_is_asked_for_again() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let tokens = AtomicUsize::new(0);
    let fake = Fake::start(move |request, host| {
        let realm = format!("www-authenticate: Bearer realm=\"http://{host}/auth\"\r\n");
        let token = request.header("authorization").unwrap_or_default();
        match request.path.as_str() {
            "/auth?scope=registry%3Acatalog%3A%2A" => {
                let number = tokens.fetch_add(1, Ordering::SeqCst);
                answer(200, "", &format!(r#"{{"token":"t{number}"}}"#))
            }
            "/v2/_catalog?n=500" if token == "Bearer t0" => answer(
                200,
                "link: </v2/_catalog?last=a>; rel=next\r\n",
                r#"{"repositories":["a"]}"#,
            ),
            "/v2/_catalog?last=a" if token == "Bearer t1" => {
                answer(200, "", r#"{"repositories":["b"]}"#)
            }
            _ => answer(401, &realm, "{}"),
        }
    });
    let words = ["catalog", "--plain-http", "-u", "alice", "-q", &fake.host()];
    let told = registry(&words, PASSWORD.as_bytes());
    assert_eq!((told.status, told.out.as_str()), (0, "a\nb\n"), "{}", told.err);
}
