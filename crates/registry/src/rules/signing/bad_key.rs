//! Why a key is none that signs here.

/// Bytes of a key, private or public.
pub const KEY_BYTES: usize = 64 * 1024;

/// Why a key is not taken. It holds nothing of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Too much.
    #[error("the key is larger than {KEY_BYTES} bytes")]
    Size,
    /// Neither form.
    #[error("the key is neither PKCS#8 in PEM nor a private key of OpenPGP")]
    Unknown,
    /// cosign's own form, which takes a password.
    #[error("the key is a file of cosign's, sealed with a password")]
    Sealed,
    /// Not what its first line says, or of another curve.
    #[error("the key is no ECDSA key on P-256 in PKCS#8")]
    Pkcs8,
    /// The public half.
    #[error("the key is no public ECDSA key on P-256")]
    Spki,
    /// Not what its first line says.
    #[error("the key is no key of OpenPGP, or is damaged")]
    OpenPgp,
    /// More than one, where one is asked for.
    #[error("there is more than one key of OpenPGP")]
    Several,
    /// It takes a passphrase, which nobody could type.
    #[error("the key of OpenPGP has a passphrase")]
    Passphrase,
    /// An algorithm that isn't used here.
    #[error("the key of OpenPGP is neither Ed25519 nor RSA of 2,048 to 8,192 bits")]
    Algorithm,
    /// Its signatures about itself don't allow it to sign, or don't hold.
    #[error("the primary key of OpenPGP may not sign")]
    MayNotSign,
    /// Its end is past.
    #[error("the key of OpenPGP has ended")]
    Ended,
    /// Its owner took it back.
    #[error("the key of OpenPGP is revoked")]
    Revoked,
    /// A name that is none.
    #[error("a user id has 1 to 256 bytes of text in one line")]
    UserId,
    /// Before 1970 or after 2106.
    #[error("the time is none that OpenPGP knows")]
    Time,
}
