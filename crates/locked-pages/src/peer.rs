//! Who is at the other end of a socket.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Groups that Linux lets a process have (`NGROUPS_MAX`).
const MOST: usize = 65_536;

/// The supplementary groups of whoever connected to this Unix socket, as the kernel noted
/// them then (`SO_PEERGROUPS`, socket(7) of Linux 4.13).
///
/// # Errors
/// What the system says; another kind of socket has none.
#[allow(unsafe_code, reason = "no crate in use has this option")]
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; 32];
    loop {
        let room = groups.len() * size_of::<u32>();
        let mut bytes = libc::socklen_t::try_from(room).map_err(io::Error::other)?;
        // SAFETY: the buffer has `bytes` bytes, of which the kernel writes so many at most;
        // it says in `bytes` how many, or how many it needs. Any bytes are a `u32`.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<u32>();
        if done == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        let longer = count > groups.len() && count <= MOST;
        if error.raw_os_error() != Some(libc::ERANGE) || !longer {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_ends_groups_are_told() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut told = peer_groups(one.as_fd()).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut own: Vec<u32> = line.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
        told.sort_unstable();
        own.sort_unstable();
        assert_eq!(told, own);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_groups(file.as_fd()).is_err());
    }
}
