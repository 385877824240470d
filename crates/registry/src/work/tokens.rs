//! What is asked of a token server, by its path: tokens, a password's change, its health.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;

use super::auth::{Desk, Request};
use super::opened::Opened;
use super::server::{self, Answers, BadBody, Door, WebAnswer, WebRequest, read, response};
use super::set::Set;
use crate::proto::answer::Refused;

/// Serves tokens until `ended` says so, then lets what is under way come to its end.
///
/// # Errors
/// TLS can't be set up.
pub async fn serve_tokens(
    door: Door,
    desk: Arc<Desk>,
    ended: watch::Receiver<bool>,
) -> io::Result<()> {
    server::serve(door, desk, ended).await
}

impl Answers for Desk {
    type Set = Set;

    fn opened(&self) -> &Opened<Set> {
        &self.opened
    }

    async fn respond(&self, request: WebRequest, peer: IpAddr) -> WebAnswer {
        respond(request, peer, self).await
    }
}

async fn respond(request: WebRequest, peer: IpAddr, desk: &Desk) -> WebAnswer {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/health" {
        return health(desk).await;
    }
    if parts.uri.path() == "/password" {
        return password(&parts, body, peer, desk).await;
    }
    if parts.uri.path() == "/stands" {
        return stands(&parts, desk).await;
    }
    let answer = async {
        if !matches!(parts.uri.path(), "/auth" | "/token") {
            return Err(Refused::NoSuchPath);
        }
        if !matches!(parts.method, Method::GET | Method::POST) {
            return Err(Refused::NoSuchMethod);
        }
        let body = read(body).await.map_err(refused_body)?;
        let query = parts.uri.query().unwrap_or_default();
        let (method, headers) = (&parts.method, &parts.headers);
        desk.answer(&Request { peer, method, query, headers, body: &body }).await
    };
    match answer.await {
        Ok(answer) => {
            let body = serde_json::to_vec(&answer).unwrap_or_default();
            response(StatusCode::OK, body)
        }
        Err(refused) => refusal(&refused),
    }
}

/// Whether a token's credential still stands.
async fn stands(parts: &axum::http::request::Parts, desk: &Desk) -> WebAnswer {
    if parts.method != Method::GET {
        return refusal(&Refused::NoSuchMethod);
    }
    match desk.stands(&parts.headers).await {
        Ok(()) => response(StatusCode::OK, b"{\"stands\":true}".to_vec()),
        Err(refused) => refusal(&refused),
    }
}

/// A password that its owner changes.
async fn password(
    parts: &axum::http::request::Parts,
    body: Incoming,
    peer: IpAddr,
    desk: &Desk,
) -> WebAnswer {
    let changed = async {
        if parts.method != Method::POST {
            return Err(Refused::NoSuchMethod);
        }
        let body = read(body).await.map_err(refused_body)?;
        let query = parts.uri.query().unwrap_or_default();
        let (method, headers) = (&parts.method, &parts.headers);
        desk.change(&Request { peer, method, query, headers, body: &body }).await
    };
    match changed.await {
        Ok(changed) => response(changed.status(), changed.body()),
        Err(refused) => refusal(&refused),
    }
}

fn refused_body(bad: BadBody) -> Refused {
    match bad {
        BadBody::TooLarge => Refused::TooLarge,
        BadBody::Absent => Refused::invalid("the body does not arrive"),
    }
}

fn refusal(refused: &Refused) -> WebAnswer {
    let mut response = response(refused.status(), refused.body());
    response.headers_mut().extend(refused.headers());
    response
}

async fn health(desk: &Desk) -> WebAnswer {
    match desk.ready().await {
        Ok(()) => response(StatusCode::OK, b"{\"status\":\"ok\"}".to_vec()),
        Err(unready) => {
            let refused = Refused::Unavailable(unready.what);
            response(refused.status(), refused.body())
        }
    }
}
