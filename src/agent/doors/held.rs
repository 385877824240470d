//! Connections that wait for an answer, kept by systemd too (`FileDescriptorStoreMax=`): where
//! the agent is killed, they don't end, and the next agent answers them. An end without a byte
//! would be an empty value.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use sd_notify::NotifyState;
use tokio::net::UnixStream;

/// What the names begin with under which systemd keeps them.
const NAME: &str = "credential-";

/// A connection that waits.
#[derive(Debug)]
pub struct HeldConnection {
    pub(super) stream: UnixStream,
    name: String,
}

impl HeldConnection {
    /// Those that an earlier agent of this unit had, which ended before it had answered. To be
    /// called once, as the process begins.
    #[must_use]
    pub fn of_earlier() -> Vec<Self> {
        let named: Vec<String> = match sd_notify::listen_fds_with_names() {
            Ok(passed) => passed.map(|(_, name)| name).collect(),
            Err(error) => {
                tracing::warn!(event = "credentials_lost", %error);
                return Vec::new();
            }
        };
        let taken = locked_pages::take_passed_descriptors(named.len());
        let taken = taken.unwrap_or_else(|error| {
            tracing::warn!(event = "credentials_lost", %error);
            Vec::new()
        });
        let ours = taken.into_iter().zip(named).filter(|(_, name)| name.starts_with(NAME));
        ours.filter_map(|(descriptor, name)| {
            let stream = std::os::unix::net::UnixStream::from(descriptor);
            let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
            stream.ok().map(|stream| Self { stream, name })
        })
        .collect()
    }

    /// One that was just taken. Where systemd keeps none, it ends with this process.
    pub(super) fn new(stream: UnixStream) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // An earlier agent's may be there yet.
        let name = format!("{NAME}{}-{number}", std::process::id());
        let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
        if let Err(error) = sd_notify::notify_with_fds(&states, &[stream.as_fd()]) {
            tracing::debug!(event = "not_notified", %error);
        }
        Self { stream, name }
    }

    /// It is answered from here on: a second answer behind the first bytes of one would be
    /// another value.
    pub(super) fn into_answered(self) -> UnixStream {
        let states = [NotifyState::FdStoreRemove, NotifyState::FdName(&self.name)];
        if let Err(error) = sd_notify::notify(&states) {
            tracing::debug!(event = "not_notified", %error);
        }
        self.stream
    }
}
