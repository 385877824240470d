//! The commands that the pages for operators show, typed as they stand there, one page after
//! the other.

use std::collections::BTreeSet;
use std::path::Path;

use cluster_tests::play;

/// The lines of the blocks of a page that are for a shell.
fn commands_of(page: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operate").join(page);
    let text = std::fs::read_to_string(path).expect(page);
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_pages_about_workloads_does_what_it_says() {
    let pages = ["plain-processes.md", "coming-from.md", "docker-secret.md"];
    let shown: BTreeSet<_> = pages.into_iter().flat_map(commands_of).collect();
    assert!(shown.len() > 20, "only {} commands were found", shown.len());
    let folder = tempfile::Builder::new().prefix("skep-pages-").tempdir().expect("a folder");
    play(folder.path(), &["m1", "web1", "desk"], include_str!("t83_pages.txt"), &shown);
}
