//! How containers are told, by whoever knows their engine.

use std::fmt;

use futures_util::future::BoxFuture;

use skep_core::base::ServiceId;
use skep_core::domain::HookSignal;

/// What is done with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerAct {
    /// Its main process gets this signal.
    Signal(HookSignal),
    /// It is stopped and started again.
    Restart,
}

/// The containers of this machine.
pub trait ContainerHooks: fmt::Debug + Send + Sync {
    /// Does this with each running container that has the service mounted, and waits until it
    /// is done, for a bounded time. The error: why it failed for one of them, in one line.
    fn tell(&self, service: ServiceId, act: ContainerAct) -> BoxFuture<'_, Result<(), String>>;
}
