//! `skep agent put`: what a workload writes by itself.

use std::ffi::OsString;
use std::path::PathBuf;

use super::args::AgentPutArgs;
use super::input::{self, Source};
use super::names::name;
use super::problem::{Trouble, usage};
use super::settings::agent_socket;
use super::shell::Shell;
use skep_client::put::{Answering, NextValue, put as send};
use skep_core::base::{Target, limits};

const SEVERAL: &str = "NAME and a file, or NAME=FILE several times";

/// Seals the values here, and has the agent write them.
pub(super) async fn put(shell: &mut Shell, args: AgentPutArgs) -> Result<(), Trouble> {
    let service = name(&args.service)?;
    let socket = agent_socket(args.socket)?;
    let mut values = Vec::new();
    for (target, source) in typed(&args.what)? {
        let strip = args.strip_newline;
        let value = input::value(&mut *shell.dice, &source, target.as_str(), strip, None)?.value;
        values.push(NextValue { target, value });
    }
    let expect = args.expect.as_deref();
    let answering = Answering { within: args.timeout, wait: false };
    let sent = send(&socket, &service, expect, &values, answering).await;
    let written = sent.map_err(skep_client::put::NotPut::failure)?;
    for (next, number) in values.iter().zip(&written.numbers) {
        shell.screen.echo(&format!("{} {number}", next.target));
    }
    Ok(())
}

/// Which files get their values from where.
fn typed(words: &[OsString]) -> Result<Vec<(Target, Source)>, Trouble> {
    let target = |text: &str| -> Result<Target, Trouble> {
        text.parse().map_err(|error| usage(error, "a file's name below /run/secrets"))
    };
    let texts: Vec<Option<&str>> = words.iter().map(|word| word.to_str()).collect();
    let first = texts.first().copied().flatten().unwrap_or_default();
    if !first.contains('=') {
        let file = words.get(1).map(PathBuf::from);
        if words.len() > 2 {
            return Err(usage("too many words", SEVERAL));
        }
        return Ok(vec![(target(first)?, Source::of(file))]);
    }
    if texts.len() > limits::PUT_FILES {
        let text = format!("more than {} files", limits::PUT_FILES);
        return Err(usage(text, "write some of them, then the others"));
    }
    let pair = |word: Option<&str>| {
        let pair = word.and_then(|word| word.split_once('='));
        let (left, file) = pair
            .filter(|(_, file)| !file.is_empty())
            .ok_or_else(|| usage("a word is not NAME=FILE as the others are", SEVERAL))?;
        Ok((target(left)?, Source::of(Some(file.into()))))
    };
    let sets = texts.iter().copied().map(pair).collect::<Result<Vec<_>, Trouble>>()?;
    if sets.iter().filter(|(_, source)| *source == Source::Stdin).count() > 1 {
        return Err(usage("standard input is one value", "give files for the others"));
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Vec<String>, String> {
        let shown = |(target, source): (Target, Source)| format!("{target} {source:?}");
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        match typed(&words) {
            Ok(list) => Ok(list.into_iter().map(shown).collect()),
            Err(Trouble::Failed(failure)) => Err(failure.text),
            Err(Trouble::Told(exit)) => panic!("{exit:?}"),
        }
    }

    #[test]
    fn one_file_or_several() {
        assert_eq!(read(&["a", "-"]), Ok(vec!["a Stdin".to_owned()]));
        assert_eq!(read(&["a", "f"]), Ok(vec!["a File(\"f\")".to_owned()]));
        let two = vec!["a File(\"f\")".to_owned(), "b Stdin".to_owned()];
        assert_eq!(read(&["a=f", "b=-"]), Ok(two));
        for bad in [&["a", "b", "c"][..], &["a=f", "b"], &["a="], &["a=-", "b=-"], &["..data", "-"]]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..=limits::PUT_FILES).map(|n| format!("f{n}=x")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(read(&many).is_err());
    }
}
