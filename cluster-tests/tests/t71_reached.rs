//! How the registry side is reached: `skep registry` becomes the program beside `skep`, and
//! docker's helper gives what the machine was granted.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cluster_tests::{Cluster, Ran, binary, run};
use skep_registry::rules::login::{Form, Login};
use tempfile::TempDir;

/// A folder with `skep` in it.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let skep = folder.path().join("skep");
    if fs::hard_link(binary(), &skep).is_err() {
        let _ = fs::copy(binary(), &skep).expect("a copy");
    }
    (folder, skep)
}

/// Puts a script there.
fn script(path: &Path, text: &str, mode: u32) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn registry(skep: &Path, words: &[&str]) -> Ran {
    run(Command::new(skep).arg("registry").args(words), b"in")
}

#[test]
fn it_becomes_the_program_beside_it_and_passes_everything_on() {
    let (folder, skep) = folder();
    let program = folder.path().join("skep-registry");
    script(&program, r#"printf '<%s>' "$@"; cat; echo err >&2; exit 42"#, 0o755);
    let words = ["--help", "--", "-x", "", "a b", "registry", "--version", "'\u{e9}\n"];
    let ran = registry(&skep, &words).status(42);
    let wanted = format!("<{}>", words.join("><"));
    assert_eq!((ran.out, ran.err), (wanted + "in", "err\n".to_owned()));
    assert_eq!(registry(&skep, &[]).status(42).out, "<>in");

    // The process is the same, and how it ends is the program's.
    script(&program, "echo $$; kill -TERM $$", 0o755);
    let mut command = Command::new(&skep);
    let command = command.arg("registry").stdout(Stdio::piped());
    let child = command.spawn().expect("a process");
    let id = child.id();
    let output = child.wait_with_output().expect("its output");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), id.to_string());
    assert_eq!(output.status.signal(), Some(15));

    // A link to `skep` finds what is beside the file itself.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let link = elsewhere.path().join("skep");
    std::os::unix::fs::symlink(&skep, &link).expect("a link");
    script(&program, "exit 7", 0o755);
    let _ = registry(&link, &[]).status(7);
}

#[test]
fn without_it_one_line_says_what_is_missing_and_what_brings_it() {
    let (folder, skep) = folder();
    let program = folder.path().join("skep-registry");
    // Neither a search path nor the folder that one stands in is looked at.
    let elsewhere = tempfile::tempdir().expect("a folder");
    script(&elsewhere.path().join("skep-registry"), "exit 0", 0o755);
    for words in [&["--help"][..], &["auth", "web"], &[]] {
        let mut command = Command::new(&skep);
        command.arg("registry").args(words);
        command.env("PATH", elsewhere.path()).current_dir(elsewhere.path());
        let ran = run(&mut command, b"").status(23);
        let missing = format!("error: {} is missing\n", program.display());
        assert!(ran.err.starts_with(&missing), "{}", ran.err);
        assert!(ran.err.contains("\nhint: the package skep-registry brings it"), "{}", ran.err);
        assert_eq!((ran.err.lines().count(), ran.out.as_str()), (2, ""), "{}", ran.err);
    }
    script(&program, "exit 0", 0o644);
    let ran = registry(&skep, &[]).status(23);
    assert!(ran.err.contains("Permission denied") && ran.err.contains("\nhint: "), "{}", ran.err);
}

#[test]
fn the_real_one_answers_as_skep_registry() {
    let help = registry(&binary(), &["--help"]).ok();
    assert!(help.contains("Usage: skep registry <COMMAND>"), "{help}");
    let bad = registry(&binary(), &["acl", "chek"]).status(2);
    assert!(bad.err.starts_with("error: unrecognized subcommand 'chek'"), "{}", bad.err);
    let main = run(Command::new(binary()).arg("--help"), b"").ok();
    assert!(main.lines().any(|line| line.trim_start().starts_with("registry ")), "{main}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(Command::new(binary()).args(["completion", shell]), b"").ok();
        assert!(script.contains("registry"), "{shell}");
    }
}

#[test]
fn shells_and_man_know_its_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = |skep: &mut Command, name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, run(skep, b"").ok()).expect("a script");
        path.display().to_string()
    };
    let own = script(Command::new(binary()).args(["completion", "bash"]), "skep");
    let words = ["registry", "completion", "bash"];
    let registry_own = script(Command::new(binary()).args(words), "skep-registry");
    // What bash does for somebody who types, and wants to know how it goes on.
    let typed = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let last = words[words.len() - 1];
        let text = format!(
            ". {own}; . {registry_own}; COMP_WORDS=({line}); COMP_CWORD={}; \
             [ '{last}' ] || COMP_WORDS+=(''); f=$(complete -p {} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
             $f {} '{last}' x; echo \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
            words[0],
            words[0],
        );
        run(Command::new("bash").args(["-c", &text]), b"").ok()
    };
    assert_eq!(typed("skep-registry ho"), "hold");
    assert_eq!(typed("skep registry ho"), "hold");
    assert_eq!(typed("skep registry hold a"), "add");
    assert!(typed("skep registry hold add --w").contains("--why"));
    // What is skep's own goes on.
    assert_eq!(typed("skep secret crea"), "create");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let words = ["registry", "completion", shell];
        let script = run(Command::new(binary()).args(words), b"").ok();
        assert!(script.contains("skep-registry") && script.contains("signer"), "{shell}");
    }

    let pages = folder.path().join("man1");
    fs::create_dir(&pages).expect("a folder");
    let at = pages.display().to_string();
    let told = run(Command::new(binary()).args(["registry", "man", &at]), b"").status(0);
    assert!(told.err.contains(" pages in ") && told.out.is_empty(), "{}", told.err);
    let page = pages.join("skep-registry-hold-add.1").display().to_string();
    let shown = run(Command::new("man").args(["-P", "cat", &page]), b"").ok();
    for part in ["skep registry hold add", "--why", "Examples:"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(pages.join("skep-registry.1").exists());
    let bad = run(Command::new(binary()).args(["registry", "man", "/no/such"]), b"").status(1);
    assert!(bad.err.contains("\nhint: name a folder"), "{}", bad.err);
}

/// A robot's credential for this registry.
fn robot(password: &str) -> String {
    let hosts = vec!["registry.example:5000".parse().expect("a host")];
    let name = "web+pull".parse().expect("a name");
    let login = Login::new(hosts, name, password.to_owned().into()).expect("a credential");
    login.write(Form::Helper).to_string()
}

fn a_machines_robot(mount: &str) {
    let cluster = Cluster::start(1);
    let agent = &cluster.agents[0];
    cluster.secret("web.robot", robot("skr1_first").as_bytes());
    let place = ["--node", "node-1", "--activation", "placed", "--mount", mount];
    let _ = cluster.ok(&[&["service", "create", "pull"], &place[..]].concat());
    let _ = cluster.ok(&["service", "grant", "pull", "web.robot:robot.json"]);
    let get = || {
        let mut helper = Command::new(binary().with_file_name("docker-credential-skep"));
        helper.arg("get").env("SKEP_CREDENTIALS", agent.root().join("pull"));
        run(&mut helper, b"https://registry.example:5000")
    };
    assert!(get().ok().contains(r#""Username":"web+pull","Secret":"skr1_first""#));
    // What a waited-for act has changed is what the next question gets.
    cluster.update("web.robot", robot("skr1_second").as_bytes());
    assert!(get().ok().contains("skr1_second"));
    let _ = cluster.ok(&["service", "revoke", "pull", "web.robot"]);
    let gone = get().status(1);
    assert_eq!(gone.out, "credentials not found in native keychain\n", "{}", gone.err);
}

#[test]
fn the_helper_gives_what_a_machine_was_granted_and_nothing_after_a_revoke() {
    a_machines_robot("tmpfs");
}

#[test]
fn the_helper_reads_the_mount_that_an_agent_serves() {
    a_machines_robot("fuse");
}
