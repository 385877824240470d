//! `skep operator create`, `request` and `accept`: an operator's private key is made where it is
//! used, and files stand before anything depends on them.

use std::path::{Path, PathBuf};

use super::args::{EncryptArgs, LocalArgs, OperatorCreateArgs};
use super::link::{self, link};
use super::names::name;
use super::outfile::OutFile;
use super::passphrase::Encryption;
use super::problem::{Trouble, usage};
use super::shell::Shell;
use super::unlock::{read_key, wrong};
use super::{spec, words};
use skep_client::ca::{
    OperatorAnswer, OperatorRequest, RequestError, RequestKey, RequestKeyText, verify_chain,
};
use skep_client::machine::read_file;
use skep_client::{CallKind, Control, Passphrases};
use skep_core::base::{Exit, Failure, Fingerprint, Name, RequestId, SecretBytes, Stamp};
use skep_core::domain::{OperatorRole, Scope};
use skep_core::seal::{HelloKey, SealError, SealedToRecipients};
use skep_core::wire::{api, convert};

/// Bytes of a request, a key or an answer that are read.
const FILE_BYTES: usize = 64 * 1024;
/// How a person finds out what came of it.
const LOOK: &str = "skep operator ls";

/// Whose key it is that the new operator has.
enum For {
    /// One made here, which goes into an identity file.
    Here(RequestKey),
    /// Somebody's elsewhere, whose request is answered.
    Elsewhere,
}

/// Makes an operator.
pub(super) async fn create(shell: &mut Shell, args: OperatorCreateArgs) -> Result<(), Trouble> {
    let name = name(&args.name)?;
    let role = words::read_operator_role(&args.role)
        .ok_or_else(|| usage("--role: is none", "admin, editor, viewer or auditor"))?;
    let scope =
        Scope::new(&args.scopes).map_err(|bad| usage(bad, "for example --scope team-a."))?;
    let constraints = args.constraints.iter().map(|text| spec::constraint(text));
    let constraints: Vec<_> = constraints.collect::<Result<_, _>>()?;
    let ttl_ms = args.ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    if args.ttl.is_some() && ttl_ms == 0 {
        return Err(usage("--ttl: an operator that is there for no time", "for example --ttl 8h"));
    }
    let (whose, request) = if let Some(path) = &args.request {
        (For::Elsewhere, read(path, OperatorRequest::parse)?)
    } else {
        let key = RequestKey::generate(None).map_err(|error| bug(&error))?;
        let request = key.request().map_err(|error| bug(&error))?;
        (For::Here(key), request)
    };
    let encryption = Encryption::of(shell, &args.encrypt, &[name.as_str()])?;
    if matches!(whose, For::Elsewhere) && encryption.is_some() {
        let hint =
            "encrypt it where its key is: `skep operator accept ANSWER --key FILE --passphrase`";
        return Err(usage("--request: its identity is not made here", hint));
    }
    let end = if matches!(whose, For::Here(_)) { "skepid" } else { "answer" };
    let path = args.out.unwrap_or_else(|| PathBuf::from(format!("{name}.{end}")));
    let mut out = OutFile::create(&path)?;
    // It is written when the operator is there: there must be room for it then.
    out.reserve()?;
    let mut link = link(shell, args.client)?;
    let public_key = request.public_key().map_err(|error| bug(&error))?;
    let sent = api::CreateOperatorRequest {
        request_id: RequestId::draw(&mut *shell.dice).as_bytes().to_vec(),
        name: name.to_string(),
        role: convert::write_operator_role(role).into(),
        scope: scope.parts().map(str::to_owned).collect(),
        constraints: constraints.iter().map(convert::write_constraint).collect(),
        ttl_ms,
        public_key,
        proof: request.proof.clone(),
        fingerprint: request.fingerprint.map(|of| of.0.to_vec()).unwrap_or_default(),
    };
    let kind = CallKind::Repeatable(LOOK.to_owned());
    let send = async |mut client: Control, request| client.create_operator(request).await;
    let mut reply = link.call(kind, sent, send).await?;
    let written = answer_of(&mut reply, request.fingerprint.or(link.fingerprint()))
        .map_err(unsound)
        .and_then(|answer| match whose {
            For::Here(key) => {
                let mut identity = key.accept(answer).map_err(unsound)?;
                encryption.seal(&mut *shell.dice, &mut identity)?;
                Ok(identity.to_text())
            }
            For::Elsewhere => Ok(answer.to_text()),
        })
        .and_then(|text| out.write(&text));
    written.map_err(|error| unwritten(&name, &error))?;
    out.keep();
    shell.screen.echo(&path.display().to_string());
    told(shell, &name, role, &scope, &reply);
    if end == "answer" {
        shell.screen.say("hand it to whoever made the request; there:");
        shell.screen.say(&format!("  skep operator accept {} --key KEYFILE", path.display()));
    }
    Ok(())
}

/// Makes an admin by an unlock key, which stays here.
pub(super) async fn recover(
    shell: &mut Shell,
    typed: &str,
    key_file: Option<PathBuf>,
    (out, encrypt): (Option<PathBuf>, &EncryptArgs),
    local: LocalArgs,
) -> Result<(), Trouble> {
    let name = name(typed)?;
    let encryption = Encryption::of(shell, encrypt, &[name.as_str()])?;
    let unlock_key = read_key(key_file)?;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{name}.skepid")));
    let mut out = OutFile::create(&path)?;
    // It is written when the operator is there: there must be room for it then.
    out.reserve()?;
    let mut link = link::local(shell, local)?;
    let send = async |mut client: Control, request| client.prepare_recover(request).await;
    let prepared = link.call(CallKind::Read, api::PrepareRecoverRequest {}, send).await?;
    let context = [b"operator recovery".as_slice(), &prepared.cluster_id].concat();
    let opened = SealedToRecipients::open(&prepared.challenge, &context, &unlock_key);
    let opened = opened.map_err(|error| match error {
        SealError::NotARecipient => wrong(
            "the unlock key is not one that unlocks every manager of this cluster",
            "`skep unlock-key ls` lists whose keys are good",
        ),
        error => Failure::new(Exit::Refused, format!("what the manager answered {error}")).into(),
    })?;
    let key = RequestKey::generate(Some(unlock_key.fingerprint())).map_err(|error| bug(&error))?;
    drop(unlock_key);
    let request = key.request().map_err(|error| bug(&error))?;
    let operator = api::CreateOperatorRequest {
        request_id: RequestId::draw(&mut *shell.dice).as_bytes().to_vec(),
        name: name.to_string(),
        role: api::OperatorRole::Admin.into(),
        public_key: request.public_key().map_err(|error| bug(&error))?,
        proof: request.proof,
        fingerprint: key.fingerprint.map(|of| of.0.to_vec()).unwrap_or_default(),
        ..api::CreateOperatorRequest::default()
    };
    let sent =
        api::RecoverOperatorRequest { opened: opened.expose().to_vec(), operator: Some(operator) };
    let kind = CallKind::Once(LOOK.to_owned());
    let send = async |mut client: Control, request| client.recover_operator(request).await;
    let mut reply = link.call(kind, sent, send).await?;
    let written = answer_of(&mut reply, key.fingerprint)
        .and_then(|answer| key.accept(answer))
        .map_err(unsound)
        .and_then(|mut identity| {
            encryption.seal(&mut *shell.dice, &mut identity)?;
            out.write(&identity.to_text())
        });
    written.map_err(|error| unwritten(&name, &error))?;
    out.keep();
    shell.screen.echo(&path.display().to_string());
    told(shell, &name, OperatorRole::Admin, &Scope::everything(), &reply);
    shell.screen.say("every `skep status` says for a week that an unlock key made it");
    Ok(())
}

fn unsound(error: RequestError) -> Trouble {
    Failure::new(Exit::Refused, format!("what the manager answered {error}")).into()
}

/// Says who can do what from now on.
fn told(
    shell: &mut Shell,
    name: &Name,
    role: OperatorRole,
    scope: &Scope,
    reply: &api::CreateOperatorReply,
) {
    let role = words::operator_role(convert::write_operator_role(role));
    let within = if scope.is_bounded() { format!(", within {scope}") } else { String::new() };
    let until = if reply.ends > 0 { words::until(reply.ends) } else { "until removed".to_owned() };
    shell
        .screen
        .say(&format!("operator {name} of {}: {role}{within}, {until}", reply.cluster_name));
}

/// The operator is there, and nobody has its identity.
fn unwritten(name: &Name, error: &Trouble) -> Trouble {
    let text = format!("operator {name} was made, without its identity: {}", error.text());
    Failure::new(Exit::NotConfirmed, text)
        .hint(format!("remove it and make it anew: `skep operator rm {name}`"))
        .into()
}

/// What a manager answered, of the cluster that it should be of.
fn answer_of(
    reply: &mut api::CreateOperatorReply,
    wanted: Option<Fingerprint>,
) -> Result<OperatorAnswer, RequestError> {
    let broken = |why| RequestError::Not { what: "an operator's certificate", why };
    let root = reply.chain.get(2).map(|root| Fingerprint::of_root(root));
    let fingerprint = root.ok_or_else(|| broken("it has no root"))?;
    if wanted.is_some_and(|wanted| wanted != fingerprint) {
        return Err(RequestError::OtherCluster);
    }
    let chain = std::mem::take(&mut reply.chain);
    let hello = SecretBytes::take(std::mem::take(&mut reply.hello_key));
    let answer = OperatorAnswer {
        cluster: reply.cluster_name.parse().map_err(|_| broken("its cluster has no name"))?,
        fingerprint,
        addresses: reply.addresses.clone(),
        oldest_issuer: Stamp(reply.oldest_issuer),
        chain,
        hello: HelloKey::parse(&hello).map_err(|_| broken("it has no hello key"))?,
    };
    let starts = answer.chain.first().and_then(|der| skep_client::ca::read_leaf(der).ok());
    let starts = starts.map(|leaf| leaf.starts).ok_or_else(|| broken("it is damaged"))?;
    verify_chain(&answer.chain, fingerprint, starts)
        .map_err(|_| broken("it does not end in the cluster's root"))?;
    Ok(answer)
}

/// Makes a key, and prints the request for it.
pub(super) fn request(
    shell: &mut Shell,
    out: &Path,
    fingerprint: Option<&str>,
    encrypt: &EncryptArgs,
) -> Result<(), Trouble> {
    let fingerprint = fingerprint.map(str::parse::<Fingerprint>).transpose();
    let fingerprint = fingerprint.map_err(|_bad| {
        usage("--fingerprint: is none", "`skep ca show` and `skep status` show the cluster's")
    })?;
    if shell.screen.leads_nowhere() {
        return Err(Failure::new(
            Exit::Refused,
            "standard output leads nowhere: the request would be lost",
        )
        .hint("write it to a file, or to a terminal; nothing was made")
        .into());
    }
    let encryption = Encryption::of(shell, encrypt, &[])?;
    let mut file = OutFile::create(out)?;
    let key = RequestKey::generate(fingerprint).map_err(|error| bug(&error))?;
    let request = key.request().map_err(|error| bug(&error))?;
    file.write(&encryption.text(&mut *shell.dice, &key)?)?;
    let text = request.to_text();
    let text = str::from_utf8(text.expose()).unwrap_or_default();
    for line in text.trim_ascii_end().lines() {
        shell.screen.data(line)?;
    }
    file.keep();
    shell.screen.say(&format!("the private key: {}; it stays here", out.display()));
    Ok(())
}

/// Makes an identity of a key and the answer to its request.
pub(super) fn accept(
    shell: &mut Shell,
    answer: &Path,
    (key, passphrases): (&Path, &Passphrases),
    out: Option<PathBuf>,
    encrypt: &EncryptArgs,
) -> Result<(), Trouble> {
    let (shown, answered) = (answer.display(), read(answer, OperatorAnswer::parse)?);
    let (fingerprint, cluster) = (answered.fingerprint, answered.cluster.clone());
    let (key, lock) = passphrases.open_key(key, read(key, RequestKeyText::parse)?)?;
    let was_bound = key.fingerprint.is_some();
    let leaf = answered.chain.first().and_then(|der| skep_client::ca::read_leaf(der).ok());
    let named = leaf.map_or_else(|| "identity".to_owned(), |leaf| leaf.subject.name.to_string());
    let mut identity = key.accept(answered).map_err(|error| {
        usage(format!("{shown}: {error}"), "take key, request and answer that belong together")
    })?;
    let encryption = Encryption::of(shell, encrypt, &[&named, cluster.as_str()])?;
    encryption.or(lock).seal(&mut *shell.dice, &mut identity)?;
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{named}.skepid")));
    let mut file = OutFile::create(&path)?;
    file.write(&identity.to_text())?;
    file.keep();
    shell.screen.echo(&path.display().to_string());
    shell.screen.say(&format!("{named} of {cluster}, whose fingerprint is {fingerprint}"));
    if !was_bound {
        shell.screen.say("compare it with the one that `skep status` shows on a manager");
    }
    Ok(())
}

fn read<T>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, RequestError>,
) -> Result<T, Trouble> {
    let shown = path.display();
    let text = read_file(path, FILE_BYTES).map_err(|error| {
        usage(
            format!("{shown}: {error}"),
            "`skep operator request --help` shows which files there are",
        )
    })?;
    parse(text.expose()).map_err(|error| {
        usage(
            format!("{shown}: {error}"),
            "`skep operator request --help` shows what is made of what",
        )
    })
}

fn bug(error: &dyn std::fmt::Display) -> Trouble {
    Failure::new(Exit::Bug, format!("a key {error}")).into()
}
