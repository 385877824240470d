//! What a flip took away is decided for by nobody once it returned (R1).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::client::{basic, get};
use crate::server::Server;
use crate::site::{Robot, Site, files_of};

/// How many robots are revoked.
const ROUNDS: usize = 1_000;
/// Robots that stand beside the one that is revoked.
const WINDOW: usize = 4;
/// Who ask that which was revoked, each at both replicas.
const ASKERS: usize = 48;

#[test]
fn a_credential_that_was_replaced_does_not_come_back() {
    let mut site = Site::new();
    let first = site.robot("ci", "");
    let file = files_of("ci")[0].clone();
    let old = site.get(&file);
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = |robot: &Robot| get(server.address, "", &basic(&robot.name, &robot.password)).status;
    assert_eq!(ask(&first), 200);
    let second = site.robot("ci", "");
    site.flip();
    let new = site.get(&file);
    assert_eq!((ask(&first), ask(&second)), (401, 200));
    // Also where it was gone, or didn't read, in between.
    for between in [None, Some("{")] {
        match between {
            None => site.remove(&file),
            Some(text) => site.set(&file, text),
        }
        site.flip();
        assert_eq!(ask(&first), 401);
        site.set(&file, &old);
        site.flip();
        assert_eq!((ask(&first), ask(&second)), (401, 401), "after {between:?}");
        site.set(&file, &new);
        site.flip();
        assert_eq!((ask(&first), ask(&second)), (401, 200), "after {between:?}");
    }
    // A server that was started since knows nothing of it.
    site.set(&file, &old);
    site.flip();
    assert_eq!(ask(&first), 401);
    let since = Server::start(&site, &[]);
    let told = get(since.address, "", &basic(&first.name, &first.password));
    assert_eq!((told.status, ask(&first)), (200, 401));
}

#[test]
fn a_thousand_revokes_under_load_and_no_grant_after_any() {
    let mut site = Site::new();
    let robots: Arc<Mutex<HashMap<usize, Robot>>> = Arc::default();
    let make = |site: &mut Site, number: usize| {
        let robot = site.robot(&format!("r{number}"), "");
        robots.lock().unwrap().insert(number, robot);
    };
    for number in 0..WINDOW {
        make(&mut site, number);
    }
    site.flip();
    let replicas = [Server::start(&site, &[]), Server::start(&site, &[])];
    let addresses = [replicas[0].address, replicas[1].address];
    let (revoked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let granted = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..4)
        .map(|number| {
            let (robots, revoked) = (Arc::clone(&robots), Arc::clone(&revoked));
            let (over, granted) = (Arc::clone(&over), Arc::clone(&granted));
            std::thread::spawn(move || {
                let address = addresses[number % 2];
                while !over.load(Ordering::SeqCst) {
                    let own = revoked.load(Ordering::SeqCst) + number % WINDOW;
                    let Some(robot) = robots.lock().unwrap().get(&own).cloned() else { continue };
                    let before = revoked.load(Ordering::SeqCst);
                    let status = get(address, "", &basic(&robot.name, &robot.password)).status;
                    assert!(own >= before || status != 200, "r{own} after {before} were revoked");
                    granted.fetch_add(usize::from(status == 200), Ordering::SeqCst);
                }
            })
        })
        .collect();
    let (asks, queue) = mpsc::channel::<Robot>();
    let queue = Arc::new(Mutex::new(queue));
    let askers: Vec<_> = (0..ASKERS)
        .map(|_| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || {
                let mut asked = 0;
                loop {
                    let next = queue.lock().unwrap().recv();
                    let Ok(robot) = next else { return asked };
                    for address in addresses {
                        let told = get(address, "", &basic(&robot.name, &robot.password));
                        assert_ne!(told.status, 200, "{} was revoked", robot.name);
                    }
                    asked += 1;
                }
            })
        })
        .collect();
    for number in 0..ROUNDS {
        make(&mut site, number + WINDOW);
        site.forget(&format!("r{number}"));
        site.flip();
        revoked.store(number + 1, Ordering::SeqCst);
        let gone = robots.lock().unwrap().remove(&number).unwrap();
        asks.send(gone).unwrap();
    }
    drop(asks);
    let asked: usize = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
    over.store(true, Ordering::SeqCst);
    for one in load {
        one.join().unwrap();
    }
    assert_eq!(asked, ROUNDS);
    assert!(granted.load(Ordering::SeqCst) > 1_000, "{granted:?}: there was no load");
}
