//! Words that mean nothing: one line, a hint, the right status.

use std::process::Command;

use crate::server::{BIN, ended};

const NO_RECORD: &str = "is no line of a record";

#[test]
fn bad_words_are_refused_in_one_line_with_a_hint() {
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("file");
    std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), b"\xff\0\x1b[31m\n")
        .unwrap();
    let file = file.to_str().unwrap();
    let long = "x".repeat(5_000);
    let rows: &[(&[&str], i32, &str)] = &[
        (&["auth"], 2, "<NAME>"),
        (&["auth", "web", "more"], 2, "unexpected argument"),
        (&["auth", "web", "--listen"], 2, "--listen"),
        (&["auth", "web", "--listen", "5001"], 2, "5001"),
        (&["auth", "web", "--listen", "localhost:5001"], 2, "localhost"),
        (&["auth", "web", "--listen", "127.0.0.1:65536"], 2, "65536"),
        (&["auth", "web", "--listen", &long], 2, "--listen"),
        (&["auth", "web", "--stale-limit", "1"], 2, "no time"),
        (&["auth", "web", "--stale-limit", "-1s"], 2, "-1"),
        (&["auth", "web", "--stale-limit", "5.5s"], 2, "5.5s"),
        (&["auth", "web", "--stale-limit", "5s1ms"], 2, "not between"),
        (&["auth", "web", "--audit"], 2, "--audit"),
        (&["auth", "web", "--audit", "/no/such/folder/a", "--listen", "127.0.0.1:0"], 21, "record"),
        (&["auth", "web", "--audit", "/", "--listen", "127.0.0.1:0"], 21, "record"),
        (&["auth", "web", "--audit", file, "--listen", "127.0.0.1:0"], 20, NO_RECORD),
        (&["auth", "web", "--health", "--audit", "x"], 2, "--audit"),
        (&["auth", "web", "--health", "--listen", "127.0.0.1:1"], 3, "cannot reach"),
        (&["auth", "web", "--secrets", "/no/such", "--listen", "0.0.0.0:0"], 23, "tls.key"),
        (&["auth", "web", "--listen", "192.0.2.1:5001"], 23, "192.0.2.1"),
        (&["auth", "", "--health", "--listen", "127.0.0.1:1"], 2, "name"),
        (&["auth", "a b", "--health", "--listen", "127.0.0.1:1"], 2, "name"),
        (&["auth", &long, "--health", "--listen", "127.0.0.1:1"], 2, "name"),
        (&["audit"], 2, ""),
        (&["audit", "ls"], 2, "<FILES>"),
        (&["audit", "verify"], 2, "<FILES>"),
        (&["audit", "last-used"], 2, "<FILES>"),
        (&["audit", "show", "x"], 2, "show"),
        (&["audit", "ls", "/no/such"], 2, "/no/such"),
        (&["audit", "ls", "/"], 2, "cannot read"),
        (&["audit", "ls", "--account"], 2, "--account"),
        (&["audit", "ls", file], 20, NO_RECORD),
        (&["audit", "verify", file], 20, NO_RECORD),
        (&["audit", "last-used", file], 20, NO_RECORD),
        (&["audit", "verify", "/dev/null"], 20, "begin"),
        (&["audit", "verify", "/dev/zero"], 20, NO_RECORD),
    ];
    for (words, status, wanted) in rows {
        let out = ended(Command::new(BIN).args(*words));
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let shown: Vec<_> = words.iter().map(|word| &word[..word.len().min(40)]).collect();
        assert_eq!(out.status.code(), Some(*status), "{shown:?}: {said:.300}");
        assert!(said.contains(wanted), "{shown:?}: {said:.300}");
        assert!(!said.contains('\u{1b}') && !said.contains("panicked"), "{shown:?}: {said:.300}");
        let told = said.lines().filter(|line| !line.contains("event=")).collect::<Vec<_>>();
        if said.contains("error: ") {
            assert!(told.len() <= 2 && told[0].starts_with("error: "), "{shown:?}: {said:.300}");
        }
    }
}
