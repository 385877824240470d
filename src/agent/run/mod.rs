//! The agent at work: what waits for events, asks the session's core, and does what it says.
//!
//! `driver` waits and acts, `link` is the connection to a manager, `worker` gives out work
//! on the mounts, in `lanes`, to `hands` that open values and keep them, `workloads` follows
//! processes, `book` keeps what survives a restart and `notes` writes down for the next
//! agent which workloads there are, `puts` carries upward what they write, and
//! `anchors` how far their records reach. It deliberately decides nothing: `session` does.

mod anchors;
mod book;
mod cause;
mod driver;
mod handle;
mod hands;
mod lanes;
mod link;
mod notes;
mod puts;
mod renew;
mod stage;
mod upward;
mod worker;
mod workloads;

pub use anchors::RecordEnd;
pub use book::{Book, BookError};
pub use driver::{Broken, Driver};
pub use handle::{Granted, Handle, MountedVolume};
pub use link::{Link, LinkEvent, Links, Machine};
pub use notes::Notes;
pub use puts::{NotCarried, PutPlaces, Puts, SealedPut};
pub use stage::Stage;
pub use upward::Upward;
pub use worker::{Report, Worker};
pub use workloads::Workloads;
