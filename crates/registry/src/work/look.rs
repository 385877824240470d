//! The set as it is now: one thread looks at the link for all who ask, so that a mount which
//! hangs holds up nobody's runtime, and who asks at once is answered by one look.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use skep_core::base::{BootTime, Clock};
use tokio::sync::{mpsc, oneshot};

use super::folder::Unready;
use super::fresh::Freshness;
use super::tls::Shown;

/// The link to the generation in place.
const DATA: &str = "..data";
/// Questions that wait for a look.
const WAITING: usize = 4_096;
/// Questions answered by one look.
const AT_ONCE: usize = 1_024;
/// How long anybody waits for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// Times that a generation may be replaced while it is read.
const TRIES: usize = 8;

/// What a generation is read as.
pub(super) trait Reads: Send + 'static {
    /// A set that can be worked with.
    type Set: std::fmt::Debug + Send + Sync + 'static;

    /// Reads the generation in `folder`; `before` is the one that it took the place of.
    ///
    /// # Errors
    /// What the system says: then nothing is known. Damage is no error of this kind.
    fn read(
        &mut self,
        folder: &Path,
        before: Option<&Self::Set>,
        now: BootTime,
    ) -> io::Result<Loaded<Self::Set>>;

    /// Seconds for which a confirmation of a manager is good, where the set demands one.
    fn stale_limit_s(set: &Self::Set) -> Option<u64>;
}

/// A generation as it was read: whether it can be worked with or not, it may have a certificate.
#[derive(Debug)]
pub(super) struct Loaded<S> {
    /// What the link names it.
    pub(super) generation: String,
    pub(super) set: Result<S, Unready>,
    pub(super) tls: Option<Arc<CertifiedKey>>,
    /// Accounts whose files don't read.
    pub(super) refused: Vec<(String, String)>,
}

type Answered<S> = Result<Arc<Loaded<S>>, Unready>;

/// Asks for the set as it is now.
#[derive(Clone, Debug)]
pub(super) struct Looker<S> {
    asks: mpsc::Sender<oneshot::Sender<Answered<S>>>,
}

/// A set that decides, as a look found it.
#[derive(Debug)]
pub(super) struct Seen<S>(Arc<Loaded<S>>);

// By hand: no set has to be copied for it.
impl<S> Clone for Seen<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Seen<S> {
    pub(super) fn set(&self) -> Result<&S, Unready> {
        self.0.set.as_ref().map_err(Clone::clone)
    }

    /// What the link names it.
    pub(super) fn generation(&self) -> &str {
        &self.0.generation
    }

    /// Whether both looks found one generation.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What is looked at, and how.
pub(super) struct Eyes {
    pub(super) folder: PathBuf,
    pub(super) clock: Arc<dyn Clock + Send + Sync>,
    pub(super) freshness: Freshness,
    /// Seconds, where it is demanded whatever the settings say.
    pub(super) stale_limit_s: Option<u64>,
    pub(super) shown: Arc<Shown>,
}

impl<S: std::fmt::Debug + Send + Sync + 'static> Looker<S> {
    /// Begins to look.
    pub(super) fn start<R: Reads<Set = S>>(eyes: Eyes, reads: R) -> io::Result<Self> {
        let (asks, mut asked) = mpsc::channel::<oneshot::Sender<Answered<S>>>(WAITING);
        let mut sight = Sight { eyes, reads, kept: None, said: None };
        std::thread::Builder::new().name("look".into()).spawn(move || {
            while let Some(first) = asked.blocking_recv() {
                let mut all = vec![first];
                while all.len() < AT_ONCE
                    && let Ok(next) = asked.try_recv()
                {
                    all.push(next);
                }
                let answer = sight.look();
                for ask in all {
                    // Who asked may have gone.
                    drop(ask.send(answer.clone()));
                }
            }
        })?;
        Ok(Self { asks })
    }

    /// The set as it is at some moment after this call began.
    pub(super) async fn look(&self) -> Result<Seen<S>, Unready> {
        let hangs = || Unready::new("the files are not readable at the moment", "a look hangs");
        let (ask, answer) = oneshot::channel();
        self.asks.try_send(ask).map_err(|_| hangs())?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer.map(Seen),
            Ok(Err(_)) | Err(_) => Err(hangs()),
        }
    }
}

/// What names a generation: the link's text, and the folder's device and inode.
#[derive(PartialEq, Eq)]
struct Identity(OsString, u64, u64);

struct Sight<R: Reads> {
    eyes: Eyes,
    /// Stays, whatever becomes of the files.
    reads: R,
    kept: Option<(Identity, Arc<Loaded<R::Set>>)>,
    said: Option<Unready>,
}

impl<R: Reads> Sight<R> {
    fn look(&mut self) -> Answered<R::Set> {
        let answer = self.look_once();
        let found = match &answer {
            Ok(loaded) => loaded.set.as_ref().err().cloned(),
            Err(unready) => Some(unready.clone()),
        };
        if found != self.said {
            if let Some(Unready { what, why }) = &found {
                tracing::error!(event = "not_ready", what = what.as_str(), why = why.as_str());
            } else {
                tracing::info!(event = "ready");
            }
            self.said = found;
        }
        answer
    }

    fn look_once(&mut self) -> Answered<R::Set> {
        let loaded = self.current().map_err(|error| {
            self.kept = None; // Nothing is known any more, also of what was there before.
            Unready::new("the files are not readable at the moment", error)
        })?;
        if let Ok(set) = &loaded.set
            && let Some(limit_s) = self.eyes.stale_limit_s.or(R::stale_limit_s(set))
        {
            let now = self.eyes.clock.boot();
            self.eyes.freshness.judge(&self.eyes.folder, limit_s, now)?;
        }
        Ok(loaded)
    }

    fn current(&mut self) -> io::Result<Arc<Loaded<R::Set>>> {
        for _ in 0..TRIES {
            let identity = identify(&self.eyes.folder)?;
            if let Some((kept, loaded)) = &self.kept
                && *kept == identity
            {
                return Ok(Arc::clone(loaded));
            }
            let before = self.kept.as_ref().and_then(|(_, loaded)| loaded.set.as_ref().ok());
            let folder = self.eyes.folder.join(&identity.0);
            let loaded = self.reads.read(&folder, before, self.eyes.clock.boot());
            if identify(&self.eyes.folder)? != identity {
                continue; // It was replaced meanwhile, and may have been half gone.
            }
            let generation = identity.0.to_string_lossy().into_owned();
            let loaded = Arc::new(Loaded { generation, ..loaded? });
            if let Some(pair) = &loaded.tls {
                self.eyes.shown.set(Arc::clone(pair));
            }
            for (file, why) in &loaded.refused {
                tracing::warn!(event = "account_refused", file = file.as_str(), why = why.as_str());
            }
            self.kept = Some((identity, Arc::clone(&loaded)));
            return Ok(loaded);
        }
        Err(io::Error::other("the set changes all the time"))
    }
}

fn identify(folder: &Path) -> io::Result<Identity> {
    let link = folder.join(DATA);
    let text = std::fs::read_link(&link)?;
    let mut parts = text.components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if !plain {
        return Err(io::Error::other("..data is no link to a folder beside it"));
    }
    let folder = std::fs::metadata(&link)?;
    Ok(Identity(text.into_os_string(), folder.dev(), folder.ino()))
}
