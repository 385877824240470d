//! What resists: leases, flags, what stands in the way, mounts over mounts.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use super::*;

fn two(digest: u8) -> ServiceFiles {
    set(digest, vec![file("a", 1, 1, 9000), file("b", 2, 2, 9000)])
}

fn reads_nothing(open: &mut File) -> bool {
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).unwrap();
    rest.is_empty()
}

/// Waits for what other threads and processes do.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..1_200 {
        if done() {
            return;
        }
        never.recv_timeout(std::time::Duration::from_millis(100)).unwrap_err();
    }
    panic!("not in time: {what}");
}

/// A process with a lease on each file that it is given, which it doesn't let go of.
const LEASES: &str = r"
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
kind = fcntl.F_WRLCK if sys.argv[1] == 'write' else fcntl.F_RDLCK
got = 0
for path in sys.argv[2:]:
    f = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(f, fcntl.F_SETLEASE, kind)
        got += 1
    except OSError:
        pass
print(got, flush=True)
sys.stdin.readline()
";

struct Leases(Child, u32);

impl Leases {
    fn on(kind: &str, paths: &[PathBuf]) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", LEASES, kind])
            .args(paths)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().parse().unwrap())
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn no_lease_is_given_on_a_services_file(kind: MountKind) {
    for descriptors in [100, 0] {
        let options = Options { descriptors, ..Options::default() };
        let mut fixture = Fixture::with(kind, &options);
        fixture.put(&two(1));
        let live = fixture.root.join("web/..live");
        for lease in ["read", "write"] {
            let leases = Leases::on(lease, &[live.join("a"), live.join("b")]);
            assert_eq!(leases.1, 0, "{lease}, {descriptors} descriptors");
            let mut open = File::open(live.join("a")).unwrap();
            fixture.put(&set(2, vec![file("b", 2, 2, 9000)]));
            assert!(reads_nothing(&mut open));
            fixture.put(&two(1));
        }
        fixture.m().wipe(WEB).unwrap();
        assert_eq!(fixture.mounted(), 0);
    }
}

#[test]
fn what_is_leased_at_a_start_is_pending_until_it_is_held() {
    let mut fixture = Fixture::new();
    fixture.put(&two(1));
    fixture.mounts = None;
    let live = fixture.root.join("web/..live");
    let leases = Leases::on("read", &[live.join("a"), live.join("b")]);
    assert_eq!(leases.1, 2);
    fixture.restart(START);
    assert_eq!(fixture.m().held_of(WEB).unwrap().digest, None, "it can't be promised");
    let error = fixture.try_put(&two(1), START).unwrap_err();
    assert!(matches!(error, MountError::Leased(_)), "{error}");
    let mut open = File::open(live.join("a")).unwrap();
    assert!(fixture.m().wipe(WEB).is_err() || reads_nothing(&mut open));
    let mut now = START.0;
    until("the leases are broken", || {
        now += 60_000;
        fixture.m().tick(BootTime(now));
        fixture.m().held_of(WEB).is_none()
    });
    assert!(reads_nothing(&mut open));
    assert_eq!(fixture.mounted(), 0);
    drop(leases);
}

fn immutable(path: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let file = File::open(path).unwrap();
    let flags = ioctl_getflags(&file).unwrap();
    ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
}

#[test]
fn an_immutable_file_is_emptied_and_removed() {
    for restarted in [false, true] {
        let mut fixture = Fixture::new();
        fixture.put(&two(1));
        let mut open = File::open(fixture.root.join("web/a")).unwrap();
        immutable(&fixture.inside("live/..1000000/a"));
        immutable(&fixture.inside("live/..1000000"));
        if restarted {
            fixture.restart(START);
        }
        // Whatever is answered: what is confirmed is gone.
        if fixture.try_put(&set(2, vec![file("b", 2, 2, 9000)]), START).is_ok() {
            assert!(reads_nothing(&mut open));
        } else {
            assert_eq!(fixture.m().held_of(WEB).unwrap().digest, None);
        }
        fixture.m().tick(BootTime(START.0 + 5_000));
        assert!(reads_nothing(&mut open), "restarted: {restarted}");
        fixture.m().wipe(WEB).unwrap();
        assert_eq!(fixture.mounted(), 0);
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::io::Write::write_all(&mut File::create(path).unwrap(), bytes).unwrap();
}

/// What stands in an agent's way when it starts, and is none of its own making.
fn in_the_way(number: usize, fixture: &Fixture) -> bool {
    let at = |path: &str| fixture.inside(path);
    match number {
        0 => fs::create_dir_all(at("data.new/x")).unwrap(),
        1 => {
            fs::remove_file(at("manifest.json")).unwrap();
            fs::create_dir_all(at("manifest.json/x")).unwrap();
        }
        2 => {
            fs::create_dir_all(at("manifest.new/x")).unwrap();
            fs::copy(at("live/..1000000/a"), at("manifest.new/x/copy")).unwrap();
        }
        3 => {
            fs::rename(at("live"), at("elsewhere")).unwrap();
            File::create(at("live")).unwrap();
        }
        4 => {
            // What lies behind a link is somebody else's.
            let theirs = fixture.root.with_file_name("theirs");
            fs::create_dir_all(theirs.join("folder")).unwrap();
            write(&theirs.join("folder/file"), b"theirs");
            fs::remove_dir(at("old")).unwrap();
            symlink(&theirs, at("old")).unwrap();
            symlink(&theirs, at("live/theirs")).unwrap();
            symlink(&theirs, at("live/..1000000/theirs")).unwrap();
            symlink(&theirs, at("aside")).unwrap();
        }
        5 => {
            fs::copy(at("live/..1000000/a"), at("live/..1000000/.hidden")).unwrap();
            let odd = std::ffi::OsStr::from_bytes(b"..\xff");
            fs::create_dir(at("live").join(odd)).unwrap();
            fs::copy(at("live/..1000000/a"), at("live").join(odd).join("x")).unwrap();
        }
        6 => {
            let status = Command::new("mkfifo").arg(at("live/..1000000/pipe")).status().unwrap();
            assert!(status.success());
        }
        7 => {
            fs::remove_file(at("live/..data")).unwrap();
            fs::create_dir_all(at("live/..data/x")).unwrap();
        }
        8 => {
            // Another mount over it.
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("theirs", at(""), "tmpfs", flags, c"size=64k").unwrap();
        }
        9 => {
            let flags = rustix::mount::MountFlags::empty();
            let within = at("live/..1000000");
            rustix::mount::mount("theirs", &within, "tmpfs", flags, c"size=64k").unwrap();
            // One more, of which nothing may be lost.
            let theirs = fixture.root.with_file_name("theirs");
            fs::create_dir_all(theirs.join("folder")).unwrap();
            write(&theirs.join("folder/file"), b"theirs");
            fs::create_dir(at("live/..7")).unwrap();
            rustix::mount::mount_bind(&theirs, at("live/..7")).unwrap();
        }
        10 => {
            fs::hard_link(at("live/..1000000/a"), at("host/twin")).unwrap();
        }
        11 => {
            // The mount alone is gone; the views of it are not.
            system::detach(&at("")).unwrap();
        }
        _ => return false,
    }
    true
}

#[test]
fn whatever_is_in_the_way_a_wipe_leaves_nothing_or_says_so() {
    for number in 0.. {
        let mut fixture = Fixture::new();
        fixture.put(&two(1));
        let mut open = File::open(fixture.root.join("web/a")).unwrap();
        fixture.mounts = None;
        if !in_the_way(number, &fixture) {
            assert!(number > 10);
            return;
        }
        fixture.restart(START);
        if fixture.m().held_of(WEB).is_some() {
            fixture.m().wipe(WEB).unwrap();
        }
        assert!(reads_nothing(&mut open), "case {number}");
        assert!(fixture.m().held_of(WEB).is_none(), "case {number}");
        assert_eq!(fixture.mounted(), 0, "case {number}");
        if [4, 9].contains(&number) {
            let theirs = fixture.root.with_file_name("theirs");
            assert_eq!(fs::read(theirs.join("folder/file")).unwrap(), b"theirs");
        }
        // And it goes on.
        fixture.put(&two(1));
        assert_eq!(fixture.read("a"), content(1, 9000), "case {number}");
    }
}

#[test]
fn what_cant_be_taken_over_counts_as_held() {
    let mut fixture = Fixture::new();
    fixture.put(&two(1));
    fixture.mounts = None;
    in_the_way(3, &fixture);
    assert!(fixture.restart(START).is_empty());
    let held = fixture.m().held_of(WEB).unwrap();
    assert_eq!((held.digest, held.versions.len()), (None, 0));
    let said = fixture.m().take_warnings();
    assert!(matches!(said.as_slice(), [MountWarning::NotAdopted { .. }]), "{said:?}");
    // A set in its place is a new mount.
    fixture.put(&two(2));
    assert_eq!(fixture.read("a"), content(1, 9000));
    assert_eq!(fixture.m().held_of(WEB).and_then(|held| held.digest), Some([2; 32]));
}

fn names_of_generations_never_return(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    let mut seen = BTreeSet::new();
    let mut now = START.0;
    for round in 0..30_u8 {
        now += u64::from(round % 3);
        fixture.try_put(&set(round, vec![file("a", 1, round + 1, 9)]), BootTime(now)).unwrap();
        let link = fs::read_link(fixture.root.join("web/..live/..data")).unwrap();
        assert!(seen.insert(link.clone()), "{} again", link.display());
        if round % 4 == 3 {
            fixture.m().wipe(WEB).unwrap();
        }
        if round % 5 == 4 {
            // A restart takes longer than the thirty numbers of this test.
            now += 100;
            fixture.restart(BootTime(now));
        }
    }
}

on_both! {
    no_lease_is_given_on_a_services_file,
    names_of_generations_never_return,
}
