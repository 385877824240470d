//! Why bytes did not open. No value, key or nonce is ever in here.

/// A sealed thing that did not open, or a key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Wrong key, or changed, swapped or cut bytes.
    #[error("does not open: damaged, tampered with, or sealed under another key")]
    DoesNotOpen,
    /// Not the shape that this kind of sealed bytes has.
    #[error("is not of the expected form")]
    Malformed,
    /// An unlock key with a typing error: its checksum does not fit.
    #[error("is mistyped: its checksum does not fit")]
    Mistyped,
    /// An unlock key that no box in this key file is for.
    #[error("is not a key of this manager")]
    NotARecipient,
    /// A public key of low order, to which anybody could open.
    #[error("is a public key of low order, which anybody can open")]
    LowOrder,
    /// Boxed or wrapped under another number of the cluster key.
    #[error("is sealed under cluster key {found}, and {wanted} is in use")]
    Retired {
        /// The number it was sealed under.
        found: u64,
        /// The number in use.
        wanted: u64,
    },
}
