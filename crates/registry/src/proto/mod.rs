//! What the wire carries: requests and answers of the token protocol, access tokens and
//! refresh tokens; and what other registries say. No socket, file or clock: those bring `work`.

pub mod answer;
pub mod bearer;
pub mod challenge;
pub mod change;
mod form;
pub mod forwarded;
pub mod listed;
pub mod place;
pub mod refresh;
pub mod request;
pub mod sign;
pub mod token;
