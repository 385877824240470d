//! What the wire carries: requests and answers of the token protocol, access tokens and
//! refresh tokens. No socket, file or clock: those bring `work`.

pub mod answer;
mod form;
pub mod forwarded;
pub mod refresh;
pub mod request;
pub mod token;
