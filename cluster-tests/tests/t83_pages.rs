//! The commands that the pages for operators show, typed as they stand there, one page after
//! the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use cluster_tests::{
    DEADLINE, DockerHost, OciLayout, Site, binary, lines_of, page, play, run_until, shown_in, until,
};

#[test]
fn every_command_of_the_pages_about_workloads_does_what_it_says() {
    let pages = ["plain-processes.md", "coming-from.md", "docker-secret.md", "systemd.md"];
    let shown: BTreeSet<_> = pages.into_iter().flat_map(shown_in).collect();
    assert!(shown.len() > 20, "only {} commands were found", shown.len());
    let folder = tempfile::Builder::new().prefix("skep-pages-").tempdir().expect("a folder");
    play(folder.path(), &["m1", "web1", "desk"], include_str!("t83_pages.txt"), &shown);
}

#[test]
fn every_command_of_the_page_about_signing_does_what_it_says() {
    let folder = tempfile::Builder::new().prefix("skep-pages-").tempdir().expect("a folder");
    for name in ["one", "two", "three"] {
        let _ = OciLayout::image(&folder.path().join(name), name);
    }
    let names = ["m1", "n1", "n2", "ci1", "host1", "desk"];
    let shown = shown_in("registry/signing.md");
    play(folder.path(), &names, include_str!("t83_signing.txt"), &shown);
}

/// What pages call nginx: an image that goes on by itself.
fn import_nginx(host: &DockerHost) {
    let root = host.folder().join("image.tar").display().to_string();
    // It ends when it is told to, as nginx does.
    let command = r#"CMD ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"]"#;
    let _ = host.ok(&["import", "--change", command, &root, "nginx"]);
}

#[test]
fn every_command_of_the_page_about_an_engine_does_what_it_says() {
    let mut site = Site::start(0);
    let host = DockerHost::start_on(&mut site, "d-page");
    let _ = site.skep(&["secret", "create", "password", "-"], b"first").ok();
    let _ = site.ok(&["service", "create", "web", "--node", "d-page"]);
    let _ = site.ok(&["service", "grant", "web", "password"]);
    import_nginx(&host);
    let container =
        || until("the container", || Some(host.ok(&["ps", "-q"])).filter(|id| !id.is_empty()));
    let mut shown = shown_in("docker.md").into_iter();
    let mut next = |begins: &str| {
        let line = shown.next().expect("a line");
        assert!(line.starts_with(begins), "{line}");
        line
    };

    let line = next("docker run ");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let mut runs = host.docker_command(&words).spawn().expect("docker");
    host.counts("web", 1);
    host.reads(&container(), "password", "first");
    let _ = host.ok(&["rm", "-f", &container()]);
    let _ended = until("its end", || runs.try_wait().expect("a child"));
    host.counts("web", 0);

    let _ = host.ok(&["swarm", "init", "--advertise-addr", &host.address()]);
    let line = next("docker service create ");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let _ = host.ok(&words);
    host.reads(&container(), "password", "first");
    let _ = host.ok(&["service", "rm", "web"]);
    host.counts("web", 0);
    assert_eq!(shown.next(), None);
}

#[test]
fn every_command_of_the_page_about_compose_does_what_it_says() {
    let mut site = Site::start(0);
    let host = DockerHost::start_on(&mut site, "d-compose-page");
    let _ = site.skep(&["secret", "create", "password", "-"], b"first").ok();
    let _ = site.ok(&["service", "create", "web", "--node", "d-compose-page"]);
    let _ = site.ok(&["service", "grant", "web", "password"]);
    import_nginx(&host);
    let text = page("compose.md");
    let file = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let file = file.expect("a Compose file");
    let binary = binary();
    let of_today =
        binary.ancestors().nth(2).expect("a target folder").join("compose/docker-compose");
    for (program, before) in
        [(Path::new("/usr/bin/docker-compose"), "version: '2.4'\n"), (&*of_today, "")]
    {
        fs::write(host.folder().join("compose.yml"), format!("{before}{file}")).expect("a file");
        for line in lines_of("compose.md") {
            let words = line.strip_prefix("docker-compose ").expect("a command of Compose");
            let mut compose = Command::new(program);
            compose.env("DOCKER_HOST", format!("unix://{}", host.docker_socket().display()));
            compose.env("HOME", host.folder()).current_dir(host.folder());
            let _ = run_until(compose.args(words.split_whitespace()), b"", DEADLINE).ok();
            if words.starts_with("down") {
                host.counts("web", 0);
                assert_eq!(host.ok(&["volume", "ls", "-q"]), "", "{line}");
            } else {
                host.counts("web", 1);
                host.reads(host.ok(&["ps", "-q"]).trim(), "password", "first");
            }
        }
    }
}
