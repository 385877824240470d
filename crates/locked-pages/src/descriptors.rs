//! A descriptor table of a thread's own.

use std::io;

/// The calling thread's descriptors, as the kernel lists them.
const TABLE: &str = "/proc/thread-self/fd";

/// Gives the calling thread, and those that it starts from here on, a descriptor table of
/// their own that holds 0, 1 and 2 and nothing else. The process's other threads keep
/// theirs as it is.
///
/// A server needs this whose clients may be threads of its own process: when the
/// process is killed, its descriptors are closed with the threads that serve, and a
/// thread that waits for an answer doesn't keep them open.
///
/// The caller runs on a thread that owns no descriptor beyond 2 (one that was just started)
/// and is handed none later: a number means another thing here than elsewhere.
///
/// # Errors
/// What the system says; the thread must end then.
#[allow(unsafe_code, reason = "rustix leaves the descriptor table's sharing to its caller")]
pub fn own_descriptors() -> io::Result<()> {
    // SAFETY: the table is copied, so every descriptor that other threads own stays valid for
    // them; this thread owns none.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }?;
    for number in open()?.into_iter().filter(|number| *number > 2) {
        // SAFETY: these are copies in this thread's own table; their owners live in other
        // threads and have theirs.
        unsafe { rustix::io::close(number) };
    }
    Ok(())
}

/// The descriptors that this thread has.
fn open() -> io::Result<Vec<i32>> {
    let mut listed = Vec::new();
    for entry in std::fs::read_dir(TABLE)? {
        let name = entry?.file_name();
        listed.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    // The listing's own is among them, and closed by now.
    listed.retain(|number| std::fs::symlink_metadata(format!("{TABLE}/{number}")).is_ok());
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_thread_has_three_and_the_others_keep_theirs() {
        let file = File::open("/proc/self/status").unwrap();
        let number = file.as_raw_fd();
        assert!(open().unwrap().contains(&number));
        let left = std::thread::spawn(|| {
            own_descriptors().unwrap();
            open().unwrap()
        });
        let left = left.join().unwrap();
        assert!(left.iter().all(|number| *number <= 2), "{left:?}");
        assert!(file.metadata().unwrap().is_file());
        assert!(open().unwrap().contains(&number));
    }
}
