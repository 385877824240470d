//! Machines that join at once from one address: what an agent does to join, without one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_client::ca::{JoinToken, PrivateKey, certificate_request};
use skep_client::transport::rpc::api::membership_client::MembershipClient;
use skep_client::transport::{ClientTls, Expect, connect};
use skep_core::wire::api;

use super::DEADLINE;

/// Between two tries of one machine.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets so many machines join at once, as `PREFIX-0` and so on, and answers how often each
/// had to try.
///
/// # Panics
/// Where one of them is not through in time.
#[must_use]
pub fn rack(address: &str, tls: &ClientTls, token: &str, prefix: &str, count: usize) -> Vec<u32> {
    let token = Arc::new(JoinToken::parse(token.as_bytes()).expect("a token"));
    super::rpc::runtime().block_on(async {
        let machine = |number| {
            let (address, tls, token) = (address.to_owned(), tls.clone(), token.clone());
            tokio::spawn(joins(address, tls, token, format!("{prefix}-{number}")))
        };
        let all: Vec<_> = (0..count).map(machine).collect();
        let mut tries = Vec::new();
        for one in all {
            tries.push(one.await.expect("no panic").expect("it joins"));
        }
        tries
    })
}

fn join_request(token: &JoinToken, key: &PrivateKey, name: String) -> api::JoinRequest {
    api::JoinRequest {
        token_id: token.id.as_bytes().to_vec(),
        token_secret: token.secret.expose().to_vec(),
        role: api::NodeRole::Worker.into(),
        name,
        public_key: key.public(),
        proof: certificate_request(key).expect("a request"),
        box_key: Vec::new(),
        addresses: Vec::new(),
        learner: false,
    }
}

async fn joins(
    address: String,
    tls: ClientTls,
    token: Arc<JoinToken>,
    name: String,
) -> Result<u32, String> {
    let key = PrivateKey::generate().expect("a key");
    let (start, mut tries) = (Instant::now(), 0);
    loop {
        tries += 1;
        let why = match connect(&address, &tls, Expect::AnyManager, DEADLINE).await {
            Ok((channel, _)) => {
                let request = join_request(&token, &key, name.clone());
                match MembershipClient::new(channel).join(request).await {
                    Ok(_) => return Ok(tries),
                    Err(status) => status.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        if start.elapsed() > DEADLINE {
            return Err(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
