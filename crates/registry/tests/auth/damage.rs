//! What is damaged, and whom that concerns.

use std::fs;

use crate::client::{basic, get};
use crate::server::Server;
use crate::site::{Site, files_of};

#[test]
fn what_everybody_needs_is_503_with_its_name() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    let (key, chain) = site.authority.leaf();
    site.set("tls.key", &key);
    site.set("tls.crt", &chain);
    site.flip();
    site.remove("tls.key");
    site.remove("tls.crt");
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = || get(server.address, "service=registry", &basic("ci", &robot.password));
    let names = ["auth.toml", "acl.toml", "signer.key", "signer.crt", "refresh.key"];
    let good = names.map(|name| site.get(name));
    let other_key = site.authority.leaf().0;
    let large = vec![b'#'; 70_000];
    let bad: [(&str, &[u8]); 12] = [
        ("auth.toml", b"version = 9"),
        ("auth.toml", b"\xff"),
        ("auth.toml", &large),
        ("acl.toml", b"damaged ="),
        ("acl.toml", b"\xff\xfe"),
        ("signer.key", b""),
        ("signer.key", other_key.as_bytes()),
        ("signer.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("refresh.key", b"short"),
        ("refresh.old", b"short"),
        ("holds.json", b"{}"),
        ("tls.key", b"alone"),
    ];
    for (name, bytes) in bad {
        site.set_bytes(name, bytes);
        site.flip();
        let told = ask().status(503);
        let said = told.text("error_description");
        assert!(said.contains(name) || said.contains("tls.crt"), "{name}: {said}");
        assert!(told.head.contains("retry-after"), "{}", told.head);
        match names.iter().position(|own| *own == name) {
            Some(place) => site.set(name, &good[place]),
            None => site.remove(name),
        }
        site.flip();
        let _ = ask().status(200);
    }
    for (name, text) in names.iter().zip(&good) {
        site.remove(name);
        site.flip();
        let said = ask().status(503).text("error_description");
        assert_eq!(said, format!("{name} is missing"));
        site.set(name, text);
    }
    site.flip();
    let _ = ask().status(200);
    assert!(!server.log().contains(&robot.password));
}

#[test]
fn a_damaged_account_concerns_nobody_else() {
    let mut site = Site::new();
    let (ci, cd) = (site.robot("ci", ""), site.robot("cd", ""));
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = |robot: &crate::site::Robot| {
        let told = get(
            server.address,
            "scope=repository:web/a:pull",
            &basic(&robot.name, &robot.password),
        );
        (told.status, told.body["scope"].as_str().unwrap_or("-").to_owned())
    };
    let granted = (200, "repository:web/a:pull".to_owned());
    let [user, rights] = files_of("ci");
    let (good_user, good_rights) = (site.get(&user), site.get(&rights));
    for bad in [
        "",
        "{}",
        "{\"version\":1",
        &good_user.replace('}', ",\"name\":\"root\"}"),
        &"x".repeat(5_000),
    ] {
        site.set(&user, bad);
        site.flip();
        assert_eq!((ask(&ci).0, ask(&cd)), (401, granted.clone()), "{bad:.60}");
        site.set(&user, &good_user);
        site.flip();
        assert_eq!(ask(&ci), granted);
    }
    for bad in ["", "{}", &good_rights.replace("}}", "},\"more\":1}"), &"x".repeat(20_000)] {
        site.set(&rights, bad);
        site.flip();
        assert_eq!((ask(&ci), ask(&cd)), ((200, String::new()), granted.clone()), "{bad:.60}");
    }
    site.remove(&rights);
    site.flip();
    assert_eq!(ask(&ci), (200, String::new()), "absent means no");
    site.set(&rights, &good_rights);
    site.flip();
    assert_eq!(ask(&ci), granted);
    // What is another's file says nothing about this one.
    site.set(&user, &site.get(&files_of("cd")[0]).clone());
    site.flip();
    assert_eq!((ask(&ci).0, ask(&cd)), (401, granted));
}

#[test]
fn a_set_that_is_gone_gives_nothing_until_it_is_back() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = || get(server.address, "", &basic("ci", &robot.password)).status;
    assert_eq!(ask(), 200);
    let (link, away) = (site.path().join("..data"), site.path().join("away"));
    fs::rename(&link, &away).unwrap();
    assert_eq!(ask(), 503);
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    assert_eq!(ask(), 503, "a link to somewhere else");
    fs::rename(&away, &link).unwrap();
    assert_eq!(ask(), 200);
}

#[test]
fn a_set_that_nobody_confirmed_is_stale() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &["--stale-limit", "5s"]);
    let ask = || get(server.address, "", &basic("ci", &robot.password)).status;
    assert_eq!(ask(), 503, "no mark");
    let folder = site.path().join("..fresh");
    fs::create_dir(&folder).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        u64::try_from(time.tv_sec).unwrap() * 1_000
    };
    let mark = |boot: &str, at: u64| {
        let new = folder.join("new");
        std::io::Write::write_all(
            &mut fs::File::create(&new).unwrap(),
            format!("7 {} {at}\n", boot.trim()).as_bytes(),
        )
        .unwrap();
        fs::rename(&new, folder.join("at")).unwrap();
    };
    mark(&boot, now());
    assert_eq!(ask(), 200);
    crate::server::until("its end", || (ask() == 503).then_some(()));
    mark("00000000-0000-0000-0000-000000000000", now());
    assert_eq!(ask(), 503, "of another boot");
    mark(&boot, now() + 3_600_000);
    assert_eq!(ask(), 503, "of a time to come");
    mark(&boot, now());
    assert_eq!(ask(), 200);
}

#[test]
fn a_held_repository_is_pulled_by_those_who_may_view_it() {
    let mut site = Site::new();
    let robot = site.robot("ci", r#","scopes":["repository:**:*"]"#);
    let viewer = site.robot("viewer", r#","scopes":["repository:**:*,view-held"]"#);
    site.set(
        "holds.json",
        r#"{"version":1,"holds":[{"repository":"web/bad","digest":"sha256:0","why":"x","since":1,"by":"y"}]}"#,
    );
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = |robot: &crate::site::Robot| {
        let query = "scope=repository:web/bad:pull,push+repository:web/a:pull";
        get(server.address, query, &basic(&robot.name, &robot.password)).status(200).scope()
    };
    assert_eq!(ask(&robot), "repository:web/bad:push repository:web/a:pull");
    assert_eq!(ask(&viewer), "repository:web/bad:pull,push repository:web/a:pull");
}

#[test]
fn as_many_accounts_as_there_may_be_and_no_more() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    for number in 1..4_096 {
        let _ = site.robot(&format!("r{number}"), r#","scopes":["repository:web/*:pull"]"#);
    }
    site.flip();
    let server = Server::start(&site, &[]);
    let ask = || get(server.address, "", &basic("ci", &robot.password));
    let _ = ask().status(200);
    let _ = site.robot("one-more", "");
    site.flip();
    let told = ask().status(503);
    assert!(told.text("error_description").contains("4096 accounts"), "{}", told.body);
}
