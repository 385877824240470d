use super::*;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8");

fn read(
    method: &str,
    query: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Result<Asked, Refused> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    Asked::read(&method.parse().unwrap(), query, &map, body.as_bytes())
}

fn basic_of(text: &str) -> String {
    format!("Basic {}", BASE64.encode(text.as_bytes()))
}

fn shown(asked: &Asked) -> String {
    let how = match &asked.how {
        How::Anonymous => "-".to_owned(),
        How::Password { account, password } => {
            format!("{account}={}", String::from_utf8_lossy(password))
        }
        How::Refresh(token) => token.to_string(),
    };
    let scopes: Vec<_> = asked.scopes.iter().map(ToString::to_string).collect();
    format!("{how} {} {}", asked.service.as_deref().unwrap_or("-"), scopes.join(" "))
}

#[test]
fn what_clients_send_is_read() {
    let alice = basic_of("alice:a:b");
    let alice = [("authorization", alice.as_str())];
    let form = [FORM, alice[0]];
    for (method, query, headers, body, wanted) in [
        ("GET", "service=r&scope=repository:a:pull", &[][..], "", "- r repository:a:pull"),
        (
            "GET",
            "account=alice&client_id=docker&offline_token=true&service=r",
            &alice,
            "",
            "alice=a:b r ",
        ),
        (
            "GET",
            "scope=repository:a:pull+repository:b:push&scope=repository:a:push",
            &alice,
            "",
            "alice=a:b - repository:a:pull,push repository:b:push",
        ),
        ("GET", "scope=&service=&state=1&x=1&x=2", &alice, "", "alice=a:b - "),
        ("POST", "service=r", &alice, "", "alice=a:b r "),
        ("POST", "", &form, "service=r&scope=repository:a:pull", "alice=a:b r repository:a:pull"),
        (
            "POST",
            "",
            &[FORM],
            "grant_type=password&username=bob&password=p%26q&service=r",
            "bob=p&q r ",
        ),
        (
            "POST",
            "",
            &[FORM],
            "grant_type=refresh_token&refresh_token=skt1_x&service=r&access_type=offline",
            "skt1_x r ",
        ),
    ] {
        let asked = read(method, query, headers, body).unwrap();
        assert_eq!(shown(&asked), wanted, "{method} {query} {body}");
        assert_eq!(asked.offline, query.contains("offline") || body.contains("offline"));
    }
}

#[test]
fn what_does_not_read_is_refused_in_one_line() {
    let alice = basic_of("alice:a");
    let alice = ("authorization", alice.as_str());
    let no_colon = basic_of("alice");
    let many = "repository:a:pull ".repeat(10_000);
    let long = "x".repeat(1_025);
    for (method, query, headers, body, wanted) in [
        ("GET", "scope=%zz", &[][..], "", "don't read"),
        ("GET", "scope=repository:a", &[], "", "scope"),
        ("GET", "service=a&service=b", &[], "", "`service` is given twice"),
        ("GET", "service=a%0ab", &[], "", "`service`"),
        ("GET", "password=x", &[], "", "the body"),
        ("GET", "refresh_token=x", &[], "", "the body"),
        ("GET", "grant_type=password", &[], "", "POST"),
        ("GET", "account=bob", &[alice], "", "two accounts"),
        ("GET", "", &[("authorization", "Bearer x")], "", "Basic"),
        ("GET", "", &[("authorization", "Basic")], "", "Basic"),
        ("GET", "", &[("authorization", "Basic !")], "", "Basic"),
        ("GET", "", &[("authorization", "Basic /////w==")], "", "Basic"),
        ("GET", "", &[("authorization", &no_colon)], "", "Basic"),
        ("GET", "", &[alice, alice], "", "twice"),
        ("POST", "", &[("content-type", "application/json")], "{}", "form"),
        ("POST", "", &[], "a=b", "form"),
        ("POST", "", &[FORM], "grant_type=password&username=a", "missing"),
        ("POST", "", &[FORM], "grant_type=password&password=a", "missing"),
        ("POST", "", &[FORM], "grant_type=refresh_token", "missing"),
        ("POST", "", &[FORM], "grant_type=magic", "grant_type"),
        ("POST", "", &[FORM, alice], "grant_type=password&username=a&password=b", "either"),
        (
            "POST",
            "",
            &[FORM],
            &format!("grant_type=password&username=a&password={long}"),
            "too long",
        ),
        (
            "POST",
            "",
            &[FORM],
            &format!("grant_type=password&username={long}&password=a"),
            "too long",
        ),
        ("POST", "", &[FORM], &format!("scope={many}"), "more than 64"),
    ] {
        let refused = read(method, query, headers, body).unwrap_err();
        let Refused::Invalid { text, .. } = &refused else { panic!("{refused:?}") };
        assert!(text.contains(wanted) && !text.contains('\n'), "{query} {body:.40}: {text}");
    }
}
