//! `skep registry audit`: what a token server put on record, read again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use skep_core::base::inert::{self, Escapes};
use skep_core::base::{Exit, Failure};

use super::anchored::{Anchored, Named};
use crate::rules::record::{BadLine, Chain, Decision, Event, Line, Signing};

/// Bytes of a line: that of the largest request, several times.
const LINE_BYTES: u64 = 1024 * 1024;
/// Bytes of a line that is shown.
const SHOWN_BYTES: usize = 64 * 1024;
/// Accounts that are told apart by `last-used`.
const ACCOUNTS: usize = 65_536;

/// Read what token servers put on record
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List decisions, the oldest first
    #[command(after_help = "Examples:
  skep registry audit ls /var/log/skep-registry/web
  skep registry audit ls --account alice+ci /var/log/skep-registry/web.1 /var/log/skep-registry/web")]
    Ls {
        /// Only those of this account
        #[arg(long)]
        account: Option<String>,
        /// A record's files, the oldest first
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// See whether a record's lines are all there and unchanged
    ///
    /// Files that follow one another are given together, the oldest first. With
    /// --anchors they are compared with how far the cluster knows the record to have
    /// reached: an end that was cut off and lines that were written anew are found.
    #[command(after_help = "Examples:
  skep registry audit verify /var/log/skep-registry/web
  skep registry audit verify /var/log/skep-registry/web.1 /var/log/skep-registry/web
  skep audit export audit.jsonl
  skep registry audit verify --anchors audit.jsonl --node node-1 /var/log/skep-registry/web")]
    Verify {
        /// The cluster's audit log, as `skep audit export` writes it; - for standard input
        #[arg(long, value_name = "FILE")]
        anchors: Option<PathBuf>,
        /// The service that the server is a workload of
        #[arg(long, requires = "anchors")]
        service: Option<String>,
        /// The node on which it runs
        #[arg(long, requires = "anchors")]
        node: Option<String>,
        /// What the record is called there [default: the last file's name]
        #[arg(long, requires = "anchors", value_name = "NAME")]
        record: Option<String>,
        /// A record's files, the oldest first
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show when each account was used last
    #[command(
        name = "last-used",
        after_help = "Examples:
  skep registry audit last-used /var/log/skep-registry/web
  skep registry audit last-used node-1/web node-2/web"
    )]
    LastUsed {
        /// Files of one replica or of several
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Does what was asked.
///
/// # Errors
/// What a process ends with.
pub(super) fn run(args: &AuditArgs) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = match &args.what {
        What::Ls { account, files } => list(files, account.as_deref(), &mut out),
        What::Verify { anchors, service, node, record, files } => {
            let of = Named { service, node, record };
            anchors
                .as_deref()
                .map(|path| Anchored::read(path, &of, files))
                .transpose()
                .map_err(Stopped::Failed)
                .and_then(|anchored| verify(files, anchored, &mut out))
        }
        What::LastUsed { files } => last_used(files, &mut out),
    };
    match done.and_then(|()| out.flush().map_err(Stopped::Unwritten)) {
        // That nobody reads on is no failure.
        Err(Stopped::Unwritten(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::WriteFailed, format!("standard output: {error}"))
                .hint("make room there, or print it elsewhere"))
        }
        Err(Stopped::Failed(failure)) => Err(failure),
        Ok(()) | Err(Stopped::Unwritten(_)) => Ok(()),
    }
}

/// Why it doesn't go on.
enum Stopped {
    Unwritten(io::Error),
    Failed(Failure),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Text of a record as a terminal may have it.
fn inert(text: &str) -> String {
    inert::inert(text, SHOWN_BYTES, Escapes::Text)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("cannot read {}: {error}", inert(&path.display().to_string())),
    )
}

fn damaged(path: &Path, number: u64, bad: BadLine) -> Failure {
    let text = format!("line {number} of {} {bad}", inert(&path.display().to_string()));
    Failure::new(Exit::Damaged, text)
        .hint("what stands before that line is whole; compare with another copy of the record")
}

/// Goes through the whole lines of a file. One without an end is being written, or was torn.
fn each_line(
    path: &Path,
    mut see: impl FnMut(u64, &[u8]) -> Result<(), Stopped>,
) -> Result<u64, Stopped> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line);
        read.map_err(|error| unreadable(path, &error))?;
        let Some(whole) = line.strip_suffix(b"\n") else {
            let torn = u64::try_from(line.len()).unwrap_or(u64::MAX);
            return if torn < LINE_BYTES {
                Ok(torn)
            } else {
                Err(damaged(path, number + 1, BadLine::Shape).into())
            };
        };
        number += 1;
        see(number, whole)?;
    }
}

/// Something that somebody was given.
struct Given {
    at: String,
    account: String,
    address: String,
    outcome: String,
    /// Scopes, or what was signed.
    what: String,
}

fn given(path: &Path, number: u64, line: &[u8]) -> Result<Option<Given>, Failure> {
    let read: Line =
        serde_json::from_slice(line).map_err(|_| damaged(path, number, BadLine::Shape))?;
    let at = read.at;
    Ok(match read.event {
        Event::Decision(decision) => {
            let Decision { account, address, outcome, granted, .. } = *decision;
            let what = if granted.is_empty() { "-".to_owned() } else { granted.join(" ") };
            Some(Given { at, account, address, outcome, what })
        }
        Event::Signed(signing) => {
            let Signing { account, address, reference, digest, .. } = *signing;
            let (outcome, what) = ("signed".to_owned(), format!("{reference}@{digest}"));
            Some(Given { at, account, address, outcome, what })
        }
        Event::Begin { .. } | Event::Start { .. } | Event::Lost { .. } => None,
    })
}

fn list(files: &[PathBuf], account: Option<&str>, out: &mut impl Write) -> Result<(), Stopped> {
    for path in files {
        each_line(path, |number, line| {
            let Some(given) = given(path, number, line)? else { return Ok(()) };
            if account.is_some_and(|account| account != given.account) {
                return Ok(());
            }
            let Given { at, account, address, outcome, what } = given;
            let line = format!("{at}  {address}  {account}  {outcome}  {what}");
            writeln!(out, "{}", inert(&line)).map_err(Stopped::Unwritten)
        })?;
    }
    Ok(())
}

fn verify(
    files: &[PathBuf],
    mut anchored: Option<Anchored>,
    out: &mut impl Write,
) -> Result<(), Stopped> {
    let mut before: Option<Chain> = None;
    for path in files {
        let mut chain = Chain::default();
        let torn = each_line(path, |number, line| {
            let read = chain.follow(line).map_err(|bad| damaged(path, number, bad))?;
            if let Some(anchored) = &mut anchored {
                anchored.line(path, number, &chain.head, &read.event);
            }
            let follows = |before: Chain| !matches!(&read.event, Event::Begin { after } if *after != HEXLOWER.encode(&before.head));
            if before.take().is_none_or(follows) {
                Ok(())
            } else {
                Err(damaged(path, number, BadLine::Chain).into())
            }
        })?;
        if chain.next == 0 {
            return Err(damaged(path, 1, BadLine::Begin).into());
        }
        let (lines, head) = (chain.next, HEXLOWER.encode(&chain.head));
        let rest = if torn > 0 { ", and a line without an end" } else { "" };
        let path = path.display().to_string();
        writeln!(out, "{}: {lines} lines{rest}, head {head}", inert(&path))
            .map_err(Stopped::Unwritten)?;
        before = Some(chain);
    }
    if let Some(anchored) = anchored {
        writeln!(out, "{}", inert(&anchored.end()?)).map_err(Stopped::Unwritten)?;
    }
    Ok(())
}

fn last_used(files: &[PathBuf], out: &mut impl Write) -> Result<(), Stopped> {
    let mut last: BTreeMap<String, (String, String)> = BTreeMap::new();
    for path in files {
        each_line(path, |number, line| {
            let Some(given) = given(path, number, line)? else { return Ok(()) };
            let Given { at, account, address, .. } = given;
            if let Some(known) = last.get_mut(&account) {
                if known.0 < at {
                    *known = (at, address);
                }
            } else if last.len() < ACCOUNTS {
                last.insert(account, (at, address));
            } else {
                let text = format!("more than {ACCOUNTS} accounts");
                return Err(Failure::new(Exit::Usage, text)
                    .hint("give fewer files at once")
                    .into());
            }
            Ok(())
        })?;
    }
    for (account, (at, address)) in last {
        let line = format!("{at}  {address}  {account}");
        writeln!(out, "{}", inert(&line)).map_err(Stopped::Unwritten)?;
    }
    Ok(())
}
