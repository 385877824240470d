//! Docker's own commands, and Compose files, for secrets of a cluster: the docker of Debian is
//! run unchanged against `skep docker-api`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use cluster_tests::{Cluster, Ran, binary, run, until};

/// `skep docker-api` beside an operator, until it is dropped.
struct Api {
    child: Child,
    folder: tempfile::TempDir,
}

impl Api {
    fn start(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = cluster.command(&["docker-api"]);
        command.arg("--socket").arg(folder.path().join("docker.sock"));
        let child = command.stderr(Stdio::null()).spawn().expect("starts");
        let api = Self { child, folder };
        until("it listens", || (api.docker(&["version"]).status == 0).then_some(()));
        api
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn docker_with(&self, words: &[&str], input: &[u8]) -> Ran {
        let mut command = Command::new("/usr/bin/docker");
        command.env("DOCKER_HOST", format!("unix://{}", self.path("docker.sock")));
        command.env("DOCKER_CONFIG", self.folder.path());
        run(command.args(words), input)
    }

    fn docker(&self, words: &[&str]) -> Ran {
        self.docker_with(words, b"")
    }

    /// A request, as it stands: its status and its body.
    fn asked(&self, method: &str, target: &str, body: &str) -> (String, String) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-X", method, "-w", "\n%{http_code}", "--data-binary", "@-"]);
        curl.args(["--unix-socket", &self.path("docker.sock")]);
        let ran = run(curl.arg(format!("http://docker{target}")), body.as_bytes()).status(0);
        let (body, status) = ran.out.rsplit_once('\n').expect("a status");
        (status.to_owned(), body.trim().to_owned())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _status = self.child.wait();
    }
}

#[test]
fn dockers_own_commands_create_list_inspect_and_remove() {
    let cluster = Cluster::start(0);
    let api = Api::start(&cluster);
    let created = api.docker_with(&["secret", "create", "-l", "k=v", "-l", "x", "db", "-"], b"pw");
    let id = created.status(0).out.trim().to_owned();
    let shown = cluster.ok(&["secret", "inspect", "db"]);
    assert!(shown.contains(&id) && shown.contains("\"k\": \"v\""), "{shown}");

    let ls = |words: &[&str]| {
        let all = [&["secret", "ls", "--format", "{{.ID}} {{.Name}}"], words].concat();
        api.docker(&all).status(0).out
    };
    let row = format!("{id} db\n");
    assert_eq!(ls(&[]), row);
    for filter in ["name=d", "label=k", "label=k=v", &format!("id={}", &id[..5])] {
        assert_eq!(ls(&["--filter", filter]), row, "{filter}");
    }
    for filter in ["name=b", "label=v", "label=k=w", "id=zz"] {
        assert_eq!(ls(&["--filter", filter]), "", "{filter}");
    }
    for what in ["db", "DB", &id, &id[..8]] {
        let shown = api.docker(&["secret", "inspect", "-f", "{{.ID}}", what]).status(0);
        assert_eq!(shown.out.trim(), id, "{what}");
    }
    let pretty = api.docker(&["secret", "inspect", "--pretty", "db"]).status(0).out;
    assert!(pretty.contains("- k=v") && pretty.contains("utc"), "{pretty}");

    // The engine's own texts.
    let wrong: [(&[&str], &[u8], &str); 8] = [
        (
            &["create", "db", "-"],
            b"x",
            "Error response from daemon: rpc error: code = AlreadyExists desc = secret db already exists",
        ),
        (
            &["create", "b@", "-"],
            b"x",
            "Error response from daemon: rpc error: code = InvalidArgument desc = invalid name, only 64 \
             [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
        ),
        (
            &["create", "e", "-"],
            b"",
            "Error response from daemon: rpc error: code = InvalidArgument desc = secret data must be \
             larger than 0 and less than 512000 bytes",
        ),
        (
            &["create", "e", "-"],
            &vec![0; 512_000],
            "Error response from daemon: rpc error: code = InvalidArgument desc = secret data must be \
             larger than 0 and less than 512000 bytes",
        ),
        (&["inspect", "nope"], b"", "Status: Error: No such secret: nope, Code: 1"),
        (&["rm", "nope"], b"", "Error: No such secret: nope"),
        (&["ls", "--filter", "nope=1"], b"", "Error response from daemon: Invalid filter 'nope'"),
        (
            &["create", "--template-driver", "golang", "e", "-"],
            b"x",
            "Error response from daemon: rpc error: code = InvalidArgument desc = values are delivered \
             as they are: there are no templates",
        ),
    ];
    for (words, input, text) in wrong {
        let ran = api.docker_with(&[&["secret"], words].concat(), input).status(1);
        assert!(ran.err.contains(text), "{words:?}: {}", ran.err);
    }

    // A secret in use stays.
    let _ = cluster.ok(&["service", "create", "web"]);
    let _ = cluster.ok(&["service", "create", "api"]);
    let _ = cluster.ok(&["service", "grant", "web", "db"]);
    let in_use = "rpc error: code = InvalidArgument desc = secret 'db' is in use by the following ";
    let ran = api.docker(&["secret", "rm", "db"]).status(1);
    assert!(ran.err.contains(&format!("{in_use}service: web")), "{}", ran.err);
    let _ = cluster.ok(&["service", "grant", "api", "db"]);
    let ran = api.docker(&["secret", "rm", "db"]).status(1);
    assert!(ran.err.contains(&format!("{in_use}services: api, web")), "{}", ran.err);
    let _ = cluster.ok(&["service", "rm", "web"]);
    let _ = cluster.ok(&["service", "rm", "api"]);
    assert_eq!(api.docker(&["secret", "rm", "db"]).status(0).out, "db\n");
    assert_eq!(ls(&[]), "");
    let _ = api.docker(&["info"]).status(0);
    let ran = api.docker(&["ps"]).status(1);
    assert!(ran.err.contains("this socket is Skep's"), "{}", ran.err);
}

#[test]
fn every_request_is_answered_in_the_engines_shapes() {
    let cluster = Cluster::start(0);
    let api = Api::start(&cluster);
    let create = "/v1.41/secrets/create";
    let (status, body) =
        api.asked("POST", create, r#"{"Name":"a","Data":"eA==","Labels":{"o":"1"}}"#);
    assert_eq!(status, "201", "{body}");
    let version = || {
        let (_, body) = api.asked("GET", "/secrets/a", "");
        let read: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        read["Version"]["Index"].as_u64().expect("a version")
    };
    let before = version();
    let update = |version: u64, body: &str| {
        api.asked("POST", &format!("/v1.41/secrets/a/update?version={version}"), body).0
    };
    assert_eq!(update(before + 1, r#"{"Name":"a"}"#), "500", "another version");
    assert_eq!(update(before, r#"{"Name":"b"}"#), "400", "another name");
    assert_eq!(update(before, r#"{"Name":"a","Data":"eQ=="}"#), "400", "another value");
    assert_eq!(update(before, r#"{"Name":"a","Labels":{"n":"2"}}"#), "200");
    assert_eq!(update(before, r#"{"Name":"a","Labels":{"n":"3"}}"#), "500", "it has changed");
    let (_, body) = api.asked("GET", "/secrets/a", "");
    assert!(body.contains(r#""Labels":{"n":"2"}"#), "{body}");
    assert!(version() > before);

    let large = format!(r#"{{"Name":"{}"}}"#, "a".repeat(1024 * 1024));
    let rows: &[(&str, &str, &str, &str)] = &[
        ("GET", "/_ping", "", "200"),
        ("GET", "/v1.51/version", "", "200"),
        ("GET", "/v1.52/version", "", "400"),
        ("GET", "/v1.24/version", "", "400"),
        ("GET", "/info", "", "200"),
        ("GET", "/secrets", "", "200"),
        ("GET", "/secrets?filters=%7B%22bad%22%3A%5B%5D%7D", "", "400"),
        ("GET", "/secrets?filters=x", "", "400"),
        ("GET", "/secrets/nope", "", "404"),
        ("GET", "/secrets/%ff", "", "404"),
        ("DELETE", "/secrets/nope", "", "404"),
        ("POST", create, "", "400"),
        ("POST", create, "{", "400"),
        ("POST", create, "\u{0}", "400"),
        ("POST", create, r#"{"Name":"a","Data":"eA=="}"#, "409"),
        ("POST", create, r#"{"Name":"e","Data":"eA"}"#, "400"),
        ("POST", create, r#"{"Name":"e","Data":"eA==","Labels":{"":"x"}}"#, "400"),
        ("POST", create, r#"{"Name":"e","Data":"eA==","Driver":{"Name":"d"}}"#, "400"),
        ("POST", create, &large, "413"),
        ("GET", "/v1.41/containers/json", "", "501"),
        ("POST", "/v1.41/swarm/init", "{}", "501"),
        ("PUT", "/secrets", "", "501"),
        ("DELETE", "/v1.41/secrets/a", "", "204"),
    ];
    for (method, target, body, wanted) in rows {
        let (status, answer) = api.asked(method, target, body);
        assert_eq!(status, *wanted, "{method} {target}: {answer}");
        if status.starts_with(['4', '5']) {
            let read: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            assert!(read["message"].is_string(), "{answer}");
        }
    }
}

#[test]
fn the_socket_is_one_users_and_one_process_has_it() {
    let cluster = Cluster::start(0);
    let api = Api::start(&cluster);
    let socket = api.path("docker.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&socket).expect("a socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let mut second = cluster.command(&["docker-api", "--socket", &socket]);
    let ran = run(&mut second, b"").status(22);
    assert!(ran.err.contains("is in use"), "{}", ran.err);
    let dumps =
        std::fs::read_to_string(format!("/proc/{}/limits", api.child.id())).expect("limits");
    let line = dumps.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert!(line.split_whitespace().filter(|word| *word == "0").count() == 2, "{line}");
    drop(api);
    assert!(!Path::new(&socket).exists(), "the socket goes with it");
}

#[test]
fn a_compose_files_secrets_services_and_grants_come_over() {
    let cluster = Cluster::start(1);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
    write("db.txt", "secret-of-the-database");
    write(
        "compose.yml",
        "services:
  web:
    image: busybox
    secrets:
      - db
      - {source: tls, target: tls.key, uid: '103', gid: '104', mode: 0440}
  other:
    image: busybox
secrets:
  db: {file: db.txt, labels: {team: a}}
  tls: {external: true, name: site.tls}
  token: {environment: TOKEN_OF_A_TEST}
",
    );
    let import = |words: &[&str]| {
        let mut command = cluster.command(&["compose", "import"]);
        command.env("TOKEN_OF_A_TEST", "a-token").args(words);
        run(&mut command, b"")
    };
    let file = path("compose.yml");
    // What is external is not there: nothing is made.
    let ran = import(&[&file, "--node", "node-1"]).status(1);
    assert!(ran.err.contains("secret site.tls not found: it is external"), "{}", ran.err);
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]), "");
    let _ = run(&mut cluster.command(&["secret", "create", "site.tls", "-"]), b"key").status(0);
    let ran = import(&[&file, "--node", "node-1", "--prefix", "shop.", "--dry-run"]).status(0);
    assert!(ran.err.contains("would make secrets: 2, services: 1, grants: 2"), "{}", ran.err);
    assert_eq!(cluster.ok(&["service", "ls", "-q"]), "");
    let ran = import(&[&file, "--node", "node-1", "--prefix", "shop."]).status(0);
    assert!(ran.err.contains("made secrets: 2, services: 1, grants: 2"), "{}", ran.err);
    for line in ["  web:", "        source: secrets-web", "    name: shop.web", "    driver: skep"]
    {
        assert!(ran.out.lines().any(|one| one == line), "{line}: {}", ran.out);
    }
    assert!(!(ran.out + &ran.err).contains("secret-of-the-database"), "a value was shown");

    let _ = cluster.ok(&["service", "update", "shop.web", "--activation", "placed"]);
    let agent = &cluster.agents[0];
    until("the files are there", || agent.file("shop.web", "tls.key").exists().then_some(()));
    let db = std::fs::read_to_string(agent.file("shop.web", "db")).expect("a file");
    assert_eq!(db, "secret-of-the-database");
    let tls = std::fs::metadata(agent.file("shop.web", "tls.key")).expect("a file");
    let owned = (
        std::os::unix::fs::MetadataExt::uid(&tls),
        std::os::unix::fs::MetadataExt::gid(&tls),
        std::os::unix::fs::MetadataExt::mode(&tls) & 0o777,
    );
    assert_eq!(owned, (103, 104, 0o440));

    // Again: all of it is named, and with --keep-existing nothing is left to make.
    let ran = import(&[&file, "--prefix", "shop."]).status(1);
    for name in ["secret shop.db", "secret shop.token", "service shop.web"] {
        assert!(ran.err.contains(&format!("{name} already exists")), "{name}: {}", ran.err);
    }
    let ran = import(&[&file, "--prefix", "shop.", "--keep-existing"]).status(0);
    assert!(ran.err.contains("made secrets: 0, services: 0, grants: 2"), "{}", ran.err);

    // What can't come over is named, and nothing is made.
    write("odd.yml", "services: {a: {secrets: [x]}}\nsecrets: {x: {file: db.txt, driver: d}}\n");
    let ran = import(&[&path("odd.yml")]).status(1);
    assert!(ran.err.contains("secrets.x: `driver` has nothing in Skep"), "{}", ran.err);
    write("none.yml", "services: {a: {image: x}}\n");
    assert!(import(&[&path("none.yml")]).status(2).err.contains("no secrets in it"));
    write("lost.yml", "services: {a: {secrets: [x]}}\nsecrets: {x: {file: lost.txt}}\n");
    assert!(import(&[&path("lost.yml")]).status(2).err.contains("lost.txt: No such file"));
    write("unset.yml", "secrets: {x: {environment: NOT_SET_ANYWHERE}}\n");
    assert!(import(&[&path("unset.yml")]).status(2).err.contains("$NOT_SET_ANYWHERE is not set"));
}

#[test]
fn many_secrets_come_over_in_several_acts() {
    let cluster = Cluster::start(0);
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> = (0..150)
        .map(|number| {
            std::fs::write(folder.path().join(format!("{number}.txt")), "x").expect("written");
            format!("  s{number}: {{file: {number}.txt}}")
        })
        .collect();
    let file = folder.path().join("compose.yml");
    std::fs::write(&file, format!("secrets:\n{}\n", lines.join("\n"))).expect("written");
    let mut command = cluster.command(&["compose", "import"]);
    let ran = run(command.arg(&file), b"").status(0);
    assert!(ran.err.contains("made secrets: 150"), "{}", ran.err);
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]).lines().count(), 150);
    assert!(binary().with_file_name("skep-docker").exists());
}

/// docker-py's own tests of secrets, with the release of docker-py that `client` names.
fn docker_pys_own_tests(client: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker-py");
    let installed = binary().ancestors().nth(2).expect("the target folder").join("docker-py");
    assert!(installed.join("ready").is_file(), "docker-py stands in {}", installed.display());
    let cluster = Cluster::start(0);
    let api = Api::start(&cluster);
    let tests = api.folder.path().join("tests/integration");
    std::fs::create_dir_all(&tests).expect("a folder");
    let theirs = installed.join("tests");
    for file in [
        "__init__.py",
        "helpers.py",
        "integration/__init__.py",
        "integration/base.py",
        "integration/api_secret_test.py",
    ] {
        std::fs::copy(theirs.join(file), api.folder.path().join("tests").join(file))
            .expect("theirs");
    }
    std::fs::copy(here.join("conftest.py"), tests.join("conftest.py")).expect("ours");
    let mut pytest = Command::new(installed.join(client).join("bin/python"));
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration"]);
    pytest.current_dir(api.folder.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.env("DOCKER_HOST", format!("unix://{}", api.path("docker.sock")));
    let ran = run(&mut pytest, b"");
    assert!(ran.status == 0 && ran.out.contains("5 passed"), "{}{}", ran.out, ran.err);
    assert_eq!(cluster.ok(&["secret", "ls", "-q"]), "", "they cleaned up");
}

#[test]
fn docker_py_5_passes_its_own_tests_of_secrets() {
    docker_pys_own_tests("5");
}

#[test]
fn docker_py_7_passes_the_tests_of_secrets_of_5() {
    docker_pys_own_tests("7");
}
