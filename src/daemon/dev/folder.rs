//! The folder that holds a whole cluster: made, or found as an earlier run left
//! it; one `skep dev` at a time has it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};
use serde::{Deserialize, Serialize};

use super::leftover;
use super::plan::{Member, Plan, counts};
use crate::agent::machine::mounts;
use crate::host::RealDisk;
use skep_client::machine::os_dice;
use skep_core::base::{Disk, Exit, FORMAT, Failure, OtherFormat, draw};

/// Says that a cluster is complete, and of how many it is.
const MARK: &str = "dev.toml";
/// Held by whoever runs the cluster.
const LOCK: &str = "lock";
/// Bytes of a settings file of ours.
const SETTINGS_BYTES: u64 = 64 * 1024;
/// Others may look in: what is secret has modes of its own, and workloads of other
/// users reach their agent's socket.
const MODE: u32 = 0o755;

/// The folder, and nobody else has it until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
    /// Folders that were made for it, itself included; the innermost first.
    made: Vec<PathBuf>,
}

/// What was found in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Nothing.
    Fresh,
    /// What a start has left that never was complete.
    Leftover {
        /// Their folders are there.
        members: Vec<Member>,
    },
    /// A cluster that was complete.
    Again {
        /// Where its managers listen.
        ports: Vec<u16>,
        /// How many agents it has.
        agents: usize,
    },
}

/// The mark's content.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    version: u32,
    managers: usize,
    agents: usize,
}

/// Of a manager's settings.
#[derive(Deserialize)]
struct Listens {
    listen: SocketAddr,
}

fn bad(text: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Configuration, text)
}

impl Folder {
    /// A new one below the system's folder for temporary things.
    ///
    /// # Errors
    /// [`Exit::Configuration`] where it can't be made.
    pub fn temporary() -> Result<Self, Failure> {
        let random: [u8; 5] = draw(&mut *os_dice());
        let random = data_encoding::BASE32_NOPAD.encode(&random).to_lowercase();
        let path = std::env::temp_dir().join(format!("skep-dev-{random}"));
        let made = DirBuilder::new().mode(MODE).create(&path);
        made.map_err(|error| bad(format!("{}: {error}", path.display())).hint("give a --dir"))?;
        let folder = Self::take(&path)?;
        folder.begin()?;
        Ok(folder)
    }

    /// This one, made if it is not there, and what is in it.
    ///
    /// # Errors
    /// [`Exit::InUse`] if it is in use, [`Exit::Configuration`] if it holds something else.
    pub fn open(path: &Path) -> Result<(Self, Layout), Failure> {
        let shown = path.display();
        let failed = |error: io::Error| {
            bad(format!("{shown}: {error}")).hint("choose a --dir that can be written to")
        };
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made = path.ancestors().take_while(missing).map(Path::to_owned).collect();
        DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(failed)?;
        let found = std::fs::metadata(path).map_err(failed)?;
        if found.mode() & 0o022 != 0 || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(bad(format!("{shown}: others than you may write to it"))
                .hint("an unlock key will lie in it: choose a folder of your own"));
        }
        let has = |names: &[String], name: &str| names.iter().any(|found| found == name);
        let names = RealDisk.list(path).map_err(failed)?;
        if !names.is_empty() && !has(&names, LOCK) {
            return Err(bad(format!("{shown}: holds other things"))
                .hint("name a folder that is empty or not there yet, or one of an earlier run"));
        }
        let folder = Self { made, ..Self::take(path)? };
        // Again, now that nobody else has it.
        let names = RealDisk.list(&folder.path).map_err(failed)?;
        if has(&names, MARK) {
            leftover::over(&folder.lock).map_err(failed)?;
            let layout = folder.layout()?;
            return Ok((folder, layout));
        }
        let begun = leftover::is_begun(&folder.path.join(LOCK));
        match leftover::members(&folder.path, &names) {
            _ if names == [LOCK] => {
                folder.begin()?;
                Ok((folder, Layout::Fresh))
            }
            Some(members) if begun => Ok((folder, Layout::Leftover { members })),
            None if begun => Err(bad(format!(
                "{shown}: holds a cluster that was never complete, and other things"
            ))
            .hint("move what is yours elsewhere: what that start left is taken away then")),
            _ => Err(bad(format!("{shown}: holds a cluster without {MARK}, or other things"))
                .hint(format!("look at what is in it; without use, remove it: rm -r {shown}"))),
        }
    }

    /// Says that a start begins here.
    fn begin(&self) -> Result<(), Failure> {
        leftover::begin(&self.lock).map_err(|error| {
            bad(format!("{}: {error}", self.path.join(LOCK).display()))
                .hint("see that the disk works and has room")
        })
    }

    fn take(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |error: io::Error| bad(format!("{shown}: {error}"));
        // As the kernel names it: mounts below it are found by this path.
        let path = path.canonicalize().map_err(failed)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(failed)?;
        let in_use = || {
            Failure::new(Exit::InUse, format!("{shown} is in use by another `skep dev`"))
                .hint("stop that one first, or give this one another --dir")
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use()),
            Err(error) => return Err(failed(error.into())),
        }
        // One that ended in between removed its lock with the folder's content.
        let held = lock.metadata().map_err(failed)?;
        match std::fs::metadata(path.join(LOCK)) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => {
                Ok(Self { path, lock, made: Vec::new() })
            }
            _ => Err(in_use()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the cluster that it holds is of.
    fn layout(&self) -> Result<Layout, Failure> {
        let mark: Mark = self.read(&self.path.join(MARK))?;
        if let Err(format) = OtherFormat::check(mark.version) {
            let text = format!("{}: was {format}", self.path.join(MARK).display());
            return Err(Failure::of_format(format, text));
        }
        counts(mark.managers, mark.agents).map_err(|failure| self.not_ours(&failure.text))?;
        let port = |number: usize| {
            let member = Member::manager(self.path.join(format!("manager-{number}")), 0);
            Ok(self.read::<Listens>(&member.settings())?.listen.port())
        };
        let ports = (1..=mark.managers).map(port).collect::<Result<_, Failure>>()?;
        Ok(Layout::Again { ports, agents: mark.agents })
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, path: &Path) -> Result<T, Failure> {
        let shown = path.display();
        let bytes = RealDisk.read(path, SETTINGS_BYTES);
        let bytes = bytes.map_err(|error| self.not_ours(&format!("{shown}: {error}")))?;
        toml::from_slice(&bytes).map_err(|error| {
            self.not_ours(&format!("{shown}: {}", error.message().replace('\n', " ")))
        })
    }

    fn not_ours(&self, why: &str) -> Failure {
        bad(why).hint(format!("remove {} and begin anew", self.path.display()))
    }

    /// Writes down that the cluster is complete.
    ///
    /// # Errors
    /// [`Exit::WriteFailed`].
    pub fn complete(&self, plan: &Plan) -> Result<(), Failure> {
        let mark =
            Mark { version: FORMAT, managers: plan.managers.len(), agents: plan.agents.len() };
        let path = self.path.join(MARK);
        let text = toml::to_string(&mark).map_err(io::Error::other);
        let written = text.and_then(|text| RealDisk.replace(&path, text.as_bytes()));
        written.and_then(|()| leftover::over(&self.lock)).map_err(|error| {
            Failure::new(Exit::WriteFailed, format!("{}: {error}", path.display()))
        })
    }

    /// Whether it holds a whole cluster.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.path.join(MARK).exists()
    }

    /// Whether a member that was started has left its log.
    #[must_use]
    pub fn has_logs(&self) -> bool {
        let names = RealDisk.list(&self.path).unwrap_or_default();
        names.iter().any(|name| self.path.join(name).join("log").exists())
    }

    /// Removes it with everything in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(self) -> io::Result<()> {
        unmount_below(&self.path);
        std::fs::remove_dir_all(&self.path)
    }

    /// Takes away what a start made that never was complete; the folder stays one in which a
    /// start begins.
    ///
    /// # Errors
    /// What the system says.
    pub fn clear(&self) -> io::Result<()> {
        unmount_below(&self.path);
        if !below(mount_points()?, &self.path).is_empty() {
            return Err(io::Error::other("something is mounted below it"));
        }
        leftover::remove(&self.path, &RealDisk.list(&self.path)?)
    }

    /// Takes away what this start made, the folder too if it was made for it. Whether that
    /// is gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn undo(self) -> io::Result<bool> {
        self.clear()?;
        std::fs::remove_file(self.path.join(LOCK))?;
        for folder in &self.made {
            // One that holds other things stays.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(!self.path.exists())
    }
}

/// Takes away what is still mounted below a folder, the innermost first.
pub fn unmount_below(folder: &Path) {
    let points = mount_points().inspect_err(|error| {
        tracing::debug!(event = "mounts_not_read", %error);
    });
    for point in below(points.unwrap_or_default(), folder) {
        if let Err(error) = unmount(&point, UnmountFlags::DETACH) {
            tracing::debug!(event = "not_unmounted", point = %point.display(), %error);
        }
    }
}

fn mount_points() -> io::Result<Vec<PathBuf>> {
    let mut points = Vec::new();
    mounts::each("self", |mount| {
        points.push(mount.point);
        ControlFlow::Continue(())
    })?;
    Ok(points)
}

/// Those that lie below `folder`, the last mounted first.
fn below(mut points: Vec<PathBuf>, folder: &Path) -> Vec<PathBuf> {
    points.retain(|point| point.starts_with(folder));
    points.reverse();
    points
}

/// Makes a member's folder with its settings.
///
/// # Errors
/// [`Exit::Configuration`].
pub fn make(member: &Member, keep_mounts: bool) -> Result<(), Failure> {
    let text = member.settings_text(keep_mounts)?;
    let made = DirBuilder::new().recursive(true).mode(MODE).create(&member.folder);
    made.and_then(|()| put(&member.settings(), text.as_bytes())).map_err(|error| {
        bad(format!("{}: {error}", member.folder.display()))
            .hint("see that the disk works and has room")
    })
}

/// Writes a small file of mode 0600 in one step, for readers; it need not outlast
/// the machine.
pub(super) fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) -> Failure {
        let failure = Folder::open(path).expect_err("refused");
        assert!(failure.hint.is_some(), "{failure}");
        failure
    }

    #[test]
    fn a_complete_cluster_is_found_again() {
        let outer = tempfile::tempdir().expect("a folder");
        let path = outer.path().join("a/b");
        let (folder, layout) = Folder::open(&path).expect("made");
        assert_eq!(layout, Layout::Fresh);
        let plan = Plan::new(folder.path(), &[4001, 4002, 4003], 2).expect("a plan");
        for member in plan.members() {
            make(member, false).expect("made");
        }
        assert_eq!(refused(&path).exit, Exit::InUse);
        folder.complete(&plan).expect("written");
        drop(folder);
        let (folder, layout) = Folder::open(&path).expect("found");
        assert_eq!(layout, Layout::Again { ports: vec![4001, 4002, 4003], agents: 2 });
        folder.remove().expect("removed");
        assert!(!path.exists());
    }

    #[test]
    fn what_never_was_complete_is_taken_away_alone() {
        let outer = tempfile::tempdir().expect("a folder");
        let path = outer.path().join("a/b");
        let begin = || {
            let (folder, layout) = Folder::open(&path).expect("taken");
            let plan = Plan::new(folder.path(), &[4001], 1).expect("a plan");
            if layout == Layout::Fresh {
                plan.members().for_each(|member| make(member, false).expect("made"));
            }
            (folder, layout, plan)
        };
        let (folder, layout, plan) = begin();
        assert_eq!(layout, Layout::Fresh);
        drop(folder);
        let letter = path.join("letter");
        drop(File::create(&letter).expect("a file"));
        assert!(refused(&path).text.contains("and other things"));
        std::fs::remove_file(letter).expect("removed");
        let (folder, layout, _) = begin();
        let Layout::Leftover { members } = layout else { panic!("{layout:?}") };
        assert_eq!(members.len(), 2);
        folder.clear().expect("cleared");
        assert_eq!(std::fs::read_dir(&path).expect("a folder").count(), 1, "the lock");
        drop(folder);
        // What was complete once is not.
        let (folder, layout, _) = begin();
        assert_eq!(layout, Layout::Fresh);
        folder.complete(&plan).expect("written");
        drop(folder);
        std::fs::remove_file(path.join(MARK)).expect("removed");
        assert!(refused(&path).text.contains("without dev.toml"));
        std::fs::remove_dir_all(outer.path().join("a")).expect("removed");
        let (folder, _, _) = begin();
        assert!(folder.undo().expect("undone"));
        assert!(!outer.path().join("a").exists());
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let outer = tempfile::tempdir().expect("a folder");
        drop(File::create(outer.path().join("letter")).expect("a file"));
        assert_eq!(refused(outer.path()).exit, Exit::Configuration);
        assert_eq!(std::fs::read_dir(outer.path()).expect("a folder").count(), 1);
        let open = outer.path().join("open");
        DirBuilder::new().mode(0o777).create(&open).expect("a folder");
        std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .expect("changed");
        assert_eq!(refused(&open).exit, Exit::Configuration);
        assert_eq!(refused(&outer.path().join("letter")).exit, Exit::Configuration);
    }

    #[test]
    fn a_damaged_mark_is_named() {
        let outer = tempfile::tempdir().expect("a folder");
        let path = outer.path().join("d");
        let (folder, _) = Folder::open(&path).expect("made");
        for (mark, exit) in [
            ("version = 12\nmanagers = 1\nagents = 0\n", Exit::NewerData),
            ("version = 1\nmanagers = 1\nagents = 0\n", Exit::Configuration),
            ("version = 11\nmanagers = 9999999\nagents = 0\n", Exit::Configuration),
            ("version = 11\nmanagers = 1\nagents = 0\n", Exit::Configuration),
            ("nonsense", Exit::Configuration),
        ] {
            put(&path.join(MARK), mark.as_bytes()).expect("written");
            assert_eq!(folder.layout().expect_err("refused").exit, exit, "{mark}");
        }
    }

    #[test]
    fn mounts_are_found_below_the_folder_alone() {
        let points = ["/d", "/d/a b", "/dd", "/d/a b/c"].map(PathBuf::from).to_vec();
        assert_eq!(
            below(points, Path::new("/d/a b")),
            [Path::new("/d/a b/c"), Path::new("/d/a b")]
        );
    }
}
