//! Somebody changes the own password. The server holds nothing that it could change: it puts
//! the next value of the account's secret through its agent, over the generation that it
//! decided from, and the managers commit it only over that.

use std::net::IpAddr;
use std::time::Duration;

use skep_client::machine::OsDice;
use skep_client::put::{Answering, NextValue, NotPut, put};
use skep_core::base::{Exit, SecretBytes, Target, draw};
use tokio::time::Instant;

use super::auth::{Desk, Request, TRIES};
use super::identity::Known;
use super::look::Seen;
use super::set::Set;
use crate::proto::answer::Refused;
use crate::proto::change::{Change, Changed};
use crate::proto::forwarded::client_address;
use crate::rules::credential::{Credential, Tag};
use crate::rules::record::{Decision, Event};
use crate::rules::settings::OnFullDisk;

/// How long the agent may take, for each of two questions.
const WITHIN: Duration = Duration::from_secs(25);
/// How long this server waits for what it wrote to come back to it.
const SHOWN: Duration = Duration::from_secs(5);
/// Between two looks for it.
const AGAIN: Duration = Duration::from_millis(20);
/// Seconds to wait where too many change at once.
const BUSY_S: u64 = 2;
/// What is told where nothing can be written now.
const NOT_NOW: &str = "passwords can't be changed at the moment";

/// Who may, from where, and as which generation of the files says so.
struct Proved {
    seen: Seen<Set>,
    known: Known,
    address: IpAddr,
    goes_on: bool,
}

impl Desk {
    /// Gives an account another password. Refusals for the old one take their time.
    pub(super) async fn change(&self, request: &Request<'_>) -> Result<Changed, Refused> {
        let began = Instant::now();
        let done = self.try_change(request).await;
        if let Err(refused) = &done {
            self.refuse(request, refused, began).await;
        }
        done
    }

    async fn try_change(&self, request: &Request<'_>) -> Result<Changed, Refused> {
        let seen = self.look().await?;
        let offered = seen.set().map_err(|unready| Refused::Unavailable(unready.what))?;
        let agent = match &self.agent {
            Some(agent) if offered.settings.passwords => agent,
            _ => return Err(Refused::NoSuchPath),
        };
        let change = Change::read(request.query, request.headers, request.body)?;
        let proved = self.proved(request, &change, seen).await?;
        let Proved { seen, known, address, goes_on } = proved;
        let salt = draw::<16>(&mut OsDice);
        let verifier = self.identities.hash(change.next.clone(), salt, address).await?;
        let next = Credential {
            id: known.credential.id,
            generation: Tag::from_bytes(draw::<16>(&mut OsDice)),
            verifier,
            overlap_s: 0,
        };
        // On record before it is done: what can't be recorded is not done.
        let written = self.opened.record.write(on_record(&known, address), goes_on).await;
        if written.is_err() && !goes_on {
            return Err(Refused::Unavailable("the record cannot be written".into()));
        }
        let file = format!("user.{}", known.account.slug());
        let target = file.parse::<Target>().map_err(|_| Refused::Unavailable(NOT_NOW.into()))?;
        let value = SecretBytes::take(next.text().into_bytes());
        let values = [NextValue { target, value }];
        let generation = Some(seen.generation());
        // Every token server decides by it once its node has it.
        let answering = Answering { within: WITHIN, wait: true };
        let done = put(&agent.socket, &agent.service, generation, &values, answering).await;
        let done = done.map_err(|why| not_changed(&file, why))?;
        self.until_shown(&known, next.generation).await;
        if done.in_place {
            return Ok(Changed::Everywhere);
        }
        let nodes = done.waiting_for.len();
        tracing::warn!(event = "password_not_everywhere_yet", file, nodes);
        Ok(Changed::Waiting(done.waiting_for))
    }

    /// Somebody whose old password is right in the set that is in place.
    async fn proved(
        &self,
        request: &Request<'_>,
        change: &Change,
        mut seen: Seen<Set>,
    ) -> Result<Proved, Refused> {
        for _ in 0..TRIES {
            let proved = self.prove(&seen, request, change).await;
            let again = self.look().await?;
            if again.is(&seen) {
                let right = match &proved {
                    Ok(_) => Some(true),
                    Err((Refused::Unauthorized, _)) => Some(false),
                    Err(_) => None,
                };
                let address = match &proved {
                    Ok(proved) => Some(proved.address),
                    Err((_, address)) => *address,
                };
                if let (Some(right), Some(address)) = (right, address) {
                    self.identities.note(&change.account, address, right);
                }
                return proved.map_err(|(refused, _)| refused);
            }
            seen = again;
        }
        Err(Refused::Unavailable("the files change all the time".into()))
    }

    async fn prove(
        &self,
        seen: &Seen<Set>,
        request: &Request<'_>,
        change: &Change,
    ) -> Result<Proved, (Refused, Option<IpAddr>)> {
        let unready = |what| (Refused::Unavailable(what), None);
        let set = seen.set().map_err(|bad| unready(bad.what))?;
        let proxies = &set.settings.trusted_proxies;
        let address = client_address(request.peer, request.headers, proxies);
        let address = address.map_err(|refused| (refused, None))?;
        let told = |refused| (refused, Some(address));
        let (account, password) = (&change.account, &change.password);
        let known = self.identities.by_password(set, account, password, address).await;
        let known = known.map_err(told)?;
        if known.credential.verifier.is_robot() {
            return Err(told(Refused::invalid("a robot's password is rotated, and not changed")));
        }
        let held = set.account(&known.account);
        // The one before it, taken for a while yet, changes nothing.
        let own = held.and_then(|held| held.credential());
        let in_force = own.is_some_and(|own| own.generation == known.credential.generation);
        let now_s = self.opened.now_s();
        let rights = held.and_then(|held| held.rights());
        if !in_force || !rights.is_some_and(|rights| rights.holds(address, now_s)) {
            return Err(told(Refused::Unauthorized));
        }
        let goes_on = set.settings.record == OnFullDisk::GoOn;
        Ok(Proved { seen: seen.clone(), known, address, goes_on })
    }

    /// What was written is on its way to every server; this one's answer comes once it decides
    /// by it, or says nothing of that after a while.
    async fn until_shown(&self, known: &Known, generation: Tag) {
        let shown = async {
            loop {
                if let Ok(seen) = self.look().await
                    && let Ok(set) = seen.set()
                    && let Some(own) = set.account(&known.account).and_then(|it| it.credential())
                    && own.generation == generation
                {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        if tokio::time::timeout(SHOWN, shown).await.is_err() {
            tracing::warn!(event = "password_not_shown_yet");
        }
    }
}

fn on_record(known: &Known, address: IpAddr) -> Event {
    Event::Decision(Box::new(Decision {
        account: known.account.as_str().to_owned(),
        address: address.to_string(),
        client: String::new(),
        service: String::new(),
        by: "password".to_owned(),
        cred: known.credential.token_id(),
        requested: Vec::new(),
        granted: Vec::new(),
        rules: Vec::new(),
        outcome: "password".to_owned(),
        jti: String::new(),
    }))
}

fn not_changed(file: &str, why: NotPut) -> Refused {
    match why {
        NotPut::Changed(_) => Refused::Conflict,
        NotPut::TooOften(_) => Refused::SlowDown(BUSY_S),
        NotPut::Failed(failure) => {
            tracing::warn!(event = "password_not_changed", file, why = failure.text.as_str());
            match failure.exit {
                Exit::Unknown => Refused::Unsure,
                _ => Refused::Unavailable(NOT_NOW.into()),
            }
        }
    }
}
