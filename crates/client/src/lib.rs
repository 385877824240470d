//! How a program reaches a cluster's managers: identity, mutual TLS, calls that are tried
//! again where that helps, values that are sealed before they leave the process.
//!
//! Nothing here prints: what went wrong is a [`CallError`] with the status that a process ends
//! with. What two command lines share is here as well: the settings by which managers are
//! reached, the hidden prompt, and the hint for a call that was not done.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use skep_client::{IdentityFile, Operator};
//! use skep_core::base::SecretBytes;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let file = IdentityFile::read(Path::new("admin.skepid"))?;
//! let mut operator = Operator::new(&file.identity, Vec::new(), Duration::from_secs(30))?;
//! let name = "db-password".parse()?;
//! operator.create(&name, SecretBytes::copy_of(b"correct horse")).await?;
//! for secret in operator.secrets(false).await? {
//!     println!("{} has version {}", secret.name, secret.current);
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

#[cfg(all(feature = "testing", not(debug_assertions)))]
compile_error!("the feature `testing` is for debug builds alone");

mod acts;
mod answer;
pub mod ca;
mod config;
pub mod contexts;
mod error;
mod generate;
pub mod join;
mod link;
pub mod lookup;
pub mod machine;
mod operator;
mod passphrase;
pub mod progress;
pub mod put;
mod reach;
pub mod renew;
pub mod settings;
pub mod transport;
mod watch;

pub use acts::{Change, Draft, NewVersion, apply, apply_sealed};
pub use answer::{Answer, harmless};
pub use error::CallError;
pub use generate::{BadKind, Drawn, Generate};
pub use link::{
    Ages, BadAddress, BadIdentityFile, CallKind, Control, IdentityFile, Link, Managers, PORT,
    is_due, leaf_of, read_address, read_own_address,
};
pub use lookup::Listed;
pub use operator::Operator;
pub use passphrase::{IDENTITY_COMMAND, IDENTITY_FILE, Passphrases, new_passphrase};
pub use reach::{Reached, reach, read_identity, still_trying, unsound};
pub use watch::{NotConfirmed, until_delivered};
