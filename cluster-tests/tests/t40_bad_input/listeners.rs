//! What is sent to a socket or a port that no client of ours sends: each is answered
//! or put out, and the daemon goes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tonic::transport::Channel;

use super::table::Wrong;
use cluster_tests::Cluster;
use cluster_tests::rpc::{ask, channel, framed, identity, local_channel, runtime, tls};

/// How long a connection that says nothing sensible may stay.
const STAYS: Duration = Duration::from_secs(25);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are no conversation. Whoever sent them waits for its end.
fn bytes() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |length: u8, kind: u8, stream: u8| vec![0, 0, length, kind, 0, 0, 0, 0, stream];
    let http2 = |frames: &[u8]| [PREFACE, &frame(0, 4, 0), frames].concat();
    vec![
        ("nothing, and a closed end", Vec::new()),
        ("garbage", vec![0xa5; 600]),
        ("much garbage", vec![0x5a; 1 << 20]),
        ("a request of HTTP/1.1", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("a hello of TLS that does not end", [&[0x16, 3, 1, 2, 0, 1, 0, 1][..], &[0; 40]].concat()),
        ("a hello of SSH", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("a preface, then garbage", [PREFACE, &[0xa5; 600]].concat()),
        ("half a preface", PREFACE[..10].to_vec()),
        ("a frame that is too long", http2(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])),
        ("data on a stream that is not open", http2(&[&frame(4, 0, 7)[..], b"data"].concat())),
        ("headers that do not unpack", http2(&[&frame(4, 1, 1)[..], &[0xff; 4]].concat())),
        (
            "a window that overflows",
            http2(&[&frame(4, 8, 0)[..], &[0x7f, 0xff, 0xff, 0xff]].concat()),
        ),
    ]
}

/// Sends it and waits for the end of the connection, ours staying open.
fn put_out(mut stream: impl Read + Write, bytes: &[u8]) -> Result<Duration, String> {
    let start = Instant::now();
    // It may be put out before it has said all.
    drop(stream.write_all(bytes));
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return Ok(start.elapsed()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Ok(start.elapsed());
            }
            Err(error) => return Err(format!("{error} after {:?}", start.elapsed())),
        }
    }
}

fn over_tcp(address: &str, bytes: &[u8]) -> Result<Duration, String> {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(STAYS)).expect("a timeout");
    if bytes.is_empty() {
        stream.shutdown(Shutdown::Write).expect("closed");
    }
    put_out(stream, bytes)
}

fn over_unix(socket: &Path, bytes: &[u8]) -> Result<Duration, String> {
    let stream = UnixStream::connect(socket).expect("a connection");
    stream.set_read_timeout(Some(STAYS)).expect("a timeout");
    if bytes.is_empty() {
        stream.shutdown(Shutdown::Write).expect("closed");
    }
    put_out(stream, bytes)
}

/// Inside of TLS, as anybody without a certificate.
fn over_tls(address: &str, bytes: &[u8]) -> Result<Duration, String> {
    let mut openssl = Command::new("timeout");
    openssl.args(["30", "openssl", "s_client", "-quiet", "-no_ign_eof", "-tls1_3", "-alpn", "h2"]);
    openssl.args(["-connect", address]);
    let openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = openssl.spawn().expect("openssl");
    let (input, output) =
        (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
    let ended = put_out(Both(input, output), bytes);
    drop(child.kill());
    drop(child.wait());
    ended.and_then(|after| if after < STAYS { Ok(after) } else { Err("too late".to_owned()) })
}

struct Both(std::process::ChildStdin, std::process::ChildStdout);

impl Read for Both {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.1.read(into)
    }
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn whoever_sends_garbage_to_a_listener_is_put_out() {
    let cluster = Cluster::start(1);
    cluster.secret("before", b"1");
    let (address, manager) = (cluster.manager.address(), cluster.manager.socket());
    let agent = cluster.agents[0].socket();
    let rows = bytes();
    std::thread::scope(|scope| {
        let mut all = Vec::new();
        for (what, bytes) in &rows {
            let (address, manager, agent) = (&address, &manager, &agent);
            all.push(("the port", *what, scope.spawn(move || over_tcp(address, bytes))));
            all.push(("the port, in TLS", *what, scope.spawn(move || over_tls(address, bytes))));
            all.push((
                "the manager's socket",
                *what,
                scope.spawn(move || over_unix(manager, bytes)),
            ));
            all.push(("the agent's socket", *what, scope.spawn(move || over_unix(agent, bytes))));
        }
        let mut wrong = Wrong::default();
        for (whom, what, thread) in all {
            let ended = thread.join().expect("a thread");
            if let Err(why) = ended {
                wrong.note(format!("{what} to {whom}: {why}"));
            }
        }
        wrong.none();
    });
    alive(&cluster);
}

/// Both daemons serve, and have noted nothing that is a bug of theirs.
fn alive(cluster: &Cluster) {
    assert_eq!(cluster.manager.state_here(), "leader");
    cluster.secret("after", b"1");
    assert!(cluster.agents[0].is_connected());
    for log in [cluster.manager.log(), cluster.agents[0].log()] {
        let log = std::fs::read_to_string(log).expect("a log");
        assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    }
}

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// A call that no client makes: what it is, its path (that of a real method where there is
/// none), its headers, its body, and the beginnings that the answer may have.
type Call = (&'static str, &'static str, Vec<(&'static str, &'static str)>, Vec<u8>, &'static str);

fn calls() -> Vec<Call> {
    let grpc = || GRPC.to_vec();
    let with = |name, value| [GRPC, &[(name, value)]].concat();
    let text = || vec![("content-type", "text/plain")];
    let long: &'static str = Box::leak("x".repeat(20_000).into_boxed_str());
    let claims = |length: u32, rest: &[u8]| [&[0], &length.to_be_bytes()[..], rest].concat();
    // What is no frame may be taken for the length of one.
    let no_frame = "Internal: protocol error: received message with invalid compression flag|\
                    OutOfRange: the message has ";
    let large = "OutOfRange: the message has |OutOfRange: the call's body has more than |\
                 OutOfRange: Error, decoded message length too large: found ";
    let malformed = "Internal: failed to decode Protobuf message: ";
    let packed =
        "Internal: protocol error: received message with compressed-flag but no grpc-encoding";
    let unknown = "Unimplemented: ";
    vec![
        (
            "a method that is not there",
            "/skep.api.v1.Control/Nonsense",
            grpc(),
            framed(b""),
            unknown,
        ),
        ("a service that is not there", "/nonsense/Nonsense", grpc(), framed(b""), unknown),
        ("no method", "/", grpc(), framed(b""), unknown),
        ("a message that is garbage", "", grpc(), framed(&[0xff; 40]), malformed),
        ("a message of 9 MiB", "", grpc(), framed(&vec![0; 9 << 20]), large),
        ("a message that says 4 GiB", "", grpc(), claims(u32::MAX, b"x"), large),
        ("a message that is cut off", "", grpc(), claims(100, b"x"), "Internal: Unexpected EOF"),
        ("no message", "", grpc(), Vec::new(), "Internal: Missing request message."),
        ("a frame of another kind", "", grpc(), [&[7][..], &[0; 4]].concat(), no_frame),
        ("packed without saying how", "", grpc(), [&[1][..], &[0; 4]].concat(), packed),
        (
            "packed as nobody knows",
            "",
            with("grpc-encoding", "x"),
            framed(b""),
            "Unimplemented: Content",
        ),
        ("another content", "", text(), b"hello".to_vec(), no_frame),
        ("no content type", "", Vec::new(), b"hello".to_vec(), no_frame),
        (
            "a header of 20,000 bytes",
            "",
            with("x-long", long),
            framed(b""),
            "HTTP 431|transport error: ", // put out, as soon as it is too much
        ),
    ]
}

/// What of it is not answered as it should be; on one connection, which stays.
async fn refused(channel: &Channel, known: &str, wrong: &mut Wrong) {
    for (what, path, headers, body, wanted) in calls() {
        let path = if path.is_empty() { known } else { path };
        let said = ask(channel, path, &headers, body).await;
        if !wanted.split('|').any(|wanted| said.starts_with(wanted)) {
            wrong.note(format!("{what} to {known}: wanted {wanted}, got {said}"));
        }
    }
}

#[test]
fn calls_that_no_client_makes_are_refused_by_name() {
    let cluster = Cluster::start(1);
    let admin = identity(&cluster.identity());
    let (address, manager) = (cluster.manager.address(), cluster.manager.socket());
    let agent = cluster.agents[0].socket();
    let mut wrong = Wrong::default();
    runtime().block_on(async {
        let port = channel(&address, &tls(&admin)).await;
        refused(&port, "/skep.api.v1.Control/ListSecrets", &mut wrong).await;
        let socket = local_channel(&manager).await;
        refused(&socket, "/skep.api.v1.Control/Apply", &mut wrong).await;
        let socket = local_channel(&agent).await;
        refused(&socket, "/skep.local.v1.Agent/ServiceUp", &mut wrong).await;
    });
    wrong.none();
    alive(&cluster);
}
