//! The agent's own file system: begun with the first service that wants it, gone with the
//! last, begun again where its connection was cut.

use std::path::Path;

use super::backend::Backend;
use super::error::{MountError, MountWarning};
use super::fuse::{Acting, Fuse};
use super::service::Mounted;
use super::{Mounts, files, system};
use crate::base::ServiceId;

impl Mounts {
    /// Lets the calling thread change what is served, until the answer is dropped.
    pub(super) fn act(&self) -> Option<Acting> {
        Some(self.fuse.as_ref()?.share().act())
    }

    /// Shows a folder of its own to a service that has none.
    pub(super) fn serve_at(
        &mut self,
        service: ServiceId,
        at: &Path,
    ) -> Result<Backend, MountError> {
        let mounts = self.mounts_folder();
        let fuse = if let Some(fuse) = self.fuse.take() {
            fuse
        } else {
            let needs = self.options.fuse.clone().ok_or(MountError::NotServing)?;
            Fuse::start(&mounts, needs)?
        };
        let share = std::sync::Arc::clone(fuse.share());
        let _acting = share.act();
        let folder = fuse.point().join(service.to_string());
        self.fuse = Some(fuse);
        files::folder(&folder, 0o700)?;
        system::bind(&folder, at)?;
        Ok(Backend::Fuse { share, mounts })
    }

    fn served(&mut self) -> impl Iterator<Item = &mut Mounted> {
        self.services.values_mut().filter(|mounted| !mounted.backend.outlives_the_agent())
    }

    /// Ends the mount that serves nobody any more. It holds nothing: a failure is a word in
    /// the log, and the next agent takes it away.
    pub(super) fn stop_serving_if_idle(&mut self) {
        if self.served().next().is_some() {
            return;
        }
        let Some(fuse) = self.fuse.take() else { return };
        if let Err(error) = fuse.end() {
            tracing::warn!(%error, "an empty mount stays");
        }
    }

    /// Serves again where somebody cut the connection: the values are all here. The host's
    /// views are made anew; those that workloads have are dead, of the services that are named.
    pub(super) fn serve_again(&mut self) -> Vec<ServiceId> {
        if !self.fuse.as_ref().is_some_and(Fuse::has_ended) {
            return Vec::new();
        }
        let Some(fuse) = self.fuse.take() else { return Vec::new() };
        tracing::warn!(event = "fuse_cut", "the connection was cut: mounting again");
        let point = fuse.point().to_owned();
        let mut done = Ok(());
        for mounted in self.served() {
            done = done.and(mounted.hide().and_then(|()| system::detach(&mounted.at)));
        }
        let done = done.and_then(|()| fuse.restart());
        let _acting = fuse.share().act();
        self.fuse = Some(fuse);
        let shown = done.and_then(|()| {
            let mut done = Ok(());
            for mounted in self.served() {
                let folder = point.join(mounted.record.service.to_string());
                let again =
                    system::bind(&folder, &mounted.at).and_then(|()| mounted.show_if_full());
                done = done.and(again);
            }
            done
        });
        if let Err(error) = shown {
            tracing::error!(event = "fuse_not_back", %error);
        }
        self.served().map(|mounted| mounted.record.service).collect()
    }

    /// Says that opens were not noted for want of room: the first time, and when it is twice
    /// as many.
    pub(super) fn tell_dropped(&mut self) {
        let Some(needs) = &self.options.fuse else { return };
        let dropped = needs.reads.dropped();
        if dropped > self.said_dropped.saturating_mul(2) {
            self.said_dropped = dropped;
            self.warnings.push(MountWarning::ReadsDropped(dropped));
        }
    }

    /// Takes away what nobody will answer for once this process has ended. What is on a
    /// tmpfs stays.
    pub fn end(mut self) {
        let mut done = Ok(());
        for mounted in self.served() {
            done = done.and(mounted.hide().and_then(|()| system::detach(&mounted.at)));
            done = done.and(files::remove_folder(&mounted.at));
        }
        if let Some(fuse) = self.fuse.take() {
            system::cut(fuse.point());
            done = done.and(fuse.end());
        }
        if let Err(error) = done {
            tracing::warn!(%error, "a mount that nobody answers for stays");
        }
    }
}

impl Mounted {
    /// Shows the host's directory where files are in place.
    fn show_if_full(&mut self) -> Result<(), MountError> {
        if self.is_emptied() {
            return Ok(());
        }
        self.show(&self.root.join(self.record.name.as_str()))
    }
}
