//! The signer: keys that one service was granted sign what stands in a registry.
//!
//! | file | what it does |
//! |---|---|
//! | `set` | reads the service's files, but no key |
//! | `keys` | opens a key for one signature, and makes it |
//! | `image` | finds out what a tag is at: the manifest, and those of an index |
//! | `publish` | puts signatures into the registry, and looks whether they stayed |
//! | `recent` | what was signed within the last hour, and is put back where it was lost |
//! | `lookaside` | answers `/sigstore/`, from what stands in the registry |
//! | `routes` | what is asked, by its path |
//!
//! It deliberately keeps no signature and no key: each key is opened when it signs, so that its
//! opening is on record and its revoke counts at once; each signature lies in the registry.

mod image;
mod keys;
mod lookaside;
mod publish;
mod recent;
mod routes;
mod set;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use skep_core::base::Clock;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, Semaphore};
use tokio::time::timeout;

use super::folder::Unready;
use super::look::Seen;
use super::opened::Opened;
use super::record::Record;
use super::remote::{RemoteError, RemoteRegistry};
use crate::proto::bearer::{Access, Audience, BadBearer, shown};
use crate::proto::forwarded::client_address;
use crate::proto::sign::{SignAnswer, SignAsked, SignRefused};
use crate::rules::image::Digest;
use crate::rules::record::{Event, Signing};
use crate::rules::settings::OnFullDisk;
use lookaside::Lookaside;
use publish::Publish;
use recent::Recent;
use set::{SignFiles, SignSet};

pub use routes::serve_signer;

/// What is signed at once.
const AT_ONCE: usize = 32;
/// Connections to the registry that are kept.
const KEPT: usize = 16;
/// Times that a set may be replaced while something is signed.
const TRIES: usize = 8;
/// The annotation that says who asked.
const ACCOUNT: &str = "account";

/// How long a signer waits for a registry and a token server.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one answer.
    pub answer: Duration,
    /// For all that it takes to sign an image, with the images that an index names.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { answer: Duration::from_secs(20), whole: Duration::from_mins(5) }
    }
}

/// Who asks.
#[derive(Clone, Debug, Default)]
struct Asker {
    account: String,
    address: String,
    cred: String,
    jti: String,
}

/// Where images are signed.
pub struct SignDesk {
    folder: PathBuf,
    opened: Opened<SignSet>,
    at_once: Semaphore,
    idle: Mutex<Vec<(Seen<SignSet>, RemoteRegistry)>>,
    turns: Turns,
    recent: Recent,
    lookaside: Lookaside,
    patience: Patience,
}

impl std::fmt::Debug for SignDesk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignDesk")
    }
}

impl SignDesk {
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
        Ok(Self {
            recent: Recent::new(Arc::clone(&clock)),
            opened: Opened::start(SignFiles, folder.clone(), stale_limit_s, clock, record)?,
            folder,
            at_once: Semaphore::new(AT_ONCE),
            idle: Mutex::default(),
            turns: Turns::default(),
            lookaside: Lookaside::default(),
            patience: Patience::default(),
        })
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Whether anything could be signed now.
    ///
    /// # Errors
    /// Why not.
    pub async fn ready(&self) -> Result<(), Unready> {
        self.opened.ready().await
    }

    /// Whether there is a certificate to begin TLS with. It is known once the set was looked at.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.opened.shown.is_there()
    }

    /// Waits until what was recorded is on the disk. Nothing is signed any more.
    pub async fn close(&self) {
        self.opened.record.close().await;
    }

    /// Signs for somebody who can read the keys anyway: no token is asked for. Where no digest is
    /// given, what the tag is at now is signed.
    ///
    /// # Errors
    /// [`SignRefused`].
    pub async fn sign_by_hand(
        &self,
        asked: impl FnOnce(Digest) -> SignAsked,
        (repository, tag): (&str, &str),
    ) -> Result<SignAnswer, SignRefused> {
        let seen = self.look().await?;
        let mut registry = self.registry(&seen)?;
        let found = image::top(&mut registry.repository(repository, "pull,push"), tag).await?;
        self.give_back(seen, registry);
        self.sign(&asked(found.digest), Asker::default()).await
    }

    async fn look(&self) -> Result<Seen<SignSet>, SignRefused> {
        self.opened.looker.look().await.map_err(|unready| SignRefused::Unavailable(unready.what))
    }

    /// Signs for whoever shows a token for it, whose credential still stands.
    async fn sign_for(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        asked: &SignAsked,
    ) -> Result<SignAnswer, SignRefused> {
        let _place = self.at_once.try_acquire().map_err(|_| SignRefused::SlowDown)?;
        let seen = self.look().await?;
        let set = ready(&seen)?;
        let address = client_address(peer, headers, &set.settings.trusted_proxies);
        let bad = "a proxy sends no list of addresses";
        let address = address.map_err(|_| SignRefused::Invalid(bad.to_owned()))?;
        let access = self.access(set, headers)?;
        if !access.allows(&asked.repository, "sign") {
            return Err(SignRefused::Denied(asked.repository.clone()));
        }
        let unauthorized = |bad: BadBearer| SignRefused::Unauthorized(bad.to_string());
        let token = shown(headers).map_err(unauthorized)?;
        let mut registry = self.registry(&seen)?;
        let stands = registry.stands(&set.realm, token).await.map_err(|error| upstream(&error))?;
        self.give_back(seen.clone(), registry);
        if !stands {
            let text = "the token's credential was rotated or removed";
            return Err(SignRefused::Unauthorized(text.to_owned()));
        }
        let address = address.to_string();
        let Access { account, jti, cred, .. } = access;
        let asker = Asker { account, address, cred: cred.unwrap_or_default(), jti };
        self.sign(asked, asker).await
    }

    /// Who shows a token. One of nobody is no use here.
    fn access(&self, set: &SignSet, headers: &HeaderMap) -> Result<Access, SignRefused> {
        let verifier = set.verifier.as_ref();
        let missing = || SignRefused::Unavailable("signer.crt is missing or damaged".to_owned());
        let audience = Audience {
            issuer: &set.settings.issuer,
            services: std::slice::from_ref(&set.settings.service),
            now_s: self.opened.now_s(),
        };
        let access = verifier.ok_or_else(missing)?.verify(headers, audience);
        let access = access.map_err(|bad| SignRefused::Unauthorized(bad.to_string()))?;
        let nobody = || SignRefused::Unauthorized("the token is nobody's".to_owned());
        access.cred.is_some().then_some(access).ok_or_else(nobody)
    }

    /// Signs what the tag is at, if that is what was asked for. A registry that takes too long for
    /// it is given up: whoever waits for the same digest gets their turn.
    async fn sign(&self, asked: &SignAsked, asker: Asker) -> Result<SignAnswer, SignRefused> {
        self.in_time(self.sign_patiently(asked, asker)).await
    }

    async fn in_time<T>(
        &self,
        done: impl Future<Output = Result<T, SignRefused>>,
    ) -> Result<T, SignRefused> {
        let whole = self.patience.whole;
        timeout(whole, done).await.unwrap_or_else(|_| {
            let text = format!("the registry is too slow: not done in {} s", whole.as_secs());
            Err(SignRefused::Upstream(text))
        })
    }

    async fn sign_patiently(
        &self,
        asked: &SignAsked,
        asker: Asker,
    ) -> Result<SignAnswer, SignRefused> {
        for _ in 0..TRIES {
            let seen = self.look().await?;
            let set = ready(&seen)?;
            let keys = bound(set, asked)?;
            let annotations = said(set, asked, &asker)?;
            let mut registry = self.registry(&seen)?;
            let all =
                image::all(&mut registry.repository(&asked.repository, "pull,push"), asked).await;
            let all = all?;
            let reference = format!("{}/{}:{}", set.settings.registry, asked.repository, asked.tag);
            let folder = self.folder.join(seen.generation());
            let making = keys::Making {
                folder,
                keys: keys.clone(),
                reference: reference.clone(),
                annotations,
                at_s: self.opened.now_s(),
            };
            let signed = making.sign(all).await?;
            // What was signed by a key that is not granted any more is thrown away.
            if !self.look().await?.is(&seen) {
                self.give_back(seen, registry);
                continue;
            }
            let goes_on = set.settings.record == OnFullDisk::GoOn;
            let event = Event::Signed(Box::new(Signing {
                account: asker.account.clone(),
                address: asker.address.clone(),
                cred: asker.cred.clone(),
                jti: asker.jti.clone(),
                reference: reference.clone(),
                digest: asked.digest.to_string(),
                keys: keys.iter().map(|key| key.name.clone()).collect(),
            }));
            if self.opened.record.write(event, goes_on).await.is_err() && !goes_on {
                let text = "the record cannot be written";
                return Err(SignRefused::Unavailable(text.to_owned()));
            }
            let signed: Vec<Arc<keys::Signatures>> = signed.into_iter().map(Arc::new).collect();
            let mut signatures = Vec::new();
            for of in &signed {
                let _turn = self.turns.take(&asked.repository, of.subject.digest).await;
                let mut repository = registry.repository(&asked.repository, "pull,push");
                let now_s = self.opened.now_s();
                Publish { repository: &mut repository, signatures: of, now_s }.all().await?;
                self.recent.add(&asked.repository, of);
                self.lookaside.forget(&asked.repository, of.subject.digest);
                signatures.extend(of.made());
            }
            self.give_back(seen, registry);
            let digest = asked.digest.to_string();
            return Ok(SignAnswer { reference, digest, signatures });
        }
        Err(SignRefused::Unavailable("the files change all the time".into()))
    }

    /// Puts back what was signed within the last hour and isn't there any more. Two signers may
    /// write at one moment, and a registry takes the later one's word.
    async fn repair(&self) {
        while let Some((repository, signatures)) = self.recent.due() {
            let Ok(seen) = self.look().await else { return };
            let Ok(mut registry) = self.registry(&seen) else { return };
            let _turn = self.turns.take(&repository, signatures.subject.digest).await;
            let mut at = registry.repository(&repository, "pull,push");
            let now_s = self.opened.now_s();
            let publish = Publish { repository: &mut at, signatures: &signatures, now_s };
            match self.in_time(publish.all()).await {
                Ok(0) => {}
                Ok(lost) => {
                    tracing::warn!(event = "signatures_put_back", repository, lost);
                    self.lookaside.forget(&repository, signatures.subject.digest);
                }
                Err(why) => tracing::warn!(event = "signatures_not_looked_at", repository, %why),
            }
            self.give_back(seen, registry);
        }
    }

    /// A connection to the registry of this set.
    fn registry(&self, seen: &Seen<SignSet>) -> Result<RemoteRegistry, SignRefused> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(of, _)| of.is(seen));
        if let Some((_, registry)) = idle.pop() {
            return Ok(registry);
        }
        let registry = ready(seen)?.registry().map_err(SignRefused::Unavailable)?;
        Ok(registry.patient(self.patience.answer))
    }

    fn give_back(&self, seen: Seen<SignSet>, registry: RemoteRegistry) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push((seen, registry));
        }
    }
}

fn ready(seen: &Seen<SignSet>) -> Result<&SignSet, SignRefused> {
    seen.set().map_err(|unready| SignRefused::Unavailable(unready.what))
}

fn upstream(error: &RemoteError) -> SignRefused {
    SignRefused::Upstream(error.to_string())
}

/// The keys that sign images of this repository.
fn bound(set: &SignSet, asked: &SignAsked) -> Result<Vec<set::KeyFile>, SignRefused> {
    let repository = &asked.repository;
    let keys = set.keys.iter().filter(|key| set.settings.binds(&key.name, repository));
    let keys: Vec<set::KeyFile> = keys.cloned().collect();
    if keys.is_empty() {
        return Err(SignRefused::Unsignable(format!("no key here signs images of {repository}")));
    }
    Ok(keys)
}

/// What stands beside the signature: what was asked for and may be, and who asked.
fn said(
    set: &SignSet,
    asked: &SignAsked,
    asker: &Asker,
) -> Result<std::collections::BTreeMap<String, String>, SignRefused> {
    let allowed = &set.settings.annotations;
    if let Some(name) = asked.annotations.keys().find(|name| !allowed.contains(*name)) {
        let name = crate::rules::shown(name);
        let text = format!("the annotation '{name}' is none that sign.toml lists");
        return Err(SignRefused::Invalid(text));
    }
    let mut all = asked.annotations.clone();
    if !asker.account.is_empty() {
        all.insert(ACCOUNT.to_owned(), asker.account.clone());
    }
    Ok(all)
}

/// One at a time for each digest of a repository.
#[derive(Default)]
struct Turns(Mutex<HashMap<Place, Arc<Turn<()>>>>);

/// A repository, and a digest there.
type Place = (String, Digest);

impl Turns {
    async fn take(&self, repository: &str, digest: Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever holds or awaits one has a share in it.
            all.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(all.entry((repository.to_owned(), digest)).or_default())
        };
        turn.lock_owned().await
    }
}
