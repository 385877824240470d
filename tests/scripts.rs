//! `scripts/verify` looks at all that it says it looks at, or fails.

#![allow(clippy::expect_used, reason = "helpers of a test fail it by panicking")]

use std::process::{Command, Output};

/// In the place of cargo: says on stdout what it was asked, and fails where the words begin
/// with `$FAILS`.
const CARGO: &str = r#"() { echo "$*"; case "$*" in "$FAILS"*) return 3 ;; esac; }"#;

/// Runs `scripts/verify`. The shell takes the function from its environment.
fn verify(fails: &str) -> Output {
    let mut command = Command::new("bash");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/verify"));
    command.env("BASH_FUNC_cargo%%", CARGO).env("FAILS", fails);
    command.output().expect("bash")
}

#[test]
fn verify_asks_for_formatting_lints_and_dependencies() {
    let ran = verify("nothing");
    let said = String::from_utf8(ran.stdout).expect("text");
    assert!(ran.status.success(), "{said}");
    for asked in [
        "fmt --all -- --check",
        "clippy --workspace --all-targets --quiet -- -D warnings",
        "deny --locked --offline --workspace check -D warnings licenses bans sources",
    ] {
        assert!(said.lines().any(|line| line == asked), "{asked}: {said}");
        assert!(!verify(asked).status.success(), "{asked} failed, and nobody was told");
    }
}

#[test]
fn verify_fails_where_a_tool_is_missing_and_says_how_to_get_it() {
    for tool in ["fmt", "clippy", "deny"] {
        let ran = verify(&format!("{tool} --version"));
        let said = String::from_utf8(ran.stderr).expect("text");
        assert_eq!(ran.status.code(), Some(1), "{tool}: {said}");
        let line = format!("error: cargo {tool} is missing; hint: ");
        assert!(said.starts_with(&line) && said.lines().count() == 1, "{tool}: {said}");
    }
}
