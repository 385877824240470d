//! The agent's own file system: begun with the first service that wants it, gone with the
//! last, begun again where its connection was cut.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::backend::Backend;
use super::error::{MountError, MountWarning};
use super::fuse::{Acting, Fuse, Share};
use super::put::BORROW;
use super::service::Mounted;
use super::slot::{Keeping, Place};
use super::{Mounts, files, system};
use skep_core::base::ServiceId;

/// The agent's own file system and how many services are on it.
#[derive(Debug, Default)]
pub(super) struct Serving {
    fuse: Option<Fuse>,
    services: usize,
}

impl Mounts {
    fn share(&self) -> Option<Arc<Share>> {
        self.serving.lock().fuse.as_ref().map(|fuse| Arc::clone(fuse.share()))
    }

    /// Lets the calling thread change what is served, until the answer is dropped.
    pub(super) fn act(&self) -> Option<Acting> {
        Some(self.share()?.act())
    }

    /// Shows a folder of its own to a service that has none.
    pub(super) fn serve_at(&self, service: ServiceId, at: &Path) -> Result<Backend, MountError> {
        let mounts = self.mounts_folder();
        let (share, point) = {
            let mut serving = self.serving.lock();
            let fuse = if let Some(fuse) = &serving.fuse {
                fuse
            } else {
                let needs = self.options.fuse.clone().ok_or(MountError::NotServing)?;
                let fuse = Fuse::start(&mounts, needs)?;
                serving.fuse.insert(fuse)
            };
            let found = (Arc::clone(fuse.share()), fuse.point().to_owned());
            serving.services = serving.services.saturating_add(1);
            found
        };
        let _acting = share.act();
        let folder = point.join(service.to_string());
        let shown = files::folder(&folder, 0o700).and_then(|()| system::bind(&folder, at));
        if let Err(error) = shown {
            self.serve_one_less();
            return Err(error);
        }
        Ok(Backend::Fuse { share, mounts })
    }

    /// A service is served no more. The mount that serves nobody ends. It holds nothing: a
    /// failure is a word in the log, and the next agent takes it away.
    pub(super) fn serve_one_less(&self) {
        let mut serving = self.serving.lock();
        serving.services = serving.services.saturating_sub(1);
        if serving.services > 0 {
            return;
        }
        let Some(fuse) = serving.fuse.take() else { return };
        if let Err(error) = fuse.end() {
            tracing::warn!(event = "empty_mount_stays", %error);
        }
    }

    /// Serves again where somebody cut the connection: the values are all here. The host's
    /// views are made anew; those that workloads have are dead, of the services that are named.
    pub(super) fn serve_again(&self) -> Vec<ServiceId> {
        if !self.serving.lock().fuse.as_ref().is_some_and(Fuse::has_ended) {
            return Vec::new();
        }
        tracing::warn!(event = "fuse_cut", "the connection was cut: mounting again");
        // Their locks come before that of the mount, as everywhere. Whoever is in a call to
        // what was cut gets an error and lets go.
        let slots = self.all();
        let mut places = Vec::new();
        for slot in &slots {
            let Some(place) = slot.place.try_lock_for(BORROW) else { return Vec::new() };
            if is_served(&place) {
                slot.begin();
                places.push((slot, place));
            }
        }
        let mut serving = self.serving.lock();
        let Some(fuse) = &mut serving.fuse else { return Vec::new() };
        let mut done = Ok(());
        for (slot, place) in &mut places {
            slot.holds.clear();
            if let Some(mounted) = mounted(place) {
                done = done.and(mounted.hide().and_then(|()| system::detach(&mounted.at)));
            }
        }
        let done = done.and_then(|()| fuse.restart());
        let (share, point) = (Arc::clone(fuse.share()), fuse.point().to_owned());
        drop(serving);
        let _acting = share.act();
        let shown = done.and_then(|()| {
            let mut done = Ok(());
            for (_, place) in &mut places {
                let Some(mounted) = mounted(place) else { continue };
                let folder = point.join(mounted.record.service.to_string());
                // Write access comes before anybody else can see the files.
                let again = system::bind(&folder, &mounted.at)
                    .and_then(|()| mounted.hold_all())
                    .and_then(|()| mounted.show_if_full());
                done = done.and(again);
            }
            done
        });
        if let Err(error) = shown {
            tracing::error!(event = "fuse_not_back", %error);
        }
        let services: Vec<ServiceId> = places.iter().map(|(slot, _)| slot.service).collect();
        for (slot, place) in &places {
            slot.publish(place, None);
        }
        services
    }

    /// Says that opens were not noted for want of room: the first time, and when it is twice
    /// as many.
    pub(super) fn tell_dropped(&self) {
        let Some(needs) = &self.options.fuse else { return };
        let dropped = needs.reads.dropped();
        if dropped > self.said_dropped.load(Ordering::SeqCst).saturating_mul(2) {
            self.said_dropped.store(dropped, Ordering::SeqCst);
            self.warn(MountWarning::ReadsDropped(dropped));
        }
    }

    /// Takes away what nobody will answer for once this process has ended. What is on a
    /// tmpfs stays.
    pub fn end(&self) {
        let mut done = Ok(());
        for slot in self.all() {
            // Whoever hangs in it is let go by the cut below.
            let Some(mut place) = slot.place.try_lock_for(BORROW) else { continue };
            if let Some(mounted) =
                mounted(&mut place).filter(|one| !one.backend.outlives_the_agent())
            {
                mounted.holds.clear();
                done = done.and(mounted.hide().and_then(|()| system::detach(&mounted.at)));
                done = done.and(files::remove_folder(&mounted.at));
            }
        }
        if let Some(fuse) = self.serving.lock().fuse.take() {
            system::cut(fuse.point());
            done = done.and(fuse.end());
        }
        if let Err(error) = done {
            tracing::warn!(event = "dead_mount_stays", %error);
        }
    }
}

fn mounted<'p>(place: &'p mut MutexGuard<'_, Place>) -> Option<&'p mut Mounted> {
    match &mut place.keeping {
        Keeping::Mounted(mounted) => Some(mounted),
        Keeping::Nothing | Keeping::Strange(_) => None,
    }
}

fn is_served(place: &Place) -> bool {
    matches!(&place.keeping, Keeping::Mounted(mounted) if !mounted.backend.outlives_the_agent())
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
