//! Listening on a socket of this machine.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use skep_core::base::{Exit, Failure};
use tokio::net::UnixListener;

/// Listens on a socket with these permissions, in the place of one that nobody
/// listens on any more. Call it inside the runtime.
///
/// # Errors
/// [`Exit::InUse`] if somebody listens there, [`Exit::Configuration`] else.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Configuration, format!("socket {shown}: {error}"))
            .hint("name another one with --socket")
    };
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    }
    match UnixStream::connect(path) {
        Ok(_) => {
            return Err(Failure::new(Exit::InUse, format!("socket {shown} is in use"))
                .hint("another process serves it: stop that one, or name another with --socket"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            // Anything else than a socket refuses connections too, and may be dear to somebody.
            if !std::fs::symlink_metadata(path).map_err(failed)?.file_type().is_socket() {
                return Err(failed(std::io::Error::other(
                    "something stands there that is no socket",
                )));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/a.sock");
        let listener = bind(&path, 0o600).expect("binds");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(bind(&path, 0o600).expect_err("in use").exit, Exit::InUse);
        drop(listener);
        bind(&path, 0o600).expect("replaced");
        let file = folder.path().join("file");
        drop(std::fs::File::create(&file).expect("a file"));
        assert_eq!(bind(&file, 0o600).expect_err("no socket").exit, Exit::Configuration);
        assert!(file.exists(), "what is no socket stays");
    }
}
