//! Identifiers: 128 random bits, written as 26 lower-case base-32 characters.

use std::fmt;
use std::str::FromStr;

use super::{Dice, draw};

/// Text that is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: an id has 26 characters from a-z and 2-7")]
pub struct BadId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 128 bits, drawn at random and never used again.
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id made of these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Draws a new id.
            pub fn draw(dice: &mut dyn Dice) -> Self {
                Self(draw(dice))
            }

            /// The id's 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = BadId;

            fn try_from(bytes: &[u8]) -> Result<Self, BadId> {
                bytes.try_into().map(Self).ok().ok_or(BadId)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                decode(text).map(Self)
            }
        }
    };
}

id!(
    /// A cluster.
    ClusterId
);
id!(
    /// A member of the cluster, manager or agent; also its Raft node id.
    NodeId
);
id!(
    /// A person or CI job with a client identity.
    OperatorId
);
id!(
    /// A public key to which key files are sealed (derived from it).
    RecipientId
);
id!(
    /// One command; the state machine remembers its answer until its deadline.
    RequestId
);
id!(
    /// A secret.
    SecretId
);
id!(
    /// One value of a secret.
    VersionId
);
id!(
    /// A service.
    ServiceId
);
id!(
    /// A join token.
    TokenId
);

fn encode(bytes: &[u8; 16]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn decode(text: &str) -> Result<[u8; 16], BadId> {
    if text.len() != 26 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(BadId);
    }
    data_encoding::BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(BadId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read_alike() {
        let id = NodeId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("".parse::<NodeId>(), Err(BadId));
        assert_eq!(id.to_string().to_uppercase().parse::<NodeId>(), Err(BadId));
    }
}
