//! Who somebody is, and what is left of an account's rights.

use std::time::{Duration, Instant};

use crate::client::{basic, get, post};
use crate::server::Server;
use crate::site::{Site, files_of};

const APP: &str = "repository:web/app:pull,push";

#[test]
fn a_wrong_password_and_an_unknown_name_look_alike() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 6);
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let _ = get(server.address, "", &basic("alice", "hunter2")).status(200);
    let mut bodies = Vec::new();
    for (name, password) in [
        ("alice", "wrong"),
        ("nobody", "wrong"),
        ("ci", "wrong"),
        ("alice", robot.password.as_str()),
        ("nobody", &robot.password),
    ] {
        let began = Instant::now();
        let told = get(server.address, "", &basic(name, password)).status(401);
        let spent = began.elapsed();
        assert!(spent >= Duration::from_millis(495), "{name} {password}: {spent:?}");
        bodies.push((told.body.to_string(), told.head.lines().count()));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[test]
fn wrong_passwords_make_that_pair_wait() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 4);
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    for _ in 0..5 {
        let _ = get(server.address, "", &basic("alice", "wrong")).status(401);
    }
    let told = get(server.address, "", &basic("alice", "hunter2")).status(429);
    assert!(told.head.contains("retry-after: 1"), "{}", told.head);
    let _ = get(server.address, "", &basic("ci", &robot.password)).status(200);
}

#[test]
fn robots_are_served_amid_a_flood_of_wrong_passwords() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 12);
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let address = server.address;
    let flood: Vec<_> = (0..200)
        .map(|number| {
            std::thread::spawn(move || get(address, "", &basic(&format!("u{number}"), "x")).status)
        })
        .collect();
    let own = basic("ci", &robot.password);
    for _ in 0..100 {
        let told = get(address, &format!("scope={APP}"), &own).status(200);
        assert_eq!(told.scope(), APP);
    }
    assert!(flood.iter().any(|one| !one.is_finished()), "the flood was over before");
    let mut statuses: Vec<u16> = flood.into_iter().map(|one| one.join().unwrap()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [401, 429], "hashed, or no place");
}

#[test]
fn a_robot_may_do_what_its_owner_may_and_no_more() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 4);
    site.rights("alice", r#","scopes":["repository:web/*:pull,push"]"#);
    let robot = site.robot("alice+ci", r#","scopes":["repository:**:pull"]"#);
    let unbound = site.robot("alice+all", "");
    let orphan = site.robot("bob+ci", "");
    let child = site.robot("alone", "");
    let grandchild = site.robot("alone+ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let may = |name: &str, password: &str| {
        let query = format!("scope={APP}+repository:x:pull");
        get(server.address, &query, &basic(name, password)).status(200).scope()
    };
    assert_eq!(may("alice", "hunter2"), APP);
    assert_eq!(may("alice+ci", &robot.password), "repository:web/app:pull");
    assert_eq!(may("alice+all", &unbound.password), APP);
    assert_eq!(may("bob+ci", &orphan.password), "", "no owner");
    assert_eq!(may("alone", &child.password), format!("{APP} repository:x:pull"));
    assert_eq!(may("alone+ci", &grandchild.password), "", "a robot owns nothing");
    let [user, rights] = files_of("alice");
    let (good_user, good_rights) = (site.get(&user), site.get(&rights));
    for (file, text) in
        [(&user, "{}"), (&rights, "{}"), (&rights, r#"{"version":1,"labels":{},"not_after":1}"#)]
    {
        site.set(file, text);
        site.flip();
        assert_eq!(may("alice+all", &unbound.password), "", "{file}: {text}");
        site.set(&user, &good_user);
        site.set(&rights, &good_rights);
    }
    site.remove(&user);
    site.flip();
    assert_eq!(may("alice+all", &unbound.password), "");
    site.set(&user, &good_user);
    site.flip();
    assert_eq!(may("alice+all", &unbound.password), APP);
}

#[test]
fn a_rotation_leaves_the_old_password_its_overlap() {
    let mut site = Site::new();
    let old = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = |password: &str| get(server.address, "", &basic("ci", password)).status;
    assert_eq!(ask(&old.password), 200);
    let mut new = site.robot("ci", "");
    new.id.clone_from(&old.id);
    site.credential(&new, 60);
    site.flip();
    assert_eq!((ask(&old.password), ask(&new.password)), (200, 200), "both for a while");
    let login = |password: &str| {
        let told = get(server.address, "offline_token=true", &basic("ci", password)).status(200);
        told.body["refresh_token"].is_string()
    };
    assert_eq!((login(&old.password), login(&new.password)), (false, true));
    site.credential(&new, 0);
    site.flip();
    assert_eq!((ask(&new.password), ask(&old.password)), (200, 401), "at once");
    let mut third = site.robot("ci", "");
    third.id.clone_from(&old.id);
    site.credential(&third, 60);
    site.flip();
    assert_eq!(ask(&new.password), 200);
    let again = site.robot("ci", "");
    site.credential(&again, 60);
    site.flip();
    assert_eq!((ask(&again.password), ask(&third.password)), (200, 401), "created anew");
}

#[test]
fn an_overlap_ends() {
    let mut site = Site::new();
    let old = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = |password: &str| get(server.address, "", &basic("ci", password)).status;
    assert_eq!(ask(&old.password), 200);
    let mut new = site.robot("ci", "");
    new.id.clone_from(&old.id);
    site.credential(&new, 2);
    site.flip();
    assert_eq!(ask(&old.password), 200);
    crate::server::until("the overlap's end", || (ask(&old.password) == 401).then_some(()));
}

#[test]
fn a_verified_password_is_not_hashed_again_and_forgotten_with_its_credential() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 12);
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = |password: &str| get(server.address, "", &basic("alice", password)).status;
    let timed = || {
        let began = Instant::now();
        assert_eq!(ask("hunter2"), 200);
        began.elapsed()
    };
    let cold = timed();
    let warm = (0..5).map(|_| timed()).min().unwrap();
    assert!(warm * 3 < cold, "cold {cold:?}, warm {warm:?}");
    site.person("alice", "hunter3", 4);
    site.flip();
    assert_eq!((ask("hunter3"), ask("hunter2")), (200, 401));
}

#[test]
fn refresh_tokens_work_on_every_replica_until_their_credential_changes() {
    let mut site = Site::new();
    site.person("alice", "hunter2", 4);
    site.set("auth.toml", "version = 1\nissuer = \"skep\"\nservices = [\"registry\", \"other\"]\n");
    site.flip();
    let (a, b) = (Server::start(&site, &[]), Server::start(&site, &[]));
    let query = format!("service=registry&offline_token=true&client_id=docker&scope={APP}");
    let login = |server: &Server, password: &str| {
        get(server.address, &query, &basic("alice", password)).status(200).text("refresh_token")
    };
    let token = login(&a, "hunter2");
    let renew = |server: &Server, token: &str, service: &str| {
        let form = format!(
            "grant_type=refresh_token&refresh_token={token}&service={service}&scope={APP}&access_type=offline"
        );
        post(server.address, &form, "")
    };
    let told = renew(&b, &token, "registry").status(200);
    assert_eq!((told.scope().as_str(), told.text("refresh_token")), (APP, token.clone()));
    let _ = renew(&b, &token, "other").status(401);
    // Changed anywhere, or put together from two.
    let other = login(&a, "hunter2");
    assert_ne!(token, other);
    for place in (5..token.len()).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let status = renew(&a, &changed, "registry").status;
        assert_eq!(status == 200, changed == token, "changed at {place}");
    }
    let half = token.len() / 2;
    let swapped = format!("{}{}", &token[..half], &other[half..]);
    let _ = renew(&a, &swapped, "registry").status(401);
    // The key is rotated: the old one opens, and seals nothing.
    let old = site.get("refresh.key");
    site.set("refresh.key", &"ab".repeat(32));
    site.set("refresh.old", &old);
    site.flip();
    let _ = renew(&a, &token, "registry").status(200);
    let newer = login(&a, "hunter2");
    site.remove("refresh.old");
    site.flip();
    let _ = renew(&a, &token, "registry").status(401);
    let _ = renew(&b, &newer, "registry").status(200);
    // Another password, and the same name made anew.
    site.person("alice", "hunter3", 4);
    site.flip();
    for server in [&a, &b] {
        let _ = renew(server, &newer, "registry").status(401);
    }
}
