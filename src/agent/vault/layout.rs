//! The names below which files lie and are shown. docs/formats.md says what is
//! in them; `mount` makes them, and what else looks for a part of it finds the word here.
//!
//! ```text
//! ROOT/NAME            the service's directory on the host: a view of HOST
//! ROOT/NAME/..live     what a workload binds: a view of LIVE
//! ROOT/.mounts/ID      the service's own mount, root's alone
//!   manifest.json      what is in it
//!   live/..data        the link to the generation in place
//!   live/..N           the generation in place
//!   live/..fresh/at    when a leader last confirmed that it is what is due
//!   old/N              generations that were replaced and may still be read
//!   host/              the host's directory
//! ROOT/.mounts/fuse    the mount that the agent serves itself, with a folder for each ID
//! ```

/// Where an agent keeps its root, unless it is told otherwise.
pub const ROOT: &str = "/run/secrets";
/// Where a command sees its secrets, in its own mount namespace.
pub const SECRETS: &str = "/run/secrets";
/// Where the services' mounts are, below the root.
pub(in crate::agent) const MOUNTS: &str = ".mounts";
/// The folder of the mount that the agent serves itself, among the services'.
pub(in crate::agent) const SERVED: &str = "fuse";
/// What workloads see of a service's mount.
pub(in crate::agent) const LIVE: &str = "live";
/// What the host sees of a service's mount.
pub(in crate::agent) const HOST: &str = "host";
/// Generations that were replaced and may still be read.
pub(in crate::agent) const OLD: &str = "old";
/// The view of [`LIVE`] in the service's directory on the host.
pub(in crate::agent) const LIVE_VIEW: &str = "..live";
/// The link to the generation in place.
pub(in crate::agent) const DATA: &str = "..data";
/// The link while it is made.
pub(in crate::agent) const DATA_NEW: &str = "data.new";
/// The folder of the mark: one of its own, so that who watches the set is not woken by it.
pub(in crate::agent) const FRESH: &str = "..fresh";
/// The mark: when a leader last confirmed that what is in place is what is due.
pub(in crate::agent) const MARK: &str = "at";
/// The mark while it is written.
pub(in crate::agent) const MARK_NEW: &str = "fresh.new";
/// The record of what is in a service's mount.
pub(in crate::agent) const MANIFEST: &str = "manifest.json";
/// The record while it is written.
pub(in crate::agent) const MANIFEST_NEW: &str = "manifest.new";
