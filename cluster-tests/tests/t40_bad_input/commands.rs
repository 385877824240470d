//! Every command with words that it can't take.

use std::collections::BTreeSet;

use cluster_tests::{Cluster, commands};

use super::table::{Row, check};

const NAME: &str = "error: invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the \
                    start and end character must be [a-zA-Z0-9]";
const SIZE: &str = "error: secret data must be larger than 0 and less than 512000 bytes";
const TARGET: &str = "error: invalid target: 1 to 255 bytes, one path component, no control \
                      characters, not '.' and not starting with '..'";
const NO_MANAGER: &str = "error: no manager reached: /none/socket: No such file or directory…";
const NO_AGENT: &str = "error: no agent reached: /none/socket: No such file or directory…";
const NOT_SURE: &str = "error: this can't be undone, and there is no terminal to ask on";
const NOT_THERE: [&str; 2] = ["--socket", "/none/socket"];
const NO_SOCKET: [&str; 2] = ["--agent-socket", "/none/socket"];

/// Every command has a row, and every group one with a command that it doesn't have.
#[rustfmt::skip] // a row is a line
const ROWS: &[Row] = &[
    ("secret", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("secret create", &["taken", "-"], b"v", 1, "error: secret taken already exists"),
    ("secret create", &["TAKEN", "-"], b"v", 1, "error: secret taken already exists"),
    ("secret create", &["a b", "-"], b"v", 2, NAME),
    ("secret create", &["", "-"], b"v", 2, NAME),
    ("secret create", &["empty", "-"], b"", 2, SIZE),
    ("secret create", &["--strip-newline", "empty", "-"], b"\n", 2, SIZE),
    ("secret create", &["s", "-", "--label", "novalue"], b"v", 2, "error: invalid label: written key=value, with a key of 1 to 128 characters"),
    ("secret create", &["s", "-", "nonsense"], b"v", 2, "error: unexpected argument (not shown: it could be a value)"),
    ("secret create", &["s", "hunter2"], b"", 2, "error: the file to read the value from does not exist"),
    ("secret update", &["missing", "-"], b"v", 1, "error: secret missing not found"),
    ("secret update", &["taken", "-"], b"", 2, SIZE),
    ("secret update", &["taken", "-", "--expect", "9"], b"v", 1, "error: secret taken has changed: expected 9, found 1"),
    ("secret update", &["taken", "-", "--expect", "x"], b"v", 2, "error: invalid value 'x' for '--expect <NUMBER>': …"),
    ("secret update", &["taken=-", "other=-"], b"v", 2, "error: standard input is one value"),
    ("secret update", &["taken=a", "TAKEN=b"], b"v", 2, "error: a secret is named twice"),
    ("secret update", &["taken", "a", "b"], b"v", 2, "error: too many words"),
    ("secret ls", &["--filter", "nonsense"], b"", 2, "error: --filter: is none of name=TEXT, id=PREFIX and label=KEY[=VALUE]"),
    ("secret ls", &["--host", "h:0"], b"", 2, "error: h:0: a port has a number from 1 to 65535"),
    ("secret ls", &["--host", "m1,https://m2"], b"", 2, "error: https://m2: is a URL and not host:port"),
    ("secret ls", &["--format", "{{"], b"", 2, "error: template: {{ without }}"),
    ("secret ls", &["--format", "{{.Nam}}"], b"", 2, "error: template: there is no field .Nam; there are …"),
    ("secret ls", &["--timeout", "soon"], b"", 2, "error: invalid value 'soon' for '--timeout <TIME>': …"),
    ("secret inspect", &["missing"], b"", 1, "error: secret missing not found"),
    ("secret inspect", &[""], b"", 1, "error: secret  not found"),
    ("secret versions", &["missing"], b"", 1, "error: secret missing not found"),
    ("secret holders", &["missing"], b"", 1, "error: secret missing not found"),
    ("secret reads", &["missing"], b"", 1, "error: secret missing not found"),
    ("secret reads", &["taken", "--last", "0"], b"", 2, "error: invalid value '0' for '--last <COUNT>': 0 is not in 1..=4294967295"),
    ("secret rm", &["missing"], b"", 1, "error: secret missing not found"),
    ("secret rm", &["taken"], b"", 1, "error: secret 'taken' is in use by the following service: web"),
    ("secret rm", &["taken", "--version", "1"], b"", 1, "error: version 1 of secret taken is the current one"),
    ("secret rm", &["taken", "--version", "7"], b"", 1, "error: version 7 of secret taken not found"),
    ("secret rm", &["taken", "missing", "--version", "1"], b"", 2, "error: --version is for one secret"),
    ("service", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("service create", &["web"], b"", 1, "error: service web already exists"),
    ("service create", &["a/b"], b"", 2, NAME),
    ("service create", &["s", "--node", "typo"], b"", 1, "error: worker typo not found"),
    ("service create", &["s", "--constraint", "node.name==typo"], b"", 1, "error: worker typo not found"),
    ("service create", &["s", "--constraint", "node.id==typo"], b"", 1, "error: worker typo not found"),
    ("service create", &["aaaaaaaaaaaaaaaaaaaaaaaaaa"], b"", 1, "error: the name aaaaaaaaaaaaaaaaaaaaaaaaaa reads as an id"),
    ("service update", &["web", "--node-add", "typo"], b"", 1, "error: worker typo not found"),
    ("service create", &["s", "--constraint", "node.hostname==x"], b"", 2, "error: constraint: is not written ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE"),
    ("service create", &["s", "--mount", "floppy"], b"", 2, "error: invalid value 'floppy' for '--mount <KIND>' [possible values: tmpfs, fuse]"),
    ("service create", &["s", "--owner", "root"], b"", 2, "error: owner: is not written UID:GID"),
    ("service create", &["s", "--owner", "4294967295"], b"", 2, "error: owner: 4294967295 is no user or group"),
    ("service create", &["s", "--owner", "0:4294967295"], b"", 2, "error: owner: 4294967295 is no user or group"),
    ("service create", &["s", "--owner", "4294967296"], b"", 2, "error: owner: is not written UID:GID"),
    ("service create", &["s", "--offline", "max-age=1500ms"], b"", 2, "error: offline: an age that is no whole seconds"),
    ("service create", &["s", "--offline", "max-age=11years"], b"", 2, "error: offline: an age of more than 10 years: keep says that"),
    ("service create", &["s", "--offline", "never"], b"", 2, "error: offline: is neither of its values"),
    ("service create", &["s", "--activation", "maybe"], b"", 2, "error: invalid value 'maybe' for '--activation <WHEN>' [possible values: running, placed]"),
    ("service update", &["missing", "--everywhere"], b"", 1, "error: service missing not found"),
    ("service update", &["web", "--owner", "1:4294967295"], b"", 2, "error: owner: 4294967295 is no user or group"),
    ("service update", &["web"], b"", 2, "error: nothing to change"),
    ("service update", &["web", "--node-rm", "missing"], b"", 2, "error: nothing to change"),
    ("service update", &["web", "--node", "x"], b"", 2, "error: unexpected argument '--node' found"),
    ("service update", &["web", "--label", "x=y"], b"", 2, "error: unexpected argument '--label' found"),
    ("service update", &["web", "--everywhere=perhaps"], b"", 2, "error: invalid value 'perhaps' for '--everywhere[=<BOOL>]' [possible values: true, false]"),
    ("service ls", &["--filter", "driver=x"], b"", 2, "error: --filter: is none of name=TEXT, id=PREFIX and label=KEY[=VALUE]"),
    ("service inspect", &["missing"], b"", 1, "error: service missing not found"),
    ("service rm", &["missing"], b"", 1, "error: service missing not found"),
    ("service rm", &["we"], b"", 1, "error: service we not found"),
    ("service grant", &["web", "missing"], b"", 1, "error: secret missing not found"),
    ("service grant", &["missing", "taken"], b"", 1, "error: service missing not found"),
    ("service grant", &["web", "taken:../etc/passwd"], b"", 2, TARGET),
    ("service grant", &["web", "taken:..data"], b"", 2, TARGET),
    ("service grant", &["web", "taken:"], b"", 2, TARGET),
    ("service grant", &["web", "taken:x", "--mode", "9999"], b"", 2, "error: mode: is not 0000 to 0777"),
    ("service grant", &["web", "taken:x", "--uid", "-1"], b"", 2, "error: unexpected argument '-1' found"),
    ("service grant", &["web", "taken:x", "--uid", "4294967295"], b"", 2, "error: invalid value '4294967295' for '--uid <UID>': …"),
    ("service grant", &["web", "taken:x", "--gid", "4294967295"], b"", 2, "error: invalid value '4294967295' for '--gid <GID>': …"),
    ("service grant", &["web", "taken:x", "--uid", "www-data"], b"", 2, "error: invalid value 'www-data' for '--uid <UID>': …"),
    ("service grant", &["web", "taken:x", "--mode", "4755"], b"", 2, "error: mode: is not 0000 to 0777"),
    ("service grant", &["web", "taken:x", "--pin", "7"], b"", 1, "error: version 7 of secret taken not found"),
    ("service grant", &["web", "taken:x", "--pin", "0"], b"", 2, "error: pin: is neither the number of a version nor current"),
    ("service grant", &["web", "taken:x", "--pin", "x"], b"", 2, "error: pin: is neither the number of a version nor current"),
    ("service revoke", &["web", "taken:missing"], b"", 1, "error: secret taken is not granted to service web as missing"),
    ("service revoke", &["web", "taken:"], b"", 2, TARGET),
    ("service revoke", &["web", "missing"], b"", 1, "error: secret missing not found"),
    ("service revoke", &["missing", "taken"], b"", 1, "error: service missing not found"),
    ("exec", &["--service", "web", "--agent-socket", "/none/socket", "--", "true"], b"", 125, "error: agent socket /none/socket: No such file or directory…"),
    ("exec", &["--nonsense"], b"", 125, "error: unexpected argument '--nonsense' found"),
    ("exec", &["--timeout", "soon", "--service", "web", "--", "true"], b"", 125, "error: invalid value 'soon' for '--timeout <TIME>': …"),
    ("exec", &["--service", "web"], b"", 125, "error: the following required arguments were not provided: <COMMAND>..."),
    ("exec", &["--service", "web", "--user", "nobody-of-this-name", "--", "true"], b"", 125, "error: no such user or group: nobody-of-this-name"),
    ("init", &NOT_THERE, b"", 3, NO_MANAGER),
    ("init", &["--name", "a b"], b"", 2, NAME),
    ("join", &["--socket", "/none/socket", "m1:4440"], b"token", 3, NO_MANAGER),
    ("join", &[], b"token", 2, "error: the following required arguments were not provided: <HOST:PORT>..."),
    ("join", &["m 1"], b"token", 2, "error: m 1: is not host:port"),
    ("join", &["--name", "a b", "m1"], b"token", 2, NAME),
    ("leave", &NOT_THERE, b"", 3, NO_MANAGER),
    ("leave", &["--force", "--yes", "--socket", "/none/socket"], b"", 3, NO_MANAGER),
    ("leave", &["--force"], b"leave", 2, NOT_SURE),
    ("unlock", &["--socket", "/none/socket", "--key-file", "/dev/null"], b"", 7, "error: the unlock key is not of the expected form"),
    ("unlock", &[], b"SKEPKEY-1-", 7, "error: the unlock key is mistyped: its checksum does not fit"),
    ("lock", &NOT_THERE, b"", 3, NO_MANAGER),
    ("status", &NOT_THERE, b"", 3, NO_MANAGER),
    ("status", &["--format", "{{.Nonsense}}"], b"", 2, "error: template: there is no field .Nonsense; there are …"),
    ("unlock-key", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("unlock-key check", &["--key-file", "/dev/null"], b"", 7, "error: the unlock key is not of the expected form"),
    ("unlock-key ls", &["--format", "{{.Nonsense}}"], b"", 2, "error: template: there is no field .Nonsense; there are …"),
    ("unlock-key generate", &[], b"", 2, "error: the following required arguments were not provided: --out <FILE>"),
    ("unlock-key generate", &["--out", "/none/key"], b"", 1, "error: /none/key: No such file or directory…"),
    ("unlock-key generate", &["--out", "/proc/key"], b"", 1, "error: /proc/key: …"),
    ("join-token", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("join-token worker", &["--ttl", "yesterday"], b"", 2, "error: invalid value 'yesterday' for '--ttl <TIME>': …"),
    ("join-token worker", &["--ttl", "1000y"], b"", 2, "error: a join token lasts 366 days at most"),
    ("join-token worker", &["--uses", "0"], b"", 2, "error: invalid value '0' for '--uses <NUMBER>': …"),
    ("join-token worker", &["--label", "x"], b"", 2, "error: invalid label: written key=value, with a key of 1 to 128 characters"),
    ("join-token manager", &["--ttl", "-1s"], b"", 2, "error: unexpected argument '-1' found"),
    ("join-token ls", &["--filter", "nonsense"], b"", 2, "error: --filter: is none of name=TEXT, id=PREFIX and label=KEY[=VALUE]"),
    ("join-token rm", &["missing"], b"", 1, "error: token missing not found"),
    ("cluster", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("cluster reset-time", &NOT_THERE, b"", 3, NO_MANAGER),
    ("cluster reset-time", &["2026-01-01"], b"", 2, "error: unexpected argument '2026-01-01' found"),
    ("ca", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("ca show", &["--format", "{{.Nonsense}}"], b"", 2, "error: template: there is no field .Nonsense; there are …"),
    ("ca show", &NOT_THERE, b"", 3, NO_MANAGER),
    ("ca rotate", &["--key-file", "/dev/null"], b"", 7, "error: the unlock key is not of the expected form"),
    ("ca rotate", &["--key-file", "-"], b"SKEPKEY-1-abc", 7, "error: the unlock key is mistyped…"),
    ("ca rotate", &["--key-file", "-", "--detach", "now"], b"", 2, "error: unexpected argument 'now' found"),
    ("cluster recover", &[], b"", 2, "error: the following required arguments were not provided: --from <DIR>"),
    ("cluster recover", &["--from", "/none/manager"], b"", 2, NOT_SURE),
    ("cluster recover", &["--from", "/none/manager", "--yes", "--key-file", "/dev/null"], b"", 7, "error: the unlock key is not of the expected form"),
    ("cluster recover", &["--from", "/none/manager", "--yes", "--identity", "/dev/null"], b"", 2, "error: /dev/null: is not an identity file: …"),
    ("cluster resume", &[], b"", 2, NOT_SURE),
    ("cluster resume", &["--yes", "--socket", "/none/socket"], b"", 3, NO_MANAGER),
    ("join-token manager", &["--uses", "0"], b"", 2, "error: invalid value '0' for '--uses <NUMBER>': …"),
    ("node", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("node ls", &["--format", "{{.Nonsense}}"], b"", 2, "error: template: there is no field .Nonsense; there are …"),
    ("node inspect", &["missing"], b"", 1, "error: node missing not found"),
    ("node update", &["missing", "--availability", "drain"], b"", 1, "error: node missing not found"),
    ("node update", &["node-1"], b"", 2, "error: nothing to change"),
    ("node update", &["node-1", "--address", "127.0.0.1:1"], b"", 1, "error: node-1 is a worker: it comes to the managers, from wherever it is"),
    ("node update", &["manager-1", "--address", "127.0.0.1:0"], b"", 2, "error: 127.0.0.1:0: a port has a number from 1 to 65535"),
    ("node update", &["node-1", "--availability", "lazy"], b"", 2, "error: invalid value 'lazy' for '--availability <WHAT>' [possible values: active, pause, drain]"),
    ("node update", &["node-1", "--label-add", "novalue"], b"", 2, "error: invalid label: written key=value, with a key of 1 to 128 characters"),
    ("node readmit", &["missing"], b"", 1, "error: node missing not found"),
    ("operator", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("operator renew", &["admin"], b"", 2, "error: admin is no operator's id"),
    ("operator renew", &["4kq2w7mzxgcy3v5tq6bn2h4daa"], b"", 1, "error: operator 4kq2w7mzxgcy3v5tq6bn2h4daa not found"),
    ("operator renew", &["--new-key", "4kq2w7mzxgcy3v5tq6bn2h4daa"], b"", 2, "error: the argument '--new-key' cannot be used with '[OPERATOR]'"),
    ("node rm", &["--force", "node-1"], b"node-1", 2, NOT_SURE),
    ("node rm", &["missing"], b"", 1, "error: node missing not found"),
    ("node rm", &["manager-1"], b"", 1, "error: node manager-1 is the last manager"),
    ("manager", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("manager run", &["--listen", "nonsense"], b"", 23, "error: listen: is not an address"),
    ("manager run", &["--listen", "192.0.2.1:4440", "--data-dir", "{}/m"], b"", 23, "error: 192.0.2.1:4440: Cannot assign requested address…"),
    ("manager run", &["--listen", "127.0.0.1:0", "--name", "a b"], b"", 23, "error: name: invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"),
    ("manager run", &["--listen", "127.0.0.1:0", "--socket-role", "wheel=admin"], b"", 23, "error: socket-role: is not written GID=ROLE"),
    ("manager run", &["--listen", "127.0.0.1:0", "--data-dir", "/proc/none"], b"", 23, "error: /proc/none: No such file or directory…"),
    ("manager run", &["--listen", "127.0.0.1:0", "--log-level", "loud"], b"", 23, "error: log-level: loud is no level"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "0.0.0.0:4440"], b"", 23, "error: advertise: 0.0.0.0:4440: stands for every address of a machine, and nobody reaches it there"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "[::]:1"], b"", 23, "error: advertise: [::]:1: stands for every address of a machine, and nobody reaches it there"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "h:0"], b"", 23, "error: advertise: h:0: a port has a number from 1 to 65535"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "h:99999"], b"", 23, "error: advertise: h:99999: a port has a number from 1 to 65535"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "http://h:1"], b"", 23, "error: advertise: http://h:1: is a URL and not host:port"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "a b"], b"", 23, "error: advertise: a b: is not host:port"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1", "--unlock-key-file", "{}/nofile"], b"", 23, "error: --unlock-key-file {}/nofile: No such file or directory…"),
    ("manager run", &["--check", "--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1", "--log-level", "loud"], b"", 23, "error: log-level: loud is no level"),
    ("manager run", &["--log-format", "xml"], b"", 2, "error: invalid value 'xml' for '--log-format <FORMAT>' [possible values: text, json]"),
    ("manager step-down", &["--to", "missing"], b"", 1, "error: node missing not found"),
    ("manager step-down", &[], b"", 1, "error: no such manager could take the lead"),
    ("manager repair", &["--yes", "--socket", "/none/socket"], b"", 3, NO_MANAGER),
    ("manager repair", &[], b"manager-1", 2, NOT_SURE),
    ("agent", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("agent run", &["--data-dir", "/proc/none"], b"", 23, "error: data directory /proc/none: …"),
    ("agent run", &["--manager", "m1:99999"], b"", 23, "error: m1:99999: a port has a number from 1 to 65535"),
    ("agent run", &["--name", "a b"], b"", 23, "error: name: invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"),
    ("agent run", &["--data-dir", "{}/a", "--socket", "{}/a.sock"], b"", 23, "error: this agent has not joined a cluster, and no token was given"),
    ("agent run", &["--data-dir", "{}/a", "--socket", "/proc/none/a.sock"], b"", 23, "error: socket /proc/none/a.sock: No such file or directory…"),
    ("agent status", &NO_SOCKET, b"", 3, NO_AGENT),
    ("agent guard", &[], b"", 2, "error: the following required arguments were not provided: <MOUNT>"),
    ("agent leave", &NO_SOCKET, b"", 3, NO_AGENT),
    ("agent service", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("agent service up", &["web", "--agent-socket", "/none/socket"], b"", 3, NO_AGENT),
    ("agent service up", &["missing"], b"", 1, "error: service missing is not placed on this node"),
    ("agent service up", &["web", "--timeout", "soon"], b"", 2, "error: invalid value 'soon' for '--timeout <TIME>': …"),
    ("agent service down", &["web", "--agent-socket", "/none/socket"], b"", 3, NO_AGENT),
    ("agent service down", &["missing"], b"", 1, "error: service missing was not put up by hand on this node"),
    ("dev", &["--managers", "0"], b"", 2, "error: --managers: from 1 to 7, not 0"),
    ("dev", &["--agents", "10000"], b"", 2, "error: --agents: at most 64 on one machine, not 10000"),
    ("dev", &["--dir", "/proc/none"], b"", 23, "error: /proc/none: …"),
    ("registry", &["nonsense"], b"", 2, "error: unrecognized subcommand 'nonsense'"),
    ("docker-api", &[], b"", 2, "error: the following required arguments were not provided: --socket <PATH>"),
    ("compose", &["import", "compose.yml"], b"", 2, "error: compose.yml: No such file or directory (os error 2)"),
    ("completion", &["tcsh"], b"", 2, "error: invalid value 'tcsh' for '<SHELL>' [possible values: bash, elvish, fish, powershell, zsh]"),
    ("man", &["/none"], b"", 1, "error: /none/skep.1: No such file or directory…"),
    ("version", &["nonsense"], b"", 2, "error: unexpected argument 'nonsense' found"),
];

#[test]
fn every_command_answers_bad_input_with_one_line_and_its_status() {
    let cluster = Cluster::start(1);
    cluster.secret("taken", b"value");
    cluster.secret("other", b"value");
    cluster.service("web", "node-1", &["taken"]);
    check(&cluster, ROWS);
    let (long, big) = ("x".repeat(65), vec![b'x'; 512_000]);
    let rows: &[Row] = &[
        ("secret create", &[&long, "-"], b"v", 2, NAME),
        ("secret create", &["big", "-"], &big, 2, SIZE),
        ("service create", &[&long], b"", 2, NAME),
    ];
    check(&cluster, rows);
    let names = cluster.ok(&["secret", "ls", "--format", "{{.Name}}:{{.Version}}"]);
    assert_eq!(names, "other:1\ntaken:1", "nothing was lost or added");
    assert_eq!(cluster.ok(&["service", "ls", "--format", "{{.Name}}"]), "web");
    assert_eq!(cluster.ok(&["join-token", "ls", "-q"]).lines().count(), 1);
}

#[test]
fn every_command_there_is_has_a_row() {
    let rows: BTreeSet<&str> = ROWS.iter().map(|(command, ..)| *command).collect();
    let all = commands();
    let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(all.difference(&rows).collect::<Vec<_>>(), Vec::<&&str>::new(), "without a row");
    assert_eq!(rows.difference(&all).collect::<Vec<_>>(), Vec::<&&str>::new(), "no commands");
}
