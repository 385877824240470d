//! `skep secret`: values go in sealed, and never come out here.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::Value;

use super::acts::{self, Named, Parts, sizes_of_acts};
use super::args::{
    ClientArgs, ListArgs, SecretCommand, SecretCreateArgs, SecretRmArgs, SecretUpdateArgs,
};
use super::audit;
use super::drawing::Drawing;
use super::filter::Filter;
use super::granted::wait_for_services_of;
use super::input::{self, Source};
use super::inspect::inspect;
use super::link::link;
use super::names::{all_labels, labels, name};
use super::problem::{Trouble, usage};
use super::render::{self, Cell, Column, Format};
use super::rollback;
use super::shell::Shell;
use super::versions::{self, shown};
use super::wait::{self, Concerned};
use skep_client::{Change, Draft, Drawn, apply, apply_sealed, lookup};
use skep_core::base::{Label, Name, Revision, SecretBytes, SecretId};
use skep_core::domain::PublicPart;
use skep_core::wire::api::{self, SecretView};

const COLUMNS: [Column; 6] = [
    ("ID", Cell::Field("id")),
    ("NAME", Cell::Field("name")),
    ("VERSION", Cell::Field("version")),
    ("SERVICES", Cell::Count("services")),
    ("CREATED", Cell::Ago("created_at")),
    ("UPDATED", Cell::Ago("updated_at")),
];
/// How a value is drawn.
const GENERATED: &str = "for example: `skep secret update db-password --generate password`";

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: SecretCommand) -> Result<(), Trouble> {
    match command {
        SecretCommand::Create(args) => create(shell, args).await,
        SecretCommand::Update(args) => update(shell, args).await,
        SecretCommand::Import(args) => super::import::run(shell, args).await,
        SecretCommand::Rollback(args) => rollback::run(shell, args).await,
        SecretCommand::Ls { list, client } => ls(shell, &list, client).await,
        SecretCommand::Inspect { secrets, show, client } => {
            inspect(shell, &secrets, &show, client, shown).await
        }
        SecretCommand::Versions { secret, show, client } => {
            versions::versions(shell, &secret, &show, client).await
        }
        SecretCommand::Holders { secret, quiet, show, client } => {
            versions::holders(shell, &secret, quiet, &show, client).await
        }
        SecretCommand::History { secret, last, format, client } => {
            audit::history(shell, &secret, last, &format, client).await
        }
        SecretCommand::Reads { secret, last, show, client } => {
            super::reads::run(shell, &secret, last, &show, client).await
        }
        SecretCommand::Rm(args) => rm(shell, args).await,
    }
}

/// Says what is odd about a value; it is taken all the same.
fn warn_of(shell: &mut Shell, name: &Name, value: &SecretBytes) {
    for odd in input::oddities(value) {
        shell.screen.warn(&format!("the value of {name} {odd}"));
    }
}

async fn create(shell: &mut Shell, args: SecretCreateArgs) -> Result<(), Trouble> {
    let name = name(&args.name)?;
    let labels = all_labels(&args.labels)?;
    let source = args.generate.map_or_else(|| Source::of(args.file), Source::Generate);
    let forward_only = args.forward_only;
    let (strip, public) = (args.strip_newline, args.public.as_deref());
    let Drawn { value, public } =
        input::value(&mut *shell.dice, &source, name.as_str(), strip, public)?;
    warn_of(shell, &name, &value);
    let made = public.clone().filter(|_| args.generate.is_some());
    let mut link = link(shell, args.client)?;
    let id = SecretId::draw(&mut *shell.dice);
    let look = format!("skep secret inspect {name}");
    let drafts = [Draft { secret: id, value, public }];
    let change = |versions: Vec<_>| {
        let create = |version| Change::CreateSecret {
            id,
            name: name.clone(),
            labels: labels.clone(),
            forward_only,
            version,
        };
        versions.into_iter().map(create).collect()
    };
    apply_sealed(&mut link, &mut *shell.dice, &look, &drafts, change).await?;
    shell.screen.echo(&id.to_string());
    echo_public(shell, made.as_ref());
    Ok(())
}

/// The public half of a key that was drawn.
fn echo_public(shell: &mut Shell, public: Option<&PublicPart>) {
    if let Some(public) = public {
        shell.screen.echo(public.as_str().trim_end());
    }
}

/// What `update` means: which secrets get their values from where.
#[derive(Debug, PartialEq, Eq)]
struct Sets(Vec<(Name, Source)>);

impl Sets {
    /// Whether one secret is named, and nothing to read.
    fn is_name_alone(typed: &[OsString]) -> bool {
        let [word] = typed else { return false };
        word.to_str().is_some_and(|word| !word.contains('='))
    }

    fn of(typed: Vec<OsString>, generate: Option<Drawing>) -> Result<Self, Trouble> {
        let several = "NAME and a file, or NAME=FILE several times";
        let text = |word: &OsString| word.to_str().map(str::to_owned);
        if let Some(kind) = generate {
            let [word] = typed.as_slice() else {
                return Err(usage("--generate is for one secret, and reads no file", GENERATED));
            };
            let word = text(word).unwrap_or_default();
            return Ok(Self(vec![(name(&word)?, Source::Generate(kind))]));
        }
        let first = typed.first().and_then(&text);
        if !first.is_some_and(|first| first.contains('=')) {
            let mut words = typed.into_iter();
            let (first, file) = (words.next(), words.next().map(PathBuf::from));
            if words.next().is_some() {
                return Err(usage("too many words", several));
            }
            let first = first.as_ref().and_then(text).unwrap_or_default();
            return Ok(Self(vec![(name(&first)?, Source::of(file))]));
        }
        let pair = |word: &OsString| {
            // File names need not be text; here they are.
            let word = text(word).ok_or_else(|| usage("a word is not UTF-8", several))?;
            let Some((left, file)) = word.split_once('=') else {
                return Err(usage("a word is not NAME=FILE as the others are", several));
            };
            if file.is_empty() {
                return Err(usage("NAME= without a file", several));
            }
            Ok((name(left)?, Source::of(Some(file.into()))))
        };
        let sets = typed.iter().map(pair).collect::<Result<Vec<_>, Trouble>>()?;
        let stdin = sets.iter().filter(|(_, source)| *source == Source::Stdin).count();
        if stdin > 1 {
            return Err(usage("standard input is one value", "give files for the others"));
        }
        let mut keys: Vec<_> = sets.iter().map(|(name, _)| name.key()).collect();
        keys.sort();
        keys.dedup();
        if keys.len() < sets.len() {
            return Err(usage("a secret is named twice", "one act gives each secret one value"));
        }
        Ok(Self(sets))
    }
}

/// Which labels come and go.
struct Relabelling {
    put: Vec<Label>,
    gone: Vec<String>,
}

impl Relabelling {
    fn of(args: &SecretUpdateArgs) -> Result<Option<Self>, Trouble> {
        let (put, gone) = (labels(&args.label_add)?, args.label_rm.clone());
        Ok((!put.is_empty() || !gone.is_empty()).then_some(Self { put, gone }))
    }

    fn of_secret(&self, id: SecretId) -> Change {
        Change::LabelSecret { id, put: self.put.clone(), gone: self.gone.clone() }
    }
}

/// Changes the labels of a secret, and no value.
async fn relabel(
    shell: &mut Shell,
    args: SecretUpdateArgs,
    labels: &Relabelling,
) -> Result<(), Trouble> {
    let Sets(sets) = Sets::of(args.what, None)?;
    let Some((name, _)) = sets.first() else { return Ok(()) };
    if args.expect.is_some() {
        return Err(usage("--expect is for a new value", "leave it out, or give a file"));
    }
    let mut link = link(shell, args.client)?;
    let secret: SecretView = lookup::exact(&mut link, name.as_str()).await?;
    let look = format!("skep secret inspect {name}");
    let changes = [labels.of_secret(lookup::id(&secret.id)?)];
    apply(&mut link, &mut *shell.dice, &look, &changes).await?;
    shell.screen.echo(name.as_str());
    Ok(())
}

async fn update(shell: &mut Shell, args: SecretUpdateArgs) -> Result<(), Trouble> {
    let labels = Relabelling::of(&args)?;
    let only_named = args.generate.is_none() && Sets::is_name_alone(&args.what);
    if let Some(labels) = labels.as_ref().filter(|_| only_named) {
        return relabel(shell, args, labels).await;
    }
    let Sets(sets) = Sets::of(args.what, args.generate)?;
    if labels.is_some() && sets.len() > 1 {
        return Err(usage("labels are changed of one secret", "change those of the others alone"));
    }
    let expect = args.expect;
    if expect.is_some() && sets.len() > 1 {
        return Err(usage("--expect is for one secret", "update the secrets one by one with it"));
    }
    if args.public.is_some() && sets.len() > 1 {
        return Err(usage("--public is for one secret", "update the secrets one by one with it"));
    }
    let mut link = link(shell, args.client)?;
    let (mut secrets, mut drafts) = (Vec::new(), Vec::new());
    for (name, source) in &sets {
        let secret: SecretView = lookup::exact(&mut link, name.as_str()).await?;
        let (strip, public) = (args.strip_newline, args.public.as_deref());
        let Drawn { value, public } =
            input::value(&mut *shell.dice, source, name.as_str(), strip, public)?;
        warn_of(shell, name, &value);
        drafts.push(Draft { secret: lookup::id(&secret.id)?, value, public });
        secrets.push(secret);
    }
    let ids: Vec<SecretId> = drafts.iter().map(|draft| draft.secret).collect();
    let mut parts = Parts::new(sizes_of_acts(drafts.iter().map(|draft| draft.value.len())));
    let (mut rest, mut revision) = (drafts.as_slice(), 0);
    let mut names = secrets.iter().map(|secret| &secret.name);
    for size in sizes_of_acts(drafts.iter().map(|draft| draft.value.len())) {
        let Some((act, more)) = rest.split_at_checked(size) else { break };
        rest = more;
        let change = |versions: Vec<_>| {
            let update = |(draft, version): (&Draft, _)| Change::UpdateSecret {
                id: draft.secret,
                expect,
                version,
            };
            let relabelled = act
                .iter()
                .filter_map(|draft| labels.as_ref().map(|labels| labels.of_secret(draft.secret)));
            act.iter().zip(versions).map(update).chain(relabelled).collect()
        };
        let names: Vec<&String> = names.by_ref().take(size).collect();
        let first = names.first().map_or("", |name| name.as_str());
        let look = format!("skep secret versions {first}");
        let applied = apply_sealed(&mut link, &mut *shell.dice, &look, act, change).await;
        let reply = applied.map_err(|error| parts.failed(shell, first, error.into()))?;
        parts.done();
        revision = reply.revision;
        for (name, changed) in names.iter().zip(&reply.changed) {
            match &changed.of {
                Some(api::changed::Of::Version(added)) => {
                    shell.screen.echo(&format!("{name} {}", added.number));
                }
                _ => shell.screen.echo(name),
            }
        }
    }
    let made = drafts.iter().find_map(|draft| draft.public.clone());
    drop(drafts);
    parts.told(shell);
    echo_public(shell, made.as_ref().filter(|_| args.generate.is_some()));
    wait_for_services_of(shell, &mut link, args.wait, revision, &ids).await
}

async fn ls(shell: &mut Shell, args: &ListArgs, client: ClientArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.show.format.of.as_deref())?;
    let filters = Filter::parse_all(&args.filters)?;
    let mut link = link(shell, client)?;
    let mut secrets: Vec<SecretView> = lookup::all(&mut link, args.show.stale).await?;
    secrets.retain(|secret| filters.iter().all(|filter| filter.fits(secret)));
    secrets.sort_by_cached_key(|secret| secret.name.to_ascii_lowercase());
    if args.quiet {
        return secrets.iter().try_for_each(|secret| shell.screen.data(&render::id(&secret.id)));
    }
    let things: Vec<Value> = secrets.iter().map(shown).collect();
    render::list(shell, &format, &COLUMNS, &things)
}

async fn rm(shell: &mut Shell, args: SecretRmArgs) -> Result<(), Trouble> {
    if args.version.is_some() && args.secrets.len() > 1 {
        return Err(usage("--version is for one secret", "remove the versions one by one"));
    }
    let mut link = link(shell, args.client)?;
    let (mut changes, mut ids) = (Vec::new(), Vec::new());
    for what in &args.secrets {
        let secret: SecretView = lookup::exact(&mut link, what).await?;
        let id: SecretId = lookup::id(&secret.id)?;
        let change = match args.version {
            Some(number) => Change::RemoveVersion { id, number },
            None => Change::RemoveSecret { id },
        };
        changes.push(Named { name: what.clone(), change });
        ids.push(id);
    }
    let revision = acts::apply_all(shell, &mut link, "skep secret ls", &changes, true).await?;
    if args.version.is_some() {
        // A version that no service is due: nothing changes anywhere.
        return Ok(());
    }
    // No service has it any more, but a node that has not confirmed that may.
    let secrets = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
    let taken = Concerned { removal: true, secrets, ..Concerned::default() };
    wait::delivered(shell, &mut link, args.wait, Revision(revision), taken).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(words: &[&str]) -> Result<Vec<(String, Source)>, Trouble> {
        let sets = Sets::of(words.iter().map(OsString::from).collect(), None)?;
        Ok(sets.0.into_iter().map(|(name, source)| (name.to_string(), source)).collect())
    }

    #[test]
    fn one_secret_or_several_as_one_act() {
        let one = sets(&["a", "f"]).expect("good");
        assert_eq!(one, [("a".to_owned(), Source::File("f".into()))]);
        let one = sets(&["a", "-"]).expect("good");
        assert_eq!(one, [("a".to_owned(), Source::Stdin)]);
        let two = sets(&["a=f", "b=x=y"]).expect("good");
        assert_eq!(two[1], ("b".to_owned(), Source::File("x=y".into())));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for words in [
            &["a", "f", "g"][..],
            &["a=f", "b"],
            &["a="],
            &["=f"],
            &["a=-", "b=-"],
            &["a=f", "A=g"],
            &["a b", "f"],
        ] {
            assert!(sets(words).is_err(), "{words:?}");
        }
        for words in [&["a", "f"][..], &["a=f"], &["a", "b"]] {
            let words = words.iter().map(OsString::from).collect();
            assert!(Sets::of(words, Some(Drawing::OpenPgp)).is_err());
        }
    }
}
