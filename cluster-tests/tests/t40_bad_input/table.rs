//! Rows of bad input, and how each is judged.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use cluster_tests::{Cluster, run_until};

/// A command, what follows it, what is on stdin, the status, and the line printed.
///
/// A line that ends in `…` is the beginning of the one printed: what follows is
/// the operating system's, or another library's. A line of `hint:` always follows.
pub(crate) type Row<'a> = (&'a str, &'a [&'a str], &'a [u8], i32, &'a str);

/// Runs all of them against a cluster; the test fails with all that are wrong.
#[track_caller]
pub(crate) fn check(cluster: &Cluster, rows: &[Row]) {
    let mut wrong = Wrong::default();
    for (command, words, input, status, line) in rows {
        let line = line.replace("{}", &cluster.folder().display().to_string());
        wrong.judge(&mut typed(cluster, command, words), input, *status, &line);
    }
    wrong.none();
}

/// The command as it is typed; `{}` in a word is the cluster's folder. None comes
/// near the folders and sockets that this machine's own daemons would have.
pub(crate) fn typed(cluster: &Cluster, command: &str, words: &[&str]) -> Command {
    let folder = cluster.folder().display().to_string();
    let words: Vec<String> = words.iter().map(|word| word.replace("{}", &folder)).collect();
    let path = command.split(' ');
    let all: Vec<&str> = path.chain(words.iter().map(String::as_str)).collect();
    let mut typed = cluster.command(&all);
    if command.ends_with(" run") {
        typed.env("SKEP_DATA_DIR", cluster.folder().join("spare"));
        typed.env("SKEP_SOCKET", cluster.folder().join("spare.sock"));
        typed.env("SKEP_ROOT", cluster.folder().join("spare.root"));
    }
    if let Some(agent) = cluster.agents.first() {
        typed.env("SKEP_AGENT", agent.socket());
    }
    typed
}

/// What was not as it should be.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Vec<String>);

impl Wrong {
    /// Runs a command that must be refused with this status and line.
    pub(crate) fn judge(&mut self, command: &mut Command, input: &[u8], status: i32, line: &str) {
        let ran = run_until(command, input, Duration::from_secs(10));
        let shown: Vec<OsString> = command.get_args().map(Into::into).collect();
        let (right, why) = judged(&ran, status, line);
        if !right {
            self.0.push(format!(
                "{shown:?}: {why}\n  wanted {status} {line}\n  got    {} {}\n{}",
                ran.status, ran.err, ran.out
            ));
        }
    }

    /// Notes it.
    pub(crate) fn note(&mut self, what: String) {
        self.0.push(what);
    }

    /// Fails the test if there is anything.
    #[track_caller]
    pub(crate) fn none(self) {
        assert!(self.0.is_empty(), "{} wrong:\n{}", self.0.len(), self.0.join("\n"));
    }
}

fn judged(ran: &cluster_tests::Ran, status: i32, line: &str) -> (bool, &'static str) {
    let mut lines = ran.err.lines().skip_while(|line| line.starts_with("warning: "));
    let first = lines.next().unwrap_or_default();
    let wanted = line.strip_suffix('…');
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    let rows = [
        (ran.status == status, "another status"),
        (wanted.map_or(first == line, |start| first.starts_with(start)), "another line"),
        (lines.next().is_some_and(|hint| hint.starts_with("hint: ")), "no hint"),
        (lines.next().is_none(), "more than two lines"),
        (ran.out.is_empty(), "something on stdout"),
        (!ran.err.contains(steers), "a control character reaches the terminal"),
        (!ran.err.contains("panicked"), "a panic"),
    ];
    let wrong = rows.into_iter().find(|(right, _)| !right);
    wrong.map_or((true, ""), |(_, why)| (false, why))
}
