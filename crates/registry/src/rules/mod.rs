//! What is decided from text alone: pure, without a clock, a file or a socket.

pub mod credential;
pub mod grant;
pub mod labels;
pub mod password;
pub mod slug;
