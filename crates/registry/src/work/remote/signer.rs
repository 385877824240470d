//! A signer is asked to sign what a registry has, with a token of the registry's own token server.

use axum::http::{HeaderValue, Method, StatusCode};
use bytes::Bytes;

use super::line::{Answered, Asking};
use super::{RemoteError, RemoteRegistry, challenge, other, secret};
use crate::proto::challenge::{BadChallenge, BearerRealm, Challenge};
use crate::proto::listed::{self, BadListing};
use crate::proto::place::WebPlace;
use crate::proto::sign::{SignAnswer, SignAsked};
use zeroize::Zeroizing;

/// What a signer is asked at.
const PATH: &str = "/v1/sign";

impl RemoteRegistry {
    /// Has this signer sign an image of the registry. It says for which service a token has to
    /// be, and the registry where tokens are given: a signer that sends elsewhere is not
    /// followed, for a password goes there. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`RemoteError`]; `NotSigned` where the signer says why.
    pub async fn have_signed(
        &mut self,
        signer: &WebPlace,
        asked: &SignAsked,
    ) -> Result<SignAnswer, RemoteError> {
        let place = WebPlace::of(signer.tls, &signer.host, PATH).map_err(RemoteError::Place)?;
        let own = match self.wanted().await? {
            Some(Challenge::Bearer(bearer)) => bearer,
            Some(Challenge::Basic) => {
                return Err(RemoteError::NoTokens(self.host.clone(), "a name and a password"));
            }
            None => return Err(RemoteError::NoTokens(self.host.clone(), "whoever asks")),
        };
        let answer = self.ask_signer(&place, None, asked).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Err(not_signed(&place, &answer));
        }
        let unclear = |bad| RemoteError::Challenge(place.host.clone(), bad);
        let Challenge::Bearer(BearerRealm { realm, service }) =
            challenge(&answer.headers).map_err(unclear)?
        else {
            return Err(unclear(BadChallenge::Unknown));
        };
        if !realm.is_beside(&own.realm) || realm.path() != own.realm.path() {
            return Err(RemoteError::OtherRealm(place.host, realm.host));
        }
        let token = self.token_of(&BearerRealm { realm, service }, &[asked.scope()]).await?;
        let pass = secret(&Zeroizing::new(format!("Bearer {}", token.as_str())))?;
        let answer = self.ask_signer(&place, Some(pass), asked).await?;
        if answer.status != StatusCode::OK {
            return Err(not_signed(&place, &answer));
        }
        let bad = || RemoteError::Listing(place.host.clone(), BadListing::Shape);
        let signed = SignAnswer::read(&answer.body).ok_or_else(bad)?;
        if signed.digest == asked.digest.to_string() {
            return Ok(signed);
        }
        Err(RemoteError::Mismatch(place.host, asked.digest))
    }

    async fn ask_signer(
        &mut self,
        place: &WebPlace,
        pass: Option<HeaderValue>,
        asked: &SignAsked,
    ) -> Result<Answered, RemoteError> {
        let kind = HeaderValue::from_static("application/json");
        let content = Some((kind, Bytes::from(asked.body())));
        let asking = Asking { method: Method::POST, content, ..Asking::get(place, pass) };
        let answered = self.signers.send(&asking, self.roots.as_ref()).await;
        answered.map_err(|bad| RemoteError::Line(place.host.clone(), bad))
    }
}

/// A signer says why in the shape of registries.
fn not_signed(place: &WebPlace, answer: &Answered) -> RemoteError {
    match listed::said(&answer.body) {
        Some(said) if !answer.status.is_redirection() => {
            RemoteError::NotSigned(place.host.clone(), answer.status, said)
        }
        _ => other(&place.host, answer),
    }
}
