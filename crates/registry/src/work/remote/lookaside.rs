//! Signatures that are served beside a registry, one below the other: `signature-1` and on, until
//! there is none.

use axum::http::StatusCode;

use super::line::{Asking, Line};
use super::trust::TrustedRoots;
use super::{RemoteError, other};
use crate::proto::place::WebPlace;
use crate::rules::image::Digest;
use crate::rules::signing::openpgp::MESSAGE_BYTES;

/// Signatures of one image: as many as are kept.
const MOST: usize = 16;

/// All that stand below this address for an image, whose repository is named without its host.
///
/// # Errors
/// [`RemoteError`].
pub async fn beside(
    at: &WebPlace,
    roots: Option<&TrustedRoots>,
    repository: &str,
    digest: &Digest,
) -> Result<Vec<Vec<u8>>, RemoteError> {
    let (mut line, mut found) = (Line::default(), Vec::new());
    for number in 1..=MOST {
        let folder = at.path().trim_end_matches('/');
        let path = format!("{folder}/{repository}@sha256={}/signature-{number}", digest.hex());
        let place = WebPlace::of(at.tls, &at.host, &path).map_err(RemoteError::Place)?;
        let asking = Asking { accept: "*/*", most: MESSAGE_BYTES, ..Asking::get(&place, None) };
        let answer = line.send(&asking, roots).await;
        let answer = answer.map_err(|bad| RemoteError::Line(at.host.clone(), bad))?;
        match answer.status {
            StatusCode::OK => found.push(answer.body.to_vec()),
            StatusCode::NOT_FOUND => break,
            _ => return Err(other(&at.host, &answer)),
        }
    }
    Ok(found)
}
