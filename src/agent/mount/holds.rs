//! Write access to every file of a mount, held from the file's first moment on.
//!
//! A workload may ask for a lease on a file that it can open (fcntl(2), `F_SETLEASE`);
//! whoever opens the file for writing then waits up to 45 seconds for it. The kernel gives
//! no lease on a file that somebody has open for writing, so the agent always has. A
//! descriptor is the cheapest way; where those run short a mapping keeps the open
//! file alive without one.
//!
//! Files that a starting agent finds are not held yet: it takes access at the first try,
//! or waits for it on threads of their own ([`Holds::wait_for`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use locked_pages::WriteMapping;
use parking_lot::Mutex;

use super::error::MountError;
use super::files;
use skep_core::base::Target;

/// Files whose write access is kept by a mapping, in all: half of the mappings that the
/// kernel gives a process by default (`vm.max_map_count`, 65,530).
pub(super) const MAPPINGS: usize = 32_768;
/// Threads that wait for leases to be broken, in all. A lease is broken within 45 seconds,
/// so more files than this take several rounds.
const WAITING: usize = 256;
/// Bytes of such a thread's stack: it makes one call.
const STACK: usize = 64 * 1024;

/// How many more files may be held, by either way. Clones count together.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Left>);

#[derive(Debug)]
struct Left {
    descriptors: AtomicUsize,
    mappings: AtomicUsize,
    threads: AtomicUsize,
}

/// Which file: its generation and its target.
pub(super) type Which = (u64, Target);

/// The write access that is held to one mount's files. Clones see the same.
#[derive(Clone, Debug)]
pub(super) struct Holds {
    room: Room,
    list: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    /// By generation.
    held: BTreeMap<u64, HashMap<Target, Hold>>,
    /// Some thread waits for these.
    awaited: BTreeSet<Which>,
}

#[derive(Debug)]
enum Hold {
    Descriptor { file: Arc<File>, _taken: Taken },
    Mapping { _kept: WriteMapping, _taken: Taken },
}

/// A place in the room; dropping it gives the place back.
#[derive(Debug)]
struct Taken(Room, Way);

#[derive(Clone, Copy, Debug)]
enum Way {
    Descriptor,
    Mapping,
    Thread,
}

impl List {
    fn get(&self, number: u64, target: &Target) -> Option<&Hold> {
        self.held.get(&number)?.get(target)
    }
}

impl Room {
    /// Room for so many descriptors.
    pub(super) fn new(descriptors: usize) -> Self {
        Self(Arc::new(Left {
            descriptors: AtomicUsize::new(descriptors),
            mappings: AtomicUsize::new(MAPPINGS),
            threads: AtomicUsize::new(WAITING),
        }))
    }

    fn left(&self, way: Way) -> &AtomicUsize {
        match way {
            Way::Descriptor => &self.0.descriptors,
            Way::Mapping => &self.0.mappings,
            Way::Thread => &self.0.threads,
        }
    }

    fn take(&self, way: Way) -> Option<Taken> {
        let less = |left: usize| left.checked_sub(1);
        let taken = self.left(way).fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        taken.ok().map(|_| Taken(self.clone(), way))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.left(self.1).fetch_add(1, Ordering::SeqCst);
    }
}

impl Holds {
    /// None yet.
    pub(super) fn new(room: &Room) -> Self {
        Self { room: room.clone(), list: Arc::default() }
    }

    /// Keeps the write access that `file` has.
    ///
    /// # Errors
    /// [`MountError::TooManyFiles`].
    pub(super) fn keep(&self, which: Which, file: File, path: &Path) -> Result<(), MountError> {
        let hold = if let Some(taken) = self.room.take(Way::Descriptor) {
            Hold::Descriptor { file: Arc::new(file), _taken: taken }
        } else {
            let taken = self.room.take(Way::Mapping).ok_or(MountError::TooManyFiles)?;
            let kept = super::calls::run("map", path, || WriteMapping::of(&file))?;
            Hold::Mapping { _kept: kept, _taken: taken }
        };
        let (number, target) = which;
        self.list.lock().held.entry(number).or_default().insert(target, hold);
        Ok(())
    }

    /// The descriptor by which a file is held, if it is held by one.
    pub(super) fn file(&self, number: u64, target: &Target) -> Option<Arc<File>> {
        match self.list.lock().get(number, target)? {
            Hold::Descriptor { file, .. } => Some(Arc::clone(file)),
            Hold::Mapping { .. } => None,
        }
    }

    /// Which of a generation's files are not held.
    pub(super) fn lacking<'t>(
        &self,
        number: u64,
        targets: impl Iterator<Item = &'t Target>,
    ) -> Vec<&'t Target> {
        let list = self.list.lock();
        targets.filter(|target| list.get(number, target).is_none()).collect()
    }

    /// Takes access to a file that is there, at once or on a thread of its own that waits
    /// for it. Dropping this forgets what such a thread gets.
    ///
    /// # Errors
    /// [`MountError::Leased`]: it is waited for, or no thread could be had; ask again.
    pub(super) fn take(&self, which: &Which, path: &Path) -> Result<(), MountError> {
        if self.list.lock().get(which.0, &which.1).is_some() {
            return Ok(());
        }
        match files::take_access(path) {
            Ok(file) => self.keep(which.clone(), file, path),
            Err(leased @ MountError::Leased(_)) => {
                self.wait_for(which, path);
                Err(leased)
            }
            Err(error) => Err(error),
        }
    }

    fn wait_for(&self, which: &Which, path: &Path) {
        let Some(place) = self.room.take(Way::Thread) else { return };
        if !self.list.lock().awaited.insert(which.clone()) {
            return;
        }
        let (list, room) = (Arc::downgrade(&self.list), self.room.clone());
        let (key, at) = (which.clone(), path.to_owned());
        let thread = std::thread::Builder::new().name("lease".to_owned()).stack_size(STACK);
        let started = thread.spawn(move || {
            let _place = place;
            let got = files::wait_for_access(&at);
            let Some(list) = list.upgrade() else { return };
            let holds = Holds { room, list };
            holds.list.lock().awaited.remove(&key);
            // One that has gone or moved meanwhile is looked for again.
            if let Ok(file) = got {
                holds.keep(key, file, &at).ok();
            }
        });
        if started.is_err() {
            self.list.lock().awaited.remove(which);
        }
    }

    /// Lets go of one file.
    pub(super) fn drop_one(&self, number: u64, target: &Target) {
        let hold = self.list.lock().held.get_mut(&number).and_then(|theirs| theirs.remove(target));
        drop(hold);
    }

    /// Lets go of a generation.
    pub(super) fn drop_generation(&self, number: u64) {
        let gone = self.list.lock().held.remove(&number);
        drop(gone);
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        let held = std::mem::take(&mut self.list.lock().held);
        drop(held);
    }

    /// Cuts every file that is held by a descriptor to nothing, without a lock that the
    /// thread which changes the mount might have: for a removal that can't wait for it.
    pub(super) fn empty_all(&self, at: &Path, zeros: bool) {
        let files: Vec<Arc<File>> = {
            let list = self.list.lock();
            let file = |hold: &Hold| match hold {
                Hold::Descriptor { file, .. } => Some(Arc::clone(file)),
                Hold::Mapping { .. } => None,
            };
            list.held.values().flat_map(HashMap::values).filter_map(file).collect()
        };
        for file in files {
            if let Err(error) = files::empty_open(&file, at, zeros) {
                tracing::warn!(event = "not_emptied", %error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back() {
        let room = Room::new(1);
        let first = room.take(Way::Descriptor);
        assert!(first.is_some() && room.take(Way::Descriptor).is_none());
        drop(first);
        assert!(room.take(Way::Descriptor).is_some());
    }

    #[test]
    fn no_lease_is_given_on_what_is_held_by_either_way() {
        for descriptors in [1, 0] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x");
            let holds = Holds::new(&Room::new(descriptors));
            let which = (1, "x".parse().unwrap());
            holds.keep(which.clone(), files::make(&path, b"value").unwrap(), &path).unwrap();
            let script = "import fcntl,os,sys\nf=os.open(sys.argv[1],os.O_RDONLY)\n\
                          fcntl.fcntl(f,fcntl.F_SETLEASE,fcntl.F_RDLCK)";
            let lease = || {
                let mut python = std::process::Command::new("python3");
                python.args(["-c", script]).arg(&path).output().unwrap().status.success()
            };
            assert!(!lease(), "with {descriptors} descriptors");
            holds.drop_one(1, &which.1);
            assert!(lease());
        }
    }
}
