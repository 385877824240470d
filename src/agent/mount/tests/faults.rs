//! Every system call of the mounts fails, or hangs, in turn, with reconnects and restarts
//! between: what is confirmed to a leader can't be read any more (P4).

use std::fs::{self, File};
use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::agent::mount::calls::faults::{What, plan};

const EIO: i32 = 5;
const EPERM: i32 = 1;
const ENOSPC: i32 = 28;
/// More calls than anything makes.
const ALL: usize = 1_000_000;

/// What a leader wants after the files `a` (secret 1, version 1) and `b` were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// `b` alone.
    Revoke,
    /// The same, and a new version of `b`.
    RevokeAndRotate,
    /// Nothing.
    Wipe,
}

impl Wants {
    fn set(self) -> Option<ServiceFiles> {
        match self {
            Self::Revoke => Some(set(2, vec![file("b", 2, 2, 5000)])),
            Self::RevokeAndRotate => Some(set(3, vec![file("b", 2, 3, 5000)])),
            Self::Wipe => None,
        }
    }
}

/// A workload that keeps what it opened, and was given two sets before.
struct Case {
    fixture: Fixture,
    kind: MountKind,
    open: Vec<File>,
}

impl Case {
    fn new(kind: MountKind) -> Self {
        let mut fixture = Fixture::on(kind);
        let first = vec![file("a", 1, 1, 5000), file("b", 2, 2, 5000)];
        fixture.put(&set(1, first.clone()));
        let mut open = vec![File::open(fixture.root.join("web/a")).unwrap()];
        let second = ServiceFiles { owner: Owner { uid: 9, gid: 9 }, ..set(9, first) };
        fixture.put(&second);
        fixture.m().tick(BootTime(START.0 + limits::FLIP_GRACE_MS));
        open.push(File::open(fixture.root.join("web/..live/a")).unwrap());
        Self { fixture, kind, open }
    }

    /// What the leader asks for; true: the agent says that it is done.
    fn ask(&mut self, wants: Wants) -> bool {
        match wants.set() {
            Some(set) => self.fixture.try_put(&set, START).is_ok(),
            None => self.fixture.m().wipe(WEB).is_ok(),
        }
    }

    /// What the leader takes from a hello; true: it needs to ask for nothing.
    fn hello_confirms(&self, wants: Wants) -> bool {
        let held = self.fixture.mounts.as_ref().and_then(|mounts| mounts.held_of(WEB));
        match (wants.set(), held) {
            (None, held) => held.is_none(),
            (Some(set), Some(held)) => held.digest == Some(set.digest),
            (Some(_), None) => false,
        }
    }

    /// No byte of what was revoked, by any path or descriptor.
    fn assert_gone(&mut self, wants: Wants, when: &str) {
        for open in &mut self.open {
            let mut rest = Vec::new();
            // A dead mount's descriptor gives an error.
            open.read_to_end(&mut rest).ok();
            assert!(rest.is_empty(), "a descriptor reads on: {when}");
        }
        let mut folders = vec![self.fixture.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let Ok(found) = fs::symlink_metadata(&path) else { continue };
                if found.is_dir() {
                    folders.push(path);
                } else if found.is_file() {
                    let bytes = fs::read(&path).unwrap_or_default();
                    let is_manifest = path.to_string_lossy().contains("manifest.");
                    let gone =
                        bytes.first() == Some(&1) || (wants == Wants::Wipe && !bytes.is_empty());
                    assert!(is_manifest || !gone, "{} is readable: {when}", path.display());
                }
            }
        }
    }

    fn restarts(&mut self) {
        self.fixture.mounts = None;
        // The next one may be stopped by the fault, too: then it is started again.
        if let Ok((mounts, _)) =
            Mounts::open(&self.fixture.root, self.fixture.options.clone(), START)
        {
            self.fixture.mounts = Some(mounts);
        }
    }

    /// Without faults everything comes to its end.
    fn comes_to_its_end(&mut self, wants: Wants, when: &str) {
        if self.fixture.mounts.is_none() {
            self.restarts();
        }
        if !self.hello_confirms(wants) {
            let done = self.ask(wants) || {
                // What the agent owes it pays by itself.
                self.fixture.m().tick(BootTime(START.0 + 100_000));
                self.ask(wants)
            };
            if self.kind == MountKind::Tmpfs || wants == Wants::Wipe {
                assert!(done, "never done: {when}");
            }
        }
        self.assert_gone(wants, when);
    }
}

/// Calls that `wants` makes when all goes well.
fn calls_of(kind: MountKind, wants: Wants) -> usize {
    let mut case = Case::new(kind);
    let counted = plan(&case.fixture.root, ALL, 0, What::Hangs);
    assert!(case.ask(wants));
    case.assert_gone(wants, "without faults");
    counted.seen()
}

fn every_call_fails(kind: MountKind) {
    for wants in [Wants::Revoke, Wants::RevokeAndRotate, Wants::Wipe] {
        let calls = calls_of(kind, wants);
        assert!(calls > 10);
        for number in 0..calls {
            let error = [EIO, EPERM, ENOSPC][number % 3];
            // On FUSE every call takes ten times as long: one way in turn.
            let ways: &[usize] = match kind {
                MountKind::Tmpfs => &[1, ALL],
                MountKind::Fuse => &[[1, ALL][number / 2 % 2]],
            };
            for &count in ways {
                let when =
                    format!("{wants:?} on {kind:?}, call {number} of {calls}, {count}x {error}");
                let mut case = Case::new(kind);
                let faults = plan(&case.fixture.root, number, count, What::Fails(error));
                let done = case.ask(wants);
                if done || case.hello_confirms(wants) {
                    drop(faults);
                    case.assert_gone(wants, &when);
                    continue;
                }
                if number % 2 == 0 {
                    case.restarts();
                    if case.fixture.mounts.is_some() && case.hello_confirms(wants) {
                        drop(faults);
                        case.assert_gone(wants, &when);
                        continue;
                    }
                }
                drop(faults);
                case.comes_to_its_end(wants, &when);
            }
        }
    }
}

fn every_call_hangs(kind: MountKind) {
    for wants in [Wants::RevokeAndRotate, Wants::Wipe] {
        let calls = calls_of(kind, wants);
        for number in (0..calls).step_by(3) {
            let when = format!("{wants:?} on {kind:?}, call {number} of {calls} hangs");
            let mut case = Case::new(kind);
            let faults = plan(&case.fixture.root, number, 1, What::Hangs);
            let mounts = Arc::new(case.fixture.mounts.take().unwrap());
            let (tell, told) = mpsc::channel();
            mounts.begin(WEB);
            let worker = {
                let mounts = Arc::clone(&mounts);
                std::thread::spawn(move || {
                    let done = match wants.set() {
                        Some(set) => {
                            let set = ServiceFiles { mount: kind, ..set };
                            let mut fresh = |version| Some(value(version, 5000));
                            mounts.apply(&set, &mut fresh, START).is_ok()
                        }
                        None => mounts.wipe(WEB).is_ok(),
                    };
                    drop(mounts);
                    tell.send(done).unwrap();
                })
            };
            // Only once it hangs, lest this thread makes that call.
            let mut done = false;
            while !done && faults.hanging() == 0 {
                done = told.recv_timeout(Duration::from_millis(1)).is_ok();
            }
            if !done {
                // The leader hears of something that is here and not known.
                let held = mounts.held_of(WEB).unwrap_or_else(|| panic!("not held: {when}"));
                assert_eq!(held.digest, None, "{when}");
                mounts.empty_now(WEB);
            }
            drop(faults);
            worker.join().unwrap();
            case.fixture.mounts = Arc::into_inner(mounts);
            case.comes_to_its_end(wants, &when);
        }
    }
}

fn a_start_with_failing_calls_confirms_nothing_that_can_be_read(kind: MountKind) {
    // A wipe that a former agent did not finish: its manifest says so, the files are there.
    let counted = {
        let mut case = Case::new(kind);
        case.fixture.mounts = None;
        let counted = plan(&case.fixture.root, ALL, 0, What::Hangs);
        case.restarts();
        counted.seen()
    };
    for number in 0..counted {
        for count in [1, ALL] {
            let when = format!("start on {kind:?}, call {number} of {counted}, {count}x");
            let mut case = Case::new(kind);
            case.fixture.mounts = None;
            let faults = plan(&case.fixture.root, number, count, What::Fails(EIO));
            case.restarts();
            if case.fixture.mounts.is_some() && case.hello_confirms(Wants::Wipe) {
                drop(faults);
                case.assert_gone(Wants::Wipe, &when);
                continue;
            }
            drop(faults);
            case.comes_to_its_end(Wants::Wipe, &when);
        }
    }
}

on_both! {
    every_call_fails,
    every_call_hangs,
    a_start_with_failing_calls_confirms_nothing_that_can_be_read,
}
