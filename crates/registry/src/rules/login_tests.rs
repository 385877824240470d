use super::*;

const PASSWORD: &str = "skr1_a\"b\\c";

fn login(hosts: &[&str]) -> Login {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let password = Zeroizing::new(PASSWORD.to_owned());
    Login::new(hosts, "ann+ci".parse().unwrap(), password).unwrap()
}

#[test]
fn each_form_is_what_its_program_reads() {
    let login = login(&["registry.example:5000", "[::1]:5000"]);
    let helper = login.write(Form::Helper);
    let whole = r#"{"version":1,"hosts":["registry.example:5000","[::1]:5000"],"account":"ann+ci","password":"skr1_a\"b\\c"}"#;
    assert_eq!(*helper, format!("{whole}\n"));
    let read = Login::read(&helper).unwrap();
    assert_eq!(read.hosts(), login.hosts());
    assert_eq!(read.account(), login.account());
    assert_eq!(read.expose_password(), PASSWORD);

    // printf 'ann+ci:skr1_a"b\\c' | base64
    let auth = "YW5uK2NpOnNrcjFfYSJiXGM=";
    let entry = format!(r#"{{"auth":"{auth}"}}"#);
    let config = format!(r#"{{"auths":{{"[::1]:5000":{entry},"registry.example:5000":{entry}}}}}"#);
    assert_eq!(*login.write(Form::Docker), config + "\n");
    let entry = format!(r#"{{"username":"ann+ci","password":"skr1_a\"b\\c","auth":"{auth}"}}"#);
    let config = format!(r#"{{"auths":{{"[::1]:5000":{entry},"registry.example:5000":{entry}}}}}"#);
    assert_eq!(*login.write(Form::Kubernetes), config + "\n");
    assert_eq!(*login.write(Form::Plain), PASSWORD);
    for form in Form::ALL {
        assert_eq!(form.as_str().parse(), Ok(form));
        assert!(login.write(form).len() < LOGIN_BYTES);
    }
    assert_eq!("Docker".parse::<Form>(), Err(BadLogin::Form));
    assert_eq!(format!("{login:?}").find("skr1"), None);
}

#[test]
fn the_largest_credential_fits_a_file() {
    let host = |n: usize| format!("{}{n:02}:65535", "h".repeat(251));
    let hosts = (0..HOSTS).map(|n| host(n).parse().unwrap()).collect();
    let password = Zeroizing::new("\"".repeat(PASSWORD_BYTES));
    let login = Login::new(hosts, "a".repeat(255).parse().unwrap(), password).unwrap();
    let text = login.write(Form::Helper);
    assert!(text.len() <= LOGIN_BYTES, "{}", text.len());
    assert!(Login::read(&text).is_ok());
}

#[test]
fn what_is_no_credential_is_refused_without_its_content() {
    let good = login(&["r:1"]).write(Form::Helper).to_string();
    let whole = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let rows = [
        (String::new(), BadLogin::File(BadFile::Shape { line: 1, column: 0 })),
        (whole("\"version\":1", "\"version\":2"), BadLogin::File(BadFile::Version)),
        (whole("[\"r:1\"]", "[]"), BadLogin::Hosts),
        (whole("[\"r:1\"]", &format!("[{}\"r\"]", "\"r\",".repeat(16))), BadLogin::Hosts),
        (whole("r:1", "r:"), BadLogin::Host),
        (whole("r:1", "https://r"), BadLogin::Host),
        (whole("ann+ci", "a:b"), BadLogin::Account),
        (whole("skr1_", "\\u0000"), BadLogin::Password),
        (whole("skr1_", "\\r\\n"), BadLogin::Password),
        (whole("skr1_", &"x".repeat(1_025)), BadLogin::Password),
    ];
    for (text, why) in rows {
        assert_eq!(Login::read(&text).unwrap_err(), why, "{text:.80}");
    }
    let shapes = ["[]", "{}", "\"skr1_\"", "{\"version\":1}", "nonsense"];
    let more = whole("{\"version\"", "{\"more\":1,\"version\"");
    for text in shapes.into_iter().chain([more.as_str()]) {
        let bad = Login::read(text).unwrap_err();
        assert!(matches!(bad, BadLogin::File(BadFile::Shape { .. })), "{text}: {bad:?}");
        assert!(!bad.to_string().contains("skr1"), "{bad}");
    }
}

#[test]
fn a_registry_is_known_by_its_host_and_port_alone() {
    let same = [
        "registry.example:5000",
        "Registry.Example:5000",
        "https://registry.example:5000",
        "HTTP://registry.example:5000/",
        "https://registry.example:5000/v1/",
        "https://registry.example:5000/v2",
        "registry.example:5000\n",
    ];
    let host: Host = "registry.example:5000".parse().unwrap();
    for text in same {
        assert_eq!(Host::of_server(text).as_ref(), Some(&host), "{text}");
    }
    let others = [
        "registry.example",
        "registry.example:443",
        "https://registry.example:5000/team",
        "registry.example:5000.evil.example",
        "x@registry.example:5000",
        "registry.example:5000:1",
        "registry.example:05000x",
        "ftp://registry.example:5000",
        "",
        "https://",
        "[::1",
        "[::1]5000",
        "[]:1",
        ":5000",
        "registry.example:0",
        "registry.example:65536",
        "registry.example:+5",
        "rég.example",
    ];
    for text in others {
        assert_ne!(Host::of_server(text).as_ref(), Some(&host), "{text}");
    }
    assert_eq!("h".repeat(260).parse::<Host>(), Err(BadLogin::Host));
    assert_eq!("[::1]:5000".parse::<Host>().unwrap().as_str(), "[::1]:5000");
}

#[test]
fn a_host_is_a_name_and_perhaps_a_port() {
    for (text, name, port) in [
        ("registry.example", "registry.example", None),
        ("Registry.example:5000", "registry.example", Some(5000)),
        ("[::1]", "::1", None),
        ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
    ] {
        let host: Host = text.parse().unwrap();
        assert_eq!((host.name(), host.port()), (name, port), "{text}");
    }
}
