//! Images of another registry: manifests and small blobs, read and written.
//!
//! Whatever has a digest is checked against it here, so that a registry which lies is found out
//! before anything is made of what it sent.

use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use bytes::Bytes;

use super::line::{Answered, Asking};
use super::{RemoteError, RemoteRegistry, other};
use crate::proto::place::WebPlace;
use crate::rules::image::Digest;
use crate::rules::manifest::{ACCEPTED, MANIFEST_BYTES};

/// Bytes of an answer that says how something went.
const SAID_BYTES: usize = 64 * 1024;
/// The header with the digest of what was sent.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// The header by which a registry says that it lists what belongs to a subject.
const SUBJECT: &str = "oci-subject";
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A manifest as it was sent, and the digest of those bytes.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The kind that it was sent as.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
}

/// One repository of a registry, and what is done there.
#[derive(Debug)]
pub struct Repository<'r> {
    registry: &'r mut RemoteRegistry,
    name: &'r str,
    scope: String,
}

impl RemoteRegistry {
    /// A repository, for actions as a scope has them: `pull` or `pull,push`.
    pub fn repository<'r>(&'r mut self, name: &'r str, actions: &str) -> Repository<'r> {
        let scope = format!("repository:{name}:{actions}");
        Repository { registry: self, name, scope }
    }
}

impl Repository<'_> {
    /// The manifest of a tag or a digest; nothing where there is none.
    ///
    /// # Errors
    /// [`RemoteError`]; `Mismatch` where it is not what its digest says.
    pub async fn manifest(&mut self, reference: &str) -> Result<Option<Fetched>, RemoteError> {
        let place = self.at(&format!("manifests/{reference}"))?;
        let asking = Asking { accept: ACCEPTED, most: MANIFEST_BYTES, ..Asking::get(&place, None) };
        let answer = self.ask(asking).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(other(&self.registry.host, &answer)),
        }
        let digest = Digest::of(&answer.body);
        let said = text(&answer.headers, CONTENT_DIGEST).map(str::parse::<Digest>);
        let wanted = [reference.parse::<Digest>().ok(), said.and_then(Result::ok)];
        if let Some(other) = wanted.into_iter().flatten().find(|wanted| *wanted != digest) {
            return Err(RemoteError::Mismatch(self.registry.host.clone(), other));
        }
        let kind = text(&answer.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let (media_type, bytes) = (kind.to_owned(), Bytes::from_owner(answer.body));
        Ok(Some(Fetched { media_type, bytes, digest }))
    }

    /// A blob of at most so many bytes; nothing where there is none.
    ///
    /// # Errors
    /// [`RemoteError`]; `Mismatch` where it is not what its digest says.
    pub async fn blob(
        &mut self,
        digest: &Digest,
        most: usize,
    ) -> Result<Option<Bytes>, RemoteError> {
        let place = self.at(&format!("blobs/{digest}"))?;
        let answer = self.ask(Asking { accept: "*/*", most, ..Asking::get(&place, None) }).await?;
        match answer.status {
            StatusCode::OK if Digest::of(&answer.body) == *digest => {
                Ok(Some(Bytes::from_owner(answer.body)))
            }
            StatusCode::OK => Err(RemoteError::Mismatch(self.registry.host.clone(), *digest)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(other(&self.registry.host, &answer)),
        }
    }

    /// Puts a blob there, if it isn't there. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`RemoteError`]; then it may be there or not.
    pub async fn put_blob(&mut self, bytes: Bytes) -> Result<(), RemoteError> {
        let digest = Digest::of(&bytes);
        let place = self.at(&format!("blobs/{digest}"))?;
        let head = Asking { method: Method::HEAD, accept: "*/*", ..Asking::get(&place, None) };
        if self.ask(head).await?.status == StatusCode::OK {
            return Ok(());
        }
        let place = self.at("blobs/uploads/")?;
        let answer = self.ask(sending(Method::POST, &place, OCTETS, Bytes::new())).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(other(&self.registry.host, &answer));
        }
        let place = self.upload(&place, &answer.headers)?;
        let place = place.with(&[("digest", &digest.to_string())]).map_err(RemoteError::Place)?;
        let answer = self.ask(sending(Method::PUT, &place, OCTETS, bytes)).await?;
        if answer.status == StatusCode::CREATED {
            return Ok(());
        }
        Err(other(&self.registry.host, &answer))
    }

    /// Puts a manifest there, below a tag or its digest. Answers whether the registry lists it
    /// with its subject, so that no index of ours has to.
    ///
    /// # Errors
    /// [`RemoteError`]; then it may be there or not.
    pub async fn put_manifest(
        &mut self,
        reference: &str,
        media_type: &'static str,
        bytes: Bytes,
    ) -> Result<bool, RemoteError> {
        let place = self.at(&format!("manifests/{reference}"))?;
        let kind = HeaderValue::from_static(media_type);
        let answer = self.ask(sending(Method::PUT, &place, kind, bytes)).await?;
        if answer.status == StatusCode::CREATED {
            return Ok(answer.headers.contains_key(SUBJECT));
        }
        Err(other(&self.registry.host, &answer))
    }

    fn at(&self, path: &str) -> Result<WebPlace, RemoteError> {
        self.registry.at(&format!("/v2/{}/{path}", self.name))
    }

    /// Where an upload goes on. Its path may be any, its server is the one that was asked: a
    /// registry behind a proxy often doesn't know what it is called from outside.
    fn upload(&self, asked: &WebPlace, headers: &HeaderMap) -> Result<WebPlace, RemoteError> {
        let elsewhere = || RemoteError::Upload(self.registry.host.clone());
        let to = text(headers, LOCATION.as_str()).ok_or_else(elsewhere)?;
        let path = if to.starts_with('/') {
            to.to_owned()
        } else {
            let place = WebPlace::read(to).map_err(|_| elsewhere())?;
            if !place.host.name().eq_ignore_ascii_case(asked.host.name()) {
                return Err(elsewhere());
            }
            place.path().to_owned()
        };
        self.registry.at(&path).map_err(|_| elsewhere())
    }

    /// Asks with what was shown the last time; where that isn't taken any more, once more with
    /// what is given now.
    async fn ask(&mut self, mut asking: Asking<'_>) -> Result<Answered, RemoteError> {
        let registry = &mut *self.registry;
        let kept = registry.kept.take().filter(|(scope, _)| *scope == self.scope);
        let (pass, fresh) = match kept {
            Some((_, pass)) => (pass, false),
            None => (registry.pass(&self.scope).await?, true),
        };
        asking.pass = registry.shown(&pass)?;
        let answer = registry.send(&asking).await?;
        if answer.status != StatusCode::UNAUTHORIZED || fresh {
            registry.kept = Some((self.scope.clone(), pass));
            return Ok(answer);
        }
        let pass = registry.pass(&self.scope).await?;
        asking.pass = registry.shown(&pass)?;
        let answer = registry.send(&asking).await?;
        registry.kept = Some((self.scope.clone(), pass));
        Ok(answer)
    }
}

impl RemoteRegistry {
    async fn send(&mut self, asking: &Asking<'_>) -> Result<Answered, RemoteError> {
        let got = self.line.send(asking, self.roots.as_ref()).await;
        got.map_err(|bad| RemoteError::Line(asking.place.host.clone(), bad))
    }
}

fn sending(method: Method, place: &WebPlace, kind: HeaderValue, bytes: Bytes) -> Asking<'_> {
    let content = Some((kind, bytes));
    Asking { method, content, most: SAID_BYTES, ..Asking::get(place, None) }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
