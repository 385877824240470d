//! What is asked of a signer, by its path.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::watch;

use super::set::SignSet;
use super::{SignDesk, lookaside};
use crate::proto::sign::{SignAsked, SignRefused};
use crate::work::opened::Opened;
use crate::work::server::{self, Answers, BadBody, Door, WebAnswer, WebRequest, read, response};

/// How often it is looked whether something has to be put back.
const REPAIR: Duration = Duration::from_millis(500);

/// Serves until `ended` says so, then lets what is under way come to its end.
///
/// # Errors
/// TLS can't be set up.
pub async fn serve_signer(
    door: Door,
    desk: Arc<SignDesk>,
    ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let repairs = tokio::spawn({
        let desk = Arc::clone(&desk);
        async move {
            loop {
                tokio::time::sleep(REPAIR).await;
                desk.repair().await;
            }
        }
    });
    let served = server::serve(door, desk, ended).await;
    repairs.abort();
    served
}

impl Answers for SignDesk {
    type Set = SignSet;

    fn opened(&self) -> &Opened<SignSet> {
        &self.opened
    }

    async fn respond(&self, request: WebRequest, peer: IpAddr) -> WebAnswer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if path.starts_with(lookaside::PATH) {
            return match parts.method {
                Method::GET => self.signature(path).await,
                _ => self.refusal(&SignRefused::NoSuchMethod, None).await,
            };
        }
        let mut scope = None;
        let answer = async {
            match (path, &parts.method) {
                ("/health", &Method::GET) => {
                    let ready = self.ready().await;
                    ready.map_err(|unready| SignRefused::Unavailable(unready.what))?;
                    Ok(b"{\"status\":\"ok\"}".to_vec())
                }
                ("/v1/sign", &Method::POST) => {
                    let body = read(body).await.map_err(|bad| match bad {
                        BadBody::TooLarge => SignRefused::TooLarge,
                        BadBody::Absent => {
                            SignRefused::Invalid("the body does not arrive".to_owned())
                        }
                    })?;
                    let asked = SignAsked::read(&body)?;
                    scope = Some(asked.scope());
                    let answer = self.sign_for(peer, &parts.headers, &asked).await?;
                    Ok(serde_json::to_vec(&answer).unwrap_or_default())
                }
                ("/health" | "/v1/sign", _) => Err(SignRefused::NoSuchMethod),
                _ => Err(SignRefused::NoSuchPath),
            }
        };
        match answer.await {
            Ok(body) => response(StatusCode::OK, body),
            Err(refused) => self.refusal(&refused, scope.as_deref()).await,
        }
    }
}

impl SignDesk {
    async fn signature(&self, path: &str) -> WebAnswer {
        match self.lookaside(path).await {
            Ok(bytes) => {
                let mut response = Response::new(Full::new(bytes));
                let kind = HeaderValue::from_static("application/octet-stream");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(refused) => self.refusal(&refused, None).await,
        }
    }

    async fn refusal(&self, refused: &SignRefused, scope: Option<&str>) -> WebAnswer {
        let mut response = response(refused.status(), refused.body());
        if let Ok(seen) = self.look().await
            && let Ok(set) = seen.set()
        {
            let settings = &set.settings;
            let headers = refused.headers(&settings.realm, &settings.service, scope);
            response.headers_mut().extend(headers);
        }
        response
    }
}
