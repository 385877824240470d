//! Files that a command writes: all of them or none, and never over another.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use skep_core::base::{Exit, Failure};

/// Files that were made. Dropped before they are kept, they are removed again.
#[derive(Debug, Default)]
pub(super) struct Written {
    paths: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    kept: bool,
}

impl Written {
    /// Files that nobody else may read, in a folder that may be there.
    pub(super) fn private(folder: &Path, files: &[(String, String)]) -> Result<Self, Failure> {
        let mut written = Self::default();
        if !folder.is_dir() {
            written.folder(folder, 0o700)?;
        }
        written.files(folder, files, 0o600)?;
        Ok(written)
    }

    /// Files for everybody, in a new folder; a name may be a path with folders in it.
    pub(super) fn of(folder: &Path, files: &[(String, String)]) -> Result<Self, Failure> {
        let mut written = Self::default();
        written.folder(folder, 0o755)?;
        for (name, _) in files {
            let parents = Path::new(name).ancestors().skip(1);
            let parents: Vec<_> = parents.filter(|path| !path.as_os_str().is_empty()).collect();
            for parent in parents.into_iter().rev() {
                let path = folder.join(parent);
                if !path.is_dir() {
                    written.folder(&path, 0o755)?;
                }
            }
        }
        written.files(folder, files, 0o644)?;
        Ok(written)
    }

    /// They stay.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    fn folder(&mut self, path: &Path, mode: u32) -> Result<(), Failure> {
        let made = DirBuilder::new().mode(mode).create(path);
        made.map_err(|error| cannot(path, &error))?;
        self.folders.push(path.to_owned());
        Ok(())
    }

    fn files(
        &mut self,
        folder: &Path,
        files: &[(String, String)],
        mode: u32,
    ) -> Result<(), Failure> {
        for (name, text) in files {
            let path = folder.join(name);
            let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
            let mut file = made.map_err(|error| cannot(&path, &error))?;
            self.paths.push(path.clone());
            let done = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            done.map_err(|error| cannot(&path, &error))?;
        }
        let inner = self.folders.iter().map(PathBuf::as_path);
        for folder in inner.chain([folder]) {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| cannot(folder, &error))?;
        }
        Ok(())
    }
}

fn cannot(path: &Path, error: &Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        ErrorKind::AlreadyExists => {
            let text = format!("{shown} exists, and nothing was written");
            Failure::new(Exit::Refused, text).hint("name another folder: --out DIR")
        }
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            let text = format!("{shown}: the folder it would be in is not there");
            Failure::new(Exit::Usage, text).hint("make it first, or name another: --out DIR")
        }
        _ => {
            let text = format!("{shown}: {error}; nothing was written");
            Failure::new(Exit::WriteFailed, text).hint("name another folder: --out DIR")
        }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for path in &self.paths {
            drop(std::fs::remove_file(path));
        }
        for folder in self.folders.iter().rev() {
            drop(std::fs::remove_dir(folder));
        }
    }
}
