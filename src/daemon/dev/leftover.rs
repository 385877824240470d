//! What a start leaves that never was complete: the lock says so from the start on until the
//! cluster is complete, so that nothing else is ever taken for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::plan::Member;

/// What stands in the lock until the cluster is complete.
const BEGUN: &[u8] =
    b"A `skep dev` that has not come up: what it made here, the next one takes away.\n";
/// Files that a start makes, with those that it renames to them.
const FILES: [&str; 5] =
    ["admin.skepid", ".admin.skepid.new", "unlock-key", "dev.toml.tmp", "lock"];

/// Says in the lock that a start begins in this folder, which is empty.
pub(super) fn begin(lock: &File) -> io::Result<()> {
    lock.write_all_at(BEGUN, 0)
}

/// Takes that back.
pub(super) fn over(lock: &File) -> io::Result<()> {
    lock.set_len(0)
}

/// Whether the lock says so.
pub(super) fn is_begun(lock: &Path) -> bool {
    let read = || {
        let mut text = [0; BEGUN.len()];
        let file = File::open(lock)?;
        file.read_exact_at(&mut text, 0)?;
        io::Result::Ok(text == *BEGUN)
    };
    read().unwrap_or(false)
}

/// The members among what lies in the folder; `None` where something else is there too.
pub(super) fn members(folder: &Path, names: &[String]) -> Option<Vec<Member>> {
    let names = names.iter().filter(|name| !FILES.contains(&name.as_str()));
    names.map(|name| member(folder.join(name), name)).collect()
}

fn member(folder: PathBuf, name: &str) -> Option<Member> {
    let (kind, number) = name.split_once('-')?;
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    match kind {
        "manager" => Some(Member::manager(folder, 0)),
        "agent" => Some(Member::agent(folder, Vec::new())),
        _ => None,
    }
}

/// Removes what a start makes, and nothing else; the lock goes last.
pub(super) fn remove(folder: &Path, names: &[String]) -> io::Result<()> {
    for name in names.iter().filter(|name| *name != "lock") {
        let path = folder.join(name);
        if member(path.clone(), name).is_some() {
            std::fs::remove_dir_all(path)?;
        } else if FILES.contains(&name.as_str()) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_is_taken_for_it() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            members(Path::new("/d"), &names).map(|members| members.len())
        };
        assert_eq!(of(&["agent-1", "lock", "manager-1", "unlock-key"]), Some(2));
        for other in ["letter", "manager", "manager-", "manager-x", "agents-1", "dev.toml"] {
            assert_eq!(of(&["lock", other]), None, "{other}");
        }
    }
}
