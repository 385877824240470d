//! `skep ca`: the root's key is opened here and nowhere else, and signs what the leader made.

use serde_json::{Value, json};
use skep_client::ca::{CaError, PrivateKey, Root};
use skep_client::{CallKind, Control, Link};
use skep_core::base::{ClusterId, Exit, Failure, Fingerprint, RequestId, SecretBytes, Stamp};
use skep_core::seal::{SealError, SealedToRecipients, UnlockKey};
use skep_core::wire::api::{self, PrepareIssuerReply, ShowCaReply};

use super::args::{CaCommand, CaRotateArgs, ClientArgs, ShowArgs};
use super::link::link;
use super::problem::Trouble;
use super::render::{self, Cell, Column, Format};
use super::shell::Shell;
use super::unlock::{read_key, wrong};
use super::{wait, words};

/// How a person finds out what came of it.
const LOOK: &str = "skep ca show";

const COLUMNS: [Column; 3] = [
    ("NOT RENEWED", Cell::Field("name")),
    ("ROLE", Cell::Field("role")),
    ("WHY", Cell::Field("why")),
];

/// Runs it.
pub(super) async fn run(shell: &mut Shell, command: CaCommand) -> Result<(), Trouble> {
    match command {
        CaCommand::Show { show, client } => shown(shell, &show, client).await,
        CaCommand::Rotate(args) => rotate(shell, args).await,
    }
}

async fn rotate(shell: &mut Shell, args: CaRotateArgs) -> Result<(), Trouble> {
    let key = read_key(args.key_file)?;
    let mut link = link(shell, args.client)?;
    let request = api::PrepareIssuerRequest {};
    let send = async |mut client: Control, request| client.prepare_issuer(request).await;
    let prepared = link.call(CallKind::Read, request, send).await?;
    let issuing = signed(&prepared, &key, shell.clock.now())?;
    drop(key);
    let request = api::CommitIssuerRequest {
        issuing_public: prepared.issuing_public,
        issuing,
        request_id: RequestId::draw(&mut *shell.dice).as_bytes().to_vec(),
    };
    let kind = CallKind::Repeatable(LOOK.to_owned());
    let send = async |mut client: Control, request| client.commit_issuer(request).await;
    let committed = link.call(kind, request, send).await?;
    let begins = render::time(committed.issuer);
    let begins = begins.as_str().unwrap_or("now");
    shell.screen.say(&format!("the issuing CA was replaced: the one in use begins {begins}"));
    wait::renewed(shell, &mut link, args.wait, committed.issuer).await
}

/// The issuing CA for the leader's key, signed with the root's, which is opened for that long.
fn signed(prepared: &PrepareIssuerReply, key: &UnlockKey, now: Stamp) -> Result<Vec<u8>, Trouble> {
    let fingerprint = Fingerprint::of_root(&prepared.root);
    if fingerprint != key.fingerprint() {
        let names = format!("it names the fingerprint {}", key.fingerprint());
        return Err(wrong("the unlock key is for another cluster", &names));
    }
    let cluster = ClusterId::try_from(prepared.cluster_id.as_slice()).map_err(|_bad| odd("id"))?;
    let root = opened(prepared, key, cluster)?;
    let after = Stamp(prepared.issuer);
    root.sign_issuing_after(&prepared.issuing_public, cluster, now, after).map_err(|error| {
        match error {
            CaError::Expired => Failure::new(
                Exit::Refused,
                "by this machine's clock the root has ended, or the issuing CA in use has not begun",
            )
            .hint("nothing was changed; set this machine's clock"),
            _ => odd("key"),
        }
        .into()
    })
}

fn opened(
    prepared: &PrepareIssuerReply,
    key: &UnlockKey,
    cluster: ClusterId,
) -> Result<Root, Trouble> {
    let context = [b"root key".as_slice(), cluster.as_bytes()].concat();
    let secret = SealedToRecipients::open(&prepared.sealed_root_key, &context, key);
    let secret: SecretBytes = secret.map_err(|error| match error {
        SealError::NotARecipient => wrong(
            "the root's key is not sealed to this unlock key",
            "`skep unlock-key ls` lists whose keys are good",
        ),
        _ => not_opened(),
    })?;
    let key = PrivateKey::from_pkcs8(secret).map_err(|_bad| not_opened())?;
    Root::new(prepared.root.clone(), key).map_err(|_bad| not_opened())
}

/// There is a box for this very key, and what it opens is not the root's key.
fn not_opened() -> Trouble {
    let text = "the sealed key of the root is damaged, or was tampered with";
    Failure::new(Exit::Damaged, text)
        .hint("nothing was changed; ask another manager: --host")
        .into()
}

fn odd(what: &str) -> Failure {
    Failure::new(Exit::Refused, format!("what the manager answered has a malformed {what}"))
        .hint("nothing was changed; is the manager of this version?")
}

async fn shown(shell: &mut Shell, args: &ShowArgs, client: ClientArgs) -> Result<(), Trouble> {
    let format = Format::parse(args.format.of.as_deref())?;
    let mut link: Link = link(shell, client)?;
    let reply = wait::authority(&mut link, args.stale).await?;
    let things = thing(&reply);
    if format != Format::Table {
        return render::list(shell, &format, &[], &[things]);
    }
    for (head, row) in rows(&reply) {
        shell.screen.data(&format!("{:<12} {row}", format!("{head}:")))?;
    }
    if reply.not_renewed.is_empty() {
        return Ok(());
    }
    shell.screen.data("")?;
    let lagging: Vec<Value> = reply.not_renewed.iter().map(lagging).collect();
    render::list(shell, &Format::Table, &COLUMNS, &lagging)
}

fn rows(reply: &ShowCaReply) -> [(&'static str, String); 5] {
    let lasts = |of: &Option<api::Authority>| {
        let of = of.unwrap_or_default();
        format!("{} to {}", text(of.begins), text(of.ends))
    };
    let (renewed, nodes) = (reply.renewed, reply.nodes);
    let rotation = if reply.rotating == 0 {
        "none".to_owned()
    } else {
        format!("since {}: renewed {renewed}/{nodes} nodes", text(reply.rotating))
    };
    [
        ("cluster", reply.cluster_name.clone()),
        ("fingerprint", data_encoding::HEXLOWER.encode(&reply.fingerprint)),
        ("root", lasts(&reply.root)),
        ("issuing CA", lasts(&reply.issuing)),
        ("rotation", rotation),
    ]
}

fn text(time: u64) -> String {
    render::time(time).as_str().unwrap_or("never").to_owned()
}

fn thing(reply: &ShowCaReply) -> Value {
    let lasts = |of: &Option<api::Authority>| {
        of.map(|of| json!({ "begins": render::time(of.begins), "ends": render::time(of.ends) }))
    };
    json!({
        "cluster": reply.cluster_name,
        "fingerprint": data_encoding::HEXLOWER.encode(&reply.fingerprint),
        "root": lasts(&reply.root),
        "issuing": lasts(&reply.issuing),
        "oldest_issuer": render::time(reply.oldest_issuer),
        "rotating_since": render::time(reply.rotating),
        "nodes": reply.nodes,
        "renewed": reply.renewed,
        "waited_for": reply.waited_for,
        "not_renewed_count": reply.not_renewed_count,
        "not_renewed": reply.not_renewed.iter().map(lagging).collect::<Vec<_>>(),
    })
}

fn lagging(one: &api::NotRenewed) -> Value {
    let operator = !one.operator.is_empty();
    json!({
        "id": render::id(if operator { &one.operator } else { &one.node }),
        "name": one.name,
        "role": if operator { "operator" } else { words::role(one.role()) },
        "waited_for": one.waited_for,
        "why": one.why,
    })
}
