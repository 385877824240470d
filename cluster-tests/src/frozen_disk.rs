//! A disk that can be made to hang: whoever writes to it waits until it is thawed.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A disk of its own in a folder's place; it goes with the test, however that ends.
#[derive(Debug)]
pub struct FrozenDisk {
    folder: PathBuf,
    /// Thaws and unmounts it once nobody holds its standard input any more: whoever waits for a
    /// frozen disk can't be killed.
    undoer: Child,
}

impl FrozenDisk {
    /// What the folder has moves onto it. It is not frozen yet.
    ///
    /// # Panics
    /// Where it can't be made or mounted.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        let (aside, image) = (folder.with_extension("aside"), folder.with_extension("img"));
        fs::rename(folder, &aside).expect("moved aside");
        fs::create_dir(folder).expect("a mount point");
        fs::File::create(&image).and_then(|file| file.set_len(48 * 1024 * 1024)).expect("an image");
        let done = |command: &mut Command| {
            let output = command.output().expect("started");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder));
        let undoer = Command::new("sh")
            .args(["-c", "read end; fsfreeze -u \"$1\"; umount -l \"$1\"; rm -f \"$2\"", "sh"])
            .arg(folder)
            .arg(&image)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let disk = Self { folder: folder.to_owned(), undoer: undoer.expect("sh") };
        done(Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder));
        fs::remove_dir_all(aside).expect("removed");
        disk
    }

    /// From now on it hangs.
    ///
    /// # Panics
    /// Where it can't be frozen.
    pub fn freeze(&self) {
        self.is_to("-f");
    }

    /// It goes on.
    ///
    /// # Panics
    /// Where it was not frozen.
    pub fn thaw(&self) {
        self.is_to("-u");
    }

    fn is_to(&self, flag: &str) {
        let done = Command::new("fsfreeze").arg(flag).arg(&self.folder).status();
        assert!(done.expect("fsfreeze").success(), "fsfreeze {flag}");
    }
}

impl Drop for FrozenDisk {
    fn drop(&mut self) {
        if let Some(mut input) = self.undoer.stdin.take() {
            let _gone_already = input.write_all(b"\n");
        }
        let _gone_already = self.undoer.wait();
    }
}
