//! `skep compose import`: what a Compose file has of secrets becomes the cluster's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use skep_client::machine::read_file;
use skep_client::{Change, Draft, NewVersion, apply, apply_sealed, lookup};
use skep_core::base::{Exit, Failure, Labels, Name, SecretBytes, SecretId, ServiceId, limits};
use skep_core::domain::{GrantAsked, Placement, ServiceSpec};
use skep_core::wire::api::{SecretView, ServiceView};
use skep_program::{Screen, Way, WayArgs};

use crate::compose::{FILE_BYTES, Plan, SecretPlan, Source, lines, plan};

/// Things in the way that are shown; more are counted.
const SHOWN: usize = 100;
/// Bytes of values in one act, with room for what is put around them.
const ACT_BYTES: usize = 3 * 1024 * 1024;

/// Make a Compose file's secrets, services and grants, and print its volume lines
///
/// The values are read from the files and variables that it names. Nothing is
/// changed where something in it can't come over, and the Compose file stays as it
/// is: the lines that are printed take the place of each `secrets:` in it, or are
/// given to Compose as a second file.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep compose import compose.yml --node worker-1
  skep compose import compose.yml --everywhere --prefix shop. > skep.yml
  skep compose import compose.yml --dry-run

Then:
  docker compose -f compose.yml -f skep.yml up")]
pub(super) struct ImportArgs {
    /// The Compose file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A node that runs these services; may be given several times
    #[arg(long = "node", value_name = "NAME", conflicts_with = "everywhere")]
    nodes: Vec<Name>,
    /// Every worker runs them
    #[arg(long)]
    everywhere: bool,
    /// Put before the names of secrets and services, as the stack's name is
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Use what there is of these names as it is, and make the rest
    #[arg(long)]
    keep_existing: bool,
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: WayArgs,
}

/// Imports it.
pub(super) async fn run(screen: &mut Screen, args: ImportArgs) -> Result<(), Failure> {
    let text = read_text(&args.file)?;
    let plan = plan(&text, &args.prefix).map_err(|bad| in_the_way(screen, &args.file, &bad))?;
    if plan.secrets.is_empty() && plan.services.is_empty() {
        let text = format!("{}: no secrets in it", args.file.display());
        return Err(Failure::new(Exit::Usage, text)
            .hint("secrets stand under `secrets:` at the top, and under each service"));
    }
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let mut way = Way::open(screen, args.way.clone())?;
    let found = Found::look(screen, &mut way, &plan, args.keep_existing).await?;
    let mut acts = Acts::default();
    found.secrets_to_make(&plan, folder, &mut way, &mut acts)?;
    let made = acts.created();
    let services = found.services_to_make(&plan, &args, &mut way, &mut acts);
    let grants: usize = plan.services.iter().map(|service| service.grants.len()).sum();
    let counted = format!("secrets: {made}, services: {services}, grants: {grants}");
    if args.dry_run {
        screen.say(&format!("would make {counted}"));
        return screen.data(lines(&plan.services).trim_end());
    }
    acts.apply(&mut way).await?;
    screen.say(&format!("made {counted}"));
    if !args.everywhere && args.nodes.is_empty() && services > 0 {
        let each = "skep service update --node-add NODE SERVICE";
        screen.say(&format!("the new services are placed on no node\nhint: `{each}`, for each"));
    }
    screen.say("give these lines to Compose as a second file, or put them in place of `secrets:`");
    screen.data(lines(&plan.services).trim_end())
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let bad = |text: String| Failure::new(Exit::Usage, text).hint("name a Compose file");
    let mut bytes = Vec::new();
    let most = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|error| bad(format!("{shown}: {error}")))?;
    if bytes.len() > FILE_BYTES {
        return Err(bad(format!("{shown}: it is larger than {FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| bad(format!("{shown}: it is not UTF-8")))
}

fn in_the_way(screen: &mut Screen, file: &Path, bad: &[String]) -> Failure {
    for one in bad.iter().take(SHOWN) {
        screen.say(&format!("{}: {one}", file.display()));
    }
    if let Some(more) = bad.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        screen.say(&format!("and {more} more"));
    }
    let things = if bad.len() == 1 { "1 thing" } else { &format!("{} things", bad.len()) };
    Failure::new(Exit::Refused, format!("{things} can't come over, and nothing was changed"))
        .hint("take them out of a copy once you know what takes their place")
}

/// What there is already of the names.
#[derive(Debug, Default)]
struct Found {
    secrets: BTreeMap<Name, SecretId>,
    services: BTreeMap<Name, ServiceId>,
}

impl Found {
    /// What is missing or in the way is named, all of it.
    async fn look(
        screen: &mut Screen,
        way: &mut Way,
        plan: &Plan,
        keep: bool,
    ) -> Result<Self, Failure> {
        let (mut found, mut wrong) = (Self::default(), Vec::new());
        let failed = |error: skep_client::CallError| error.failure();
        for SecretPlan { name, source, .. } in &plan.secrets {
            let view = lookup::maybe::<SecretView>(&mut way.link, name.as_str()).await;
            let external = *source == Source::External;
            match view.map_err(failed)? {
                Some(view) if external || keep => {
                    let id = lookup::id(&view.id).map_err(failed)?;
                    found.secrets.insert(name.clone(), id);
                }
                Some(_) => wrong.push(format!("secret {name} already exists")),
                None if external => wrong.push(format!("secret {name} not found: it is external")),
                None => {}
            }
        }
        for service in &plan.services {
            let name = &service.name;
            let view = lookup::maybe::<ServiceView>(&mut way.link, name.as_str()).await;
            match view.map_err(failed)? {
                Some(view) if keep => {
                    let id = lookup::id(&view.id).map_err(failed)?;
                    found.services.insert(name.clone(), id);
                }
                Some(_) => wrong.push(format!("service {name} already exists")),
                None => {}
            }
        }
        if wrong.is_empty() {
            return Ok(found);
        }
        for one in wrong.iter().take(SHOWN) {
            screen.say(one);
        }
        let text = format!("{} of the names are in the way, and nothing was changed", wrong.len());
        Err(Failure::new(Exit::Refused, text).hint(
            "--keep-existing uses what there is, --prefix gives other names; create what is external",
        ))
    }

    fn secrets_to_make(
        &self,
        plan: &Plan,
        folder: &Path,
        way: &mut Way,
        acts: &mut Acts,
    ) -> Result<(), Failure> {
        for SecretPlan { name, source, labels } in &plan.secrets {
            if let Some(id) = self.secrets.get(name) {
                acts.secrets.insert(name.clone(), *id);
                continue;
            }
            let value = match source {
                Source::File(path) => of_file(name, &folder.join(path))?,
                Source::Environment(variable) => of_environment(name, variable)?,
                Source::External => continue,
            };
            let id = SecretId::draw(&mut way.dice);
            acts.secrets.insert(name.clone(), id);
            let (name, labels) = (name.clone(), labels.clone());
            let draft = Draft { secret: id, value, public: None };
            acts.steps.push(Step::Create { name, labels, draft });
        }
        Ok(())
    }

    /// Answers how many there are.
    fn services_to_make(
        &self,
        plan: &Plan,
        args: &ImportArgs,
        way: &mut Way,
        acts: &mut Acts,
    ) -> usize {
        let placement = Placement {
            nodes: args.nodes.clone(),
            constraints: Vec::new(),
            everywhere: args.everywhere,
        };
        let mut made = 0;
        for service in &plan.services {
            let known = self.services.get(&service.name).copied();
            let id = known.unwrap_or_else(|| ServiceId::draw(&mut way.dice));
            if known.is_none() {
                made += 1;
                let spec = ServiceSpec { placement: placement.clone(), ..ServiceSpec::default() };
                let name = service.name.clone();
                acts.steps.push(Step::Plain(Change::CreateService { id, name, spec }));
            }
            for grant in &service.grants {
                let Some(secret) = acts.secrets.get(&grant.secret).copied() else { continue };
                let grant = GrantAsked {
                    secret,
                    target: grant.target.clone(),
                    uid: grant.uid,
                    gid: grant.gid,
                    mode: grant.mode,
                    pin: None,
                    write: None,
                    replace: false,
                };
                acts.steps.push(Step::Plain(Change::Grant { service: id, grant }));
            }
        }
        made
    }
}

fn sized(name: &Name, from: &str, value: SecretBytes) -> Result<SecretBytes, Failure> {
    if value.is_empty() {
        let text = format!("secret {name}: {from} is empty");
        return Err(Failure::new(Exit::Usage, text).hint("nothing was changed"));
    }
    Ok(value)
}

fn of_file(name: &Name, path: &Path) -> Result<SecretBytes, Failure> {
    let shown = path.display().to_string();
    let value = read_file(path, limits::VALUE_BYTES).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::FileTooLarge => {
                format!("it has more than {} bytes", limits::VALUE_BYTES)
            }
            _ => error.to_string(),
        };
        Failure::new(Exit::Usage, format!("secret {name}: {shown}: {why}"))
            .hint("paths are from the Compose file's folder; nothing was changed")
    })?;
    sized(name, &shown, value)
}

fn of_environment(name: &Name, variable: &str) -> Result<SecretBytes, Failure> {
    let value = std::env::var_os(variable).map(OsString::into_vec).map(SecretBytes::take);
    let shown = format!("${variable}");
    let value = value.filter(|value| value.len() <= limits::VALUE_BYTES).ok_or_else(|| {
        let text = format!("secret {name}: {shown} is not set, or has more bytes than a secret");
        Failure::new(Exit::Usage, text).hint("nothing was changed")
    })?;
    sized(name, &shown, value)
}

/// One step; a new secret's value is sealed on the way.
#[derive(Debug)]
enum Step {
    Create { name: Name, labels: Labels, draft: Draft },
    Plain(Change),
}

impl Step {
    fn bytes(&self) -> usize {
        match self {
            Self::Create { draft, .. } => draft.value.len(),
            Self::Plain(_) => 0,
        }
    }
}

/// Steps in their order, cut into acts that managers take: one, unless there are too many.
#[derive(Debug, Default)]
struct Acts {
    steps: Vec<Step>,
    secrets: BTreeMap<Name, SecretId>,
}

impl Acts {
    fn created(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Create { .. })).count()
    }

    fn cut(self) -> Vec<Vec<Step>> {
        let (mut acts, mut bytes): (Vec<Vec<Step>>, usize) = (Vec::new(), 0);
        for step in self.steps {
            let size = step.bytes();
            match acts.last_mut() {
                Some(act) if act.len() < limits::CHANGES && bytes + size <= ACT_BYTES => {
                    act.push(step);
                    bytes += size;
                }
                _ => {
                    acts.push(vec![step]);
                    bytes = size;
                }
            }
        }
        acts
    }

    /// Applies them; what was done before one that failed stays, and is said.
    async fn apply(self, way: &mut Way) -> Result<(), Failure> {
        let acts = self.cut();
        let all = acts.len();
        for (done, act) in acts.into_iter().enumerate() {
            apply_one(act, way).await.map_err(|mut failure| {
                if done > 0 {
                    let more = format!("; {done} of {all} acts were done before it");
                    failure.text.push_str(&more);
                    failure = failure.hint("repeat it with --keep-existing, which makes the rest");
                }
                failure
            })?;
        }
        Ok(())
    }
}

async fn apply_one(act: Vec<Step>, way: &mut Way) -> Result<(), Failure> {
    let (mut drafts, mut shapes) = (Vec::new(), Vec::new());
    for step in act {
        shapes.push(match step {
            Step::Create { name, labels, draft } => {
                let id = draft.secret;
                drafts.push(draft);
                Err((id, name, labels))
            }
            Step::Plain(change) => Ok(change),
        });
    }
    let changes = |versions: Vec<NewVersion>| {
        let mut versions = versions.into_iter();
        let change = |shape: &Result<Change, (SecretId, Name, Labels)>| match shape {
            Ok(change) => Some(change.clone()),
            Err((id, name, labels)) => Some(Change::CreateSecret {
                id: *id,
                name: name.clone(),
                labels: labels.clone(),
                forward_only: false,
                version: versions.next()?,
            }),
        };
        shapes.iter().filter_map(change).collect::<Vec<_>>()
    };
    let (look, Way { link, dice, .. }) = ("skep service ls", way);
    let applied = if drafts.is_empty() {
        apply(link, dice, look, &changes(Vec::new())).await
    } else {
        apply_sealed(link, dice, look, &drafts, changes).await
    };
    applied.map(drop).map_err(|error| error.failure())
}
