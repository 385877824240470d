//! Whether a token that was given still has its credential: what a signer asks before it signs,
//! for a token outlives the revoke of its robot by some minutes.

use axum::http::HeaderMap;

use super::auth::Desk;
use crate::proto::answer::Refused;
use crate::proto::bearer::Audience;
use crate::rules::slug::Account;

impl Desk {
    /// Looks at the set as it is now. A token of nobody stands for nothing.
    ///
    /// # Errors
    /// `Withdrawn`, or `Unavailable` where the set doesn't decide.
    pub(super) async fn stands(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let now_s = self.opened.now_s();
        let seen = self.look().await?;
        let set = seen.set().map_err(|unready| Refused::Unavailable(unready.what))?;
        let (issuer, services) = (set.settings.issuer.as_str(), set.settings.services.as_slice());
        let read = set.signer.verifier().verify(headers, Audience { issuer, services, now_s });
        let access = read.map_err(|_| Refused::Withdrawn)?;
        let account = access.account.parse::<Account>().map_err(|_| Refused::Withdrawn)?;
        let credential = access.cred.ok_or(Refused::Withdrawn)?;
        if self.identities.stands(set, &account, &credential) {
            Ok(())
        } else {
            Err(Refused::Withdrawn)
        }
    }
}
