//! Who somebody is. The form of the password decides which way it takes, and unknown names
//! take the same one (docs/registry/keys.md, 3).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use skep_core::base::{Clock, Dice};
use zeroize::Zeroizing;

use super::backoff::BackOff;
use super::pool::{Full, Pool};
use super::set::{Held, Set};
use crate::proto::answer::Refused;
use crate::proto::refresh::Refresh;
use crate::rules::credential::{Credential, Verifier};
use crate::rules::labels::{self, Secret32};
use crate::rules::password::is_robot_password;
use crate::rules::slug::Account;

/// How long a verified password is remembered, and how many are.
const REMEMBERED: Duration = Duration::from_mins(1);
const VERIFIED: u64 = 16_384;
/// Seconds to wait where no place for a hash is left.
const FULL_S: u64 = 2;

/// Somebody who proved who it is.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) account: Account,
    /// The credential that was shown.
    pub(super) credential: Arc<Credential>,
}

/// Who tells people apart.
pub(super) struct Identities {
    clock: Arc<dyn Clock + Send + Sync>,
    pool: Pool,
    back_off: BackOff,
    /// Drawn for this process.
    key: Secret32,
    verified: Cache<[u8; 32], ()>,
}

impl Identities {
    pub(super) fn new(
        clock: Arc<dyn Clock + Send + Sync>,
        dice: &mut dyn Dice,
    ) -> std::io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        dice.fill(key.as_mut_slice());
        let verified = Cache::builder().max_capacity(VERIFIED).time_to_live(REMEMBERED).build();
        let back_off = BackOff::new(Arc::clone(&clock));
        Ok(Self { clock, pool: Pool::start()?, back_off, key, verified })
    }

    /// By a name and a password.
    pub(super) async fn by_password(
        &self,
        set: &Set,
        name: &str,
        password: &Zeroizing<Vec<u8>>,
        address: IpAddr,
    ) -> Result<Known, Refused> {
        if let Some(seconds) = self.back_off.wait_s(name, address) {
            return Err(Refused::SlowDown(seconds));
        }
        let account = name.parse::<Account>().ok();
        let held = account.as_ref().and_then(|account| set.account(account));
        let shown = if is_robot_password(password) {
            self.robot(held, password)
        } else {
            self.person(set, name, held, password, address).await?
        };
        let (account, credential) = account.zip(shown).ok_or(Refused::Unauthorized)?;
        Ok(Known { account, credential })
    }

    /// Whether this is the id and generation of a credential that is taken now.
    pub(super) fn stands(&self, set: &Set, account: &Account, text: &str) -> bool {
        self.taken(set.account(account)).any(|credential| credential.token_id() == text)
    }

    /// Notes once for each request whether its password was right.
    pub(super) fn note(&self, name: &str, address: IpAddr, right: bool) {
        if right {
            self.back_off.right(name, address);
        } else {
            self.back_off.wrong(name, address);
        }
    }

    /// The credentials that are taken now: an account's own, and for a while the one before it.
    fn taken<'h>(&self, held: Option<&'h Held>) -> impl Iterator<Item = &'h Arc<Credential>> {
        let now = self.clock.boot();
        let before = held.and_then(|held| held.before(now));
        held.and_then(Held::credential).into_iter().chain(before)
    }

    fn robot(&self, held: Option<&Held>, password: &[u8]) -> Option<Arc<Credential>> {
        let robots = self.taken(held).filter(|credential| credential.verifier.is_robot());
        robots.into_iter().find(|credential| credential.verifier.verify(password)).cloned()
    }

    async fn person(
        &self,
        set: &Set,
        name: &str,
        held: Option<&Held>,
        password: &Zeroizing<Vec<u8>>,
        address: IpAddr,
    ) -> Result<Option<Arc<Credential>>, Refused> {
        let people = self.taken(held).filter(|credential| !credential.verifier.is_robot());
        let people: Vec<_> = people.cloned().collect();
        for credential in &people {
            if self.verified.contains_key(&self.remembered(credential, password)) {
                return Ok(Some(Arc::clone(credential)));
            }
        }
        let full = |Full| Refused::SlowDown(FULL_S);
        for credential in &people {
            let (verifier, password) = (credential.verifier.clone(), password.clone());
            let remembered = self.remembered(credential, &password);
            if self.pool.verify(verifier, password, address).await.map_err(full)? {
                self.verified.insert(remembered, ());
                return Ok(Some(Arc::clone(credential)));
            }
        }
        if people.is_empty() {
            let decoy = self.decoy(set, name);
            self.pool.verify(decoy, password.clone(), address).await.map_err(full)?;
        }
        Ok(None)
    }

    /// What compares with a new password.
    pub(super) async fn hash(
        &self,
        password: Zeroizing<Vec<u8>>,
        salt: [u8; 16],
        address: IpAddr,
    ) -> Result<Verifier, Refused> {
        let hashed = self.pool.hash(password, salt, address).await;
        let hashed = hashed.map_err(|Full| Refused::SlowDown(FULL_S))?;
        hashed.map_err(|bad| Refused::Unavailable(bad.to_string()))
    }

    /// What is hashed for an account that is none: always the same for one name.
    fn decoy(&self, set: &Set, name: &str) -> Verifier {
        let drawn = labels::derive(&self.key, labels::DECOY, &[name.as_bytes()]);
        let (first, _) = drawn.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let count = u64::try_from(set.slow.len()).unwrap_or(u64::MAX);
        let place = u64::from_le_bytes(*first).checked_rem(count);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let picked = place.and_then(|place| set.slow.get(place));
        picked.map_or_else(Verifier::decoy, |credential| credential.verifier.clone())
    }

    fn remembered(&self, credential: &Credential, password: &[u8]) -> [u8; 32] {
        let (id, generation) = (credential.id.bytes(), credential.generation.bytes());
        *labels::derive(&self.key, labels::VERIFIED, &[id, generation, password])
    }

    /// By a refresh token of this service.
    pub(super) fn by_refresh(
        &self,
        set: &Set,
        token: &str,
        service: &str,
    ) -> Result<(Known, Refresh), Refused> {
        let now_s = self.clock.now().0 / 1_000;
        let refresh = Refresh::open(token, &set.refresh, now_s);
        let refresh = refresh.filter(|refresh| refresh.service == service);
        let known = |refresh: Refresh| {
            let account: Account = refresh.account.parse().ok()?;
            let credential = set.account(&account)?.credential()?;
            let stands = credential.id == refresh.id && credential.generation == refresh.generation;
            let credential = Arc::clone(credential);
            stands.then_some((Known { account, credential }, refresh))
        };
        refresh.and_then(known).ok_or(Refused::Unauthorized)
    }
}
