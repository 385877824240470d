//! The part of Docker's Engine API that is about secrets: what is asked, what is answered, in
//! the engine's own shapes and texts (Docker Engine API 1.41, as engine 20.10 answers). PURE.

mod ask;
mod filter;
mod refused;
mod shape;

pub(crate) use ask::{Ask, Asked};
pub(crate) use filter::Filter;
pub(crate) use refused::Refused;
pub(crate) use shape::{Created, Secret, Spec, System, Update, info, version};

/// The newest version of the API whose secrets are these.
pub(crate) const API: Version = Version(1, 51);
/// The first version that has secrets.
pub(crate) const API_LEAST: Version = Version(1, 25);

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// Reads `1.41`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        Some(Self(number(major)?, number(minor)?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}
