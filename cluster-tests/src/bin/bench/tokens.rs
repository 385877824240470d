//! What a token costs, on connections that are kept and on one of TLS each, beside the same
//! registry's own passwords; and how soon a robot that is revoked gets none.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use skep_core::base::ServiceId;
use skep_core::domain::Change;
use skep_registry::rules::slug::Account;

use super::connection::Connection;
use super::row::{Row, rate};
use super::size::Size;
use cluster_tests::{Cluster, DEADLINE, TokenServer, binary, run, secret_id, until};

/// Connections that ask at once.
pub(super) const CLIENTS: usize = 16;
pub(super) const PASSWORD: &str = "correct horse battery";
/// Its hash by bcrypt, of cost 10.
const HASH: &str = "$2b$10$rVxevHkK9e9F9tFG5RdmSeqmiEgaotMJyGsVLle38cT.h5ucopsJi";
/// Commands that make robots at once.
const MAKERS: usize = 8;
/// Accounts whose first password is checked.
const PEOPLE: usize = 20;
const SERVED: &str = "registry.example:5000";

/// Tokens by robots and people, a registry's own passwords, and revokes.
pub(super) fn rows(size: &Size) -> Vec<Row> {
    let cluster = Cluster::start(2);
    let out = cluster.folder().join("out").display().to_string();
    let words = ["setup", "web", "--realm", "https://auth.example/auth", "--out", &out];
    let more = ["--registry-service", SERVED, "--node", "node-1", "--node", "node-2"];
    let _ = registry(&cluster, &[&words[..], &more].concat(), "");
    let servers = [0, 1].map(|agent| TokenServer::start(&cluster, agent));
    let path = format!("/auth?service={SERVED}&scope=repository:web/app:pull");

    let name = |number: usize| format!("person-{number}");
    for number in 0..PEOPLE {
        let words = ["user", "add", "web", &name(number), "--htpasswd", "--detach"];
        let _ = registry(&cluster, &words, &format!("{}:{HASH}", name(number)));
    }
    let robots = create_robots(&cluster, &servers, 0..size.robots);
    let (robot, password) = robots.last().expect("a robot");

    let address = servers[0].address();
    let open = || Connection::plain(address);
    let mut one = open();
    let cold = (0..PEOPLE).map(|number| asks(&mut one, &path, &name(number), PASSWORD)).collect();
    let cold = Row::of("token: a person's first, bcrypt", cold).note("cost 10");
    let kept = |what: &str, name: &str, password: &str| {
        all_at_once(size, what, &open, true, (&path, name, password))
    };
    let by_robot = kept("token: a robot", robot, password);
    let warm = kept("token: a person, known", &name(0), PASSWORD);
    let own = Htpasswd::start(cluster.folder());
    let own = all_at_once(
        size,
        "docker-registry's own htpasswd",
        &|| Connection::plain(own.address),
        true,
        ("/v2/", "x", PASSWORD),
    );
    let ratio = by_robot.rate.unwrap_or(f64::NAN) / own.rate.unwrap_or(f64::NAN);
    let by_robot =
        by_robot.note(format!("{CLIENTS} kept connections, {ratio:.1} times htpasswd's"));
    let own = own.note(format!("{CLIENTS} kept connections, bcrypt of cost 10"));
    let few = revokes(size, &cluster, &servers, &robots, size.robots);

    let certificate = speaks_tls(&cluster);
    let server = TokenServer::start(&cluster, 0);
    let (address, trusted) = (server.address(), trusts(&certificate));
    let by_tls = all_at_once(
        size,
        "token: a robot, a TLS connection each",
        &|| Connection::sealed(address, &trusted),
        false,
        (&path, robot, password),
    );
    let by_tls = by_tls.note(format!("{CLIENTS} clients, TLS 1.3, ECDSA P-256"));
    drop(server);

    // About as many as a service holds: each account takes two of its 4,096 grants.
    let more = create_robots(&cluster, &servers, size.robots..size.most_robots);
    let many = revokes(size, &cluster, &servers, &more, size.most_robots);
    vec![by_robot, warm, cold, own, by_tls, few, many]
}

/// Robots of these numbers, known to all servers: their names and passwords.
fn create_robots(
    cluster: &Cluster,
    servers: &[TokenServer],
    numbers: std::ops::Range<usize>,
) -> Vec<(String, String)> {
    let make = |number: usize| {
        let robot = format!("robot-{number}");
        let words = ["robot", "create", "web", &robot, "--show", "--form", "plain"];
        let password = registry(cluster, &[&words[..], &["--detach"]].concat(), "");
        (robot, password)
    };
    let makers: Vec<Vec<(String, String)>> = thread::scope(|scope| {
        let started: Vec<_> = (0..MAKERS)
            .map(|first| {
                let own = numbers.clone().skip(first).step_by(MAKERS);
                scope.spawn(move || own.map(make).collect())
            })
            .collect();
        started.into_iter().map(|one| one.join().expect("robots")).collect()
    });
    // What the last act of each brought is there, and so is all before it.
    let query = format!("service={SERVED}");
    for (last, password) in makers.iter().filter_map(|own| own.last()) {
        for server in servers {
            until("all", || (server.ask(&query, last, password).0 == 200).then_some(()));
        }
    }
    makers.concat()
}

/// Gives the token servers that start from here on a certificate, and answers its file.
fn speaks_tls(cluster: &Cluster) -> String {
    let [key, certificate] =
        ["tls.key", "tls.crt"].map(|name| cluster.folder().join(name).display().to_string());
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"]);
    openssl.args(["basicConstraints=critical,CA:FALSE", "-addext"]);
    openssl.args(["subjectAltName=DNS:localhost", "-keyout", &key, "-out", &certificate]);
    let _ = run(&mut openssl, b"").ok();
    let _ = cluster.ok(&["secret", "create", "tls-key", &key]);
    let _ = cluster.ok(&["secret", "create", "tls-crt", &certificate]);
    let _ = cluster.ok(&["service", "grant", "web.auth", "tls-key:tls.key", "tls-crt:tls.crt"]);
    certificate
}

fn trusts(certificate: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    roots.add(certificate).expect("a root");
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // Each is as from somebody who was never there before.
    let mut config = config;
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// `skep registry` as the admin: what it said.
pub(super) fn registry(cluster: &Cluster, words: &[&str], input: &str) -> String {
    let mut command = Command::new(binary().with_file_name("skep-registry"));
    command.args(words).env_clear().env("SKEP_IDENTITY", cluster.identity());
    run(&mut command, input.as_bytes()).ok()
}

/// How long one answer takes, which must be a good one.
fn asks(to: &mut Connection, path: &str, name: &str, password: &str) -> Duration {
    let both = BASE64.encode(format!("{name}:{password}").as_bytes());
    let lines = format!("authorization: Basic {both}\r\n");
    let start = Instant::now();
    let (status, _) = to.exchange(&format!("GET {path}"), &lines, b"");
    let took = start.elapsed();
    assert_eq!(status, 200);
    took
}

/// The same question by all clients for the time of a row, on a connection that is kept or on
/// one each, whose making counts.
fn all_at_once(
    size: &Size,
    what: &str,
    open: &(dyn Fn() -> Connection + Sync),
    is_kept: bool,
    (path, name, password): (&str, &str, &str),
) -> Row {
    let start = Instant::now();
    let times = thread::scope(|scope| {
        let each = || {
            let mut times = Vec::new();
            let mut kept = is_kept.then(open);
            while start.elapsed() < size.row {
                let begun = Instant::now();
                if let Some(kept) = &mut kept {
                    times.push(asks(kept, path, name, password));
                } else {
                    let _answer = asks(&mut open(), path, name, password);
                    times.push(begun.elapsed());
                }
            }
            times
        };
        let started: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(each)).collect();
        started.into_iter().flat_map(|one| one.join().expect("a client")).collect::<Vec<_>>()
    });
    let mut row = Row::of(what, times);
    row.rate = Some(rate(row.times.len(), start.elapsed()));
    row.note(format!("{CLIENTS} kept connections"))
}

/// A docker-registry that knows one password itself.
struct Htpasswd {
    child: Child,
    address: SocketAddr,
}

impl Htpasswd {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let address = port.expect("a port");
        let at = |name: &str| folder.join(name).display().to_string();
        fs::write(at("htpasswd"), format!("x:{HASH}\n")).expect("a file");
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n\
             auth: {{htpasswd: {{realm: x, path: {}}}}}\n",
            at("images"),
            at("htpasswd")
        );
        fs::write(at("htpasswd.yml"), config).expect("a file");
        let log = File::create(at("htpasswd.log")).expect("a log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "docker-registry", "serve"]);
        command.arg(at("htpasswd.yml")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("docker-registry");
        until("a registry", || TcpStream::connect(address).ok());
        Self { child, address }
    }
}

impl Drop for Htpasswd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// From the call until the first request that is refused, by the last of the token servers.
fn revokes(
    size: &Size,
    cluster: &Cluster,
    servers: &[TokenServer],
    robots: &[(String, String)],
    all: usize,
) -> Row {
    let mut client = cluster.client(DEADLINE);
    let service = client.service("web.auth").ok().id;
    let service = ServiceId::try_from(service.as_slice()).expect("an id");
    let query = format!("service={SERVED}");
    let times = robots.iter().take(size.deliveries).map(|(name, password)| {
        let slug = name.parse::<Account>().expect("a name").slug();
        let secret = secret_id(&client.secret(&format!("web.user.{slug}")).ok().id);
        let start = Instant::now();
        let _ = client.apply(&[Change::Revoke { service, secret, target: None }]).ok();
        // A refusal is answered half a second later; it was decided when it was asked for.
        let refused = |server: &TokenServer| loop {
            let asked = start.elapsed();
            assert!(asked < DEADLINE, "{name} goes on");
            if server.ask(&query, name, password).0 == 401 {
                return asked;
            }
        };
        thread::scope(|scope| {
            let each: Vec<_> =
                servers.iter().map(|server| scope.spawn(|| refused(server))).collect();
            let each = each.into_iter().map(|one| one.join().expect("refused"));
            each.max().expect("a server")
        })
    });
    let row = Row::of("robot revoked -> refused by both", times.collect());
    row.note(format!("2 nodes, {all} robots"))
}
