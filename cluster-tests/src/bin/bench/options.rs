//! What was typed after `scripts/bench`.

use std::path::PathBuf;

const USAGE: &str = "usage: scripts/bench [--quick] [--json FILE] \
                     [--floods | --tokens | --docker | --many | --audit | \
                     --against swarm,etcd [--plots DIR] | --failover N [--load-minutes M]]";

/// Beside what Skep is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    Swarm,
    Etcd,
}

/// Which rows are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// All that have no flag of their own, and the floods.
    Usual,
    Floods,
    Tokens,
    Docker,
    /// Many secrets, many agents, many versions.
    Many,
    /// What the audit log costs.
    Audit,
    Against(Vec<Other>),
    /// So many fail-overs, then so many minutes of load.
    Failover(usize, u64),
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) quick: bool,
    pub(super) json: Option<PathBuf>,
    pub(super) plots: Option<PathBuf>,
    pub(super) rows: Rows,
}

/// Reads the words; what is wrong is one line with its hint.
pub(super) fn read(words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut words = words;
    let mut options = Options { quick: false, json: None, plots: None, rows: Rows::Usual };
    let (mut kills, mut minutes) = (None, None);
    let mut picked: Vec<Rows> = Vec::new();
    while let Some(word) = words.next() {
        let mut value = |what: &str| {
            words.next().ok_or_else(|| format!("error: {word} takes {what}; hint: {USAGE}"))
        };
        match word.as_str() {
            "--quick" => options.quick = true,
            "--json" => options.json = Some(value("a file")?.into()),
            "--plots" => options.plots = Some(value("a folder")?.into()),
            "--floods" => picked.push(Rows::Floods),
            "--tokens" => picked.push(Rows::Tokens),
            "--docker" => picked.push(Rows::Docker),
            "--many" => picked.push(Rows::Many),
            "--audit" => picked.push(Rows::Audit),
            "--against" => picked.push(Rows::Against(others(&value("swarm, etcd or both")?)?)),
            "--failover" => kills = Some(number(&word, &value("a number")?, 1_000)?),
            "--load-minutes" => minutes = Some(number(&word, &value("a number")?, 1_440)?),
            _ => return Err(format!("error: {word} is not known; hint: {USAGE}")),
        }
    }
    if kills.is_some() || minutes.is_some() {
        let kills = usize::try_from(kills.unwrap_or(0)).unwrap_or(usize::MAX);
        picked.push(Rows::Failover(kills, minutes.unwrap_or(0)));
    }
    if picked.len() > 1 {
        return Err(format!("error: these rows are measured apart; hint: {USAGE}"));
    }
    options.rows = picked.pop().unwrap_or(Rows::Usual);
    if options.plots.is_some() && !matches!(options.rows, Rows::Against(_)) {
        return Err(format!("error: --plots is for --against; hint: {USAGE}"));
    }
    Ok(options)
}

fn others(list: &str) -> Result<Vec<Other>, String> {
    let mut others = Vec::new();
    for name in list.split(',') {
        let other = match name {
            "swarm" => Other::Swarm,
            "etcd" => Other::Etcd,
            _ => return Err(format!("error: --against: no {name:?}; hint: swarm, etcd or both")),
        };
        if !others.contains(&other) {
            others.push(other);
        }
    }
    Ok(others)
}

fn number(word: &str, text: &str, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("error: {word} {text}; hint: a number from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Options, String> {
        read(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn rows_are_picked_one_kind_at_a_time() {
        assert_eq!(of(&[]).expect("words").rows, Rows::Usual);
        let both = of(&["--against", "swarm,etcd", "--quick", "--plots", "d"]).expect("words");
        assert_eq!(both.rows, Rows::Against(vec![Other::Swarm, Other::Etcd]));
        assert!(both.quick && both.plots.is_some());
        assert_eq!(of(&["--load-minutes", "60"]).expect("words").rows, Rows::Failover(0, 60));
        let kills = of(&["--failover", "5", "--load-minutes", "1"]).expect("words");
        assert_eq!(kills.rows, Rows::Failover(5, 1));
    }

    #[test]
    fn what_is_no_option_is_one_line_with_a_hint() {
        for words in [
            &["--nothing"][..],
            &["--json"],
            &["--against"],
            &["--against", "swarm,other"],
            &["--failover", "0"],
            &["--load-minutes", "x"],
            &["--floods", "--tokens"],
            &["--plots", "d"],
        ] {
            let why = of(words).expect_err("refused");
            assert!(why.starts_with("error: ") && why.contains("; hint: "), "{why}");
            assert_eq!(why.lines().count(), 1, "{why}");
        }
    }
}
