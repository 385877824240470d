//! The control group of a unit of systemd: whoever is of the unit is in it or below it.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use skep_core::domain::UnitName;

/// Where the one hierarchy is mounted that all processes are in: everywhere, or beside others.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// The file that says whether anybody is in a group or below it.
const EVENTS: &str = "cgroup.events";
/// What the groups end with in which the system's units are, one in another.
const SLICE: &str = ".slice";
/// Bytes of what is read of a process's groups, and of a group's events.
const BYTES: u64 = 16 * 1024;
/// Between two looks at whether anybody is left.
const LOOK: Duration = Duration::from_millis(200);
/// Looks that must find nobody: between two of its commands a unit has nobody for a moment.
const LOOKS: u32 = 5;
/// Folders that are looked at to find units again, and how deep slices lie in each other.
const SEARCHED: usize = 10_000;
const DEEP: usize = 16;

/// A unit's control group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitGroup {
    /// Where it is, below where the hierarchy is mounted.
    path: PathBuf,
}

impl UnitGroup {
    /// The group of this unit that a process stands in.
    ///
    /// # Errors
    /// It stands in no group of the unit's, or the hierarchy is not mounted where it should be.
    pub(in crate::agent) fn of_process(pid: i32, unit: &UnitName) -> io::Result<Self> {
        let text = read(Path::new(&format!("/proc/{pid}/cgroup")))?;
        let none = || io::Error::other(format!("process {pid} is not of unit {unit}"));
        let path = unit_path(&text, unit).ok_or_else(none)?;
        let there = ROOTS.iter().map(|root| Path::new(root).join(&path));
        let path = there.into_iter().find(|path| path.join(EVENTS).is_file());
        let path = path.ok_or_else(|| io::Error::other("cgroup2 is not mounted"))?;
        Ok(Self { path })
    }

    /// The groups of units that have somebody in them, of all that are wanted.
    pub(in crate::agent) fn found(wanted: impl Fn(&UnitName) -> bool) -> Vec<(UnitName, Self)> {
        let mut found = Vec::new();
        let root =
            ROOTS.iter().rev().map(Path::new).find(|root| root.join("cgroup.procs").is_file());
        let mut folders: Vec<(PathBuf, usize)> =
            root.map(|root| (root.to_owned(), 0)).into_iter().collect();
        let mut searched = 0;
        while let Some((folder, depth)) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                searched += 1;
                if searched > SEARCHED {
                    tracing::warn!(
                        event = "units_not_searched",
                        "there are too many control groups"
                    );
                    return found;
                }
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                if name.ends_with(SLICE) && depth < DEEP {
                    folders.push((entry.path(), depth + 1));
                }
                let Ok(unit) = unescaped(name).parse::<UnitName>() else { continue };
                let group = Self { path: entry.path() };
                if wanted(&unit) && group.is_populated().unwrap_or(false) {
                    found.push((unit, group));
                }
            }
        }
        found
    }

    /// Whether anybody is in it, or below it. A group that is gone has nobody.
    pub(in crate::agent) fn is_populated(&self) -> io::Result<bool> {
        match read(&self.path.join(EVENTS)) {
            Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until nobody is left.
    pub(in crate::agent) async fn emptied(&self) -> io::Result<()> {
        let mut nobody = 0;
        while nobody < LOOKS {
            nobody = if self.is_populated()? { 0 } else { nobody + 1 };
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    let no_device = rustix::io::Errno::NODEV.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(no_device)
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Where the unit's group is, as `/proc/PID/cgroup` says of a process in it or below it. Units
/// of users' own managers are below a unit, and none of the system's.
fn unit_path(text: &str, unit: &UnitName) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut group = PathBuf::new();
    for part in Path::new(path).components() {
        let Component::Normal(part) = part else { return None };
        group.push(part);
        let part = part.to_str()?;
        if !part.ends_with(SLICE) {
            return (unescaped(part) == unit.as_str()).then_some(group);
        }
    }
    None
}

/// Names that the kernel might mean otherwise have `_` before them.
fn unescaped(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_of_the_unit_in_whose_group_it_stands() {
        let unit = |text: &str| text.parse::<UnitName>().unwrap();
        let path = |text: &str, of: &str| {
            unit_path(text, &unit(of)).map(|path| path.display().to_string())
        };
        let web = "1:name=systemd:/x\n0::/system.slice/web.service/sub\n";
        assert_eq!(path(web, "web.service").as_deref(), Some("system.slice/web.service"));
        assert_eq!(path("0::/system.slice/web.service\n", "eb.service"), None);
        assert_eq!(path("0::/a/../web.service\n", "web.service"), None);
        assert_eq!(path("0::/\n", "web.service"), None);
        assert_eq!(path("4:memory:/web.service\n", "web.service"), None);
        assert_eq!(path("", "web.service"), None);
        let memory = "0::/system.slice/_memory.service\n";
        assert_eq!(path(memory, "memory.service").as_deref(), Some("system.slice/_memory.service"));
        let users = "0::/user.slice/user-0.slice/user@0.service/app.slice/web.service\n";
        assert_eq!(path(users, "web.service"), None);
        assert!(path(users, "user@0.service").is_some());
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "it stands for a file of the kernel's")]
    async fn a_group_that_is_gone_has_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let group = UnitGroup { path: folder.path().join("web.service") };
        assert!(!group.is_populated().unwrap());
        fs::create_dir(&group.path).unwrap();
        let events = group.path.join(EVENTS);
        fs::write(&events, "populated 1\nfrozen 0\n").unwrap();
        assert!(group.is_populated().unwrap());
        let waiting = group.emptied();
        tokio::pin!(waiting);
        let soon = tokio::time::timeout(Duration::from_millis(300), waiting.as_mut()).await;
        assert!(soon.is_err(), "somebody is there");
        fs::write(&events, "populated 0\nfrozen 0\n").unwrap();
        waiting.await.unwrap();
    }
}
