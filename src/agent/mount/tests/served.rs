//! What only the agent's own file system does: it decides, writes down, refuses, and comes
//! back.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::agent::machine::Workload;
use crate::agent::vault::Member;
use skep_core::base::NodeId;
use skep_core::domain::{Opened, Reader};

/// The records that wait.
fn noted(fixture: &Fixture) -> Vec<Opened> {
    let node = NodeId::from_bytes([1; 16]);
    fixture.reads.first(node).map(|list| list.list).unwrap_or_default()
}

const EROFS: i32 = 30;
const EACCES: i32 = 13;
const ENOTCONN: i32 = 107;

fn served() -> Fixture {
    let mut fixture = Fixture::on(MountKind::Fuse);
    fixture.put(&set(1, vec![file("a", 1, 7, 9000)]));
    fixture
}

/// A shell in a mount namespace of its own, which reads a file when it is told to.
struct Enclosed(Child);

impl Enclosed {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "slave", "sh", "-c"])
            .arg("echo up; while read f; do cat \"$f\" | wc -c; done")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        Self(child)
    }

    fn namespace(&self) -> u64 {
        fs::metadata(format!("/proc/{}/ns/mnt", self.0.id())).unwrap().ino()
    }

    /// How many bytes it gets.
    fn read(&mut self, path: &Path) -> usize {
        writeln!(self.0.stdin.as_mut().unwrap(), "{}", path.display()).unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            self.0.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Enclosed {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[test]
fn each_open_is_written_down() {
    let fixture = served();
    for _ in 0..100 {
        assert_eq!(fixture.read("a"), content(7, 9000));
    }
    let reads = noted(&fixture);
    assert_eq!((reads.len(), fixture.reads.dropped()), (100, 0));
    let read = &reads[99];
    assert_eq!((read.service, read.version, read.number), (WEB, version(7), 7));
    assert_eq!((read.reader, read.uid), (Reader::Host, 0));
    let own = std::env::current_exe().unwrap();
    assert_eq!(read.executable, own.display().to_string());
    assert_eq!(read.at, Stamp(1_700_000_000_000));
}

#[test]
fn opens_that_are_not_noted_are_told() {
    let mut fixture = served();
    fixture.read("a");
    let read = noted(&fixture).remove(0);
    while fixture.reads.dropped() < 3 {
        fixture.reads.note(read.clone());
    }
    fixture.m().tick(START);
    assert_eq!(fixture.m().take_warnings(), [MountWarning::ReadsDropped(3)]);
    fixture.reads.note(read);
    fixture.m().tick(START);
    assert!(fixture.m().take_warnings().is_empty(), "said when it is twice as many");
}

#[test]
fn a_stranger_is_refused_and_written_down_and_a_workload_is_not() {
    let fixture = served();
    let mut enclosed = Enclosed::new();
    let path = fixture.root.join("web/..live/a");
    assert_eq!(enclosed.read(&path), 0);
    let reads = noted(&fixture);
    assert_eq!(reads.iter().map(|read| read.reader).collect::<Vec<_>>(), [Reader::Stranger]);
    assert!(reads[0].executable.ends_with("cat") || reads[0].executable.contains("busybox"));
    let main = Workload { pid: enclosed.0.id(), started: 1 };
    let member =
        Member { main, left: vec![main], namespace: Some(enclosed.namespace()), mark: None };
    fixture.guests.change(WEB, |party| party.put(1, member));
    assert_eq!(enclosed.read(&path), 9000);
    fixture.guests.change(WEB, |party| party.take(1));
    assert_eq!(enclosed.read(&path), 0);
    fixture.guests.change(WEB, |party| party.by_hand = true);
    assert_eq!(enclosed.read(&path), 9000);
    let reads = noted(&fixture);
    let readers: Vec<_> = reads.iter().map(|read| read.reader).collect();
    let workload = Reader::Workload { pid: main.pid, started: main.started };
    assert_eq!(readers, [Reader::Stranger, workload, Reader::Stranger, Reader::ByHand]);
}

#[test]
fn the_owner_reads_on_the_host_and_another_user_does_not() {
    let mut fixture = Fixture::on(MountKind::Fuse);
    let mut owned = set(1, vec![file("a", 1, 1, 9)]);
    owned.owner = Owner { uid: 4321, gid: 4321 };
    fixture.put(&owned);
    let folder = fixture.root.parent().unwrap().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let path = fixture.root.join("web/a");
    let read_as = |id: u32| {
        let path = path.clone();
        std::thread::spawn(move || {
            let (uid, gid) =
                (rustix::process::Uid::from_raw(id), rustix::process::Gid::from_raw(id));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            fs::read(path).map_err(|error| error.raw_os_error())
        })
        .join()
        .unwrap()
    };
    assert_eq!(read_as(4321), Ok(content(1, 9)));
    assert_eq!(read_as(4322), Err(Some(EACCES)));
}

#[test]
fn nobody_but_the_agent_changes_anything_root_neither() {
    let fixture = served();
    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(EROFS));
    };
    // Below the mounts themselves, not through a view that is read-only anyway.
    let (folder, there) = (fixture.inside("live"), fixture.inside("live/..1000000/a"));
    refused(File::create(folder.join("new")).map(drop));
    refused(fs::create_dir(folder.join("folder")));
    refused(symlink("x", folder.join("link")));
    refused(OpenOptions::new().write(true).open(&there).map(drop));
    refused(OpenOptions::new().append(true).open(&there).map(drop));
    refused(fs::remove_file(&there));
    refused(fs::remove_file(folder.join("..data")));
    refused(fs::rename(folder.join("..data"), folder.join("x")));
    refused(fs::set_permissions(&there, fs::Permissions::from_mode(0o777)));
    refused(std::os::unix::fs::chown(&there, Some(1), None));
    refused(File::open(&there).unwrap().set_modified(std::time::UNIX_EPOCH));
    assert_eq!(fixture.read("a"), content(7, 9000));
}

#[test]
fn parts_of_a_large_value_are_read_in_any_order() {
    use std::os::unix::fs::FileExt;
    let mut fixture = Fixture::on(MountKind::Fuse);
    fixture.put(&set(1, vec![file("a", 1, 5, 511_999)]));
    let open = File::open(fixture.root.join("web/a")).unwrap();
    let whole = content(5, 511_999);
    for (offset, length) in
        [(65_535, 2), (0, 1), (511_990, 9), (60_000, 140_000), (131_072, 131_072), (1, 511_998)]
    {
        let mut part = vec![0; length];
        open.read_exact_at(&mut part, u64::try_from(offset).unwrap()).unwrap();
        assert_eq!(part, whole[offset..offset + length], "{length} at {offset}");
    }
    assert_eq!(open.read_at(&mut [0; 9], 511_999).unwrap(), 0);
    assert_eq!(open.read_at(&mut [0; 9], u64::from(u32::MAX)).unwrap(), 0);
}

#[test]
fn the_agents_end_ends_the_files_and_the_next_one_clears_up() {
    let mut fixture = served();
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    fixture.mounts = None;
    let dead = fs::read(fixture.root.join("web/a")).unwrap_err();
    assert_eq!(dead.raw_os_error(), Some(ENOTCONN));
    assert!(open.read(&mut [0; 9]).is_err());
    assert!(fixture.restart(START).is_empty());
    assert!(fixture.m().take_warnings().is_empty());
    assert_eq!(fixture.mounted(), 0);
    assert!(!fixture.root.join("web").exists());
    assert_eq!(fs::read_dir(fixture.root.join(MOUNTS)).unwrap().count(), 0);
    fixture.put(&set(1, vec![file("a", 1, 8, 9)]));
    assert_eq!(fixture.read("a"), content(8, 9));
}

#[test]
fn a_clean_end_leaves_no_dead_mount() {
    let mut fixture = served();
    fixture.mounts.take().unwrap().end();
    assert_eq!(fixture.mounted(), 0);
    assert!(!fixture.root.join("web").exists());
    assert_eq!(fs::read_dir(fixture.root.join(MOUNTS)).unwrap().count(), 0);
}

#[test]
fn a_connection_that_was_cut_is_made_anew_with_everything_in_it() {
    let mut fixture = served();
    fixture.put(&set(2, vec![file("a", 1, 8, 9000)]));
    system::cut(&fixture.root.join(MOUNTS).join("fuse"));
    until(|| fs::read(fixture.root.join("web/a")).is_err());
    until(|| {
        fixture.m().tick(START);
        fs::read(fixture.root.join("web/a")).is_ok_and(|bytes| bytes == content(8, 9000))
    });
    fixture.put(&set(3, vec![file("a", 1, 9, 9000)]));
    assert_eq!(fixture.read("a"), content(9, 9000));
    fixture.m().wipe(WEB).unwrap();
    assert_eq!(fixture.mounted(), 0);
}

/// Waits for what other threads do.
fn until(mut done: impl FnMut() -> bool) {
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..1_000 {
        if done() {
            return;
        }
        never.recv_timeout(std::time::Duration::from_millis(10)).unwrap_err();
    }
    panic!("not in time");
}

#[test]
fn without_what_it_takes_a_set_is_refused() {
    let mut fixture = Fixture::on(MountKind::Fuse);
    fixture.options.fuse = None;
    fixture.restart(START);
    let error = fixture.try_put(&set(1, vec![file("a", 1, 1, 9)]), START).unwrap_err();
    assert!(matches!(error, MountError::NotServing), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(fixture.mounted(), 0);
}

#[test]
fn a_service_stays_on_the_kind_of_mount_that_it_has() {
    let mut fixture = served();
    let other = ServiceFiles { digest: [2; 32], ..set(2, vec![file("a", 1, 8, 9)]) };
    let error = fixture.m().apply(&other, &mut |_| None, START).unwrap_err();
    assert!(matches!(error, MountError::Kind), "{error}");
    assert_eq!(fixture.read("a"), content(7, 9000));
}

#[test]
fn one_kind_beside_the_other() {
    let mut fixture = served();
    let mut other = set(2, vec![file("x", 1, 7, 9000)]);
    other.service = ServiceId::from_bytes([2; 16]);
    other.name = "other".parse().unwrap();
    // Its value comes from the service that is served.
    fixture.m().apply(&other, &mut |_| None, START).unwrap();
    assert_eq!(fs::read(fixture.root.join("other/x")).unwrap(), content(7, 9000));
    assert_eq!(fixture.mounted(), 7);
    fixture.m().wipe(WEB).unwrap();
    assert_eq!(fixture.mounted(), 3);
    assert_eq!(fs::read(fixture.root.join("other/x")).unwrap(), content(7, 9000));
}
