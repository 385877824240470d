//! Whole commands against a manager that does what the test says; the help.

mod fake;
mod hints;

use clap::CommandFactory;
use fake::{Script, Stage, cluster, key, problem};

use crate::cli::args::Words;
use skep_client::machine::OsDice;
use skep_core::base::{Exit, SealedValue, SecretId, SentKey, VersionId};
use skep_core::seal::{ValueContext, open_value};
use skep_core::wire::api::{
    DeliveryProgress, Laggard, NewVersion, SecretView, ServiceView, change,
};

fn service(name: &str) -> ServiceView {
    ServiceView { id: vec![3; 16], name: name.to_owned(), placed: 1, ..ServiceView::default() }
}

fn secret(name: &str, services: &[&str]) -> SecretView {
    let services = services.iter().map(|name| (*name).to_owned()).collect();
    SecretView { id: vec![5; 16], name: name.to_owned(), services, ..SecretView::default() }
}

fn progress(delivered: u32, done: bool) -> DeliveryProgress {
    let laggard = Laggard {
        node: vec![1],
        name: "db3".into(),
        why: "down since 2026-05-28 02:11:07 UTC".into(),
    };
    let laggards = if done { Vec::new() } else { vec![laggard] };
    DeliveryProgress { nodes: 1, delivered, laggards, done, ..DeliveryProgress::default() }
}

fn granted() -> Script {
    Script {
        secrets: vec![secret("a", &["web"])],
        services: vec![service("web")],
        keys: [key(1)].into(),
        ..Script::default()
    }
}

/// Opens what was sent as a manager and then an agent would.
fn opened(key: &skep_core::seal::ClusterKey, id: &[u8], sent: &NewVersion) -> Vec<u8> {
    let context = ValueContext {
        cluster: cluster(),
        secret: SecretId::try_from(id).expect("an id"),
        version: VersionId::try_from(sent.id.as_slice()).expect("an id"),
        size: sent.size,
    };
    let half = sent.half.as_slice().try_into().expect("a half");
    let bytes = sent.sent_key.clone();
    let sent_key = SentKey { number: sent.intake_number, half, bytes };
    let wrapped = key.rewrap(&mut OsDice, &sent_key, &context, &mut None).expect("wrapped");
    let data_key = key.wrap_key().open_data_key(&wrapped, &context).expect("opened");
    let sealed = SealedValue(sent.sealed_value.to_vec().into());
    open_value(&data_key, &context, &sealed.0).expect("opened").expose().to_vec()
}

#[test]
fn a_value_arrives_sealed_and_opens_again() {
    let stage = Stage::new(Script { keys: [key(1)].into(), ..Script::default() });
    let ran = stage.run(&["secret", "create", "-l", "team=db", "a", "VALUE"]);
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""));
    let script = stage.script.lock();
    let Some(change::Of::CreateSecret(sent)) = &script.applied[0].changes[0].of else {
        panic!("another change")
    };
    assert_eq!(ran.out.trim(), crate::cli::render::id(&sent.id), "the id is the data");
    let version = sent.version.as_ref().expect("a version");
    assert!(!version.sealed_value.windows(7).any(|part| part == b"hunter2"));
    assert_eq!(opened(&script.keys[0], &sent.id, version), b"hunter2");
    assert_eq!(sent.labels[0].value, "db");
}

#[test]
fn a_retired_intake_key_is_sealed_to_again() {
    let script = Script {
        keys: [key(1), key(2)].into(),
        applies: [
            Err(problem(Exit::Refused, "the intake key has changed")),
            Err(problem(Exit::Refused, "the intake key has changed")),
        ]
        .into(),
        ..Script::default()
    };
    let stage = Stage::new(script);
    let ran = stage.run(&["secret", "create", "a", "VALUE"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let script = stage.script.lock();
    let ids: Vec<_> = script.applied.iter().map(|sent| &sent.request_id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], ids[1], "it may have been done: the first one's answer is asked for");
    assert_ne!(ids[1], ids[2], "it was surely refused");
    let Some(change::Of::CreateSecret(sent)) = &script.applied[2].changes[0].of else {
        panic!("another change")
    };
    assert_eq!(opened(&script.keys[0], &sent.id, sent.version.as_ref().expect("one")), b"hunter2");
}

#[test]
fn a_refusal_is_one_line_and_a_hint() {
    let script = Script {
        keys: [key(1)].into(),
        applies: [Err(problem(Exit::Refused, "secret a already exists"))].into(),
        ..Script::default()
    };
    let stage = Stage::new(script);
    let ran = stage.run(&["secret", "create", "a", "VALUE"]);
    assert_eq!(ran.exit, Exit::Refused);
    assert_eq!(ran.err, "error: secret a already exists\nhint: do something\n");
    assert_eq!(ran.out, "");
    assert_eq!(stage.script.lock().applied.len(), 1);
}

#[test]
fn without_a_leader_it_tries_again_under_the_same_request_id() {
    let mut script = granted();
    script.applies = [
        Err(problem(Exit::Unreachable, "no leader")),
        Err(problem(Exit::Unreachable, "no leader")),
    ]
    .into();
    let stage = Stage::new(script);
    let ran = stage.run(&["service", "revoke", "-d", "web", "a"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let script = stage.script.lock();
    assert_eq!(script.applied.len(), 3);
    assert!(script.applied.iter().all(|sent| sent.request_id == script.applied[0].request_id));
    assert!(script.watched.is_empty(), "detached");
}

#[test]
fn no_leader_in_time_is_status_3_and_an_unknown_outcome_6() {
    let mut script = granted();
    script.applies = (0..100).map(|_| Err(problem(Exit::Unreachable, "no leader"))).collect();
    let stage = Stage::new(script);
    let ran = stage.run(&["service", "rm", "web", "--timeout", "300ms"]);
    assert_eq!(
        (ran.exit, ran.err.as_str()),
        (Exit::Unreachable, "error: no leader\nhint: do something\n")
    );

    let mut script = granted();
    script.applies = (0..100).map(|_| Err(problem(Exit::Unknown, "the term ended"))).collect();
    let stage = Stage::new(script);
    let ran = stage.run(&["service", "rm", "web", "--timeout", "300ms"]);
    assert_eq!(ran.exit, Exit::Unknown);
    assert!(ran.err.contains("hint:") && ran.err.contains("skep service ls"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 2);
}

#[test]
fn it_waits_until_nodes_confirm_also_across_a_broken_stream() {
    let mut script = granted();
    script.progress = [
        vec![Ok(progress(0, false)), Err(tonic::Status::unavailable("gone"))],
        vec![Ok(progress(0, false)), Ok(progress(1, true))],
    ]
    .into();
    let stage = Stage::new(script);
    let ran = stage.run(&["service", "revoke", "web", "a"]);
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, "delivered 1/1 nodes\n"));
    let script = stage.script.lock();
    assert_eq!(script.watched.len(), 2);
    assert_eq!((script.watched[1].revision, &script.watched[1].services), (9, &vec![vec![3; 16]]));
}

#[test]
fn a_time_out_undoes_nothing_and_says_so() {
    let mut script = granted();
    script.progress = [vec![Ok(progress(0, false))]].into();
    let stage = Stage::new(script);
    let ran = stage.run(&["service", "revoke", "web", "a", "--timeout", "500ms"]);
    assert_eq!(ran.exit, Exit::NotConfirmed);
    let lines: Vec<_> = ran.err.lines().collect();
    assert_eq!(lines[0], "error: committed, but not confirmed within 500ms");
    assert!(lines[1].starts_with("hint: nothing is undone"), "{}", ran.err);
    assert_eq!(
        lines[2],
        "delivered 0/1 nodes; waiting for db3 (down since 2026-05-28 02:11:07 UTC)"
    );
}

#[test]
fn a_set_that_does_not_open_ends_the_wait_at_once() {
    let mut script = granted();
    let failed = DeliveryProgress { failed: true, ..progress(0, false) };
    script.progress = [vec![Ok(failed)]].into();
    let ran = Stage::new(script).run(&["service", "revoke", "web", "a"]);
    assert_eq!(ran.exit, Exit::NotConfirmed);
}

#[test]
fn an_update_of_several_is_one_act_and_waits_for_their_services() {
    let mut script = granted();
    script.secrets.push(SecretView { id: vec![6; 16], ..secret("b", &["web"]) });
    script.progress = [vec![Ok(progress(1, true))]].into();
    let stage = Stage::new(script);
    let ran = stage.run(&["secret", "update", "a=VALUE", "b=VALUE"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let script = stage.script.lock();
    assert_eq!(script.applied[0].changes.len(), 2);
    assert_eq!(script.watched[0].services, [vec![3; 16]]);
}

#[test]
fn what_destroys_takes_no_prefix() {
    let done = DeliveryProgress { done: true, ..DeliveryProgress::default() };
    let stage = Stage::new(Script { progress: [vec![Ok(done)]].into(), ..granted() });
    let id = crate::cli::render::id(&[5; 16]);
    let ran = stage.run(&["secret", "rm", id.get(..5).expect("ascii")]);
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("full name or id"), "{}", ran.err);
    assert!(stage.script.lock().applied.is_empty());
    assert_eq!(stage.run(&["secret", "inspect", id.get(..5).expect("ascii")]).exit, Exit::Done);
    assert_eq!(stage.run(&["secret", "rm", &id]).exit, Exit::Done);
}

#[test]
fn a_locked_manager_is_status_4() {
    let stage = Stage::new(Script {
        closed: Some(problem(Exit::Locked, "this manager is locked")),
        ..Script::default()
    });
    assert_eq!(stage.run(&["secret", "ls"]).exit, Exit::Locked);
    assert_eq!(stage.run(&["secret", "create", "a", "VALUE"]).exit, Exit::Locked);
}

#[test]
fn a_service_says_on_how_many_nodes_it_is_placed() {
    let mut script = granted();
    let stage = Stage::new(Script { services: vec![], ..granted() });
    let ran = stage.run(&["service", "create", "other"]);
    assert_eq!(ran.exit, Exit::Done, "that it cannot be told is no failure: {}", ran.err);
    script.services[0].placed = 0;
    let ran = Stage::new(script).run(&["service", "grant", "-d", "web", "a:b.txt"]);
    assert!(ran.err.starts_with("placed on 0 nodes\nhint: "), "{}", ran.err);
}

#[test]
fn lists_are_shown_as_asked_for() {
    let stage = Stage::new(granted());
    let id = crate::cli::render::id(&[5; 16]);
    assert_eq!(stage.run(&["secret", "ls", "-q"]).out, format!("{id}\n"));
    assert_eq!(stage.run(&["secret", "ls", "--format", "{{.Name}} {{.Services}}"]).out, "a web\n");
    assert_eq!(stage.run(&["secret", "ls", "--filter", "name=x", "-q"]).out, "");
    let table = stage.run(&["secret", "ls"]).out;
    assert!(table.starts_with("ID                          NAME  VERSION  SERVICES"), "{table}");
    assert_eq!(stage.run(&["secret", "ls", "--format", "{{.Nam}}"]).exit, Exit::Usage);
}

fn leaves(command: &clap::Command, path: &str, all: &mut Vec<(String, clap::Command)>) {
    for sub in command.get_subcommands() {
        let path = format!("{path} {}", sub.get_name());
        if sub.has_subcommands() {
            leaves(sub, &path, all);
        } else {
            all.push((path, sub.clone()));
        }
    }
}

#[test]
fn the_help_names_every_command_in_few_lines() {
    let mut command = Words::command();
    command.clone().debug_assert();
    let help = command.render_help().to_string();
    assert!(help.lines().count() <= 44, "{} lines", help.lines().count());
    for sub in command.get_subcommands() {
        let named = help.lines().any(|line| line.trim_start().starts_with(sub.get_name()));
        assert!(named, "{} is not in the help", sub.get_name());
    }
}

#[test]
fn every_command_has_two_examples_that_parse() {
    let mut all = Vec::new();
    leaves(&Words::command(), "skep", &mut all);
    assert!(all.len() > 30);
    for (path, mut command) in all {
        let help = command.render_long_help().to_string();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
        let count = examples.lines().take_while(|line| line.starts_with("  ")).count();
        assert!(count >= 2, "{path}");
        assert!(examples.contains(&path) || path == "skep version", "{path}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{path} is too wide");
    }
}

#[test]
fn the_help_is_as_it_was() {
    let mut all = vec![("skep".to_owned(), Words::command())];
    leaves(&Words::command(), "skep", &mut all);
    let texts = all.into_iter().map(|(path, command)| {
        let help = command.term_width(100).render_help().to_string();
        format!("$ {path} --help\n{}\n", help.trim_end())
    });
    let now = texts.collect::<Vec<_>>().join("\n");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/help.txt");
    if std::env::var_os("SKEP_GOLDEN").is_some() {
        let mut file = std::fs::File::create(golden).expect("the golden file");
        std::io::Write::write_all(&mut file, now.as_bytes()).expect("written");
    }
    let before = std::fs::read_to_string(golden).expect("the golden file");
    assert_eq!(now, before, "if this is meant: SKEP_GOLDEN=write cargo test the_help_is");
}
