//! What a Compose file comes to, or everything in it that can't come over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use skep_core::base::{Label, Labels, Name, Target};

use super::file::{self, Definition, External, Labelled, Long, Others, Text, Used};

/// Secrets and services of one file: more than the largest file has.
const MOST: usize = 1_000;
/// Where a container sees its secrets.
const SECRETS: &str = "/run/secrets/";

/// Secrets, services and grants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) secrets: Vec<SecretPlan>,
    pub(crate) services: Vec<ServicePlan>,
}

/// A secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretPlan {
    pub(crate) name: Name,
    pub(crate) source: Source,
    pub(crate) labels: Labels,
}

/// Where its value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a file; relative to the Compose file's folder.
    File(PathBuf),
    /// In a variable of the environment.
    Environment(String),
    /// In the cluster already.
    External,
}

/// A service that uses secrets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ServicePlan {
    /// As the Compose file calls it.
    pub(crate) key: String,
    pub(crate) name: Name,
    pub(crate) grants: Vec<GrantPlan>,
}

/// A file that it gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GrantPlan {
    pub(crate) secret: Name,
    pub(crate) target: Target,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<u32>,
}

/// Reads a Compose file. `prefix` comes before the names of what is made.
///
/// # Errors
/// All that can't come over, each in one line.
pub(crate) fn plan(text: &str, prefix: &str) -> Result<Plan, Vec<String>> {
    let file = file::read(text).map_err(|why| vec![why])?;
    let mut reading = Reading { prefix, cannot: Vec::new(), names: BTreeMap::new() };
    if file.include.is_some() {
        reading.cannot("include", "other files aren't read: import each by itself");
    }
    let mut plan = Plan::default();
    let (secrets, services) = (file.secrets.unwrap_or_default(), file.services.unwrap_or_default());
    if secrets.len() > MOST || services.len() > MOST {
        return Err(vec![format!("there are more than {MOST} secrets or services in it")]);
    }
    for (key, definition) in &secrets {
        plan.secrets.extend(reading.secret(key, definition.as_ref()));
    }
    for (key, service) in &services {
        let place = format!("services.{key}");
        let Some(service) = service else { continue };
        if service.extends.is_some() {
            reading.cannot(&place, "`extends` isn't followed: write its secrets out");
        }
        let used = service.secrets.as_deref().unwrap_or_default();
        if !used.is_empty() {
            plan.services.extend(reading.service(key, &place, used));
        }
    }
    let mut seen = BTreeSet::new();
    for secret in &plan.secrets {
        if !seen.insert(secret.name.as_str().to_ascii_lowercase()) {
            let place = format!("secret {}", secret.name);
            reading.cannot(&place, "two of them have this name, upper and lower case alike");
        }
    }
    if reading.cannot.is_empty() { Ok(plan) } else { Err(reading.cannot) }
}

struct Reading<'r> {
    prefix: &'r str,
    cannot: Vec<String>,
    /// What the file's secrets are called in the cluster.
    names: BTreeMap<String, Name>,
}

impl Reading<'_> {
    fn cannot(&mut self, place: &str, why: &str) {
        self.cannot.push(format!("{place}: {why}"));
    }

    /// A text, unless Compose would put something else in its place.
    fn plain(&mut self, place: &str, text: &Text) -> Option<String> {
        if text.0.contains('$') {
            self.cannot(place, "variables aren't replaced: write what stands for `$`");
            return None;
        }
        Some(text.0.clone())
    }

    fn secret(&mut self, key: &str, definition: Option<&Definition>) -> Option<SecretPlan> {
        let place = format!("secrets.{key}");
        let default = Definition::default();
        let definition = definition.unwrap_or(&default);
        for other in &definition.rest.0 {
            self.cannot(&place, &format!("`{other}` has nothing in Skep that it could become"));
        }
        let external = match &definition.external {
            None | Some(External::Is(false)) => None,
            Some(External::Is(true)) => Some(None),
            Some(External::Named { name }) => Some(Some(name)),
        };
        let named = external.flatten().or(definition.name.as_ref());
        let name = match named {
            Some(name) => self.plain(&place, name)?,
            None if external.is_some() => key.to_owned(),
            None => format!("{}{key}", self.prefix),
        };
        let Ok(name) = name.parse::<Name>() else {
            self.cannot(&place, &format!("{name:?} is no name of a secret"));
            return None;
        };
        self.names.insert(key.to_owned(), name.clone());
        let source = match (&definition.file, &definition.environment, external) {
            (Some(path), None, None) => self.path(&place, path)?,
            (None, Some(variable), None) => Source::Environment(self.plain(&place, variable)?),
            (None, None, Some(_)) => Source::External,
            _ => {
                self.cannot(&place, "it needs one of `file`, `environment` and `external`");
                return None;
            }
        };
        let labels = self.labels(&place, definition.labels.as_ref())?;
        Some(SecretPlan { name, source, labels })
    }

    fn path(&mut self, place: &str, path: &Text) -> Option<Source> {
        let path = self.plain(place, path)?;
        if path.is_empty() || path.starts_with('~') {
            self.cannot(place, "`file` must be a path from the Compose file's folder, or from /");
            return None;
        }
        Some(Source::File(PathBuf::from(path)))
    }

    fn labels(&mut self, place: &str, labels: Option<&Labelled>) -> Option<Labels> {
        let pairs: Vec<(String, String)> = match labels {
            None => Vec::new(),
            Some(Labelled::Map(map)) => {
                let value = |value: &Option<Text>| value.as_ref().map_or("", |it| &it.0).to_owned();
                map.iter().map(|(key, it)| (key.clone(), value(it))).collect()
            }
            Some(Labelled::List(list)) => {
                let pair = |text: &Text| {
                    let (key, value) = text.0.split_once('=').unwrap_or((&text.0, ""));
                    (key.to_owned(), value.to_owned())
                };
                list.iter().map(pair).collect()
            }
        };
        if pairs.iter().any(|(key, value)| key.contains('$') || value.contains('$')) {
            self.cannot(place, "variables aren't replaced: write what stands for `$`");
            return None;
        }
        let labels = pairs.iter().map(|(key, value)| Label::new(key, value));
        match labels.collect::<Result<Vec<_>, _>>().and_then(Labels::new) {
            Ok(labels) => Some(labels),
            Err(why) => {
                self.cannot(place, &format!("labels: {why}"));
                None
            }
        }
    }

    fn service(&mut self, key: &str, place: &str, used: &[Used]) -> Option<ServicePlan> {
        let name = format!("{}{key}", self.prefix);
        let Ok(name) = name.parse::<Name>() else {
            self.cannot(place, &format!("{name:?} is no name of a service"));
            return None;
        };
        let mut grants: Vec<GrantPlan> = Vec::new();
        for used in used {
            let Some(grant) = self.grant(place, used) else { continue };
            if grants.iter().any(|other| other.target == grant.target) {
                self.cannot(place, &format!("two of its secrets are to be {}", grant.target));
            }
            grants.push(grant);
        }
        Some(ServicePlan { key: key.to_owned(), name, grants })
    }

    fn grant(&mut self, place: &str, used: &Used) -> Option<GrantPlan> {
        let bare = |source: &Text| Long {
            source: Some(source.clone()),
            target: None,
            uid: None,
            gid: None,
            mode: None,
            rest: Others::default(),
        };
        let short;
        let long = match used {
            Used::Short(source) => {
                short = bare(source);
                &short
            }
            Used::Long(long) => long,
        };
        for other in &long.rest.0 {
            self.cannot(place, &format!("`{other}` of a secret is not known"));
        }
        let Some(source) = &long.source else {
            self.cannot(place, "one of its secrets has no `source`");
            return None;
        };
        let Some(secret) = self.names.get(&source.0).cloned() else {
            self.cannot(
                place,
                &format!("its secret {:?} is not defined under `secrets`", source.0),
            );
            return None;
        };
        let target = match &long.target {
            Some(target) => self.plain(place, target)?,
            None => source.0.clone(),
        };
        // In a container all of them are in one folder.
        let file = target.strip_prefix(SECRETS).unwrap_or(&target);
        if Path::new(file).is_absolute() {
            let why = format!("{target} is not below {SECRETS}: mount the volume there as well");
            self.cannot(place, &why);
            return None;
        }
        let Ok(target) = file.parse::<Target>() else {
            self.cannot(place, &format!("{target:?} is no name of a file below {SECRETS}"));
            return None;
        };
        let uid = self.number(place, long.uid.as_ref());
        let gid = self.number(place, long.gid.as_ref());
        Some(GrantPlan { secret, target, uid, gid, mode: long.mode.map(|mode| mode.0) })
    }

    fn number(&mut self, place: &str, text: Option<&Text>) -> Option<u32> {
        let text = text?;
        let number = text.0.parse().ok();
        if number.is_none() {
            self.cannot(place, &format!("{:?} is no number of a user or group", text.0));
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cannot(text: &str) -> Vec<String> {
        plan(text, "").expect_err("it can't come over")
    }

    #[test]
    fn a_file_comes_to_secrets_services_and_grants() {
        let text = "
version: '3.8'
x-own: &own
  uid: '103'
  gid: 104
  mode: 0440
services:
  web:
    image: nginx
    ports: ['80:80']
    secrets:
      - db
      - source: tls
        target: tls.key
        <<: *own
      - {source: tls, target: /run/secrets/again.key, mode: '0400'}
  job:
    image: busybox
  api:
    secrets: [token]
secrets:
  db: {file: ./db.txt}
  tls: {external: true, name: site.tls}
  token: {environment: TOKEN, labels: [a=b, c]}
  old: {external: {name: older}}
  spare: {file: /srv/spare, labels: {k: 1}, x-note: none}
";
        let plan = plan(text, "shop.").expect("a plan");
        let secrets: Vec<_> =
            plan.secrets.iter().map(|one| (one.name.as_str(), one.source.clone())).collect();
        assert_eq!(
            secrets,
            [
                ("shop.db", Source::File("./db.txt".into())),
                ("older", Source::External),
                ("shop.spare", Source::File("/srv/spare".into())),
                ("site.tls", Source::External),
                ("shop.token", Source::Environment("TOKEN".to_owned())),
            ]
        );
        let grant = |grant: &GrantPlan| {
            let text = format!("{}:{}", grant.secret, grant.target);
            (text, grant.uid, grant.gid, grant.mode)
        };
        let services: Vec<_> = plan
            .services
            .iter()
            .map(|one| (one.name.to_string(), one.grants.iter().map(grant).collect::<Vec<_>>()))
            .collect();
        let row = |text: &str, uid, gid, mode| (text.to_owned(), uid, gid, mode);
        assert_eq!(
            services,
            [
                ("shop.api".to_owned(), vec![row("shop.token:token", None, None, None)]),
                (
                    "shop.web".to_owned(),
                    vec![
                        row("shop.db:db", None, None, None),
                        row("site.tls:tls.key", Some(103), Some(104), Some(0o440)),
                        row("site.tls:again.key", None, None, Some(0o400)),
                    ]
                ),
            ]
        );
    }

    #[test]
    fn all_that_cannot_come_over_is_named() {
        let text = "
include: [other.yml]
services:
  a: {extends: b, secrets: [nowhere, {target: x}, {source: ok, target: /etc/x}]}
  b: {secrets: [{source: ok, uid: root}, {source: ok, target: '${T}'}, {source: ok, more: 1}]}
  'c d': {secrets: [ok]}
  d: {secrets: [ok, ok]}
secrets:
  ok: {file: x}
  OK: {file: y}
  two: {file: x, environment: Y}
  none: {}
  driver: {file: x, driver: d}
  var: {file: '${HOME}/x'}
  home: {file: ~/x}
  'b@d': {file: x}
  label: {file: x, labels: {'a b': c}}
";
        let told = cannot(text);
        for wanted in [
            "include: other files aren't read",
            "services.a: `extends` isn't followed",
            "services.a: its secret \"nowhere\" is not defined",
            "services.a: one of its secrets has no `source`",
            "services.a: /etc/x is not below /run/secrets/",
            "services.b: \"root\" is no number",
            "services.b: variables aren't replaced",
            "services.b: `more` of a secret is not known",
            "services.c d: \"c d\" is no name of a service",
            "services.d: two of its secrets are to be ok",
            "secret ok: two of them have this name",
            "secrets.two: it needs one of",
            "secrets.none: it needs one of",
            "secrets.driver: `driver` has nothing in Skep",
            "secrets.var: variables aren't replaced",
            "secrets.home: `file` must be a path",
            "secrets.b@d: \"b@d\" is no name of a secret",
            "secrets.label: labels:",
        ] {
            assert!(told.iter().any(|line| line.starts_with(wanted)), "{wanted}: {told:#?}");
        }
    }

    #[test]
    fn what_is_no_compose_file_is_one_line() {
        for text in [
            "[",
            "services: 1",
            "secrets: [a]",
            "secrets: {a: 1}",
            "services: {a: {secrets: x}}",
            "services: {a: {secrets: [{source: a, mode: 0999}]}}",
            "services: {a: {secrets: [{source: a, mode: 01777}]}}",
            "a: 1\na: 2",
            "a: b: c",
        ] {
            if let Ok(plan) = plan(text, "") {
                assert_eq!(plan, Plan::default(), "{text}");
                continue;
            }
            assert_eq!(cannot(text).len(), 1, "{text}: {:?}", cannot(text));
        }
        assert_eq!(plan("", ""), Ok(Plan::default()));
        let deep = format!("services: {}", "[".repeat(5_000));
        assert_eq!(cannot(&deep).len(), 1);
        let many: Vec<_> = (0..2_000).map(|n| format!("  s{n}: {{external: true}}")).collect();
        let many = many.join("\n");
        assert_eq!(cannot(&format!("secrets:\n{many}")).len(), 1);
    }
}
