//! What is left of passwords in a server's memory once their requests are over.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use data_encoding::BASE64;

use crate::client::{basic, get, post};
use crate::server::{Server, until};
use crate::site::Site;

/// How often these bytes stand in a process's memory.
fn copies(server: &Server, wanted: &[u8]) -> usize {
    let folder = format!("/proc/{}", server.pid().as_raw_nonzero());
    let maps = fs::read_to_string(format!("{folder}/maps")).unwrap();
    let memory = File::open(format!("{folder}/mem")).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (mut at, end) = (number(start), number(end));
        let mut piece = vec![0; 1 << 20];
        while at < end {
            let length = usize::try_from(end - at).unwrap().min(piece.len());
            let piece = &mut piece[..length];
            if memory.read_exact_at(piece, at).is_err() {
                break; // Nobody is let there.
            }
            found += piece.windows(wanted.len()).filter(|part| *part == wanted).count();
            at += u64::try_from(length).unwrap();
        }
    }
    found
}

#[test]
fn nothing_of_a_password_is_left_when_its_request_is_over() {
    let mut site = Site::new();
    let password = format!("canary-{}", crate::site::tag());
    site.person("alice", &password, 4);
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let wrong = format!("wrong-{}", crate::site::tag());
    for _ in 0..3 {
        let _ = get(server.address, "", &basic("alice", &password)).status(200);
        let _ = get(server.address, "", &basic("ci", &robot.password)).status(200);
        let form = format!("grant_type=password&username=alice&password={password}");
        let _ = post(server.address, &form, "").status(200);
        let _ = get(server.address, "", &basic("alice", &wrong)).status(401);
    }
    let encoded = |text: &str| {
        let both = BASE64.encode(format!("alice:{text}").as_bytes());
        both.as_bytes()[8..both.len() - 4].to_vec()
    };
    for secret in [&password, &robot.password, &wrong] {
        for wanted in [secret.as_bytes().to_vec(), encoded(secret)] {
            until("its end", || (copies(&server, &wanted) == 0).then_some(()));
        }
    }
    // What it must have is there, so the search finds what there is.
    assert!(copies(&server, b"registry") > 0);
}
