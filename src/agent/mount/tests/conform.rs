//! What both kinds of mount promise alike, beyond what the other files of tests say.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;
use crate::agent::machine::Workload;

fn a_hundred_files_of_all_sizes(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    let size = |number: u8| if number == 100 { 511_999 } else { u32::from(number) * 700 };
    let files = |add: u8| {
        (1..=100).map(|n| file(&format!("f{n:03}"), n, n + add, size(n))).collect::<Vec<_>>()
    };
    for (digest, add) in [(1, 0), (2, 100)] {
        fixture.put(&set(digest, files(add)));
        for number in 1..=100 {
            let found = fixture.read(&format!("f{number:03}"));
            assert!(found == content(number + add, size(number)), "{number}");
        }
    }
    let mut names = files::entries(&fixture.root.join("web")).unwrap();
    names.retain(|name| !name.as_encoded_bytes().starts_with(b".."));
    assert_eq!(names.len(), 100);
    assert_eq!(fixture.all_files().len(), 200);
}

fn five_hundred_services_on_one_agent(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    let number = |n: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        ServiceId::from_bytes(id)
    };
    for n in 0..500_u16 {
        let mut one = set(1, vec![file("a", 1, u8::try_from(n % 250).unwrap() + 1, 100)]);
        one.service = number(n);
        one.name = format!("s{n}").parse().unwrap();
        fixture.put(&one);
    }
    for n in 0..500_u16 {
        let read = fs::read(fixture.root.join(format!("s{n}/a"))).unwrap();
        assert_eq!(read, content(u8::try_from(n % 250).unwrap() + 1, 100));
    }
    assert_eq!(fixture.m().held().len(), 500);
    fixture.m().remove_all().unwrap();
    assert_eq!(fixture.mounted(), 0);
    assert_eq!(fs::read_dir(&fixture.root).unwrap().count(), 0);
}

fn a_containers_view_sees_every_change(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 3000)]));
    let view = fixture.root.with_file_name("view");
    fs::create_dir(&view).unwrap();
    system::bind_read_only(&fixture.m().live_of(WEB).unwrap(), &view).unwrap();
    fixture.put(&set(2, vec![file("a", 1, 2, 3000)]));
    assert_eq!(fs::read(view.join("a")).unwrap(), content(2, 3000));
    fixture.m().set_workloads(WEB, vec![Workload { pid: 1, started: 1 }]).unwrap();
    fixture.m().wipe(WEB).unwrap();
    assert!(!view.join("a").exists());
    // While a workload is noted the same folder is filled again.
    fixture.put(&set(3, vec![file("a", 1, 3, 3000)]));
    assert_eq!(fs::read(view.join("a")).unwrap(), content(3, 3000));
}

/// A process that maps a file and says what it sees each time it is asked.
const MAPPER: &str = r"
import mmap, os, signal, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(fd, 0, getattr(mmap, sys.argv[2]), mmap.PROT_READ)
print(m[0], m[len(m) - 1], flush=True)
sys.stdin.readline()
print(m[0], flush=True)
";

fn a_mapping_of_what_was_revoked_shows_nothing(kind: MountKind) {
    mapped_and_revoked(kind, "MAP_PRIVATE");
}

fn a_shared_mapping_of_what_was_revoked_shows_nothing(kind: MountKind) {
    if kind == MountKind::Tmpfs || kernel() >= (6, 6) {
        mapped_and_revoked(kind, "MAP_SHARED");
    }
}

/// Which kernel runs: those before 6.6 share no mapping of a file that a process serves.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn mapped_and_revoked(kind: MountKind, how: &str) {
    let mut fixture = Fixture::on(kind);
    fixture.put(&set(1, vec![file("a", 1, 7, 9000), file("b", 2, 8, 9000)]));
    let mut child = Command::new("python3")
        .args(["-c", MAPPER])
        .arg(fixture.root.join("web/a"))
        .arg(how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "7 7");
    fixture.apply(&set(2, vec![file("b", 2, 8, 9000)]), &mut |_| None, START).unwrap();
    writeln!(child.stdin.as_mut().unwrap()).unwrap();
    assert!(said.next().is_none(), "the page is still there");
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(7), "SIGBUS");
}

fn a_set_that_does_not_fit_still_takes_away_what_it_takes_away(kind: MountKind) {
    let mut fixture = Fixture::small(kind);
    fixture.put(&set(1, vec![file("a", 1, 1, 9000), file("b", 2, 2, 30_000)]));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    let error = fixture.try_put(&set(2, vec![file("b", 2, 7, 60_000)]), START).unwrap_err();
    assert!(matches!(error, MountError::NoSpace { .. }), "{error}");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut open, &mut rest).unwrap();
    assert!(rest.is_empty());
    assert!(!fixture.root.join("web/a").exists());
    assert_eq!(fixture.read("b"), content(2, 30_000));
}

fn nothing_is_left_after_the_last_service(kind: MountKind) {
    let mut fixture = Fixture::on(kind);
    fixture.m().set_workloads(WEB, vec![Workload { pid: 1, started: 1 }]).unwrap();
    fixture.put(&set(1, vec![file("a", 1, 1, 9)]));
    fixture.put(&set(2, vec![file("a", 1, 2, 9)]));
    let mut open = File::open(fixture.root.join("web/a")).unwrap();
    fixture.m().wipe(WEB).unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut open, &mut rest).unwrap();
    assert!(rest.is_empty() && fixture.all_files().is_empty());
    assert!(!fixture.root.join("web").exists());
    assert!(fixture.mounted() > 0, "a workload may still get a set there");
    fixture.m().set_workloads(WEB, Vec::new()).unwrap();
    drop(open);
    assert_eq!(fixture.mounted(), 0);
    assert_eq!(fs::read_dir(fixture.root.join(MOUNTS)).unwrap().count(), 0);
}

on_both! {
    a_hundred_files_of_all_sizes,
    five_hundred_services_on_one_agent,
    a_containers_view_sees_every_change,
    a_mapping_of_what_was_revoked_shows_nothing,
    a_shared_mapping_of_what_was_revoked_shows_nothing,
    a_set_that_does_not_fit_still_takes_away_what_it_takes_away,
    nothing_is_left_after_the_last_service,
}
