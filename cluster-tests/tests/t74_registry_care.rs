//! A registry that is cared for: rules put in force and brought over, robots for a fleet, ends
//! that are seen coming.

use std::process::Command;

use cluster_tests::{Cluster, Ran, TokenServer, binary, run};

const SERVED: &str = "registry.example:5000";
const RULES: &str = "version = 1\n[[rule]]\nmatch = {}\nactions = [\"pull\"]\n";
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuVQSpQPtlsuZ6DwvOXaXpzLnHwHgJ2iS";

/// `skep registry` as the admin.
fn registry(cluster: &Cluster, words: &[&str], input: &[u8]) -> Ran {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(&mut command, input)
}

fn set_up(agents: usize) -> Cluster {
    let cluster = Cluster::start(agents);
    let out = cluster.folder().join("out").display().to_string();
    let words = ["setup", "web", "--realm", "https://auth.example/auth", "--out", &out];
    let more = ["--registry-service", SERVED, "--node", "node-1"];
    let _ = registry(&cluster, &[&words[..], &more].concat(), b"").ok();
    cluster
}

/// What a robot's machine has of it: the name and the password.
fn credential(cluster: &Cluster, agent: usize, service: &str) -> (String, String) {
    let text = cluster.shell(agent, service).read("robot.json");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let part = |key: &str| file[key].as_str().expect("text").to_owned();
    (part("account"), part("password"))
}

#[test]
fn rules_are_put_in_force_and_explained_where_they_are() {
    let cluster = set_up(1);
    let server = TokenServer::start(&cluster, 0);
    let _ = registry(&cluster, &["user", "add", "web", "alice"], b"correct horse").ok();
    let ask = || {
        let query = format!("service={SERVED}&scope=repository:web/app:pull");
        let (status, body) = server.ask(&query, "alice", "correct horse");
        assert_eq!(status, 200);
        let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        told["scope"].as_str().expect("a scope").to_owned()
    };
    assert!(!ask().contains("pull"));
    // Rules that don't read are refused here, and nothing is changed.
    let bad = cluster.file("bad.toml", b"version = 1\n[[rule]]\nmatch = { team = 'x' }\n");
    let refused = registry(&cluster, &["acl", "set", "web", &bad], b"").status(23);
    assert!(refused.err.contains("line 3: unknown key team"), "{}", refused.err);
    let good = cluster.file("acl.toml", RULES.as_bytes());
    assert_eq!(registry(&cluster, &["acl", "set", "web", &good], b"").ok(), "rules: 1");
    // In force when it returns; a workload of the service sees why.
    assert!(ask().contains("pull"));
    let program = binary().with_file_name("skep-registry").display().to_string();
    let scope = "repository:web/app:pull,push";
    let words = [program.as_str(), "acl", "explain", "web", "--account", "alice", scope];
    let told = run(&mut cluster.agents[0].exec("web.auth", &words), b"").ok();
    assert!(told.contains("rule 1 (line 2): matches"), "{told}");
    assert!(told.ends_with("given: pull"), "{told}");
    let words = [program.as_str(), "acl", "check", "web"];
    let told = run(&mut cluster.agents[0].exec("web.auth", &words), b"").ok();
    assert_eq!(told, "1 rule\naccounts: 1");
}

#[test]
fn what_is_held_is_pulled_by_nobody_until_it_is_let_go() {
    let cluster = set_up(1);
    let server = TokenServer::start(&cluster, 0);
    let rules = cluster.file("acl.toml", RULES.as_bytes());
    let _ = registry(&cluster, &["acl", "set", "web", &rules], b"").ok();
    let _ = registry(&cluster, &["user", "add", "web", "alice"], b"correct horse").ok();
    let may_pull = |repository: &str| {
        let query = format!("service={SERVED}&scope=repository:{repository}:pull");
        let (status, body) = server.ask(&query, "alice", "correct horse");
        assert_eq!(status, 200, "{body}");
        body.contains(&format!("{repository}:pull"))
    };
    let [one, two] = ["1", "2"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    let hold = |words: &[&str]| registry(&cluster, &[&["hold"], words].concat(), b"");
    let add = |digest: &str| hold(&["add", "web", "web/app", digest, "--why", "a leaked key"]);
    assert!(may_pull("web/app"));
    // In force when it returns; other repositories are not concerned.
    let _ = add(&one).ok();
    assert!(!may_pull("web/app") && may_pull("web/site"));
    let twice = add(&one).status(1);
    assert!(twice.err.contains("is held already"), "{}", twice.err);
    let _ = add(&two).ok();
    let listed = hold(&["ls", "web"]).ok();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(&format!("web/app@{one} a leaked key")), "{listed}");
    let json = hold(&["ls", "web", "--format", "json"]).ok();
    assert!(json.contains(&format!(r#""digest":"{two}""#)), "{json}");
    // One of them is still held.
    let _ = hold(&["rm", "web", "web/app", &one]).ok();
    assert!(!may_pull("web/app"));
    let _ = hold(&["rm", "web", "web/app", &two]).ok();
    assert!(may_pull("web/app"));
    let gone = hold(&["rm", "web", "web/app", &two]).status(1);
    assert!(gone.err.contains("is not held"), "{}", gone.err);
    assert_eq!(hold(&["ls", "web"]).ok(), "");
    for (repository, digest, why, wanted) in [
        ("Web", one.as_str(), "x", "repository"),
        ("web/app", "latest", "x", "digest"),
        ("web/app", &one, "", "reason"),
        ("web/app", &one, "a\nb", "reason"),
    ] {
        let bad = hold(&["add", "web", repository, digest, "--why", why]).status(2);
        assert!(bad.err.contains(wanted) && bad.err.contains("\nhint: "), "{}", bad.err);
    }
    let none = hold(&["add", "none", "web/app", &one, "--why", "x"]).status(1);
    assert!(none.err.contains("no registry none"), "{}", none.err);
}

#[test]
fn a_password_that_was_changed_does_not_come_back_by_an_old_version() {
    let cluster = set_up(1);
    let server = TokenServer::start(&cluster, 0);
    let _ = registry(&cluster, &["user", "add", "web", "alice"], b"correct horse").ok();
    let login = |server: &TokenServer, password: &str| {
        server.ask(&format!("service={SERVED}"), "alice", password).0
    };
    assert_eq!(login(&server, "correct horse"), 200);
    let by = ["secret", "ls", "--filter", "label=kind=user", "--format", "{{.Name}}"];
    let user = cluster.ok(&by);
    let file = cluster.agents[0].file("web.auth", user.trim_start_matches("web."));
    let bytes = || std::fs::read(&file).expect("a verifier");
    let old = bytes();
    let _ = registry(&cluster, &["user", "passwd", "web", "alice"], b"battery staple").ok();
    let new = bytes();
    assert_eq!((login(&server, "correct horse"), login(&server, "battery staple")), (401, 200));
    let _ = registry(&cluster, &["status", "web"], b"").status(0);
    // Managers put no old version in force, neither for all nor for one service.
    let slug = user.trim_start_matches("web.");
    let target = format!("{user}:{slug}");
    let versions = ["secret", "versions", &user, "--format", "{{.Version}} {{.Current}}"];
    let stood = cluster.ok(&versions);
    for words in [
        &["secret", "rollback", &user][..],
        &["secret", "rollback", &user, "--to", "1"],
        &["service", "grant", "--pin", "1", "web.auth", &target],
        &["service", "grant", "--pin", "2", "web.auth", &target],
        &["secret", "rollback", &format!("web.rights.{}", slug.trim_start_matches("user."))],
        &["secret", "rollback", "web.refresh.key"],
    ] {
        let refused = cluster.skep(words).status(1);
        let told = refused.err.contains(" is forward-only: ") && refused.err.contains("\nhint: ");
        assert!(told, "{words:?}: {}", refused.err);
    }
    assert_eq!(cluster.ok(&versions), stood);
    assert_eq!((login(&server, "correct horse"), login(&server, "battery staple")), (401, 200));
    // Whoever kept the old bytes can write them again: neither password is taken then, by a
    // server that knew better.
    let update = |bytes: &[u8]| {
        let _ = cluster.skep_with(&["secret", "update", &user, "-"], bytes).status(0);
    };
    update(&old);
    assert_eq!((login(&server, "correct horse"), login(&server, "battery staple")), (401, 401));
    update(&new);
    assert_eq!((login(&server, "correct horse"), login(&server, "battery staple")), (401, 200));
}

#[test]
fn rules_go_back_and_a_version_that_is_granted_for_good_is_warned_about() {
    let cluster = set_up(1);
    let server = TokenServer::start(&cluster, 0);
    let _ = registry(&cluster, &["user", "add", "web", "alice"], b"correct horse").ok();
    let pulls = || {
        let query = format!("service={SERVED}&scope=repository:web/app:pull");
        let (status, body) = server.ask(&query, "alice", "correct horse");
        assert_eq!(status, 200, "{body}");
        let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        told["scope"].as_str().expect("a scope").contains("pull")
    };
    let file = cluster.file("acl.toml", RULES.as_bytes());
    assert!(!pulls());
    let _ = registry(&cluster, &["acl", "set", "web", &file], b"").ok();
    assert!(pulls());
    // Rules are rolled back as any secret is.
    assert_eq!(cluster.ok(&["secret", "rollback", "web.acl.toml"]), "web.acl.toml 3");
    assert!(!pulls());
    let _ = registry(&cluster, &["status", "web"], b"").status(0);
    let pin = |version: &str| {
        let words = ["service", "grant", "--pin", version, "web.auth", "web.acl.toml:acl.toml"];
        let _ = cluster.ok(&words);
    };
    pin("2");
    assert!(pulls());
    let told = registry(&cluster, &["status", "web"], b"").status(8);
    let mend = "`skep service grant --pin current web.auth web.acl.toml:FILE`";
    let wanted = "warning: secret web.acl.toml: web.auth is granted one version";
    assert!(told.err.contains(wanted) && told.err.contains(mend), "{}", told.err);
    pin("current");
    assert!(!pulls());
    let _ = registry(&cluster, &["status", "web"], b"").status(0);
}

#[test]
fn users_and_rules_of_docker_auth_come_over_into_a_registry() {
    let cluster = set_up(1);
    let server = TokenServer::start(&cluster, 0);
    // More users than one act holds.
    let name = |number: usize| format!("user-{number:02}");
    let user =
        |number| format!("  {}: {{password: '{HASH}', labels: {{team: [web]}}}}", name(number));
    let users = (0..33).map(user).collect::<Vec<_>>().join("\n");
    let rules = "acl:\n  - match: {labels: {team: web}, name: 'web/*'}\n    actions: [pull]\n";
    let file = cluster.file("auth.yml", format!("users:\n{users}\n{rules}").as_bytes());
    // What can't come over is named, and nothing is changed.
    let bad = cluster.file("bad.yml", b"ldap_auth: {addr: x}\nusers: {}\nacl: []\n");
    let refused = registry(&cluster, &["acl", "import", "web", &bad], b"").status(1);
    assert!(refused.err.contains("ldap_auth"), "{}", refused.err);
    assert_eq!(registry(&cluster, &["user", "ls", "web"], b"").ok(), "");
    // One that is there already.
    let _ = registry(&cluster, &["user", "add", "web", &name(7)], b"correct horse").ok();
    let refused = registry(&cluster, &["acl", "import", "web", &file], b"").status(1);
    assert!(refused.err.contains("user-07") && refused.err.contains("--keep-existing"));
    assert_eq!(registry(&cluster, &["user", "ls", "web"], b"").ok(), name(7));
    let words = ["acl", "import", "web", &file, "--keep-existing"];
    assert_eq!(registry(&cluster, &words, b"").ok(), "users: 32, rules: 1");
    let listed = registry(&cluster, &["user", "ls", "web"], b"").ok();
    assert_eq!(listed.lines().count(), 33, "{listed}");
    // The one that was there has its own password, and no label that a rule asks for.
    let query = format!("service={SERVED}&scope=repository:web/app:pull");
    let (status, body) = server.ask(&query, &name(7), "correct horse");
    assert!(status == 200 && !body.contains("web/app:pull"), "{status} {body}");
    assert_eq!(server.ask(&query, &name(8), "correct horse").0, 401);
    // The rules ask for labels that came over with the accounts.
    let program = binary().with_file_name("skep-registry").display().to_string();
    let (account, scope) = (name(8), "repository:web/app:pull");
    let words = [program.as_str(), "acl", "explain", "web", "--account", &account, scope];
    let told = run(&mut cluster.agents[0].exec("web.auth", &words), b"").ok();
    assert!(told.ends_with("given: pull"), "{told}");
}

#[test]
fn each_node_gets_a_robot_of_its_own() {
    let mut cluster = set_up(2);
    let server = TokenServer::start(&cluster, 0);
    let create = |cluster: &Cluster| {
        let words = ["robot", "create", "web", "pull", "--each-node"];
        registry(cluster, &[&words[..], &["--expires", "90d"]].concat(), b"")
    };
    assert_eq!(create(&cluster).ok(), "pull.node-1\npull.node-2");
    let again = create(&cluster).status(0);
    assert!(again.out.is_empty() && again.err.contains("has one already"), "{}", again.err);
    let _ = cluster.join("node-3", &[]);
    assert_eq!(create(&cluster).ok(), "pull.node-3");
    let of =
        [0, 1, 2].map(|agent| credential(&cluster, agent, &format!("web.on.node-{}", agent + 1)));
    let ask = |(name, password): &(String, String)| {
        server.ask(&format!("service={SERVED}"), name, password).0
    };
    assert_eq!(of.each_ref().map(ask), [200; 3]);
    // One machine is taken out, and the others go on.
    let _ = registry(&cluster, &["robot", "rm", "web", "pull.node-2"], b"").ok();
    assert_eq!(of.each_ref().map(ask), [200, 401, 200]);
}

#[test]
fn what_ends_is_seen_coming() {
    let cluster = set_up(2);
    let status = |more: &[&str]| registry(&cluster, &[&["status", "web"], more].concat(), b"");
    let idle = status(&[]).status(8);
    assert!(idle.err.contains("warning: node-1: no token server runs there"), "{}", idle.err);
    let server = TokenServer::start(&cluster, 0);
    let well = status(&[]).status(0);
    assert!(well.out.contains("registry  web at registry.example:5000\n"), "{}", well.out);
    assert!(well.out.contains("replica   node-1 running\n"), "{}", well.out);
    // A certificate that was made an hour ago, for thirty days.
    assert!(
        well.out.contains("signer    ends ") && well.out.contains(", in 29 days\n"),
        "{}",
        well.out
    );
    let words = ["robot", "create", "web", "brief", "--show", "--form", "plain", "--expires", "3d"];
    let password = registry(&cluster, &words, b"").ok();
    let words = ["robot", "create", "web", "long", "--show", "--expires", "2999-12-31"];
    let _ = registry(&cluster, &words, b"").ok();
    let soon = status(&["--format", "json"]).status(8);
    let told: serde_json::Value = serde_json::from_str(&soon.out).expect("JSON");
    assert_eq!(told["ends"][1]["ends"], "2999-12-31T23:59:59Z", "{told}");
    assert_eq!(told["warnings"].as_array().map(Vec::len), Some(1), "{told}");
    assert!(
        told["warnings"][0].as_str().is_some_and(|text| text.starts_with("robot brief ends in "))
    );
    assert_eq!(server.ask(&format!("service={SERVED}"), "brief", &password).0, 200);
    let _ = registry(&cluster, &["robot", "rm", "web", "brief"], b"").ok();

    // An end that comes soon is told; another key has an end of its own, and tells it.
    let soon = label_of_days(9);
    let ends_soon = || {
        let _ = cluster.ok(&["secret", "update", "web.signer.crt", "--label-add", &soon]);
    };
    ends_soon();
    let _ = status(&[]).status(8);
    let _ = cluster.ok(&["service", "update", "--node-add", "node-1", "web.ca"]);
    let program = binary().with_file_name("skep-registry").display().to_string();
    let words = [program.as_str(), "signer", "rotate", "web"];
    let mut rotate = cluster.agents[0].exec("web.ca", &words);
    let _ = run(rotate.env("SKEP_IDENTITY", cluster.identity()), b"").ok();
    let labels = cluster.ok(&["secret", "inspect", "web.signer.crt", "--format", "{{.Labels}}"]);
    assert!(!labels.contains(&soon), "{labels}");
    let _ = status(&[]).status(0);
    // A label that somebody took off is a warning.
    ends_soon();
    let told = status(&[]).status(8);
    assert!(told.err.contains("the signing certificate ends in "), "{}", told.err);
    let _ = cluster.ok(&["secret", "update", "web.signer.crt", "--label-rm", "ends"]);
    let told = status(&[]).status(8);
    assert!(told.err.contains("its end is not known"), "{}", told.err);
}

#[test]
fn the_key_that_signs_is_renewed_without_an_operator() {
    let cluster = set_up(1);
    let server = TokenServer::start(&cluster, 0);
    let _ = registry(&cluster, &["user", "add", "web", "alice"], b"correct horse").ok();
    let _ = cluster.ok(&["service", "update", "--node-add", "node-1", "web.ca"]);
    let signer = || {
        let (status, body) = server.ask(&format!("service={SERVED}"), "alice", "correct horse");
        assert_eq!(status, 200, "{body}");
        let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let token = told["token"].as_str().expect("a token");
        token.split('.').next().expect("a head").to_owned()
    };
    let program = binary().with_file_name("skep-registry").display().to_string();
    let rotate = |service: &str, more: &[&str]| {
        let words = [&[program.as_str(), "signer", "rotate", "web", "--by-agent"], more].concat();
        run(&mut cluster.agents[0].exec(service, &words), b"")
    };
    let versions = ["secret", "versions", "web.signer.crt", "--format", "{{.WrittenBy}}"];
    let first = signer();
    // Nothing is done before a third of its life is over.
    let early = rotate("web.ca", &["--if-due"]).status(0);
    assert!(early.out.is_empty() && early.err.contains("not due yet"), "{}", early.err);
    assert_eq!(cluster.ok(&versions), "", "an operator wrote the only one");
    // What is signed with the next one once it has returned, nobody's identity is needed for.
    let done = rotate("web.ca", &["--leaf-life", "24h"]).status(0);
    assert_eq!((done.out.trim(), done.err.as_str()), ("web", ""));
    assert_ne!(signer(), first);
    let written = cluster.ok(&versions);
    assert_eq!(written.lines().next(), Some("web.ca on node-1"), "{written}");
    // No label says its end: it is the life that the setup said, from when it was written.
    let soon = label_of_days(3);
    let _ = cluster.ok(&["secret", "update", "web.signer.crt", "--label-add", &soon]);
    let well = registry(&cluster, &["status", "web"], b"").status(0);
    assert!(well.out.contains(", in 29 days\n"), "{}", well.out);
    let _ = cluster.ok(&["secret", "update", "web.signer.crt", "--label-add", "life=88200"]);
    let well = registry(&cluster, &["status", "web"], b"").status(0);
    assert!(well.out.contains(", in 23 hours\n"), "{}", well.out);
    // Another service writes none, whatever it draws it from.
    let other = rotate("web.auth", &[]).status(2);
    assert!(other.err.contains("ca.key") && other.err.contains("\nhint: "), "{}", other.err);
    let _ = cluster.ok(&["service", "revoke", "web.ca", "web.signer.key"]);
    let second = signer();
    let refused = rotate("web.ca", &[]);
    assert!(refused.status != 0, "{}", refused.err);
    assert_eq!(signer(), second);
}

/// The label of something that ends in so many days.
fn label_of_days(days: u64) -> String {
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("+{days} days"), "+%Y-%m-%dT%H:%M:%SZ"]);
    format!("ends={}", run(&mut date, b"").ok())
}
