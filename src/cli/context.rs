//! `skep context`: several clusters by name. Nothing here asks a manager.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::{ContextAddArgs, ContextCommand, FormatArgs, LocalArgs};
use super::problem::{Trouble, usage};
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use skep_client::IdentityFile;
use skep_client::contexts::{Context, ContextFile, Contexts, DEFAULT, name_of, not_found};
use skep_client::settings::bad;
use skep_core::base::{Exit, Failure};

const COLUMNS: [Column; 6] = [
    ("NAME", Cell::Field("name")),
    ("CURRENT", Cell::Field("mark")),
    ("CLUSTER", Cell::Field("cluster")),
    ("MANAGERS", Cell::Field("host")),
    ("IDENTITY", Cell::Field("identity")),
    ("SOCKET", Cell::Field("socket")),
];

/// Runs it.
pub(super) fn run(shell: &mut Shell, command: ContextCommand) -> Result<(), Trouble> {
    match command {
        ContextCommand::Ls { quiet, format } => ls(shell, quiet, &format),
        ContextCommand::Use { name } => select(shell, &name),
        ContextCommand::Add(args) => add(shell, args),
        ContextCommand::Rm { names } => rm(shell, &names),
        ContextCommand::Show { names, format, local } => show(shell, &names, &format, &local),
    }
}

fn file() -> Result<ContextFile, Failure> {
    ContextFile::of_user().ok_or_else(|| {
        bad("neither XDG_CONFIG_HOME nor HOME names a folder for contexts")
            .hint("set HOME, or give --identity and --host each time")
    })
}

fn ls(shell: &mut Shell, quiet: bool, format: &FormatArgs) -> Result<(), Trouble> {
    let format = Format::parse(format.of.as_deref())?;
    let contexts = file()?.read()?;
    let names = std::iter::once(DEFAULT).chain(contexts.all.keys().map(String::as_str));
    if quiet {
        return names.into_iter().try_for_each(|name| shell.screen.data(name));
    }
    let things: Vec<Value> = names.map(|name| shown(&contexts, name)).collect();
    render::list(shell, &format, &COLUMNS, &things)
}

/// A context as it is shown, `default` too, which holds nothing.
fn shown(contexts: &Contexts, name: &str) -> Value {
    let none = Context::default();
    let context = contexts.all.get(name).unwrap_or(&none);
    let current = contexts.current.as_deref().unwrap_or(DEFAULT) == name;
    // What is no identity any more is told by the command that uses it.
    let read = context.identity.as_deref().and_then(|path| IdentityFile::look(path).ok());
    json!({
        "name": name,
        "current": current,
        "mark": if current { "*" } else { "" },
        "cluster": read.map(|text| text.cluster.to_string()),
        "host": context.host,
        "identity": context.identity.as_ref().map(|path| path.display().to_string()),
        "socket": context.socket.as_ref().map(|path| path.display().to_string()),
    })
}

fn select(shell: &mut Shell, name: &str) -> Result<(), Trouble> {
    let chosen = if name == DEFAULT { None } else { Some(name_of(name)?.to_string()) };
    file()?.change(|contexts| {
        if let Some(name) = chosen.as_deref().filter(|name| !contexts.all.contains_key(*name)) {
            return Err(not_found(name));
        }
        contexts.current.clone_from(&chosen);
        Ok(())
    })?;
    shell.screen.echo(name);
    outdone(shell);
    Ok(())
}

/// Says what goes before the context in use.
fn outdone(shell: &mut Shell) {
    for name in ["SKEP_CONTEXT", "SKEP_IDENTITY", "SKEP_HOST", "SKEP_SOCKET"] {
        if std::env::var_os(name).is_some_and(|value| !value.is_empty()) {
            shell.screen.warn(&format!("{name} is set, and goes before the context in use"));
        }
    }
}

fn add(shell: &mut Shell, args: ContextAddArgs) -> Result<(), Trouble> {
    let name = name_of(&args.name)?;
    if let Some(path) = &args.identity {
        IdentityFile::look(path).map_err(|error| {
            let hint = "an identity file is what `skep init` writes";
            usage(format!("{}: {error}", path.display()), hint)
        })?;
    }
    let whole = |path: PathBuf| {
        std::path::absolute(&path)
            .ok()
            .filter(|path| path.to_str().is_some())
            .ok_or_else(|| usage(format!("{}: is no path", path.display()), "name it in UTF-8"))
    };
    let context = Context {
        host: args.host,
        identity: args.identity.map(whole).transpose()?,
        socket: args.socket.map(whole).transpose()?,
    };
    file()?.change(|contexts| {
        contexts.add(&name, context)?;
        if args.used {
            contexts.current = Some(name.to_string());
        }
        Ok(())
    })?;
    shell.screen.echo(name.as_str());
    if args.used {
        outdone(shell);
    } else {
        shell.screen.say(&format!("`skep context use {name}` has commands speak to it"));
    }
    Ok(())
}

fn rm(shell: &mut Shell, names: &[String]) -> Result<(), Trouble> {
    let names = names.iter().map(|name| name_of(name)).collect::<Result<Vec<_>, _>>()?;
    file()?.change(|contexts| {
        for name in &names {
            // Commands would go elsewhere all of a sudden.
            if contexts.current.as_deref() == Some(name.as_str()) {
                let text = format!("context {name} is in use");
                return Err(Failure::new(Exit::Refused, text)
                    .hint("`skep context use default`, or another one, and then again"));
            }
            contexts.all.remove(name.as_str()).ok_or_else(|| not_found(name.as_str()))?;
        }
        Ok(())
    })?;
    for name in &names {
        shell.screen.echo(name.as_str());
    }
    Ok(())
}

fn show(
    shell: &mut Shell,
    names: &[String],
    format: &FormatArgs,
    local: &LocalArgs,
) -> Result<(), Trouble> {
    let contexts = file()?.read()?;
    if names.is_empty() && format.of.is_none() {
        let chosen = contexts.chosen(local.context.as_deref())?;
        return shell.screen.data(chosen.map_or(DEFAULT, |(name, _)| name));
    }
    let format = Format::parse(format.of.as_deref())?;
    let one = |typed: Option<&str>| -> Result<Value, Failure> {
        let chosen = contexts.chosen(typed)?;
        Ok(shown(&contexts, chosen.map_or(DEFAULT, |(name, _)| name)))
    };
    let things = if names.is_empty() {
        vec![one(local.context.as_deref())?]
    } else {
        names.iter().map(|name| one(Some(name))).collect::<Result<_, _>>()?
    };
    render::inspect(shell, &format, things)
}
