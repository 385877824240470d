//! Another registry, asked as engines ask it: by a name and a password, or a token for them.
//!
//! What it sends is bounded in bytes and time, and nothing of it is followed but the address of
//! its token server and its own next page: a redirect is refused, for a password must not
//! travel further than to whom its owner gave it.

mod error;
mod images;
mod line;
mod lookaside;
mod signer;
mod trust;

use std::fmt;
use std::time::Duration;

use axum::http::header::{LINK, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use crate::proto::challenge::{BadChallenge, BearerRealm, Challenge};
use crate::proto::change::{Changed, asked_for};
use crate::proto::listed::{self, BadListing};
use crate::proto::place::{BadPlace, WebPlace};
use crate::rules::login::Host;
use error::other;
use line::{Answered, Asking, Line};

pub use error::RemoteError;
pub use images::{Fetched, Repository};
pub use line::BadLine;
pub use lookaside::beside;
pub use trust::{BadTrust, TrustedRoots};

/// Pages of a list, and names in all of them: more than any registry has.
const PAGES: usize = 100_000;
const NAMES: usize = 1_000_000;
/// Names on a page.
const PAGE: u32 = 500;
/// How long signing takes at the most: longer than a signer lets it.
const SIGNED: Duration = Duration::from_secs(330);
/// Bytes of a name and of a password.
const NAME_BYTES: usize = 255;
const PASSWORD_BYTES: usize = 4_096;

/// Who asks.
pub struct RemoteUser {
    name: String,
    password: Zeroizing<String>,
}

impl fmt::Debug for RemoteUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why nobody can ask by this name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRemoteUser {
    /// The name.
    #[error("a name has 1 to {NAME_BYTES} bytes, no colon and no control character")]
    Name,
    /// The password.
    #[error("a password has 1 to {PASSWORD_BYTES} bytes, none of them a control character")]
    Password,
}

impl RemoteUser {
    /// Somebody with a password.
    ///
    /// # Errors
    /// What can't be sent as Basic has it (RFC 7617).
    pub fn new(name: &str, password: Zeroizing<String>) -> Result<Self, BadRemoteUser> {
        let sound = (1..=NAME_BYTES).contains(&name.len());
        if !sound || name.contains(|c: char| c == ':' || c.is_control()) {
            return Err(BadRemoteUser::Name);
        }
        if !(1..=PASSWORD_BYTES).contains(&password.len()) || password.contains(char::is_control) {
            return Err(BadRemoteUser::Password);
        }
        Ok(Self { name: name.to_owned(), password })
    }

    fn basic(&self) -> Result<HeaderValue, RemoteError> {
        let both = Zeroizing::new(format!("{}:{}", self.name, *self.password));
        secret(&format!("Basic {}", BASE64.encode(both.as_bytes())))
    }
}

/// A header that no log shows.
fn secret(text: &str) -> Result<HeaderValue, RemoteError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RemoteError::Place(BadPlace))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What is shown with each request.
#[derive(Debug)]
enum Pass {
    Nothing,
    Basic,
    Token(BearerRealm, Zeroizing<String>),
}

/// One registry elsewhere.
#[derive(Debug)]
pub struct RemoteRegistry {
    host: Host,
    /// Whether TLS is spoken to it.
    tls: bool,
    /// Whom TLS believes; none where it is spoken to nobody.
    roots: Option<TrustedRoots>,
    asker: Option<RemoteUser>,
    line: Line,
    /// To its token server, where that is another one.
    tokens: Line,
    /// To a signer of its images.
    signers: Line,
    /// What was shown for a scope the last time, which may be good for more.
    kept: Option<(String, Pass)>,
}

impl RemoteRegistry {
    /// Nothing is asked yet. Without roots it is spoken to without TLS, on this machine alone.
    #[must_use]
    pub fn new(host: Host, roots: Option<TrustedRoots>, asker: Option<RemoteUser>) -> Self {
        let (line, tokens, signers) = (Line::default(), Line::default(), Line::patient(SIGNED));
        Self { host, tls: roots.is_some(), roots, asker, line, tokens, signers, kept: None }
    }

    /// The same for one that is spoken to without TLS, on this machine alone, while its token
    /// server may have it.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { tls: false, ..self }
    }

    /// The same with less patience: each answer of its and of its token server's has so long.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        let (line, tokens) = (Line::patient(patience), Line::patient(patience));
        Self { line, tokens, ..self }
    }

    /// Where something of it is.
    fn at(&self, path: &str) -> Result<WebPlace, RemoteError> {
        WebPlace::of(self.tls, &self.host, path).map_err(RemoteError::Place)
    }

    async fn get(
        &mut self,
        place: &WebPlace,
        pass: Option<HeaderValue>,
    ) -> Result<Answered, RemoteError> {
        let got = self.line.send(&Asking::get(place, pass), self.roots.as_ref()).await;
        got.map_err(|bad| RemoteError::Line(place.host.clone(), bad))
    }

    /// What it wants to be shown; nothing where everybody may ask.
    async fn wanted(&mut self) -> Result<Option<Challenge>, RemoteError> {
        let place = self.at("/v2/")?;
        let answer = self.get(&place, None).await?;
        match answer.status {
            StatusCode::OK => Ok(None),
            StatusCode::UNAUTHORIZED => {
                let read = challenge(&answer.headers).map(Some);
                read.map_err(|bad| RemoteError::Challenge(self.host.clone(), bad))
            }
            _ => Err(other(&self.host, &answer)),
        }
    }

    /// A token for these scopes, in one request.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn token(&mut self, scopes: &[String]) -> Result<Zeroizing<String>, RemoteError> {
        let what = match self.wanted().await? {
            Some(Challenge::Bearer(bearer)) => return self.token_of(&bearer, scopes).await,
            Some(Challenge::Basic) => "a name and a password",
            None => "whoever asks",
        };
        Err(RemoteError::NoTokens(self.host.clone(), what))
    }

    async fn token_of(
        &mut self,
        bearer: &BearerRealm,
        scopes: &[String],
    ) -> Result<Zeroizing<String>, RemoteError> {
        let realm = &bearer.realm;
        self.by_tls(realm)?;
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        parameters.extend(bearer.service.as_deref().map(|service| ("service", service)));
        parameters.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
        let place = realm.with(&parameters).map_err(RemoteError::Place)?;
        let basic = self.asker.as_ref().map(RemoteUser::basic).transpose()?;
        let answer = self.get_of_realm(&place, basic).await?;
        match answer.status {
            StatusCode::OK => listed::token_of(&answer.body)
                .map_err(|bad| RemoteError::Listing(realm.host.clone(), bad)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let said = listed::said(&answer.body);
                let said = said.unwrap_or_else(|| "name or password are not taken".to_owned());
                Err(RemoteError::Unauthorized(realm.host.clone(), said))
            }
            _ => Err(other(&realm.host, &answer)),
        }
    }

    async fn get_of_realm(
        &mut self,
        place: &WebPlace,
        pass: Option<HeaderValue>,
    ) -> Result<Answered, RemoteError> {
        if self.at("/")?.is_beside(place) {
            return self.get(place, pass).await;
        }
        let got = self.tokens.send(&Asking::get(place, pass), self.roots.as_ref()).await;
        got.map_err(|bad| RemoteError::Line(place.host.clone(), bad))
    }

    /// Whether the credential of a token still stands, as its token server knows it.
    ///
    /// # Errors
    /// [`RemoteError`]; then nobody knows.
    pub async fn stands(&mut self, realm: &WebPlace, token: &str) -> Result<bool, RemoteError> {
        let place = realm.beside("stands").map_err(RemoteError::Place)?;
        let pass = secret(&Zeroizing::new(format!("Bearer {token}")))?;
        let answer = self.get_of_realm(&place, Some(pass)).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::UNAUTHORIZED => Ok(false),
            _ => Err(other(&place.host, &answer)),
        }
    }

    /// A registry with TLS sends nobody to a token server without.
    fn by_tls(&self, realm: &WebPlace) -> Result<(), RemoteError> {
        if realm.tls || !self.tls {
            return Ok(());
        }
        Err(RemoteError::PlainRealm(self.host.clone(), realm.host.clone()))
    }

    /// Changes the password of whoever asks, at the token server that the registry names:
    /// `password` beside the address of its tokens. It is sent once.
    ///
    /// # Errors
    /// [`RemoteError`]; `Unsure` where it may have been changed.
    pub async fn change_password(&mut self, next: &str) -> Result<Changed, RemoteError> {
        let bearer = match self.wanted().await? {
            Some(Challenge::Bearer(bearer)) => bearer,
            Some(Challenge::Basic) => {
                let what = "a name and a password";
                return Err(RemoteError::NoTokens(self.host.clone(), what));
            }
            None => return Err(RemoteError::NoTokens(self.host.clone(), "whoever asks")),
        };
        self.by_tls(&bearer.realm)?;
        let place = bearer.realm.beside("password").map_err(RemoteError::Place)?;
        let basic = self.asker.as_ref().map(RemoteUser::basic).transpose()?;
        let host = place.host.clone();
        let nobody = || RemoteError::NotChanged(host.clone(), "nobody asks".to_owned());
        let basic = basic.ok_or_else(nobody)?;
        let begun = self.line.begin(&place, self.roots.as_ref()).await;
        begun.map_err(|bad| RemoteError::Line(host.clone(), bad))?;
        let form = Zeroizing::new(asked_for(next).as_bytes().to_vec());
        let answer = self.line.post(&place, basic, form).await;
        let answer = answer.map_err(|bad| RemoteError::Unsure(host.clone(), bad.to_string()))?;
        let said = || listed::said(&answer.body);
        let refused = |text: &str| {
            let said = said().unwrap_or_else(|| text.to_owned());
            RemoteError::NotChanged(host.clone(), said)
        };
        Err(match answer.status {
            StatusCode::NO_CONTENT | StatusCode::ACCEPTED => {
                let read = Changed::read(answer.status, &answer.body);
                let text = "its answer doesn't read".to_owned();
                return read.ok_or_else(|| RemoteError::Unsure(host.clone(), text));
            }
            StatusCode::BAD_REQUEST => refused("it takes no such request"),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused("the old one is wrong"),
            StatusCode::CONFLICT => refused("somebody else changed the account"),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                RemoteError::NoChanges(host.clone())
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                let said = said().unwrap_or_else(|| "it says nothing more".to_owned());
                RemoteError::Unsure(host.clone(), said)
            }
            _ => other(&host, &answer),
        })
    }

    /// The repositories that there are, page by page.
    ///
    /// # Errors
    /// [`RemoteError`]; `Stopped` where `take` says so.
    pub async fn catalog(
        &mut self,
        take: impl FnMut(&[String]) -> bool,
    ) -> Result<(), RemoteError> {
        let first = format!("/v2/_catalog?n={PAGE}");
        self.list("registry:catalog:*", &first, listed::repositories_of, take).await
    }

    /// The tags of a repository, page by page.
    ///
    /// # Errors
    /// [`RemoteError`]; `Stopped` where `take` says so.
    pub async fn tags(
        &mut self,
        repository: &str,
        take: impl FnMut(&[String]) -> bool,
    ) -> Result<(), RemoteError> {
        let scope = format!("repository:{repository}:pull");
        let first = format!("/v2/{repository}/tags/list?n={PAGE}");
        self.list(&scope, &first, listed::tags_of, take).await
    }

    async fn list(
        &mut self,
        scope: &str,
        first: &str,
        read: fn(&[u8]) -> Result<Vec<String>, BadListing>,
        mut take: impl FnMut(&[String]) -> bool,
    ) -> Result<(), RemoteError> {
        let scopes = [scope.to_owned()];
        let mut pass = self.pass(scope).await?;
        let (mut page, mut names, mut taken) = (self.at(first)?, 0, false);
        for _ in 0..PAGES {
            let mut answer = self.page(&page, &pass).await?;
            // A token may end while there are more pages; a second one that fails is a refusal.
            if let Pass::Token(bearer, old) = &mut pass
                && answer.status == StatusCode::UNAUTHORIZED
                && taken
            {
                *old = self.token_of(bearer, &scopes).await?;
                answer = self.page(&page, &pass).await?;
            }
            if answer.status != StatusCode::OK {
                return Err(other(&self.host, &answer));
            }
            let bad = |bad| RemoteError::Listing(self.host.clone(), bad);
            let found = read(&answer.body).map_err(bad)?;
            names += found.len();
            if names > NAMES {
                return Err(RemoteError::Endless(self.host.clone()));
            }
            if !take(&found) {
                return Err(RemoteError::Stopped);
            }
            taken = true;
            let Some(next) = next(&page, &answer.headers).map_err(bad)? else { return Ok(()) };
            page = next;
        }
        Err(RemoteError::Endless(self.host.clone()))
    }

    /// What is shown with requests for this scope.
    async fn pass(&mut self, scope: &str) -> Result<Pass, RemoteError> {
        Ok(match self.wanted().await? {
            None => Pass::Nothing,
            Some(Challenge::Basic) => Pass::Basic,
            Some(Challenge::Bearer(bearer)) => {
                let token = self.token_of(&bearer, &[scope.to_owned()]).await?;
                Pass::Token(bearer, token)
            }
        })
    }

    /// The same as a header.
    fn shown(&self, pass: &Pass) -> Result<Option<HeaderValue>, RemoteError> {
        match pass {
            Pass::Nothing => Ok(None),
            Pass::Basic => self.asker.as_ref().map(RemoteUser::basic).transpose(),
            Pass::Token(_, token) => {
                secret(&Zeroizing::new(format!("Bearer {}", token.as_str()))).map(Some)
            }
        }
    }

    async fn page(&mut self, page: &WebPlace, pass: &Pass) -> Result<Answered, RemoteError> {
        let shown = self.shown(pass)?;
        self.get(page, shown).await
    }
}

fn challenge(headers: &HeaderMap) -> Result<Challenge, BadChallenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter();
    let lines: Result<Vec<_>, _> = lines.map(HeaderValue::to_str).collect();
    lines.map_err(|_| BadChallenge::Shape).and_then(Challenge::read)
}

fn next(page: &WebPlace, headers: &HeaderMap) -> Result<Option<WebPlace>, BadListing> {
    for link in headers.get_all(LINK) {
        let link = link.to_str().map_err(|_| BadListing::Next)?;
        if let Some(next) = listed::next_page(page, link)? {
            return Ok(Some(next));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
