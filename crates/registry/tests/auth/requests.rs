//! What clients send, well and badly.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::client::{DEADLINE, basic, get, post, raw};
use crate::server::Server;
use crate::site::{SETTINGS, Site};

const APP: &str = "repository:web/app:pull,push";

#[test]
fn a_token_is_what_a_registry_expects() {
    let mut site = Site::new();
    let robot =
        site.robot("ci", r#","scopes":["repository:web/*:pull,push","registry:catalog:*"]"#);
    site.flip();
    let server = Server::start(&site, &[]);
    let own = basic("ci", &robot.password);
    let told = get(server.address, &format!("service=registry&account=ci&scope={APP}"), &own);
    let told = told.status(200);
    assert_eq!(told.text("token"), told.text("access_token"));
    assert_eq!((told.scope().as_str(), told.body["expires_in"].as_u64()), (APP, Some(300)));
    assert!(told.text("issued_at").ends_with('Z') && told.body["refresh_token"].is_null());
    assert!(told.head.contains("cache-control: no-store"));
    let claims = told.claims();
    assert_eq!((&claims["aud"], &claims["sub"]), (&"registry".into(), &"ci".into()));
    assert_eq!((&claims["iss"], claims["jti"].as_str().unwrap().len()), (&"skep".into(), 32));
    assert!(claims["iat"].is_u64() && claims["exp"].is_u64() && claims["nbf"] == claims["iat"]);
    assert!(claims["cred"].as_str().unwrap().starts_with(&robot.id));
    for (query, granted) in [
        ("", ""),
        ("scope=repository:web/app:*", "repository:web/app:pull,push"),
        ("scope=repository:web/app:pull,delete,sign", "repository:web/app:pull"),
        (
            "scope=repository:web/a:pull+repository:x:pull&scope=repository:web/b:push",
            "repository:web/a:pull repository:web/b:push",
        ),
        ("scope=repository(plugin):web/p:pull", "repository(plugin):web/p:pull"),
        ("scope=registry:catalog:*", "registry:catalog:*"),
        ("scope=repository:other/app:pull", ""),
        ("scope=", ""),
    ] {
        assert_eq!(get(server.address, query, &own).status(200).scope(), granted, "{query}");
    }
}

#[test]
fn curl_users_and_oauth_are_answered() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let (address, own) = (server.address, basic("ci", &robot.password));
    let body = format!("service=registry&scope={APP}");
    assert_eq!(post(address, &body, &own).status(200).scope(), APP, "POST with Basic");
    let form = format!("grant_type=password&username=ci&password={}&{body}", robot.password);
    let told = post(address, &format!("{form}&access_type=offline&client_id=me"), "").status(200);
    assert!(told.text("refresh_token").starts_with("skt1_"));
    let chunked = format!(
        "POST /auth HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n{:x}\r\n{form}\r\n0\r\n\r\n",
        form.len()
    );
    assert_eq!(raw(address, chunked.as_bytes()).unwrap().status(200).scope(), APP);
}

#[test]
fn odd_requests_get_the_right_status_and_one_line() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let own = basic("ci", &robot.password);
    let many = "scope=repository:a:pull&".repeat(65);
    let joined = format!("scope={}", "repository:a:pull+".repeat(65));
    for (query, headers, status) in [
        ("service=other", own.as_str(), 400),
        ("scope=repository:A:pull", &own, 400),
        ("scope=%ff", &own, 400),
        ("scope=repository:a:pull%00", &own, 400),
        (&many, &own, 400),
        (&joined, &own, 400),
        ("account=bob", &own, 400),
        ("service=registry&service=registry", &own, 400),
        ("password=x", &own, 400),
        ("", "authorization: Basic =\r\n", 400),
        ("", "authorization: Bearer abc\r\n", 400),
        ("", &basic("", ""), 401),
        ("", &basic("ci", ""), 401),
        ("", &basic("a+b+c", "x"), 401),
        ("", &basic("../../etc/passwd", "x"), 401),
        ("", &basic("ci\u{0}", "x"), 400),
        ("", &basic(&"x".repeat(256), "x"), 400),
        ("", "", 401),
    ] {
        let told = get(server.address, query, headers).status(status);
        let message = told.body["errors"][0]["message"].as_str().expect("a message");
        assert!(!message.contains('\n') && message.len() < 300, "{message}");
        assert_eq!(told.body["error_description"], message);
        assert!(told.head.contains("no-store"), "{}", told.head);
        assert_eq!(told.head.contains("www-authenticate: basic"), status == 401);
    }
    for (method, path, status) in [
        ("PUT", "/auth", 405),
        ("DELETE", "/token", 405),
        ("HEAD", "/auth", 405),
        ("GET", "/", 404),
        ("GET", "/auth/", 404),
        ("GET", "/../auth", 404),
    ] {
        let text = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let _ = raw(server.address, text.as_bytes()).unwrap().status(status);
    }
    let names: Vec<String> = (0..60)
        .map(|number| format!("scope=repository:{}{number}:pull", "n".repeat(240)))
        .collect();
    let told = post(server.address, &names.join("&"), &own).status(400);
    assert!(told.text("error_description").contains("fewer scopes"), "{}", told.body);
    for body in ["grant_type=magic", "grant_type=password", "grant_type=refresh_token", "a=%zz"] {
        let _ = post(server.address, body, "").status(400);
    }
    let _ = post(server.address, "grant_type=refresh_token&refresh_token=x", "").status(401);
    let _ = post(server.address, &"a=b&".repeat(5_000), &own).status(413);
    let large = format!("x-large: {}\r\n", "x".repeat(40_000));
    let refused = get(server.address, "", &large).status;
    assert!((400..500).contains(&refused), "{refused}");
    let lines = "x: y\r\n".repeat(500);
    assert!((400..500).contains(&get(server.address, "", &lines).status));
    for garbage in
        [&b"\x16\x03\x01\x00\x00"[..], b"GET\r\n\r\n", b"\0\0\0\0", b"GET / HTTP/9\r\n\r\n"]
    {
        let told = raw(server.address, garbage);
        assert!(told.is_none_or(|told| told.status == 400));
    }
    let _ = get(server.address, "", &own).status(200);
}

#[test]
fn slow_senders_hold_nobody_up() {
    let mut site = Site::new();
    let robot = site.robot("ci", "");
    site.flip();
    let server = Server::start(&site, &[]);
    let own = basic("ci", &robot.password);
    let held: Vec<TcpStream> = (0..400)
        .map(|number| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            let part: &[u8] = if number % 2 == 0 {
                b"GET /auth HTTP/1.1\r\nhost"
            } else {
                b"POST /auth HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\na"
            };
            stream.write_all(part).unwrap();
            stream
        })
        .collect();
    let _ = get(server.address, "", &own).status(200);
    // Each is closed in the end, by the server.
    let mut last = held.last().unwrap();
    last.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = Vec::new();
    last.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 400"));
    let mut first = held.first().unwrap();
    first.set_read_timeout(Some(DEADLINE)).unwrap();
    drop(first.read_to_end(&mut answer));
}

#[test]
fn forwarded_addresses_are_believed_of_trusted_proxies_alone() {
    let mut site = Site::new();
    let robot = site.robot("ci", r#","from":["10.0.0.0/8"]"#);
    site.flip();
    let server = Server::start(&site, &[]);
    let own = basic("ci", &robot.password);
    let query = format!("scope={APP}");
    let forwarded = format!("{own}x-forwarded-for: 10.1.2.3\r\n");
    assert_eq!(get(server.address, &query, &own).status(200).scope(), "");
    assert_eq!(get(server.address, &query, &forwarded).status(200).scope(), "", "nobody's proxy");
    site.set("auth.toml", &format!("{SETTINGS}trusted_proxies = [\"127.0.0.0/8\"]\n"));
    site.flip();
    assert_eq!(get(server.address, &query, &forwarded).status(200).scope(), APP);
    let mapped = format!("{own}x-forwarded-for: 10.1.2.3, ::ffff:192.0.2.1\r\n");
    assert_eq!(get(server.address, &query, &mapped).status(200).scope(), "");
    let _ = get(server.address, &query, &format!("{own}x-forwarded-for: me\r\n")).status(400);
}

#[test]
fn without_a_name_only_where_the_settings_say_so() {
    let mut site = Site::new();
    let server = Server::start(&site, &[]);
    let _ = get(server.address, "scope=repository:public/a:pull", "").status(401);
    site.set("auth.toml", &format!("{SETTINGS}anonymous = true\n"));
    site.flip();
    let told = get(server.address, "scope=repository:public/a:pull,push", "").status(200);
    assert_eq!(
        (told.scope().as_str(), &told.claims()["sub"]),
        ("repository:public/a:pull", &"".into())
    );
    assert!(told.claims()["cred"].is_null());
}
