//! `skep audit export`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::merge::{AGAIN, Merged, Next};
use super::source::{Wanted, sources};
use crate::cli::args::ClientArgs;
use crate::cli::problem::Trouble;
use crate::cli::shell::Shell;
use skep_core::audit::Line;
use skep_core::base::{Exit, Failure};

/// Facility 13, *log audit*, with severity 6, *informational* (RFC 5424, 6.2.1).
const PRIORITY: u32 = 13 * 8 + 6;

/// Where lines go.
enum Out {
    Screen,
    File(BufWriter<File>, PathBuf),
    Syslog(UnixDatagram, PathBuf),
}

/// Runs it.
pub(super) async fn run(
    shell: &mut Shell,
    (file, syslog): (PathBuf, Option<PathBuf>),
    wanted: Wanted,
    follow: bool,
    client: ClientArgs,
) -> Result<(), Trouble> {
    let sources = sources(shell, client).await?;
    let mut out = match syslog {
        Some(socket) => connect(socket)?,
        None if file == Path::new("-") => Out::Screen,
        None => create(file)?,
    };
    let mut merged = Merged::new(sources, wanted);
    let (mut count, mut damaged) = (0_u64, 0_u64);
    loop {
        match merged.next().await? {
            Next::Line(line, text) => {
                put(shell, &mut out, &line, &text)?;
                count += 1;
            }
            Next::Bad(text) => {
                shell.screen.warn(&text);
                damaged += 1;
            }
            Next::End => {
                if let Out::File(of, path) = &mut out {
                    let lasts = of.flush().and_then(|()| of.get_ref().sync_all());
                    lasts.map_err(|error| unwritten(path, &error, ""))?;
                }
                merged.told(shell);
                if !follow {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
                merged.again();
            }
        }
        if shell.screen.is_closed() {
            return Ok(());
        }
    }
    if !matches!(out, Out::Screen) {
        shell.screen.say(&format!("{count} lines"));
    }
    if damaged > 0 {
        let text = format!("{damaged} places of the log do not read, and are missing");
        return Err(Failure::new(Exit::Damaged, text).hint("skep audit verify").into());
    }
    Ok(())
}

fn connect(socket: PathBuf) -> Result<Out, Trouble> {
    let connected = UnixDatagram::unbound().and_then(|of| of.connect(&socket).map(|()| of));
    match connected {
        Ok(of) => Ok(Out::Syslog(of, socket)),
        Err(error) => {
            Err(Failure::new(Exit::Unreachable, format!("{}: {error}", socket.display()))
                .hint("a syslog daemon listens at /dev/log as a rule")
                .into())
        }
    }
}

/// A new file, which nobody else reads.
fn create(path: PathBuf) -> Result<Out, Trouble> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(file) => Ok(Out::File(BufWriter::new(file), path)),
        Err(error) => Err(Failure::new(Exit::Refused, format!("{}: {error}", path.display()))
            .hint("nothing is written over a file that is there: choose another")
            .into()),
    }
}

fn unwritten(path: &Path, error: &std::io::Error, since: &str) -> Trouble {
    let hint = if since.is_empty() {
        "export it again to another place".to_owned()
    } else {
        format!("go on to another place with --since {since}")
    };
    let text = format!("{}: {error}", path.display());
    Failure::new(Exit::WriteFailed, text).hint(hint).into()
}

fn put(shell: &mut Shell, out: &mut Out, line: &Line, text: &str) -> Result<(), Trouble> {
    match out {
        Out::Screen => shell.screen.data(text),
        Out::File(of, path) => {
            let put = of.write_all(text.as_bytes()).and_then(|()| of.write_all(b"\n"));
            put.map_err(|error| unwritten(path, &error, &line.at))
        }
        Out::Syslog(of, path) => {
            let message = format!("<{PRIORITY}>1 {} - skep - audit - {text}", line.at);
            let sent = of.send(message.as_bytes());
            sent.map(drop).map_err(|error| unwritten(path, &error, &line.at))
        }
    }
}
