//! What a server is opened over: a folder as the agent delivers it, at which it looks each time
//! that it decides, the certificate in it, the clock, and the record.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use skep_core::base::Clock;

use super::folder::Unready;
use super::fresh::Freshness;
use super::look::{Eyes, Looker, Reads};
use super::record::Record;
use super::tls::Shown;

/// A folder that is looked at.
pub(super) struct Opened<S> {
    pub(super) looker: Looker<S>,
    pub(super) clock: Arc<dyn Clock + Send + Sync>,
    pub(super) record: Record,
    /// The certificate that connections begin with.
    pub(super) shown: Arc<Shown>,
}

impl<S: fmt::Debug + Send + Sync + 'static> Opened<S> {
    /// Begins to look.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start<R: Reads<Set = S>>(
        reads: R,
        folder: PathBuf,
        stale_limit_s: Option<u64>,
        clock: Arc<dyn Clock + Send + Sync>,
        record: Record,
    ) -> io::Result<Self> {
        let shown = Arc::new(Shown::default());
        let eyes = Eyes {
            folder,
            clock: Arc::clone(&clock),
            freshness: Freshness::of_this_boot()?,
            stale_limit_s,
            shown: Arc::clone(&shown),
        };
        Ok(Self { looker: Looker::start(eyes, reads)?, clock, record, shown })
    }

    /// Whether the set can be worked with now. A certificate that was replaced is shown from
    /// then on.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn ready(&self) -> Result<(), Unready> {
        self.looker.look().await?.set().map(drop)
    }

    /// Seconds since 1970.
    pub(super) fn now_s(&self) -> u64 {
        self.clock.now().0 / 1_000
    }
}
