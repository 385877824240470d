//! What a text tells people to type can be typed as it stands.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use proc_macro2::{TokenStream, TokenTree};

use crate::cli::args::Words;

/// Texts that look like commands and are none.
const NO_COMMANDS: [&str; 1] = ["skep agent mount "];
/// A command that is named for itself: what follows it is the caller's own.
const NAMED: &str = "skep exec";

/// Sources below a folder that are shipped.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "target"].contains(&name.as_str()) {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !name.contains("test") {
            found.push(path);
        }
    }
}

/// The texts in a source: not those of comments and attributes.
fn literals(tokens: TokenStream, found: &mut Vec<String>) {
    let mut attribute = false;
    for token in tokens {
        match token {
            TokenTree::Group(_) if attribute => {}
            TokenTree::Group(group) => literals(group.stream(), found),
            TokenTree::Literal(literal) => {
                let text = syn::parse_str::<syn::LitStr>(&literal.to_string());
                found.extend(text.ok().map(|text| text.value()));
            }
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                attribute = true;
                continue;
            }
            TokenTree::Punct(punct) if attribute && punct.as_char() == '!' => continue,
            TokenTree::Punct(_) | TokenTree::Ident(_) => {}
        }
        attribute = false;
    }
}

/// The commands that a text names; an error where one is not set off from the words around
/// it by backticks, nor by being all that its line says.
fn commands(text: &str) -> Result<Vec<String>, String> {
    let known: Vec<String> =
        Words::command().get_subcommands().map(|of| of.get_name().to_owned()).collect();
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices("skep ") {
            let (before, command) = line.split_at(at);
            let word: String = command
                .chars()
                .skip(5)
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            let begins =
                before.chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '-');
            if !begins || !known.contains(&word) {
                continue;
            }
            let alone = before.trim().is_empty() || before.trim_end().ends_with('|');
            // What another one runs ends where that ends.
            let inner = before.ends_with(" -- ").then(|| command.split('`').next()).flatten();
            let command = if let Some(inner) = inner {
                Some(inner)
            } else if before.ends_with('`') {
                command.split_once('`').map(|(command, _)| command)
            } else {
                alone.then_some(command)
            };
            found.push(command.ok_or_else(|| line.to_owned())?.to_owned());
        }
    }
    Ok(found)
}

/// A command with something for each thing that is to be filled in.
fn filled_in(command: &str) -> Vec<String> {
    let mut text = String::new();
    let mut inside = false;
    for c in command.chars() {
        match c {
            '{' => {
                inside = true;
                text.push('x');
            }
            '}' => inside = false,
            _ if inside => {}
            _ => text.push(c),
        }
    }
    let fill = |word: &str| match word {
        "UID:GID" => "0:0".to_owned(),
        "HOST:PORT" | "ADDRESS:4440" => "m1:4440".to_owned(),
        _ if word.chars().all(|c| c.is_ascii_uppercase() || c == ':') => word.to_lowercase(),
        _ => word.to_owned(),
    };
    text.split_whitespace().map(fill).collect()
}

fn typed(command: &str) -> Result<(), String> {
    if command == NAMED {
        return Ok(());
    }
    let words = filled_in(command);
    match Words::try_parse_from(&words) {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(format!("{words:?}: {error}")),
    }
}

#[test]
fn every_command_in_a_text_can_be_typed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("crates"), &mut files);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let mut texts = Vec::new();
        literals(shipped.parse().expect("Rust"), &mut texts);
        for text in texts.iter().filter(|text| !NO_COMMANDS.contains(&text.as_str())) {
            match commands(text) {
                Ok(list) => {
                    seen += list.len();
                    let bad = list.iter().filter_map(|command| typed(command).err());
                    wrong.extend(bad.map(|why| format!("{}: {why}", file.display())));
                }
                Err(line) => wrong.push(format!("{}: not set off: {line}", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 90, "{seen}");
}

#[test]
fn a_command_that_can_not_be_typed_is_found() {
    let one = |text: &str| commands(text).map(|list| list.iter().all(|one| typed(one).is_ok()));
    assert_eq!(one("look: `skep node rm NODE --force`"), Ok(true));
    assert_eq!(one("skep status"), Ok(true));
    assert_eq!(one("place it with `skep service update {name} --node NODE`"), Ok(false));
    assert_eq!(one("`skep node rm` it there"), Ok(false));
    assert_eq!(one("run `skep exec --service a -- skep status` there"), Ok(true));
    assert_eq!(one("run `skep exec --service a -- skep status --nonsense`"), Ok(false));
    assert_eq!(one("make room, or: skep status"), Err("make room, or: skep status".to_owned()));
    assert_eq!(one("use the same version of skep everywhere"), Ok(true));
}
