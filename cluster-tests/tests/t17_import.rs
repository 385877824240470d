//! `skep secret import`: many secrets from a folder, a `.env` file or a JSON object; input that is
//! none of it; an import that is killed and run again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Ran, until};

fn names(cluster: &Cluster) -> BTreeMap<String, u32> {
    let listed = cluster.ok(&["secret", "ls", "--format", "{{.Name}} {{.Version}}"]);
    let one = |line: &str| {
        let (name, version) = line.split_once(' ').expect("a name and a number");
        (name.to_owned(), version.parse().expect("a number"))
    };
    listed.lines().map(one).collect()
}

/// A `.env` file of so many secrets.
fn many(cluster: &Cluster, count: usize) -> String {
    let lines: Vec<String> = (0..count).map(|at| format!("KEY_{at}='value {at}'")).collect();
    cluster.file("many.env", lines.join("\n").as_bytes())
}

#[test]
fn folders_env_files_and_objects_arrive_as_they_were() {
    let cluster = Cluster::start(1);
    let folder = cluster.folder().join("values");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("tls.key"), b"\0binary\xff\n").expect("a file");
    fs::write(folder.join("token"), "line\n").expect("a file");
    let env = cluster
        .file("app.env", b"# remark\nexport A_B='two\nlines $x'\nC=\"\\\"q\\\"\\n\" # end\n");
    let object = cluster.file("app.json", "{\"d\": \"\u{e4}\\n\", \"e\": \"5\"}".as_bytes());
    let folder = folder.display().to_string();
    let run = |words: &[&str]| cluster.ok(&[&["secret", "import"][..], words].concat());

    let dry =
        run(&[&folder, "--prefix", "f.", "--dry-run", "--format", "{{.Name}} {{.Bytes}} {{.Act}}"]);
    assert_eq!(dry, "f.tls.key 9 create\nf.token 5 create");
    assert!(names(&cluster).is_empty(), "nothing was made");
    assert_eq!(
        run(&[&folder, "--prefix", "f."]).trim(),
        "2 created, 0 updated, 0 left as they are"
    );
    assert_eq!(
        run(&[&folder, "--prefix", "s.", "--strip-newline", "--label", "team=a"]).lines().count(),
        1
    );
    let _ = run(&[&env]);
    let _ = run(&[&object, "--prefix", "j-"]);
    let labelled = cluster.ok(&["secret", "ls", "-q", "--filter", "label=team=a"]);
    assert_eq!(labelled.lines().count(), 2);
    let wanted = [
        ("f.tls.key", "\0binary\u{fffd}\n"),
        ("f.token", "line\n"),
        ("s.token", "line"),
        ("A_B", "two\nlines $x"),
        ("C", "\"q\"\n"),
        ("j-d", "\u{e4}\n"),
        ("j-e", "5"),
    ];
    let all: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    cluster.service("web", "node-1", &all);
    let mut shell = cluster.shell(0, "web");
    let root = format!("/proc/{}/root/run/secrets", shell.pid());
    for (name, value) in wanted {
        let read = || {
            let read = fs::read(Path::new(&root).join(name)).ok()?;
            (String::from_utf8_lossy(&read) == value).then_some(())
        };
        until(name, read);
    }
    shell.kill();

    // What is there stays, unless new values are asked for.
    let env = cluster.file("app.env", b"A_B=new\nF=six\n");
    assert_eq!(run(&[&env]).trim(), "1 created, 0 updated, 1 left as they are");
    assert_eq!(names(&cluster)["A_B"], 1);
    assert_eq!(
        run(&[&env, "--update", "--detach"]).trim(),
        "0 created, 2 updated, 0 left as they are"
    );
    assert_eq!((names(&cluster)["A_B"], names(&cluster)["C"]), (2, 1));
    let dry = run(&[&env, "--dry-run", "--format", "{{.Act}}"]);
    assert_eq!(dry, "leave\nleave");
}

#[test]
fn one_bad_thing_among_many_makes_nothing() {
    let cluster = Cluster::start(0);
    let folder = cluster.folder().join("values");
    let fresh = || {
        drop(fs::remove_dir_all(&folder));
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("good"), "value").expect("a file");
    };
    let shown = folder.display().to_string();
    let refused = |from: &str, flags: &[&str], said: &str| {
        let ran: Ran = cluster.skep(&[&["secret", "import", from][..], flags].concat()).status(2);
        assert!(ran.err.contains(said) && ran.err.contains("hint: "), "{said}: {}", ran.err);
        assert!(!ran.err.contains("hunter2"), "a value is shown: {}", ran.err);
        assert!(names(&cluster).is_empty(), "{said}: something was made");
    };
    let at = |name: &str| folder.join(name);
    fresh();
    fs::write(at("empty"), "").expect("a file");
    refused(&shown, &[], "values/empty: the value has 0 or more than 511,999 bytes");
    fresh();
    fs::write(at("large"), vec![b'x'; 512_000]).expect("a file");
    refused(&shown, &[], "values/large: the value has 0 or more");
    fs::write(at("large"), vec![b'x'; 600_000]).expect("a file");
    refused(&shown, &[], "values/large: has more than");
    fresh();
    symlink("/etc/passwd", at("link")).expect("a link");
    refused(&shown, &[], "values/link: is a symbolic link");
    fresh();
    fs::create_dir(at("folder")).expect("a folder");
    refused(&shown, &[], "values/folder: is no plain file");
    fresh();
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    );
    fifo.expect("a pipe");
    refused(&shown, &[], "values/fifo: is no plain file");
    fresh();
    for name in ["a b", "c d", "-e"] {
        fs::write(at(name), "hunter2").expect("a file");
    }
    refused(&shown, &[], "values/-e: invalid name");
    refused(&shown, &[], ", and 2 more");
    fresh();
    fs::write(at("GOOD"), "value").expect("a file");
    refused(&shown, &[], "two of the name");
    refused(&shown, &["--prefix", "-"], "invalid name");
    drop(fs::remove_file(at("GOOD")));
    drop(fs::remove_file(at("good")));
    refused(&shown, &[], "there is nothing to import");
    refused("/nowhere", &[], "/nowhere: No such file");
    let file = |name: &str, text: &str| cluster.file(name, text.as_bytes());
    refused(&file("plain.txt", "A=hunter2"), &[], "is neither a folder nor called .env or .json");
    for (text, said) in [
        ("A=1\nhunter2\n", "line 2: is no NAME=value"),
        ("A=1\nB='hunter2\n", "line 2: a quote that begins here does not end"),
        ("A=1\nB=$hunter2\n", "line 2: some programs would replace"),
        ("A=1\nA=hunter2\n", "line 2: there are two of the name A"),
        ("A=1\n_B=hunter2\n", "line 2: invalid name"),
        ("A=1\nB=\n", "line 2: the value has 0 or more"),
        ("", "there is nothing to import"),
    ] {
        refused(&file("bad.env", text), &[], said);
        refused(&file("bad.txt", text), &["--kind", "env"], said);
    }
    for (text, said) in [
        ("", "is no JSON"),
        ("{\"A\": \"1\",\n \"B\": hunter2}", "line 2: is no JSON"),
        ("{\"A\": \"1\",\n \"B\": {\"hunter2\": 1}}", "line 2: is no object of texts"),
        ("{\"A\": 1}", "line 1: is no object of texts"),
        ("[\"hunter2\"]", "is no object of texts"),
        ("{\"A\": \"1\"} x", "is no JSON"),
        ("{\"A\": \"1\", \"A\": \"hunter2\"}", "entry 2: there are two of the name A"),
        ("{\"A\": \"1\", \"B \": \"hunter2\"}", "entry 2: invalid name"),
    ] {
        refused(&file("bad.json", text), &[], said);
    }
}

#[test]
fn thousands_are_made_and_an_import_that_was_killed_goes_on() {
    let cluster = Cluster::start_with(3, 0);
    let count = 2_000;
    let env = many(&cluster, count);
    let words = ["secret", "import", &env];
    let mut killed = 0;
    for wanted in [100, 900] {
        let mut command = cluster.command(&words);
        let mut import =
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("an import");
        let begun = Instant::now();
        while names(&cluster).len() < wanted && begun.elapsed() < Duration::from_mins(1) {
            if import.try_wait().expect("a child").is_some() {
                break;
            }
        }
        import.kill().expect("killed");
        let _ = import.wait();
        killed = names(&cluster).len();
        assert!(killed >= wanted, "{killed} of {wanted}");
    }
    let said = cluster.ok(&words);
    // Acts that were under way when it was killed may have been done after it was looked.
    let left = said.split(", ").last().and_then(|word| word.split(' ').next()).expect("a number");
    assert!(left.parse::<usize>().expect("a number") >= killed.min(count), "{said}");
    let all = names(&cluster);
    assert_eq!(all.len(), count);
    assert!(all.values().all(|version| *version == 1), "some were made twice");
    assert!(all.contains_key("KEY_0") && all.contains_key("KEY_1999"));
}
