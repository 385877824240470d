//! A descriptor table of a thread's own, and descriptors that came with the process.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;

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

/// Whether they were taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors from 3 on that whoever started this process says to have passed, so
/// many: as systemd does (`LISTEN_FDS`). They are closed in programs that are executed from
/// here on. A process does this once; later there are none.
///
/// The caller has it from whoever started the process that they were passed. A number that
/// was not open then may be somebody else's by now, who loses it here.
///
/// # Errors
/// One of them is not open; those before it are closed then.
#[allow(unsafe_code, reason = "a number that was passed becomes somebody's descriptor")]
pub fn take_passed_descriptors(count: usize) -> io::Result<Vec<OwnedFd>> {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let count = i32::try_from(count).map_err(|_many| io::ErrorKind::InvalidInput)?;
    let mut passed = Vec::new();
    for number in 3..count.saturating_add(3) {
        // SAFETY: it is asked whether it is open; nothing else is done with it.
        let lent = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_setfd(lent, FdFlags::CLOEXEC)?;
        // SAFETY: it is open, and was when the process began: nothing in here was given this
        // number as its own, and it is taken once, so that nobody else closes it.
        passed.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(passed)
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
