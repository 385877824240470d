//! The whole file: users, and what of the rest stands in the way.

use super::found::Found;
use super::rules::Rules;
use super::yaml::{At, Node, line, text_of};
use super::{Cannot, Imported, ImportedUser};
use crate::rules::acl::{AccountLabels, Acl};
use crate::rules::credential::Credential;
use crate::rules::shown;
use crate::rules::slug::Account;

/// Users of one registry.
const USERS: usize = 4096;
/// Labels of a user, and values of a label.
const LABELS: usize = 64;

/// Ways to know users, or to decide, that nothing here does.
const OTHER_WAYS: [(&str, &str); 14] = [
    ("google_auth", "nobody is asked at Google's: make an account for each of these users"),
    ("github_auth", "nobody is asked at GitHub's: make an account for each of these users"),
    ("oidc_auth", "no OpenID provider is asked: make an account for each of these users"),
    ("gitlab_auth", "nobody is asked at GitLab's: make an account for each of these users"),
    ("ldap_auth", "no LDAP server is asked: make an account for each of these users"),
    ("mongo_auth", "no database is asked: make an account for each of these users"),
    ("xorm_auth", "no database is asked: make an account for each of these users"),
    ("ext_auth", "no other program is asked: make an account for each of these users"),
    ("plugin_authn", "there are no plug-ins: make an account for each of these users"),
    ("acl_mongo", "rules are in one file: write those of the database under acl"),
    ("acl_xorm", "rules are in one file: write those of the database under acl"),
    ("casbin_authz", "rules are in one file: write them under acl"),
    ("ext_authz", "no other program is asked: write its decisions as rules under acl"),
    ("plugin_authz", "there are no plug-ins: write its decisions as rules under acl"),
];

/// Settings of the server that change what clients meet, and why they can't come over.
const SERVER: [(&str, &str); 7] = [
    ("real_ip_header", "it says whom to believe, and not which proxy: set trusted_proxies"),
    ("real_ip_pos", "it says whom to believe, and not which proxy: set trusted_proxies"),
    ("letsencrypt", "certificates are secrets: nothing here asks for them"),
    ("hsts", "there is no such header here"),
    ("tls_min_version", "TLS is 1.2 and 1.3, with what rustls offers"),
    ("tls_curve_preferences", "TLS is 1.2 and 1.3, with what rustls offers"),
    ("tls_cipher_suites", "TLS is 1.2 and 1.3, with what rustls offers"),
];
/// Settings that are made anew: addresses, certificates, keys.
const SERVER_ANEW: [&str; 5] = ["addr", "net", "path_prefix", "certificate", "key"];
const TOKEN_ANEW: [&str; 5] =
    ["issuer", "expiration", "certificate", "key", "disable_legacy_key_id"];

pub(super) fn convert(source: &str, document: &At) -> Result<Imported, Vec<Cannot>> {
    let mut found = Found::new(source);
    let (mut users, mut rules) = (Users::default(), Rules::default());
    let (mut anew, mut issuer) = (Vec::new(), None);
    let mut seen = (false, false);
    for (key, value) in found.map(document, "the file") {
        match key.value.as_str() {
            "server" => settings(&mut found, &mut anew, "server", &SERVER_ANEW, value),
            "token" => {
                settings(&mut found, &mut anew, "token", &TOKEN_ANEW, value);
                issuer = issuer_of(source, value);
            }
            "users" => {
                seen.0 = true;
                users.read(&mut found, value);
            }
            "acl" => {
                seen.1 = true;
                rules.read(&mut found, value);
            }
            other => {
                let way = OTHER_WAYS.iter().find(|(name, _)| *name == other);
                let why =
                    way.map_or("docker_auth has no such key, or a newer one has it", |way| way.1);
                found.cannot(line(key), &shown(other), why);
            }
        }
    }
    for (seen, key, why) in [
        (seen.0, "users", "there are no users: they are what comes over"),
        (seen.1, "acl", "there are no rules: write acl: [] if nobody may do anything"),
    ] {
        if !seen && found.bad.is_empty() {
            found.cannot(1, key, why);
        }
    }
    rules.fit(&mut found, &users.all);
    let (acl, count) = rules.written();
    if let Some(bad) = Acl::parse(&acl).err().filter(|_| found.bad.is_empty()) {
        // Each rule reads alone: it is their number, or that of one kind of them.
        found.cannot(1, "acl", bad.text);
    }
    if !found.bad.is_empty() {
        found.bad.sort_by_key(|bad| bad.line);
        return Err(found.bad);
    }
    let (users, anonymous) =
        (users.all.into_iter().map(|(_, user)| user).collect(), users.anonymous);
    Ok(Imported { acl, rules: count, users, anonymous, issuer, anew })
}

/// `server` or `token`: what is made anew is noted, the rest stands in the way.
fn settings(found: &mut Found<'_>, anew: &mut Vec<String>, of: &str, known: &[&str], value: &At) {
    if matches!(value.value, Node::Null) {
        return;
    }
    for (key, value) in found.map(value, of) {
        let place = format!("{of}.{}", shown(&key.value));
        let hindrance = SERVER.iter().find(|(name, _)| of == "server" && *name == key.value);
        if let Some((_, why)) = hindrance {
            // What is switched off is as good as not there.
            if text_of(found.source, value).is_none_or(|text| text != "false") {
                found.cannot(line(key), &place, *why);
            }
        } else if known.contains(&key.value.as_str()) {
            anew.push(format!("{place} (line {})", line(key)));
        } else {
            found.cannot(line(key), &place, "docker_auth has no such key, or a newer one has it");
        }
    }
}

fn issuer_of(source: &str, token: &At) -> Option<String> {
    let Node::Map(entries) = &token.value else { return None };
    let (_, value) = entries.iter().find(|(key, _)| key.value == "issuer")?;
    text_of(source, value)
}

/// The users, with the line of each.
#[derive(Debug, Default)]
struct Users {
    all: Vec<(u64, ImportedUser)>,
    anonymous: bool,
}

impl Users {
    fn read(&mut self, found: &mut Found<'_>, value: &At) {
        for (name, entry) in found.map(value, "users") {
            let place = format!("users, \"{}\"", shown(&name.value));
            let at = line(name);
            if matches!(entry.value, Node::Null) {
                found.cannot(at, &place, "without an entry docker_auth knows no such user");
                continue;
            }
            let (mut hash, mut labels) = (None, AccountLabels::new());
            let mut labelled = false;
            for (key, value) in found.map(entry, &place) {
                let place = format!("{place}, {}", shown(&key.value));
                match key.value.as_str() {
                    "password" if matches!(value.value, Node::Null) => {}
                    "password" => hash = found.text(value, &place),
                    "labels" => {
                        labelled = true;
                        labels = labels_of(found, value, &place);
                    }
                    _ => found.cannot(line(key), &place, "docker_auth has no such key here"),
                }
            }
            match (name.value.as_str(), hash) {
                ("", None) if !labelled => self.anonymous = true,
                ("", _) => {
                    let why = "somebody without a name has no password and no labels here";
                    found.cannot(at, &place, why);
                }
                (_, None) => {
                    let why = "without a password docker_auth takes any: give the account one";
                    found.cannot(at, &place, why);
                }
                (text, Some(hash)) => self.add(found, at, &place, text, hash, labels),
            }
        }
        if self.all.len() > USERS {
            let why = format!("there are more than {USERS} users");
            found.cannot(line(value), "users", why);
        }
    }

    fn add(
        &mut self,
        found: &mut Found<'_>,
        at: u64,
        place: &str,
        name: &str,
        hash: String,
        labels: AccountLabels,
    ) {
        let account = match name.parse::<Account>() {
            Ok(account) if account.owner().is_none() => account,
            Ok(_) => {
                let why = "a + stands between an owner and a robot here: rename the user";
                return found.cannot(at, place, why);
            }
            Err(bad) => return found.cannot(at, place, bad.to_string()),
        };
        // The same check that the server makes, with an id that is nobody's.
        let none = "0".repeat(32);
        let verifier = serde_json::json!({
            "version": 1, "id": none, "gen": none, "kind": "bcrypt", "hash": hash, "overlap_s": 0,
        });
        if Credential::read(&verifier.to_string()).is_err() {
            let why = "its password is no hash of bcrypt's with a cost of 4 to 14";
            return found.cannot(at, place, why);
        }
        self.all.push((at, ImportedUser { account, hash, labels }));
    }
}

fn labels_of(found: &mut Found<'_>, value: &At, place: &str) -> AccountLabels {
    let mut labels = AccountLabels::new();
    if matches!(value.value, Node::Null) {
        return labels;
    }
    for (label, values) in found.map(value, place) {
        let place = format!("{place}, {}", shown(&label.value));
        let mut all = Vec::new();
        for value in found.list(values, &place) {
            all.extend(found.text(value, &place));
        }
        if all.len() > LABELS {
            found.cannot(line(label), &place, format!("it has more than {LABELS} values"));
        }
        labels.insert(label.value.clone(), all);
    }
    if labels.len() > LABELS {
        found.cannot(line(value), place, format!("there are more than {LABELS} labels"));
    }
    labels
}
