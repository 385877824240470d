//! Contexts: several clusters by name, what goes before what, and files that are something else.

use std::fs;

use cluster_tests::{Cluster, play, run, shown_in};

#[test]
fn every_command_of_the_page_does_what_it_says_among_two_clusters() {
    let shown = shown_in("contexts.md");
    assert!(shown.len() > 8, "only {} commands were found", shown.len());
    let folder = tempfile::Builder::new().prefix("skep-contexts-").tempdir().expect("a folder");
    play(folder.path(), &["m1", "lab", "desk"], include_str!("t92_contexts.txt"), &shown);
}

#[test]
fn a_file_that_is_something_else_is_named_with_its_line_and_left_as_it_is() {
    let cluster = Cluster::start(0);
    let config = cluster.folder().join("config");
    let path = config.join("skep").join("contexts.toml");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let by = |words: &[&str]| run(cluster.command(words).env("XDG_CONFIG_HOME", &config), b"");
    for (text, said) in [
        ("current = 'gone'\n", "current: there is no context gone"),
        ("[context.a]\nhost = ['m1']\nidentiti = 'x'\n", "line 3: unknown field `identiti`"),
        ("[context.a]\nhost = ['http://m1']\n", "is a URL"),
        ("[context.'a b']\nhost = ['m1']\n", "invalid name"),
        ("\u{1b}[2J", "line 1"),
    ] {
        fs::write(&path, text).expect("a file");
        for words in [
            &["context", "ls"][..],
            &["context", "show"],
            &["context", "use", "default"],
            &["context", "add", "b", "--host", "m1"],
            &["context", "rm", "b"],
            &["secret", "ls"],
        ] {
            let ran = by(words).status(23);
            assert!(ran.err.contains(said) && ran.err.contains("hint: "), "{words:?}: {}", ran.err);
            assert!(!ran.err.contains('\u{1b}'), "{:?}", ran.err);
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
    }
    // Nowhere to write, and nowhere to look.
    fs::remove_file(&path).expect("it");
    fs::remove_dir(path.parent().expect("a folder")).expect("it");
    fs::remove_dir(&config).expect("it");
    fs::write(&config, "a file").expect("a file");
    let refused = by(&["context", "add", "b", "--host", "m1"]).status(1);
    assert!(refused.err.contains("config"), "{}", refused.err);
    let mut homeless = cluster.command(&["context", "ls"]);
    homeless.env("XDG_CONFIG_HOME", "relative").env("HOME", "");
    let refused = run(&mut homeless, b"").status(23);
    assert!(refused.err.contains("HOME"), "{}", refused.err);
    // Without a home there are no contexts, and commands go on.
    let mut homeless = cluster.command(&["secret", "ls"]);
    homeless.env("XDG_CONFIG_HOME", "").env("HOME", "");
    assert_eq!(run(&mut homeless, b"").status, 0);
}
