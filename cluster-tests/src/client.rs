//! An operator in the test's own process: one mTLS connection, used again for
//! every act. It follows the leader and tries again as the commands do, being
//! made of the same code; it tells apart what a failed act came to.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::{Cluster, Manager, Ran};
use skep::cli::{Screen, Shell};
use skep_client::{CallError, IdentityFile, Operator};
use skep_core::base::{Exit, SecretBytes, SecretId, SentKey, VersionId};
use skep_core::domain::Change;
use skep_core::wire::api::{HolderView, SecretView, ServiceView};

/// Where all clients of a test's process live: their connections answer the
/// managers also while nobody waits for an act.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().expect("a runtime")
});

/// What an act came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was done, and the managers said so.
    Acknowledged(T),
    /// It was decided: no.
    Refused(CallError),
    /// No leader in reach: nothing was done.
    NothingDone(CallError),
    /// It may have been done: look.
    Unknown(CallError),
}

impl<T> Outcome<T> {
    fn of(answer: Result<T, CallError>) -> Self {
        match answer {
            Ok(done) => Self::Acknowledged(done),
            Err(failure) if failure.exit() == Exit::Unreachable => Self::NothingDone(failure),
            Err(failure) if failure.exit() == Exit::Unknown => Self::Unknown(failure),
            Err(failure) => Self::Refused(failure),
        }
    }

    /// What was answered.
    ///
    /// # Panics
    /// Where it was not acknowledged.
    #[track_caller]
    pub fn ok(self) -> T {
        match self {
            Self::Acknowledged(done) => done,
            Self::Refused(failure) | Self::NothingDone(failure) | Self::Unknown(failure) => {
                panic!("not acknowledged: {failure}")
            }
        }
    }
}

/// One operator's connection.
#[derive(Debug)]
pub struct Client {
    operator: Operator,
}

impl Client {
    /// With the identity in this file, to these managers; each act takes
    /// `timeout` at most.
    ///
    /// # Panics
    /// Where the file is no identity.
    #[must_use]
    pub fn new(identity: &Path, hosts: Vec<String>, timeout: Duration) -> Self {
        let file = IdentityFile::read(identity).expect("an identity");
        Self { operator: Operator::new(&file.identity, hosts, timeout).expect("sound") }
    }

    /// The same without a thread to wait in, for many of them in one.
    #[must_use]
    pub fn into_operator(self) -> Operator {
        self.operator
    }

    /// Creates a secret.
    ///
    /// # Panics
    /// Where the name is none.
    pub fn create(&mut self, name: &str, value: &[u8]) -> Outcome<SecretId> {
        let name = name.parse().expect("a name");
        let value = SecretBytes::copy_of(value);
        Outcome::of(RUNTIME.block_on(self.operator.create(&name, value)))
    }

    /// Gives secrets new versions in one act, and answers their numbers.
    pub fn update(&mut self, values: &[(SecretId, &[u8])]) -> Outcome<Vec<u32>> {
        let values: Vec<_> =
            values.iter().map(|(id, value)| (*id, SecretBytes::copy_of(value))).collect();
        Outcome::of(RUNTIME.block_on(self.operator.update(values)))
    }

    /// Ids of the versions in the act sent last.
    #[must_use]
    pub fn sent(&self) -> &[VersionId] {
        self.operator.sent()
    }

    /// Applies changes without values as one act, and answers its revision.
    pub fn apply(&mut self, changes: &[Change<SentKey>]) -> Outcome<u64> {
        Outcome::of(RUNTIME.block_on(self.operator.apply(changes)))
    }

    /// All secrets as a majority knows them.
    pub fn secrets(&mut self) -> Outcome<Vec<SecretView>> {
        Outcome::of(RUNTIME.block_on(self.operator.secrets(false)))
    }

    /// All secrets as the manager asked knows them.
    pub fn secrets_there(&mut self) -> Outcome<Vec<SecretView>> {
        Outcome::of(RUNTIME.block_on(self.operator.secrets(true)))
    }

    /// One secret.
    pub fn secret(&mut self, what: &str) -> Outcome<SecretView> {
        Outcome::of(RUNTIME.block_on(self.operator.secret(what)))
    }

    /// One service.
    pub fn service(&mut self, what: &str) -> Outcome<ServiceView> {
        Outcome::of(RUNTIME.block_on(self.operator.service(what)))
    }

    /// Who holds a secret, or may still.
    pub fn holders(&mut self, secret: SecretId) -> Outcome<Vec<HolderView>> {
        Outcome::of(RUNTIME.block_on(self.operator.holders(secret)))
    }
}

/// A view's id as what it is.
///
/// # Panics
/// Where it is none.
pub fn secret_id(bytes: &[u8]) -> SecretId {
    SecretId::try_from(bytes).expect("an id")
}

impl Cluster {
    /// The admin's connection to all managers.
    #[must_use]
    pub fn client(&self, timeout: Duration) -> Client {
        let hosts = self.managers().map(Manager::address).collect();
        Client::new(&self.identity(), hosts, timeout)
    }

    /// Unlocks a manager without a process of its own.
    ///
    /// # Panics
    /// Where it is not unlocked.
    pub fn unlock_here(&self, manager: &Manager) {
        let key = self.unlock_key().display().to_string();
        let _ = manager.here(&["unlock", "--key-file", &key]).ok();
    }
}

impl Manager {
    /// Runs a command against its control socket without a process of its own.
    pub fn here(&self, words: &[&str]) -> Ran {
        let socket = self.socket().display().to_string();
        let words = std::iter::once(&"skep").chain(words).chain(&["--socket"]);
        let words: Vec<_> = words.map(Into::into).chain([socket.into()]).collect();
        let (out, err) = (Tape::default(), Tape::default());
        let screen = Screen::captured(Box::new(out.clone()), Box::new(err.clone()));
        let mut shell = Shell::with(screen);
        let exit = skep::cli::run(&mut shell, &words);
        Ran { status: exit.code().into(), out: out.text(), err: err.text() }
    }

    /// What `status` says, without a process of its own; `Null` where it does not answer.
    #[must_use]
    pub fn status_here(&self) -> serde_json::Value {
        let status = self.here(&["status", "--format", "json"]);
        serde_json::from_str(&status.out).unwrap_or_default()
    }

    /// Its state, without a process of its own.
    #[must_use]
    pub fn state_here(&self) -> String {
        let status = self.status_here();
        status.get("state").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }
}

/// What a command here printed.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("a tape")).into_owned()
    }
}

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a tape").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
