//! `skep registry setup`: a registry's keys, services and files, in one act.

use std::path::{Path, PathBuf};

use clap::Args;
use skep_client::{Change, Generate, lookup};
use skep_core::base::{Exit, Failure, Label, Labels, Name, SecretBytes, SecretId, ServiceId};
use skep_core::domain::{NO_ONE, Owner, Placement, ServiceSpec};
use skep_core::wire::api::{SecretView, ServiceView};

use super::act::{Act, FileOf};
use super::ends::ends_label;
use super::keys::{Keys, LEAF_S, leaf_life, now};
use super::signing;
use super::site::{ENDS, KIND, LIFE, REGISTRY, SELF_SERVICE, SERVED, Site, label, registry_name};
use super::texts::{SignTold, Told};
use super::usage;
use crate::rules::login::Host;
use crate::words::file::read_text;
use crate::words::written::Written;
use skep_program::Screen;
use skep_program::{WaitArgs, Way, WayArgs};

/// Bytes of each text that is typed.
const TEXT: usize = 255;
/// Bytes of a file of certificates.
const CERTIFICATES: usize = 256 * 1024;

/// Make a registry's token server: keys, services and the files around it, in one act
///
/// The keys go to the services that need them and are written to no file.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  skep registry setup web --realm https://auth.example.com/auth \\
      --node n1 --out web
  skep registry setup web --realm https://auth.example.com/auth --node n1 \\
      --registry-service registry.example.com --tls-ca ca.crt --out web
  skep registry setup web --realm https://auth.example.com/auth --node n1 \\
      --sign --out web")]
pub(in crate::words) struct SetupArgs {
    /// What the registry is called here; at most 16 characters
    #[arg(value_name = "NAME", value_parser = registry_name)]
    registry: Name,
    /// Where clients get tokens, for example `https://auth.example.com/auth`
    #[arg(long, value_name = "URL", value_parser = realm)]
    realm: String,
    /// What tokens are for, which is where engines find the registry: HOST[:PORT] [default: the
    /// realm's]
    #[arg(long, value_name = "SERVICE", value_parser = served)]
    registry_service: Option<String>,
    /// Who tokens say that they are from [default: as --registry-service]
    #[arg(long, value_name = "ISSUER", value_parser = word)]
    issuer: Option<String>,
    /// A node that runs a token server; may be given several times
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<Name>,
    /// The CA of the registry's TLS, for engines: written to certs.d
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Let people change their own passwords at the token servers, which run as this user and
    /// may write accounts' verifiers then
    #[arg(long, value_name = "UID", value_parser = clap::value_parser!(u32).range(..i64::from(NO_ONE)))]
    self_service: Option<u32>,
    /// How long a certificate that signs tokens is good, 24h to 90d; the timer renews it after a
    /// third [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = leaf_life)]
    leaf_life: Option<u64>,
    /// Make the signer's service NAME.sign too, with a robot of its own
    #[arg(long)]
    sign: bool,
    /// Where the signer asks the registry, for example `http://127.0.0.1:5000` [default: https
    /// and --registry-service]
    #[arg(long, value_name = "URL", value_parser = signing::api, requires = "sign")]
    sign_api: Option<String>,
    /// The new folder that files are written to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    way: WayArgs,
}

/// Text that stands for itself in TOML, YAML, a file of the environment and a path.
fn word(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || "-._:/[]@~%+=?&,".contains(c);
    if (1..=TEXT).contains(&text.len()) && text.chars().all(sound) {
        return Ok(text.to_owned());
    }
    Err(format!("has 1 to {TEXT} characters of a-z A-Z 0-9 -._:/[]@~%+=?&,"))
}

/// Where engines find a registry.
fn served(text: &str) -> Result<String, String> {
    let host = text.parse::<Host>();
    host.map(|host| host.as_str().to_owned()).map_err(|_| "is written HOST[:PORT]".to_owned())
}

fn realm(text: &str) -> Result<String, String> {
    if host_of(text).is_none_or(|host| host.parse::<Host>().is_err()) {
        return Err("is written https://HOST/auth".to_owned());
    }
    word(text)
}

/// HOST[:PORT] of a URL.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split('/').next()?;
    (!host.contains(['@', '?'])).then_some(host)
}

pub(super) async fn run(screen: &mut Screen, args: SetupArgs) -> Result<(), Failure> {
    let name = args.registry;
    let host = host_of(&args.realm).unwrap_or_default().to_owned();
    let served = args.registry_service.unwrap_or(host);
    let issuer = args.issuer.unwrap_or_else(|| served.clone());
    let self_service = args.self_service;
    let realm = args.realm.as_str();
    let leaf_s = args.leaf_life.unwrap_or(LEAF_S);
    let api = args.sign_api.as_deref();
    let sign = args.sign.then_some(SignTold { api });
    let issuer = issuer.as_str();
    let told = Told { name: &name, realm, served: &served, issuer, self_service, leaf_s, sign };
    let tls_ca = args.tls_ca.as_deref().map(|path| certificates(path, &served)).transpose()?;
    let mut way = Way::open(screen, args.way)?;
    nothing_there(&mut way, &name).await?;
    let keys = Keys::draw(&name, now()?, leaf_s).map_err(|error| Failure::new(Exit::Bug, error))?;
    let trust = tls_ca.as_deref();
    let (act, auth) = act(&mut way, told, &keys, (args.nodes, trust))?;
    // Files first: what managers then have is complete.
    let mut files = vec![
        ("root.crt".to_owned(), keys.root.certificate.clone()),
        ("config-part.yml".to_owned(), told.config()),
        ("registry.env".to_owned(), told.env()),
        ("acl.toml".to_owned(), told.rules()),
        (format!("skep-registry-{name}.service"), told.unit()),
        (format!("skep-registry-{name}-signer.service"), told.signer_unit()),
        (format!("skep-registry-{name}-signer.timer"), told.signer_timer()),
        ("skep-registry.sysusers".to_owned(), told.user()),
    ];
    if let Some(unit) = told.sign_unit() {
        files.push((format!("skep-registry-{name}-sign.service"), unit));
    }
    files.extend(tls_ca.map(|text| (format!("certs.d/{served}/ca.crt"), text)));
    let mut written = Written::of(&args.out, &files)?;
    let look = format!("skep service inspect {name}.auth");
    let revision = match act.apply(&mut way, &look).await {
        Err(failure) if failure.exit == Exit::Unknown => {
            // It may have been done: then these are its files.
            written.keep();
            return Err(failure);
        }
        other => other?,
    };
    written.keep();
    let out = args.out.display();
    screen.data(&format!("{out}: {} files", files.len()))?;
    for next in [
        format!("the registry: {out}/root.crt, and {out}/config-part.yml or {out}/registry.env"),
        format!(
            "the token server's nodes: {out}/skep-registry-{name}.service, and {out}/skep-registry.sysusers"
        ),
        format!(
            "the node of the token CA: {out}/skep-registry-{name}-signer.timer and .service, after \
             `skep service update --node-add NODE {name}.ca`"
        ),
        format!("skep registry acl set {name} {out}/acl.toml"),
        format!("skep registry user add {name} USER"),
        format!("skep registry robot create {name} ROBOT --node NODE"),
    ] {
        screen.say(&format!("next: {next}"));
    }
    if args.sign {
        for next in signing::next(&name, &args.out) {
            screen.say(&format!("next: {next}"));
        }
    }
    way.wait(screen, args.wait, revision, vec![auth.as_bytes().to_vec()], false).await
}

/// Certificates of the registry's TLS.
fn certificates(path: &Path, served: &str) -> Result<String, Failure> {
    let text = read_text(path, CERTIFICATES)?;
    let shown = path.display();
    let hint = "it goes to each engine: give the certificates alone, in PEM";
    if text.contains("PRIVATE KEY") || !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(usage(format!("{shown} has no certificates, or a key with them"), hint));
    }
    if served.starts_with('.') {
        let text = format!("certs.d has no folder for {served}");
        return Err(usage(text, "--registry-service HOST:PORT says where engines find it"));
    }
    Ok(text)
}

/// Refuses what is set up already, and names what is there.
async fn nothing_there(way: &mut Way, name: &Name) -> Result<(), Failure> {
    let prefix = format!("{name}.").to_ascii_lowercase();
    let secrets: Vec<SecretView> =
        lookup::all(&mut way.link, false).await.map_err(|error| error.failure())?;
    let mut there: Vec<String> = Vec::new();
    for view in &secrets {
        let ours = label(&view.labels, REGISTRY) == Some(name.as_str());
        let named = view.name.to_ascii_lowercase();
        if ours || PARTS.iter().any(|part| named == format!("{prefix}{part}")) {
            there.push(format!("secret {}", view.name));
        }
    }
    let services: Vec<ServiceView> =
        lookup::all(&mut way.link, false).await.map_err(|error| error.failure())?;
    let ours = |view: &&ServiceView| {
        ["auth", "ca", "sign"]
            .iter()
            .any(|part| view.name.eq_ignore_ascii_case(&format!("{name}.{part}")))
    };
    there.extend(services.iter().filter(ours).map(|view| format!("service {}", view.name)));
    if there.is_empty() {
        return Ok(());
    }
    let more = there.len().saturating_sub(SHOWN);
    there.truncate(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!("there is something of {name} already: {}{more}", there.join(", "));
    Err(Failure::new(Exit::Refused, text)
        .hint("choose another name, or remove these; nothing was changed"))
}

/// Things that are shown of what is there.
const SHOWN: usize = 10;
/// The secrets of a setup.
const PARTS: [&str; 9] = [
    "ca.key",
    "root.crt",
    "signer.key",
    "signer.crt",
    "refresh.key",
    "auth.toml",
    "acl.toml",
    signing::SETTINGS,
    signing::TRUST,
];

/// Secrets, services and grants of a registry.
fn act(
    way: &mut Way,
    told: Told<'_>,
    keys: &Keys,
    (nodes, trust): (Vec<Name>, Option<&str>),
) -> Result<(Act, ServiceId), Failure> {
    let name = told.name;
    let mut act = Act::default();
    let labels = |more: &[(&str, &str)]| {
        let all = [&[(REGISTRY, name.as_str())], more].concat();
        let labels = all.into_iter().map(|(key, value)| Label::new(key, value));
        let labels = labels.collect::<Result<Vec<_>, _>>().and_then(Labels::new);
        labels.map_err(|error| usage(error, "choose a shorter service name"))
    };
    let mut service = |act: &mut Act, part: &str, nodes, labels| -> Result<ServiceId, Failure> {
        let id = ServiceId::draw(&mut way.dice);
        let name = format!("{name}.{part}").parse::<Name>();
        let name = name.map_err(|error| usage(error, "choose a shorter name"))?;
        let placement = Placement { nodes, ..Placement::default() };
        // A token server may then refuse what no manager has confirmed for a while.
        let fresh = part == "auth";
        // Root and a service's owner may write what it may write.
        let uid = told.self_service.filter(|_| fresh).unwrap_or_default();
        let owner = Owner { uid, gid: uid };
        let spec = ServiceSpec { placement, labels, fresh, owner, ..ServiceSpec::default() };
        act.change(Change::CreateService { id, name, spec });
        Ok(id)
    };
    let own = [(SERVED, told.served), (SELF_SERVICE, "yes")];
    let own = if told.self_service.is_some() { &own[..] } else { &own[..1] };
    let auth = service(&mut act, "auth", nodes.clone(), labels(own)?)?;
    let ca = service(&mut act, "ca", Vec::new(), labels(&[])?)?;
    let refresh = Generate::Hex(32).draw(&mut way.dice).map(|drawn| drawn.value);
    let refresh = refresh.map_err(|error| Failure::new(Exit::Bug, error))?;
    let text = |text: &str| SecretBytes::copy_of(text.as_bytes());
    let (root_ends, ends) = (ends_label(keys.root.ends_s), ends_label(keys.signer.ends_s));
    let life = told.leaf_s.to_string();
    let mut leaf = None;
    for (part, value, to) in [
        ("ca.key", text(&keys.root.key), ca),
        ("root.crt", text(&keys.root.certificate), ca),
        ("signer.key", text(&keys.signer.key), auth),
        ("signer.crt", text(&keys.signer.leaf), auth),
        ("refresh.key", refresh, auth),
        ("auth.toml", text(&told.settings()), auth),
        ("acl.toml", text(&told.rules()), auth),
    ] {
        let mut labels = vec![(REGISTRY, name.as_str()), (KIND, part)];
        // Managers see no certificate: what ends when is told to them by whoever made it.
        match part {
            "root.crt" => labels.push((ENDS, &root_ends)),
            "signer.crt" => labels.extend([(ENDS, ends.as_str()), (LIFE, &life)]),
            _ => {}
        }
        let called = format!("{name}.{part}");
        // Logins that ended with a key are not to come back with it.
        let secret: SecretId = if part == "refresh.key" {
            act.create_forward_only(&mut way.dice, &called, &labels, value)?
        } else {
            act.create(&mut way.dice, &called, &labels, value)?
        };
        act.grant(to, secret, part, FileOf::default())?;
        // The CA's service draws the next ones, and needs no operator to write them.
        if part.starts_with("signer.") {
            act.grant(ca, secret, part, FileOf { write: Some(true), ..FileOf::default() })?;
        }
        leaf = (part == "signer.crt").then_some(secret).or(leaf);
    }
    if told.sign.is_some() {
        let site = Site::new(name.clone(), auth, told.served, told.self_service.is_some());
        let parts = signing::Parts { told, labels: labels(&[])?, nodes, leaf, trust };
        parts.put(&mut act, way, &site)?;
    }
    Ok((act, auth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Acl;
    use crate::rules::settings::Settings;
    use crate::rules::sign_settings::SignSettings;

    #[test]
    fn what_is_written_is_read() {
        let name: Name = "web".parse().unwrap();
        let told = Told {
            name: &name,
            realm: "https://a/auth",
            served: "r:5000",
            issuer: "i",
            self_service: Some(4_870),
            leaf_s: LEAF_S,
            sign: Some(SignTold { api: Some("http://127.0.0.1:5000") }),
        };
        let unit = told.unit();
        let state = "/var/lib/skep-registry/web";
        assert!(unit.contains(&format!("registry auth web --audit {state}/audit\n")), "{unit}");
        assert!(unit.contains("\nStateDirectory=skep-registry\n"), "{unit}");
        assert!(unit.contains(&format!("-o skep-registry -g skep-registry {state}\n")), "{unit}");
        let rotate = "registry signer rotate web --by-agent --if-due";
        assert!(told.signer_unit().contains(&format!("{rotate}\n")), "{}", told.signer_unit());
        assert!(told.signer_timer().contains("\nOnCalendar=daily\n"));
        let brief = Told { leaf_s: 24 * 3_600, ..told };
        let unit = brief.signer_unit();
        assert!(unit.contains(&format!("{rotate} --leaf-life 86400s\n")), "{unit}");
        assert!(brief.signer_timer().contains("\nOnCalendar=hourly\n"));
        let settings = Settings::read(&told.settings()).unwrap();
        assert!(settings.passwords && told.user().starts_with("u skep-registry 4870 "));
        let services = vec!["r:5000".to_owned(), "web.sign".to_owned()];
        assert_eq!((settings.issuer.as_str(), settings.services), ("i", services));
        let sign = SignSettings::read(&told.sign_settings().unwrap()).unwrap();
        assert_eq!((sign.registry.as_str(), sign.service.as_str()), ("r:5000", "web.sign"));
        assert!(sign.binds("release", "team/app"));
        let unit = told.sign_unit().unwrap();
        assert!(unit.contains("registry sign web --serve --audit"), "{unit}");
        assert!(Acl::parse(&told.rules()).is_ok());
        let uncommented = told.rules().replace("\n# [[", "\n[[").replace("\n# m", "\nm");
        assert!(Acl::parse(&uncommented.replace("\n# act", "\nact")).is_ok(), "{uncommented}");
    }

    #[test]
    fn realms_and_words_stand_for_themselves() {
        assert_eq!(host_of("https://auth.example.com:8443/auth"), Some("auth.example.com:8443"));
        for bad in [
            "",
            "auth.example.com",
            "ftp://x/",
            "https:///auth",
            "https://a b",
            "https://a\"",
            "https://u@h/",
            "https://h/$x",
            "https://h/\n",
        ] {
            assert!(realm(bad).is_err(), "{bad:?}");
        }
    }
}
