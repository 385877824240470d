//! One request from the first look to the answer.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use data_encoding::HEXLOWER;
use skep_client::machine::OsDice;
use skep_core::base::{Clock, Dice as _, Name};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::folder::Unready;
use super::identity::{Identities, Known};
use super::look::Seen;
use super::opened::Opened;
use super::record::{Record, Uncounted};
use super::rights::{Asker, Ruled, decide};
use super::set::{Set, TokenFiles};
use crate::proto::answer::{Answer, Refused};
use crate::proto::forwarded::client_address;
use crate::proto::refresh::Refresh;
use crate::proto::request::{Asked, How};
use crate::proto::token::{BadSigner, Claims, Signed};
use crate::rules::record::{Decision, Event};
use crate::rules::scope::Scope;
use crate::rules::settings::OnFullDisk;

/// Refusals for a password are sent at a multiple of this after the request came.
const REFUSED_AT: Duration = Duration::from_millis(500);
/// Times that a set may be replaced while somebody is decided for.
pub(super) const TRIES: usize = 8;

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request<'r> {
    pub(super) peer: IpAddr,
    pub(super) method: &'r Method,
    pub(super) query: &'r str,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r [u8],
}

/// Where this process writes what it may write.
#[derive(Clone, Debug)]
pub struct AgentAt {
    /// The agent's socket.
    pub socket: PathBuf,
    /// The service of which this process is a workload.
    pub service: Name,
}

/// Where requests are decided.
pub struct Desk {
    pub(super) opened: Opened<Set>,
    pub(super) identities: Identities,
    pub(super) agent: Option<AgentAt>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

/// One that was decided for, before it is told.
struct Decided {
    known: Option<Known>,
    by: &'static str,
    address: IpAddr,
    service: String,
    client: String,
    ruled: Vec<Ruled>,
    signed: Signed,
    jti: String,
    refresh: Option<String>,
}

impl Desk {
    /// Opens it over a folder as the agent delivers it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(
        folder: PathBuf,
        stale_limit_s: Option<u64>,
        clock: Arc<dyn Clock + Send + Sync>,
        record: Record,
    ) -> std::io::Result<Self> {
        let identities = Identities::new(Arc::clone(&clock), &mut OsDice)?;
        let reads = TokenFiles::default();
        let opened = Opened::start(reads, folder, stale_limit_s, clock, record)?;
        Ok(Self { opened, identities, agent: None })
    }

    /// The same, with an agent through which people change their passwords.
    #[must_use]
    pub fn with_agent(self, agent: AgentAt) -> Self {
        Self { agent: Some(agent), ..self }
    }

    /// Whether anybody could get a token now.
    ///
    /// # Errors
    /// Why not.
    pub async fn ready(&self) -> Result<(), Unready> {
        self.opened.ready().await
    }

    /// Waits until what was recorded is on the disk. Nobody is decided for any more.
    pub async fn close(&self) {
        self.opened.record.close().await;
    }

    /// Whether there is a certificate to begin TLS with. It is known once the set was looked at.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.opened.shown.is_there()
    }

    /// The answer to a token request. Refusals for a password take their time.
    pub(super) async fn answer(&self, request: &Request<'_>) -> Result<Answer, Refused> {
        let began = Instant::now();
        let answer = self.decide(request).await;
        if let Err(refused) = &answer {
            self.refuse(request, refused, began).await;
        }
        answer
    }

    /// Counts a refusal. One for a password is told at a multiple of a fixed time.
    pub(super) async fn refuse(&self, request: &Request<'_>, refused: &Refused, began: Instant) {
        self.opened.record.count(request.peer.to_canonical(), uncounted(refused));
        if *refused == Refused::Unauthorized {
            let spent = began.elapsed().as_millis() / REFUSED_AT.as_millis();
            let times = u32::try_from(spent).unwrap_or(u32::MAX).saturating_add(1);
            tokio::time::sleep_until(began + REFUSED_AT.saturating_mul(times)).await;
        }
    }

    async fn decide(&self, request: &Request<'_>) -> Result<Answer, Refused> {
        // Before the first look: a token's time never begins after what it was decided from.
        let issued_s = self.opened.now_s();
        let asked = Asked::read(request.method, request.query, request.headers, request.body)?;
        let mut seen = self.look().await?;
        for _ in 0..TRIES {
            let decided = self.decide_from(&seen, request, &asked, issued_s).await;
            let again = self.look().await?;
            if again.is(&seen) {
                self.note(&seen, request, &asked, &decided);
                let decided = decided?;
                if decided.known.is_none() {
                    self.opened.record.count(decided.address, Uncounted::Anonymous);
                    return Ok(told(decided, issued_s));
                }
                let goes_on = seen.set().is_ok_and(|set| set.settings.record == OnFullDisk::GoOn);
                let event = Event::Decision(Box::new(on_record(&asked, &decided)));
                let written = self.opened.record.write(event, goes_on).await;
                if written.is_err() && !goes_on {
                    return Err(Refused::Unavailable("the record cannot be written".into()));
                }
                return Ok(told(decided, issued_s));
            }
            seen = again;
        }
        Err(Refused::Unavailable("the files change all the time".into()))
    }

    /// What a password came to, however often the set was replaced meanwhile.
    fn note(
        &self,
        seen: &Seen<Set>,
        request: &Request<'_>,
        asked: &Asked,
        decided: &Result<Decided, Refused>,
    ) {
        let How::Password { account, .. } = &asked.how else { return };
        let right = match decided {
            Ok(_) => true,
            Err(Refused::Unauthorized) => false,
            Err(_) => return,
        };
        let address = seen.set().map(|set| {
            client_address(request.peer, request.headers, &set.settings.trusted_proxies)
        });
        if let Ok(Ok(address)) = address {
            self.identities.note(account, address, right);
        }
    }

    pub(super) async fn look(&self) -> Result<Seen<Set>, Refused> {
        self.opened.looker.look().await.map_err(|unready| Refused::Unavailable(unready.what))
    }

    async fn decide_from(
        &self,
        seen: &Seen<Set>,
        request: &Request<'_>,
        asked: &Asked,
        issued_s: u64,
    ) -> Result<Decided, Refused> {
        let set = seen.set().map_err(|unready| Refused::Unavailable(unready.what))?;
        let proxies = &set.settings.trusted_proxies;
        let address = client_address(request.peer, request.headers, proxies)?;
        let service = service(set, asked)?;
        let (by, known, shown) = match &asked.how {
            How::Anonymous if set.settings.anonymous => ("anonymous", None, None),
            How::Anonymous => return Err(Refused::Unauthorized),
            How::Password { account, password } => {
                let known = self.identities.by_password(set, account, password, address).await?;
                ("password", Some(known), None)
            }
            How::Refresh(token) => {
                let (known, refresh) = self.identities.by_refresh(set, token, service)?;
                ("refresh", Some(known), Some((token, refresh)))
            }
        };
        let account = known.as_ref().map(|known| &known.account);
        let asker = Asker { account, address, service, now_s: issued_s };
        let ruled = decide(set, asker, &asked.scopes);
        let said = shown.as_ref().map(|(_, refresh)| refresh.client.clone());
        let client = asked.client.clone().or(said).unwrap_or_default();
        let refresh = match (shown, &known) {
            _ if !asked.offline || set.refresh.is_empty() => None,
            (Some((token, _)), _) => Some(token.to_string()),
            (None, Some(known)) => refresh_token(set, known, service, &client, issued_s),
            (None, None) => None,
        };
        let mut jti = [0; 16];
        OsDice.fill(&mut jti);
        let jti = HEXLOWER.encode(&jti);
        let granted: Vec<Scope> = granted(&ruled).cloned().collect();
        let credential = known.as_ref().map(|known| known.credential.token_id());
        let claims = Claims {
            issuer: &set.settings.issuer,
            subject: account.map_or("", |account| account.as_str()),
            service,
            issued_s,
            life_s: set.settings.token_s,
            jti: &jti,
            credential: credential.as_deref(),
            granted: &granted,
        };
        let signed = set.signer.sign(&claims).map_err(|bad| match bad {
            BadSigner::TooLarge => Refused::invalid(bad.to_string()),
            bad => Refused::Unavailable(bad.to_string()),
        })?;
        let service = service.to_owned();
        Ok(Decided { known, by, address, service, client, ruled, signed, jti, refresh })
    }
}

fn uncounted(refused: &Refused) -> Uncounted {
    match refused {
        Refused::Unauthorized => Uncounted::Unauthorized,
        Refused::SlowDown(_) => Uncounted::SlowDown,
        Refused::Unavailable(_) | Refused::Unsure => Uncounted::Unavailable,
        Refused::Invalid { .. }
        | Refused::Withdrawn
        | Refused::NoSuchPath
        | Refused::NoSuchMethod
        | Refused::Conflict
        | Refused::TooLarge => Uncounted::Invalid,
    }
}

fn granted(ruled: &[Ruled]) -> impl Iterator<Item = &Scope> {
    ruled.iter().map(|ruled| &ruled.scope).filter(|scope| !scope.asked().is_empty())
}

/// The service that the token is to be for: the first, where nobody says it.
fn service<'s>(set: &'s Set, asked: &Asked) -> Result<&'s str, Refused> {
    let services = &set.settings.services;
    let found = match (&asked.service, services.as_slice()) {
        (Some(service), all) => all.iter().find(|own| *own == service),
        (None, all) => all.first(),
    };
    found
        .map(String::as_str)
        .ok_or_else(|| Refused::invalid("`service` is none that is served here"))
}

/// A refresh token for whoever showed the credential in force: for one that is only taken for a
/// while yet it would be good for nothing.
fn refresh_token(
    set: &Set,
    known: &Known,
    service: &str,
    client: &str,
    issued_s: u64,
) -> Option<String> {
    let own = set.account(&known.account)?.credential()?;
    if own.generation != known.credential.generation {
        return None;
    }
    let refresh = Refresh {
        id: known.credential.id,
        generation: known.credential.generation,
        issued_s,
        account: known.account.as_str().to_owned(),
        service: service.to_owned(),
        client: client.to_owned(),
    };
    refresh.seal(set.refresh.first()?, &mut OsDice)
}

fn on_record(asked: &Asked, decided: &Decided) -> Decision {
    let texts =
        |scopes: &mut dyn Iterator<Item = &Scope>| scopes.map(ToString::to_string).collect();
    let whole = asked.scopes.iter().zip(&decided.ruled);
    let whole = whole.clone().all(|(asked, ruled)| asked.asked() == ruled.scope.asked());
    let granted: Vec<String> = texts(&mut granted(&decided.ruled));
    let outcome = match (whole, granted.is_empty()) {
        (true, _) => "granted",
        (false, false) => "partly",
        (false, true) => "nothing",
    };
    let known = decided.known.as_ref();
    Decision {
        account: known.map_or("", |known| known.account.as_str()).to_owned(),
        address: decided.address.to_string(),
        client: decided.client.clone(),
        service: decided.service.clone(),
        by: decided.by.to_owned(),
        cred: known.map(|known| known.credential.token_id()).unwrap_or_default(),
        requested: texts(&mut asked.scopes.iter()),
        granted,
        rules: decided.ruled.iter().map(|ruled| ruled.rule.clone()).collect(),
        outcome: outcome.to_owned(),
        jti: decided.jti.clone(),
    }
}

fn told(decided: Decided, issued_s: u64) -> Answer {
    let scopes: Vec<String> = granted(&decided.ruled).map(ToString::to_string).collect();
    let issued = i64::try_from(issued_s).ok();
    let issued = issued.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    Answer {
        access_token: decided.signed.token.clone(),
        token: decided.signed.token,
        expires_in: decided.signed.life_s,
        issued_at: issued.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default(),
        scope: scopes.join(" "),
        refresh_token: decided.refresh,
    }
}
