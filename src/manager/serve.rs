//! Which services are served where.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use super::api::ControlService;
use super::caller::{Admitted, Behalf};
use super::join::MembershipService;
use super::lifecycle::Manager;
use super::running::Running;
use std::sync::Arc;

/// What the control socket serves, in every phase.
#[must_use]
pub fn control(manager: &Manager) -> Routes {
    Routes::new(ControlService::server(manager.clone()))
}

/// What is served over mTLS. Control, Membership and Delivery ask who calls
/// themselves; Raft is asked for here.
pub(super) fn remote(manager: &Manager, running: &Arc<Running>) -> Routes {
    let cluster = running.core.cluster;
    // Which of the managers may, consensus decides: one that is behind does not
    // know them all.
    let managers_only = move |request: Request<()>| -> Result<Request<()>, Status> {
        Admitted::raft(request.extensions(), cluster)?;
        Ok(request)
    };
    let raft = InterceptedService::new(running.core.consensus.service(), managers_only);
    let control = ControlService::server(manager.clone());
    Routes::new(InterceptedService::new(control, Behalf::take))
        .add_service(MembershipService::server(manager.clone()))
        .add_service(running.dispatch.service())
        .add_service(raft)
}

/// Takes the control socket's path: mode 0600, a folder above it is made (0755). A
/// socket that nobody serves any more is replaced.
///
/// # Errors
/// `AddrInUse` where another process serves it; what the system says.
pub fn take_socket(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // Anything else than a socket refuses connections too, and may be dear to somebody.
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::other("something stands there that is no socket"));
            }
            std::fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Until the mode is set the kernel's word for who calls is what protects it.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
