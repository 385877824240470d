//! The commands that the pages for operators show, typed as they stand there, one page after
//! the other.

use std::collections::BTreeSet;

use cluster_tests::{DockerHost, Site, play, shown_in, until};

#[test]
fn every_command_of_the_pages_about_workloads_does_what_it_says() {
    let pages = ["plain-processes.md", "coming-from.md", "docker-secret.md"];
    let shown: BTreeSet<_> = pages.into_iter().flat_map(shown_in).collect();
    assert!(shown.len() > 20, "only {} commands were found", shown.len());
    let folder = tempfile::Builder::new().prefix("skep-pages-").tempdir().expect("a folder");
    play(folder.path(), &["m1", "web1", "desk"], include_str!("t83_pages.txt"), &shown);
}

#[test]
fn every_command_of_the_page_about_an_engine_does_what_it_says() {
    let mut site = Site::start(0);
    let host = DockerHost::start_on(&mut site, "d-page");
    let _ = site.skep(&["secret", "create", "password", "-"], b"first").ok();
    let _ = site.ok(&["service", "create", "web", "--node", "d-page"]);
    let _ = site.ok(&["service", "grant", "web", "password"]);
    // What the page calls nginx is an image that goes on by itself.
    let root = host.folder().join("image.tar").display().to_string();
    let _ = host.ok(&["import", "--change", "CMD [\"sleep\", \"1000000\"]", &root, "nginx"]);
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
