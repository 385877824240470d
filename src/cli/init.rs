//! `skep init`: the root, the unlock key and the first admin's key are made
//! here, and both files are written before anything depends on them.

use skep_client::ca::{CaError, Identity, PrivateKey, Root, key_digest, verify_chain};
use skep_client::{CallKind, Control};
use skep_core::base::{Clock, ClusterId, Exit, Failure, Fingerprint, Name, SecretBytes, Stamp};
use skep_core::seal::{HelloKey, SealError, SealedToRecipients, UnlockKey};
use skep_core::wire::api;

use super::args::InitArgs;
use super::link;
use super::names::name;
use super::next;
use super::outfile::OutFile;
use super::passphrase::Encryption;
use super::problem::Trouble;
use super::shell::Shell;

/// What the first operator is called.
const ADMIN: &str = "admin";

/// What is made here, before the manager commits to it.
struct Founding {
    cluster: ClusterId,
    name: Name,
    fingerprint: Fingerprint,
    unlock_key: UnlockKey,
    admin: PrivateKey,
}

/// Runs it.
pub(super) async fn run(shell: &mut Shell, args: InitArgs) -> Result<(), Trouble> {
    let given = args.name.as_deref().map(name).transpose()?;
    if args.unlock_key_out.is_none() && shell.screen.leads_nowhere() {
        let text = "standard output leads nowhere: the unlock key would be lost";
        return Err(Failure::new(Exit::Refused, text)
            .hint("`skep init --unlock-key-out FILE` writes it to a file; nothing was changed")
            .into());
    }
    let names = [ADMIN, args.name.as_deref().unwrap_or_default()];
    let encryption = Encryption::of(shell, &args.encrypt, &names)?;
    let socket = args.local.socket.clone();
    let mut link = link::local(shell, args.local)?;
    let mut identity_out = OutFile::create(&args.identity_out)?;
    // It is written when the cluster exists: there must be room for it then.
    identity_out.reserve()?;
    let mut key_out = args.unlock_key_out.as_deref().map(OutFile::create).transpose()?;

    let request = api::PrepareInitRequest {};
    let send = async |mut client: Control, request| client.prepare_init(request).await;
    let prepared = link.call(CallKind::Read, request, send).await?;
    let name = match given {
        Some(name) => name,
        None => name(&prepared.default_name)?,
    };
    let (founding, request) = found(shell, name, &prepared.issuing_public)?;

    let text = founding.unlock_key.text();
    match &mut key_out {
        Some(file) => file.write(&text)?,
        None => shell.screen.secret_line(&text)?,
    }
    let kind = CallKind::Once("skep status".to_owned());
    let send = async |mut client: Control, request| client.commit_init(request).await;
    let mut committed = match link.call(kind, request, send).await {
        Ok(committed) => committed,
        Err(trouble) => {
            // It may have been committed: then this key is the only one.
            if trouble.exit() == Exit::Unknown
                && let Some(file) = &mut key_out
            {
                file.keep();
            }
            return Err(trouble.into());
        }
    };
    // From here on the cluster exists, and depends on the key.
    if let Some(file) = &mut key_out {
        file.keep();
    }
    let cluster = founding.name.clone();
    let fingerprint = founding.fingerprint;
    let written = identity_of(&*shell.clock, founding, &mut committed).and_then(|mut identity| {
        encryption.seal(&mut *shell.dice, &mut identity)?;
        identity_out.write(&identity.to_text())
    });

    let node = &committed.node_name;
    shell.screen.say(&format!("cluster {cluster} founded on {node}, fingerprint {fingerprint}"));
    if written.is_ok() {
        identity_out.keep();
        shell.screen.say(&format!("the admin's identity: {}", args.identity_out.display()));
    }
    let key = args.unlock_key_out.as_ref();
    let place = key.map_or_else(|| "printed above".to_owned(), |path| path.display().to_string());
    shell.screen.say(&format!("the unlock key: {place}; keep it apart from the managers' disks"));
    written.map_err(|error| without_identity(&cluster, &error))?;
    next::after_init(&mut shell.screen, socket.as_deref());
    Ok(())
}

/// The cluster is there, and nobody has an identity for it.
fn without_identity(cluster: &Name, error: &Trouble) -> Trouble {
    let why = error.text();
    let text = format!("cluster {cluster} is founded, without its admin's identity: {why}");
    let hint = "every command works here without one, by the manager's control socket; or found \
                it anew: `skep leave --force --yes`, start the manager again, then `skep init`";
    Failure::new(Exit::NotConfirmed, text).hint(hint).into()
}

/// Makes root, unlock key and admin key, and what the manager is asked for.
fn found(
    shell: &mut Shell,
    name: Name,
    issuing_public: &[u8],
) -> Result<(Founding, api::CommitInitRequest), Trouble> {
    let now = shell.clock.now();
    let dice = &mut *shell.dice;
    let cluster = ClusterId::draw(dice);
    let root = Root::generate(cluster, &name, now).map_err(|error| not_made(&error))?;
    let fingerprint = Fingerprint::of_root(&root.certificate);
    let unlock_key = UnlockKey::draw(dice, fingerprint);
    // What will be read from paper is what everything is sealed to.
    let read_back = UnlockKey::parse(unlock_key.text().expose()).map_err(not_sealed)?;
    if read_back.recipient() != unlock_key.recipient() {
        return Err(not_sealed(SealError::DoesNotOpen));
    }
    let context = [b"root key".as_slice(), cluster.as_bytes()].concat();
    let secret = SecretBytes::copy_of(root.key.expose());
    let sealed = SealedToRecipients::seal(dice, &[unlock_key.recipient()], &context, &secret)
        .map_err(not_sealed)?;
    let opened = SealedToRecipients::open(&sealed, &context, &read_back).map_err(not_sealed)?;
    if opened.expose() != secret.expose() {
        return Err(not_sealed(SealError::DoesNotOpen));
    }
    let issuing =
        root.sign_issuing(issuing_public, cluster, now).map_err(|error| not_made(&error))?;
    let admin = PrivateKey::generate().map_err(|error| not_made(&error))?;
    let request = api::CommitInitRequest {
        cluster_id: cluster.as_bytes().to_vec(),
        name: name.to_string(),
        root: root.certificate.clone(),
        sealed_root_key: sealed,
        issuing,
        recipient: unlock_key.recipient().as_bytes().to_vec(),
        operator_public: admin.public(),
        operator_name: ADMIN.to_owned(),
    };
    Ok((Founding { cluster, name, fingerprint, unlock_key, admin }, request))
}

/// The identity, if the manager signed what it was asked for.
fn identity_of(
    clock: &dyn Clock,
    founding: Founding,
    committed: &mut api::CommitInitReply,
) -> Result<Identity, Trouble> {
    let broken = |why: String| {
        Trouble::from(Failure::new(Exit::Refused, format!("what the manager answered {why}")))
    };
    let leaf = verify_chain(&committed.operator_chain, founding.fingerprint, clock.now())
        .map_err(|error| broken(error.to_string()))?;
    if leaf.key != key_digest(&founding.admin.public()) || leaf.subject.cluster != founding.cluster
    {
        return Err(broken("is for another key or cluster".to_owned()));
    }
    let hello = SecretBytes::take(std::mem::take(&mut committed.hello_key));
    let hello = HelloKey::parse(&hello).map_err(|_| broken("has no hello key".to_owned()))?;
    Ok(Identity {
        cluster: founding.name,
        fingerprint: founding.fingerprint,
        addresses: committed.addresses.clone(),
        // The first one: there is nothing older.
        oldest_issuer: Stamp(0),
        chain: committed.operator_chain.clone(),
        key: founding.admin,
        hello,
        sealed: None,
    })
}

fn not_made(error: &CaError) -> Trouble {
    Failure::new(Exit::Refused, format!("a certificate could not be made: what was given {error}"))
        .hint("nothing was changed; is the manager of this version?")
        .into()
}

fn not_sealed(error: SealError) -> Trouble {
    Failure::new(Exit::Bug, format!("the root's key was not sealed: what was sealed {error}"))
        .hint("nothing was changed; this machine's memory may be faulty")
        .into()
}
