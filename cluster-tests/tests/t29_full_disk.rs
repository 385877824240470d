//! A manager's disk that fills up: what grows is refused in time, what takes away
//! still finds room.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use cluster_tests::{Cluster, until};

const MIB: u64 = 1024 * 1024;

/// A small disk in a folder's place; it goes with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// What the folder has moves onto it.
    fn below(folder: &Path) -> Self {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).expect("moved aside");
        fs::create_dir(folder).expect("a mount point");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=400m,mode=0700", "tmpfs"])
            .arg(folder)
            .status();
        assert!(mounted.expect("mount").success());
        let disk = Self(folder.to_owned());
        let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder).status();
        assert!(copied.expect("cp").success());
        fs::remove_dir_all(aside).expect("removed");
        disk
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.0).expect("statvfs");
        found.f_bavail * found.f_frsize
    }

    /// Fills it until so many bytes are free.
    fn leave(&self, free: u64) {
        let ballast = fs::OpenOptions::new().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("a file");
        while self.free() > free {
            ballast.write_all(&vec![1; usize::try_from(MIB).expect("small")]).expect("written");
        }
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn has_reserve(&self) -> bool {
        self.0.join("reserve").exists()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone_already = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_nearly_full_disk_admits_removals_and_revokes_alone() {
    let mut cluster = Cluster::start(1);
    for name in ["one", "two", "three"] {
        cluster.secret(name, b"value");
    }
    cluster.service("web", "node-1", &["one", "two"]);
    cluster.manager.kill();
    let disk = SmallDisk::below(&cluster.manager.data());
    cluster.bring_back(0);
    until("the reserve", || disk.has_reserve().then_some(()));

    disk.leave(45 * MIB);
    let warned = until("a warning", || {
        let status = cluster.manager.skep(&["status"]);
        (status.status == 8 && status.out.contains("warning disk-full")).then_some(status)
    });
    assert!(warned.out.contains("hint: make room"), "{}", warned.out);
    let refused = cluster.skep_with(&["secret", "create", "four", "-"], b"v").status(1);
    assert!(refused.err.contains("the leader's disk is nearly full"), "{}", refused.err);
    let refused = cluster.skep(&["service", "grant", "web", "three"]).status(1);
    assert!(refused.err.contains("hint: make room"), "{}", refused.err);
    let _ = cluster.ok(&["service", "revoke", "web", "one"]);
    let _ = cluster.ok(&["secret", "rm", "one"]);
    let _ = cluster.ok(&["join-token", "worker", "-q"]);

    // Even less: the reserve makes room for them.
    disk.leave(20 * MIB);
    until("the reserve's room", || (!disk.has_reserve()).then_some(()));
    let _ = cluster.ok(&["service", "revoke", "web", "two"]);
    let _ = cluster.ok(&["secret", "rm", "two"]);
    let _ = cluster.skep_with(&["secret", "create", "four", "-"], b"v").status(1);

    fs::remove_file(disk.ballast()).expect("removed");
    until("room again", || {
        let created = cluster.skep_with(&["secret", "create", "four", "-"], b"v");
        (created.status == 0).then_some(())
    });
    until("the reserve", || disk.has_reserve().then_some(()));
    cluster.manager.kill();
    drop(disk);
}
