//! What the machine must have for these tests: they fail where it is missing, and say so.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Once;

/// The kernel's way to a FUSE server.
const FUSE: &str = "/dev/fuse";
/// The programs that tests run, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("chattr", "e2fsprogs"),
    ("faketime", "faketime"),
    ("ip", "iproute2"),
    ("man", "man-db"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("ps", "procps"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// Looks once for each process of tests.
///
/// # Panics
/// Where something is missing, naming it.
pub(crate) fn fit() {
    static LOOKED: Once = Once::new();
    LOOKED.call_once(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let lacks = lacks(rustix::process::geteuid().is_root(), Path::new(FUSE), &path);
        assert!(lacks.is_empty(), "these tests can't run here: {}", lacks.join("; "));
    });
}

/// What is missing, and what to do.
fn lacks(root: bool, fuse: &Path, path: &OsStr) -> Vec<String> {
    let mut lacks = Vec::new();
    if !root {
        lacks.push("they mount, and make networks: run them as root".to_owned());
    } else if let Err(error) = std::fs::File::options().read(true).write(true).open(fuse) {
        lacks.push(format!(
            "{}: {error}: load the module fuse, or give the container the device",
            fuse.display()
        ));
    }
    for (program, package) in PROGRAMS {
        if !std::env::split_paths(path).any(|folder| folder.join(program).is_file()) {
            lacks.push(format!("{program} is missing: apt-get install {package}"));
        }
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let here = |root, fuse: &str, path: &OsStr| lacks(root, Path::new(fuse), path).join("\n");
        assert_eq!(here(true, "/dev/null", &path), "", "what the tests beside need");
        assert!(here(false, "/dev/null", &path).contains("run them as root"));
        assert!(here(true, "/dev/no-fuse", &path).contains("/dev/no-fuse: No such file"));
        let nothing = here(true, "/dev/null", OsStr::new("/nonexistent"));
        assert_eq!(nothing.lines().count(), PROGRAMS.len(), "{nothing}");
        assert!(nothing.contains("faketime is missing: apt-get install faketime"), "{nothing}");
    }
}
