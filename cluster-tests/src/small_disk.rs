//! A disk that is small enough to be filled.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk in a folder's place; it goes with the test.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// What the folder has moves onto it; it has so many MiB.
    ///
    /// # Panics
    /// Where it can't be mounted.
    #[must_use]
    pub fn below(folder: &Path, mib: u32) -> Self {
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).expect("moved aside");
        fs::create_dir(folder).expect("a mount point");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"])
            .arg(folder)
            .status();
        assert!(mounted.expect("mount").success());
        let disk = Self(folder.to_owned());
        // Room that was taken and not used stays so.
        let copied = Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(aside.join("."))
            .arg(folder)
            .status();
        assert!(copied.expect("cp").success());
        fs::remove_dir_all(aside).expect("removed");
        disk
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.0).expect("statvfs");
        found.f_bavail * found.f_frsize
    }

    /// Fills it until so many bytes are free, or as far as it goes.
    ///
    /// # Panics
    /// Where nothing can be written.
    pub fn leave(&self, free: u64) {
        let ballast = fs::OpenOptions::new().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("a file");
        for bytes in [1024 * 1024, 4096] {
            while self.free() > free && ballast.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    /// What fills it goes.
    ///
    /// # Panics
    /// Where nothing did.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).expect("removed");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone_already = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
