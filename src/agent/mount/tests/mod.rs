//! Real mounts in a temporary folder, as root. Time is whatever a test says.
//!
//! One suite for both kinds of mount: a test that takes a kind runs on each.

/// Runs tests that take a [`MountKind`] on each kind.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod tmpfs {
            $(#[test] fn $name() { super::$name(skep_core::domain::MountKind::Tmpfs); })*
        }
        mod fuse {
            $(#[test] fn $name() { super::$name(skep_core::domain::MountKind::Fuse); })*
        }
    };
}

mod adoption;
mod changed;
mod conform;
mod faults;
mod held;
mod removal;
mod rotation;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::agent::vault::{FileSpec, Guests, HookDue, Reads, ServiceFiles};
use skep_core::base::{Clock, Dice, SecretBytes, SecretId, Stamp, VersionId};
use skep_core::domain::{MountKind, OfflinePolicy, Owner};

pub(super) const START: BootTime = BootTime(1_000_000);
/// The service that most tests need only one of.
pub(super) const WEB: ServiceId = ServiceId::from_bytes([1; 16]);

/// The system's dice.
struct Thrown;

impl Dice for Thrown {
    fn fill(&mut self, into: &mut [u8]) {
        skep_client::machine::OsDice.fill(into);
    }
}

/// A clock that stands.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Stamp {
        Stamp(1_700_000_000_000)
    }
    fn boot(&self) -> BootTime {
        START
    }
}

/// A root of its own; whatever happens, nothing stays mounted.
pub(super) struct Fixture {
    pub(super) mounts: Option<Mounts>,
    pub(super) root: PathBuf,
    pub(super) options: Options,
    pub(super) guests: Guests,
    pub(super) reads: Reads,
    kind: MountKind,
    folder: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let mut ours = system::list(Path::new("/")).unwrap_or_default();
        let folder = self.folder.path().canonicalize().unwrap();
        ours.retain(|listed| listed.point.starts_with(&folder));
        for listed in ours.iter().rev() {
            if let Err(error) = system::detach(&listed.point) {
                eprintln!("{error}");
            }
        }
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::on(MountKind::Tmpfs)
    }

    pub(super) fn on(kind: MountKind) -> Self {
        Self::with(kind, &Options::default())
    }

    /// With room for 64 KiB.
    pub(super) fn small(kind: MountKind) -> Self {
        Self::with(kind, &Options { service_bytes: 64 * 1024, ..Options::default() })
    }

    pub(super) fn with(kind: MountKind, limits: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("secrets");
        let (guests, reads) = (Guests::default(), Reads::default());
        let needs = Needs {
            dice: || Box::new(Thrown),
            clock: Arc::new(Stopped),
            guests: guests.clone(),
            reads: reads.clone(),
            guard: None,
        };
        let options = Options { fuse: Some(needs), ..limits.clone() };
        let (mounts, adopted) = Mounts::open(&root, options.clone(), START).unwrap();
        assert!(adopted.is_empty());
        Self { mounts: Some(mounts), root, options, guests, reads, kind, folder }
    }

    /// Applies `set`, mounted as this fixture mounts.
    pub(super) fn apply(
        &mut self,
        set: &ServiceFiles,
        fresh: &mut dyn FnMut(VersionId) -> Option<SecretBytes>,
        now: BootTime,
    ) -> Result<Applied, MountError> {
        let set = ServiceFiles { mount: self.kind, ..set.clone() };
        self.m().apply(&set, fresh, now)
    }

    pub(super) fn m(&mut self) -> &mut Mounts {
        self.mounts.as_mut().unwrap()
    }

    /// The agent ends without a word, and another one starts.
    pub(super) fn restart(&mut self, now: BootTime) -> Vec<Adopted> {
        self.mounts = None;
        let (mounts, adopted) = Mounts::open(&self.root, self.options.clone(), now).unwrap();
        self.mounts = Some(mounts);
        adopted
    }

    /// Applies with every value at hand.
    pub(super) fn put(&mut self, set: &ServiceFiles) {
        let _applied = self.try_put(set, START).unwrap();
    }

    pub(super) fn try_put(
        &mut self,
        set: &ServiceFiles,
        now: BootTime,
    ) -> Result<Applied, MountError> {
        let sizes: BTreeMap<_, _> =
            set.files.iter().map(|file| (file.version, file.size)).collect();
        self.apply(set, &mut |version| Some(value(version, *sizes.get(&version)?)), now)
    }

    /// What a reader on the host gets.
    pub(super) fn read(&self, target: &str) -> Vec<u8> {
        fs::read(self.root.join("web").join(target)).unwrap()
    }

    pub(super) fn inside(&self, path: &str) -> PathBuf {
        self.root.join(MOUNTS).join(WEB.to_string()).join(path)
    }

    /// Every file with bytes in it, in all generations.
    pub(super) fn all_files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.inside("live"), self.inside("old")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    pub(super) fn mounted(&self) -> usize {
        let all = system::list(Path::new("/")).unwrap();
        all.iter().filter(|listed| listed.point.starts_with(&self.root)).count()
    }
}

use crate::agent::vault::layout::MOUNTS;

pub(super) fn held_versions(fixture: &Fixture) -> BTreeSet<VersionId> {
    fixture.mounts.iter().flat_map(Mounts::held).flat_map(|(_, held)| held.versions).collect()
}

/// The value of a version: its own bytes, different from every other one's.
pub(super) fn value(version: VersionId, size: u32) -> SecretBytes {
    let bytes = version.as_bytes().iter().copied().cycle().take(usize::try_from(size).unwrap());
    SecretBytes::take(bytes.collect())
}

pub(super) fn content(number: u8, size: u32) -> Vec<u8> {
    value(version(number), size).expose().to_vec()
}

pub(super) fn version(number: u8) -> VersionId {
    VersionId::from_bytes([number; 16])
}

/// One file of secret `secret`, 0444 root's.
pub(super) fn file(target: &str, secret: u8, number: u8, size: u32) -> FileSpec {
    FileSpec {
        target: target.parse().unwrap(),
        uid: 0,
        gid: 0,
        mode: 0o444,
        secret: SecretId::from_bytes([secret; 16]),
        number: u32::from(number),
        version: version(number),
        size,
    }
}

pub(super) fn set(digest: u8, files: Vec<FileSpec>) -> ServiceFiles {
    ServiceFiles {
        fresh: false,
        on_change: skep_core::domain::OnChange::Nothing,
        service: WEB,
        name: "web".parse().unwrap(),
        mount: MountKind::Tmpfs,
        owner: Owner::default(),
        offline: OfflinePolicy::Keep,
        digest: [digest; 32],
        files,
    }
}

fn files_have_their_content_owner_and_mode(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    let mut set = set(1, vec![file("a", 1, 1, 5), file("b", 2, 2, 511_999)]);
    set.owner = Owner { uid: 1000, gid: 1001 };
    set.files[1].uid = 7;
    set.files[1].gid = 8;
    set.files[1].mode = 0o640;
    fixture.put(&set);
    assert_eq!(fixture.read("a"), content(1, 5));
    assert_eq!(fixture.read("b"), content(2, 511_999));
    let path = fixture.m().held_of(WEB).and_then(|held| held.path).unwrap();
    assert_eq!(path, fixture.root.join("web"));
    let look = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    assert_eq!(look(&path), (1000, 1001, 0o750));
    assert_eq!(look(&path.join("a")), (0, 0, 0o444));
    assert_eq!(look(&path.join("b")), (7, 8, 0o640));
    let live = fixture.m().live_of(WEB).unwrap();
    assert_eq!(look(&live), (0, 0, 0o755));
    assert_eq!(look(&live.join("b")), (7, 8, 0o640));
    assert_eq!(fs::read_link(live.join("a")).unwrap(), Path::new("..data/a"));
    assert_eq!(look(&fixture.root.join(MOUNTS)), (0, 0, 0o700));
    assert_eq!(look(&fixture.inside("")), (0, 0, 0o700));
}

#[test]
fn the_memory_is_bounded_never_swapped_and_inert() {
    let mut fixture = Fixture::new();
    fixture.put(&set(1, vec![file("a", 1, 1, 5)]));
    assert!(fixture.m().take_warnings().is_empty());
    let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = format!(" {} ", fixture.inside("").display()).replace("/ ", " ");
    let line = list.lines().find(|line| line.contains(&point)).unwrap();
    for option in ["nosuid,nodev,noexec", "noswap", "mode=700", "size=327680k"] {
        assert!(line.contains(option), "{option}: {line}");
    }
}

fn root_cannot_write_through_the_views(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 5)]));
    let path = fixture.m().held_of(WEB).and_then(|held| held.path).unwrap();
    for folder in [path.clone(), path.join("..live")] {
        let refused = |result: std::io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        };
        refused(fs::OpenOptions::new().write(true).open(folder.join("a")).map(drop));
        refused(fs::File::create(folder.join("new")).map(drop));
        refused(fs::remove_file(folder.join("a")));
        refused(fs::rename(folder.join("a"), folder.join("b")));
    }
}

fn an_equal_set_is_not_rewritten(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    let same = set(1, vec![file("a", 1, 1, 5)]);
    fixture.put(&same);
    let inode = |fixture: &Fixture| fs::metadata(fixture.root.join("web/a")).unwrap().ino();
    let before = (inode(&fixture), fixture.m().held_of(WEB).map(|held| held.generation));
    fixture.apply(&same, &mut |_| panic!("asked for a value"), START).unwrap();
    assert_eq!((inode(&fixture), fixture.m().held_of(WEB).map(|held| held.generation)), before);
}

fn values_that_are_here_are_not_asked_for_again(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 5000)]));
    let mut other = set(2, vec![file("x", 1, 1, 5000), file("y", 1, 1, 5000)]);
    other.service = ServiceId::from_bytes([2; 16]);
    other.name = "other".parse().unwrap();
    // From another service, and twice.
    fixture.apply(&other, &mut |_| None, START).unwrap();
    assert_eq!(fs::read(fixture.root.join("other/x")).unwrap(), content(1, 5000));
    assert_eq!(fs::read(fixture.root.join("other/y")).unwrap(), content(1, 5000));
    // A value that is sent once serves two files.
    let mut once = Some(value(version(9), 3));
    let twice = set(2, vec![file("b", 1, 9, 3), file("c", 1, 9, 3)]);
    fixture.apply(&twice, &mut |_| once.take(), START).unwrap();
    assert_eq!((fixture.read("b"), fixture.read("c")), (content(9, 3), content(9, 3)));
    let held = fixture.m().held();
    assert_eq!(held.len(), 2);
    assert_eq!(held[&WEB].digest, Some([2; 32]));
    assert_eq!(held[&WEB].versions, BTreeSet::from([version(9)]));
    assert!(held_versions(&fixture).contains(&version(9)));
    assert!(!held_versions(&fixture).contains(&version(8)));
}

/// The files that a set was put in place without.
pub(super) fn lacking(error: &MountError) -> Vec<&str> {
    match error {
        MountError::Files(lacking) => lacking.iter().map(|one| one.target.as_str()).collect(),
        other => panic!("{other}"),
    }
}

fn a_missing_or_wrong_value_keeps_no_other_file(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 5), file("c", 3, 4, 5)]));
    let next = set(2, vec![file("a", 1, 2, 5), file("b", 2, 3, 5), file("c", 3, 5, 5)]);
    let mut only_a = |wanted| (wanted == version(2)).then(|| value(wanted, 5));
    let link = |fixture: &Fixture| fs::read_link(fixture.inside("live/..data")).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let error = fixture.apply(&next, &mut only_a, START).unwrap_err();
        assert_eq!(lacking(&error), ["b", "c"], "{error}");
        assert!(error.to_string().starts_with("b: the value of version "), "{error}");
        seen.push(link(&fixture));
    }
    assert!(seen.iter().all(|link| *link == seen[0]), "who watches sees one flip: {seen:?}");
    assert_eq!(fixture.read("a"), content(2, 5), "what came is shown");
    assert_eq!(fixture.read("c"), content(4, 5), "what can't be made stays as it was");
    assert!(!fixture.root.join("web/b").exists());
    assert_eq!(fixture.m().held_of(WEB).and_then(|held| held.digest), None, "not a whole set");
    let kept = fixture.m().nothing_but(&next);
    assert_eq!(kept, Some([version(2), version(4)].into()));
    let mut short = |wanted| Some(value(wanted, 4));
    let error = fixture.apply(&next, &mut short, START).unwrap_err();
    assert!(error.is_final(), "{error}");
    assert_eq!(fixture.read("a"), content(2, 5), "where no file can be made nothing changes");
    // The next agent finds the same.
    let found = fixture.restart(START);
    assert_eq!(found.first().and_then(|found| found.digest), None);
    fixture.put(&next);
    assert_eq!((fixture.read("b"), fixture.read("c")), (content(3, 5), content(5, 5)));
}

fn what_is_in_the_way_is_left_alone(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    let path = fixture.root.join("web");
    fs::create_dir(&path).unwrap();
    fs::File::create(path.join("precious")).unwrap();
    let error = fixture.try_put(&set(1, vec![file("a", 1, 1, 5)]), START).unwrap_err();
    assert!(matches!(error, MountError::InTheWay(_)), "{error}");
    assert!(path.join("precious").exists());
    fs::remove_file(path.join("precious")).unwrap();
    fixture.put(&set(1, vec![file("a", 1, 1, 5)]));
    let mut namesake = set(1, vec![file("a", 1, 1, 5)]);
    namesake.service = ServiceId::from_bytes([2; 16]);
    let error = fixture.try_put(&namesake, START).unwrap_err();
    assert!(matches!(error, MountError::NameInUse(WEB)), "{error}");
    assert_eq!(fixture.read("a"), content(1, 5));
}

#[test]
fn ramfs_stands_in_with_a_limit_of_the_agents_own() {
    let mut fixture = Fixture::with(
        MountKind::Tmpfs,
        &Options { service_bytes: 64 * 1024, ramfs: true, ..Options::default() },
    );
    fixture.put(&set(1, vec![file("a", 1, 1, 40_000)]));
    assert_eq!(fixture.m().take_warnings(), [MountWarning::Ramfs]);
    let error = fixture.try_put(&set(2, vec![file("a", 1, 2, 40_000)]), START).unwrap_err();
    assert!(matches!(error, MountError::NoSpace { .. }), "{error}");
    assert_eq!(fixture.read("a"), content(1, 40_000));
    assert_eq!(fs::metadata(fixture.inside("")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fixture.restart(START).len(), 1);
    assert!(fixture.m().take_warnings().is_empty());
}

#[test]
fn one_agent_to_a_root_that_is_roots_alone() {
    let fixture = Fixture::new();
    let second = Mounts::open(&fixture.root, Options::default(), START).unwrap_err();
    assert!(matches!(second, MountError::InUse(_)), "{second}");
    let open = tempfile::tempdir().unwrap();
    files::own(open.path(), 0, 0, 0o777).unwrap();
    let refused = Mounts::open(open.path(), Options::default(), START).unwrap_err();
    assert!(matches!(refused, MountError::Root(_)), "{refused}");
}

on_both! {
    files_have_their_content_owner_and_mode,
    root_cannot_write_through_the_views,
    an_equal_set_is_not_rewritten,
    values_that_are_here_are_not_asked_for_again,
    a_missing_or_wrong_value_keeps_no_other_file,
    what_is_in_the_way_is_left_alone,
}
