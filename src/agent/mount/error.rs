//! What goes wrong with mounts, and what is worth a word though it went well.

use std::io;
use std::path::PathBuf;

use skep_core::base::{OtherFormat, ServiceId, Target, VersionId};

/// Files that are named in one line.
const NAMED: usize = 4;

/// A file that could not be made as it is due.
#[derive(Debug)]
pub struct Lacking {
    /// Its name.
    pub target: Target,
    /// Why.
    pub error: MountError,
}

/// A set that could not be put in place, or files that could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The set doesn't fit beside the one in place, which stays.
    #[error("the set needs {needed} bytes and {free} are free in the service's mount")]
    NoSpace {
        /// Bytes that the set takes, in whole pages.
        needed: u64,
        /// Bytes that are there.
        free: u64,
    },
    /// A value that is neither new nor held.
    #[error("the value of version {0} is neither here nor sent")]
    Missing(VersionId),
    /// A value of another length than the set says.
    #[error("the value of version {version} has {found} bytes and not {expected}")]
    Length {
        /// Which version.
        version: VersionId,
        /// What the set says.
        expected: u32,
        /// What came.
        found: u64,
    },
    /// Something that isn't ours stands where a service's files should be.
    #[error("{} is in the way: it is not of this agent's making", .0.display())]
    InTheWay(PathBuf),
    /// Another agent has this root.
    #[error("another agent is using {}", .0.display())]
    InUse(PathBuf),
    /// A root in which others could exchange folders under our feet.
    #[error("{} must belong to root and be writable by root alone", .0.display())]
    Root(PathBuf),
    /// A mount of ours that a build of another format left.
    #[error("the mount {} was {format}", path.display())]
    Format {
        /// Where it is.
        path: PathBuf,
        /// Which one.
        format: OtherFormat,
    },
    /// This machine has no FUSE.
    #[error("there is no /dev/fuse: this machine's kernel can't ask an agent for files")]
    NoFuse,
    /// This agent was started without what it takes to serve files.
    #[error("this agent does not serve files itself")]
    NotServing,
    /// What is in place is of another kind than the set wants.
    #[error("the files that are here are mounted in another way")]
    Kind,
    /// Two services of one name.
    #[error("the name is that of service {0}, whose files are still here")]
    NameInUse(ServiceId),
    /// A process keeps a file from being opened for writing.
    #[error("a process holds a lease on {}: waiting until the kernel breaks it", .0.display())]
    Leased(PathBuf),
    /// More files than this agent can hold open.
    #[error("this agent holds as many files as it can")]
    TooManyFiles,
    /// Something is left that the set doesn't have, or could not be told from it.
    #[error("{} is still there and should not be", .0.display())]
    LeftOver(PathBuf),
    /// Folders within folders that nobody of ours made.
    #[error("{} lies deeper than anything of this agent's making", .0.display())]
    TooDeep(PathBuf),
    /// Some files could not be made; the others are as they are due.
    #[error("{}", listed(.0))]
    Files(Vec<Lacking>),
    /// The thread that works on this service's files has not come back.
    #[error("the service's files are being worked on{}", .0.as_deref().map(|at| format!(": {at}")).unwrap_or_default())]
    Busy(Option<String>),
}

impl MountError {
    /// What to do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } | Self::Files(_) => None,
            Self::Format { format: OtherFormat::Older(_), .. } => Some(
                "no release wrote this: end the services' workloads and unmount what is below it, \
                 or restart the machine; then start with an empty data directory",
            ),
            Self::Format { format: OtherFormat::Newer(_), .. } => {
                Some("run the version that wrote it, or a newer one")
            }
            Self::NoSpace { .. } => {
                Some("free memory on the node, or grant the service fewer or smaller secrets")
            }
            Self::Missing(_) | Self::Length { .. } => {
                Some("it is sent again on the next session; if it stays, look at the agent's log")
            }
            Self::InUse(_) => Some("stop it, or run this one with another --root"),
            Self::Root(_) => Some("chown root and chmod go-w, or choose another --root"),
            Self::InTheWay(_) => Some("move it away, or run the agent with another --root"),
            Self::NoFuse | Self::NotServing => {
                Some("`modprobe fuse`, or create the service with --mount tmpfs")
            }
            Self::Kind => Some("remove the service and create another one"),
            Self::NameInUse(_) => Some("it goes when that service's removal has arrived"),
            Self::Leased(_) => Some("it takes /proc/sys/fs/lease-break-time seconds at most"),
            Self::TooManyFiles => Some("raise the limit of open files of the agent's unit"),
            Self::LeftOver(_) | Self::TooDeep(_) => {
                Some("it is tried again; see what keeps it: lsattr, and the mounts below it")
            }
            Self::Busy(_) => Some("it is tried again; the agent's log says what hangs"),
        }
    }

    /// Whether a file's or folder's flags may be what forbids it (chattr(1)).
    pub(super) fn is_stubborn(&self) -> bool {
        self.is_errno(rustix::io::Errno::PERM)
    }

    /// Whether the system said this.
    pub(super) fn is_errno(&self, errno: rustix::io::Errno) -> bool {
        match self {
            Self::Io { source, .. } => source.raw_os_error() == Some(errno.raw_os_error()),
            _ => false,
        }
    }

    /// Whether trying again, later and with nothing changed, is of no use.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Length { .. } => true,
            Self::Files(lacking) => lacking.iter().all(|one| one.error.is_final()),
            _ => false,
        }
    }

    /// The same of a file whose name stands beside it: without its path, which has the number
    /// of a generation in it.
    pub fn of_file(&self) -> String {
        match self {
            Self::Io { what, source, .. } if what.ends_with("file") => {
                format!("cannot {what}: {source}")
            }
            Self::Io { what, source, .. } => format!("cannot {what} the file: {source}"),
            other => other.to_string(),
        }
    }
}

/// `a: cannot write the file: …; b: …`
fn listed(lacking: &[Lacking]) -> String {
    let one = |one: &Lacking| format!("{}: {}", one.target, one.error.of_file());
    let text = lacking.iter().take(NAMED).map(one).collect::<Vec<_>>().join("; ");
    match lacking.len().saturating_sub(NAMED) {
        0 => text,
        more => format!("{text}; and {more} more files"),
    }
}

/// Something an operator should know, though work goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountWarning {
    /// The kernel can't keep a tmpfs out of swap.
    #[error(
        "this kernel has no tmpfs option noswap (6.3, outside user namespaces): using ramfs, \
         which is never swapped, and keeping the size limit myself"
    )]
    Ramfs,
    /// There was no room to note all opens.
    #[error("{0} opens of files were not noted: there was no room for more")]
    ReadsDropped(u64),
    /// A mount under the root that isn't ours: left alone.
    #[error("{} is a mount that is not of this agent's making: left alone", .0.display())]
    Stranger(PathBuf),
    /// A mount of ours whose manifest or files don't add up: what doesn't is emptied, and comes again.
    #[error("the files of service {0} did not match their manifest: what did not is emptied")]
    Damaged(ServiceId),
    /// A mount of ours that couldn't be taken over: it counts as held until it is wiped.
    #[error("the mount {} could not be taken over, and counts as held until it is wiped: {why}", path.display())]
    NotAdopted {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}
