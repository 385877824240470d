//! `skep registry passwd`: where both passwords go, and what is made of any answer.

use crate::fake::{CLOSED, Fake, answer};
use crate::{PASSWORD, Told, registry};

const NEXT: &str = "battery & stäple=%+";

/// Changes a password where `/password` answers so: what is told, and what was asked for there.
fn change(input: &str, then: Vec<u8>) -> (Told, Vec<String>) {
    let fake = Fake::start(move |request, host| {
        let realm = format!("www-authenticate: Bearer realm=\"http://{host}/t/auth?x=1\"\r\n");
        let basic = data_encoding::BASE64.encode(format!("alice:{PASSWORD}").as_bytes());
        match request.path.as_str() {
            "/v2/" => answer(401, &realm, "{}"),
            "/t/password"
                if request.header("authorization") == Some(format!("Basic {basic}"))
                    && request.body == "new_password=battery%20%26%20st%C3%A4ple%3D%25%2B" =>
            {
                then.clone()
            }
            _ => answer(400, "", r#"{"errors":[{"message":"asked for something else"}]}"#),
        }
    });
    let words = ["passwd", "--plain-http", "-u", "alice", "--stdin", &fake.host()];
    (registry(&words, input.as_bytes()), fake.asked())
}

#[test]
fn every_answer_says_what_became_of_the_password() {
    let refusal = |status, text: &str| {
        answer(status, "", &format!(r#"{{"errors":[{{"message":"{text}"}}]}}"#))
    };
    let cut = format!("HTTP/1.1 202 X\r\ncontent-length: 99\r\n{CLOSED}\r\n{{").into_bytes();
    let waiting = answer(202, "", r#"{"waiting_for":["node-2","n\u001b[2J"]}"#);
    for (number, (then, status, wanted)) in [
        (answer(204, "", ""), 0, "changed: every token server decides by it"),
        (waiting, 5, "not yet on node-2, n\\u{1b}[2J"),
        (answer(202, "", r#"{"waiting_for":[]}"#), 5, "is not known"),
        (refusal(400, "no"), 1, "changes no password: no"),
        (refusal(401, "wrong"), 1, "changes no password: wrong"),
        (refusal(409, "meanwhile"), 1, "meanwhile"),
        (answer(404, "", ""), 1, "can't change their passwords"),
        (answer(429, "retry-after: 7\r\n", ""), 3, "again after 7 s"),
        (refusal(503, "later"), 3, "later"),
        (answer(302, "location: /\r\n", ""), 3, "status 302"),
        // Nobody knows of these, and it isn't asked twice.
        (refusal(504, "try both"), 6, "may have been changed"),
        (answer(502, "", "<html>"), 6, "may have been changed"),
        (answer(202, "", "<html>"), 6, "may have been changed"),
        (cut, 6, "may have been changed"),
        (Vec::new(), 6, "may have been changed"),
    ]
    .into_iter()
    .enumerate()
    {
        let (told, asked) = change(&format!("{PASSWORD}\n{NEXT}\n"), then);
        assert_eq!((told.status, told.out.as_str()), (status, ""), "{number}: {}", told.err);
        assert!(told.err.contains(wanted), "{number}: {}", told.err);
        assert_eq!(told.err.contains("\nhint: "), status != 0, "{number}: {}", told.err);
        assert!(!told.err.contains("horse") && !told.err.contains("battery"), "{}", told.err);
        assert!(!told.err.contains('\u{1b}'), "{}", told.err);
        assert_eq!(asked, ["/v2/", "/t/password"], "{number}");
    }
}

#[test]
fn bad_input_asks_nobody() {
    for (input, wanted) in [
        ("", "one line, and not two"),
        ("correct horse battery", "one line, and not two"),
        ("correct horse battery\nshort", "8 to 256"),
        ("correct horse battery\nbattery\nstaple", "one line of text"),
        ("\nbattery staple", "1 to 4096"),
        (&"x\n".repeat(600), "too long"),
    ] {
        let (told, asked) = change(input, Vec::new());
        assert_eq!((told.status, told.out.as_str()), (2, ""), "{input:.40}: {}", told.err);
        assert!(told.err.contains(wanted), "{input:.40}: {}", told.err);
        assert!(told.err.contains("\nhint: ") && asked.is_empty(), "{input:.40}: {}", told.err);
    }
    let told = registry(&["passwd", "--plain-http", "localhost"], b"");
    assert!(told.status == 2 && told.err.contains("--user"), "{}", told.err);
}
