//! A signer that is killed at each of its writes to a real registry (Debian's docker-registry):
//! nothing half-signed is ever seen, and whoever signs next completes it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skep_client::machine::{OsDice, SystemClock};
use skep_core::base::Clock as _;
use skep_registry::rules::image::Digest;
use skep_registry::rules::manifest::{ACCEPTED, OCI_MANIFEST};
use skep_registry::rules::signing::openpgp::OpenPgpKey;
use tempfile::TempDir;

use crate::sign::delivered;

const DEADLINE: Duration = Duration::from_mins(1);
const NAME: &str = "/v2/web/app";

/// Debian's docker-registry, open to everybody.
struct Registry {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Registry {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
            at("data").display()
        );
        fs::write(at("config.yml"), config).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "docker-registry", "serve"]);
        command.arg(at("config.yml")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let begun = Instant::now();
        let address = loop {
            let said = fs::read_to_string(at("log")).unwrap();
            let rest = said.split("listening on ").nth(1).unwrap_or_default();
            let address = rest.split(['"', ' ', '\n', ',']).next().unwrap_or_default();
            if let Ok(address) = address.parse() {
                break address;
            }
            assert!(begun.elapsed() < DEADLINE, "no registry: {said}");
            thread::sleep(Duration::from_millis(20));
        };
        Self { child, address, _folder: folder }
    }

    fn ask(&self, what: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let (status, _, body) = self.asked(what, kind, body);
        (status, body)
    }

    /// Asks in HTTP/1.0, whose answers end with the connection: status, head and body.
    fn asked(&self, what: &str, kind: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "{what} HTTP/1.0\r\nhost: {}\r\naccept: {ACCEPTED}\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        let _bytes = stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        let body = answer.split_off(end + 4);
        (status, String::from_utf8(answer).unwrap(), body)
    }

    fn put_blob(&self, bytes: &[u8]) -> String {
        let digest = Digest::of(bytes).to_string();
        let octets = "application/octet-stream";
        let (status, head, _) = self.asked(&format!("POST {NAME}/blobs/uploads/"), octets, b"");
        assert_eq!(status, 202, "{head}");
        let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        let path = location.split(&self.address.to_string()).last().unwrap();
        let (status, said) = self.ask(&format!("PUT {path}&digest={digest}"), octets, bytes);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&said));
        digest
    }

    /// An image of its own at this tag, and its digest.
    fn push(&self, tag: &str) -> Digest {
        let (config, layer) = (b"{}", tag.as_bytes());
        let part = |bytes: &[u8], kind: &str| {
            let digest = self.put_blob(bytes);
            json!({ "mediaType": kind, "size": bytes.len(), "digest": digest })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": part(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [part(layer, "application/vnd.oci.image.layer.v1.tar")],
        });
        let bytes = manifest.to_string();
        let what = format!("PUT {NAME}/manifests/{tag}");
        let (status, said) = self.ask(&what, OCI_MANIFEST, bytes.as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&said));
        Digest::of(bytes.as_bytes())
    }

    fn manifest(&self, reference: &str) -> Option<Value> {
        let (status, body) = self.ask(&format!("GET {NAME}/manifests/{reference}"), "x/x", b"");
        (status == 200).then(|| serde_json::from_slice(&body).unwrap())
    }

    /// Whatever a tag names is there, down to the last blob.
    fn is_whole(&self, reference: &str) {
        let manifest = self.manifest(reference);
        let manifest = manifest.unwrap_or_else(|| panic!("{reference} is not there"));
        let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
        for blob in list("layers").iter().chain(manifest.get("config")) {
            let digest = blob["digest"].as_str().unwrap();
            let (status, _) = self.ask(&format!("HEAD {NAME}/blobs/{digest}"), "x/x", b"");
            assert_eq!(status, 200, "{reference} names {digest}");
        }
        for child in list("manifests") {
            self.is_whole(child["digest"].as_str().unwrap());
        }
    }

    /// Whatever stands at a tag that belongs to this image is whole: how many tags there are.
    fn nothing_is_half_signed(&self, image: &Digest) -> usize {
        let (_, body) = self.ask(&format!("GET {NAME}/tags/list"), "x/x", b"");
        let tags: Value = serde_json::from_slice(&body).unwrap();
        let tags = tags["tags"].as_array().unwrap().iter().filter_map(Value::as_str);
        let tags: Vec<&str> = tags.filter(|tag| tag.starts_with(&image.tag(""))).collect();
        for tag in &tags {
            self.is_whole(tag);
        }
        tags.len()
    }
}

/// At which write a signer stops, and whether the registry got it.
#[derive(Clone, Copy, Debug)]
struct Moment {
    write: usize,
    taken: bool,
}

#[derive(Default)]
struct Passed {
    writes: usize,
    stops: Option<(Moment, Sender<()>)>,
}

/// Stands before the registry. A signer whose moment has come waits here for an answer.
struct Gate {
    address: SocketAddr,
    passed: Arc<Mutex<Passed>>,
}

impl Gate {
    fn before(registry: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(Mutex::new(Passed::default()));
        let shared = Arc::clone(&passed);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (passed, to) = (Arc::clone(&shared), TcpStream::connect(registry).unwrap());
                thread::spawn(move || pass(stream, to, &passed));
            }
        });
        Self { address, passed }
    }

    /// From here on: writes are counted anew.
    fn stops_at(&self, moment: Moment) -> Receiver<()> {
        let (sender, receiver) = channel();
        *self.passed.lock().unwrap() = Passed { writes: 0, stops: Some((moment, sender)) };
        receiver
    }

    fn is_open(&self) {
        *self.passed.lock().unwrap() = Passed::default();
    }
}

/// Passes requests on until one is not to go on.
fn pass(mut from: TcpStream, mut to: TcpStream, passed: &Mutex<Passed>) {
    while let Some(request) = request(&mut from) {
        let writes = !request.starts_with(b"GET ") && !request.starts_with(b"HEAD ");
        let stop = {
            let mut passed = passed.lock().unwrap();
            passed.writes += usize::from(writes);
            let now = passed.writes;
            passed.stops.take_if(|(moment, _)| writes && moment.write == now)
        };
        if stop.as_ref().is_none_or(|(moment, _)| moment.taken) {
            to.write_all(&request).unwrap();
            let answer = answer(&mut to, request.starts_with(b"HEAD "));
            if stop.is_none() {
                from.write_all(&answer).unwrap();
            }
        }
        if let Some((_, stopped)) = stop {
            stopped.send(()).unwrap();
            // Until the signer is gone.
            let _bytes = from.read(&mut [0; 1]);
            return;
        }
    }
}

fn head(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        from.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    Some(head)
}

fn body(from: &mut TcpStream, head: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    from.read_exact(&mut body).ok()?;
    Some(body)
}

fn request(from: &mut TcpStream) -> Option<Vec<u8>> {
    let head = head(from)?;
    let body = body(from, &head)?;
    Some([head, body].concat())
}

fn answer(from: &mut TcpStream, is_head: bool) -> Vec<u8> {
    let head = head(from).unwrap();
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(!text.contains("transfer-encoding"), "{text}");
    let body = if is_head { Vec::new() } else { body(from, &head).unwrap() };
    [head, body].concat()
}

/// Signs the image at this tag by hand, in a process of its own.
fn signer(folder: &TempDir, tag: &str) -> Child {
    let image = format!("web/app:{tag}");
    let secrets = folder.path().display().to_string();
    let mut command = crate::command(&["sign", "web", &image, "--secrets", &secrets]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn ends_well(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// How many entries a manifest has under this name.
fn count(registry: &Registry, tag: &str, name: &str) -> usize {
    let manifest = registry.manifest(tag).unwrap_or_else(|| panic!("{tag} is not there"));
    manifest[name].as_array().map_or(0, Vec::len)
}

#[test]
fn a_signer_killed_at_any_write_leaves_nothing_half_signed() {
    let registry = Registry::start();
    let gate = Gate::before(registry.address);
    let folder = delivered(&registry.address.to_string(), &gate.address.to_string());
    let at_s = SystemClock.now().0 / 1_000 - 60;
    let key = OpenPgpKey::draw("web", at_s, &mut OsDice).unwrap().text().unwrap();
    fs::write(folder.path().join("..1/key.hosts"), key.expose()).unwrap();
    let mut killed = 0;
    for write in 1.. {
        let mut all_were_made = false;
        for taken in [false, true] {
            let tag = format!("{write}-{taken}");
            let digest = registry.push(&tag);
            let stopped = gate.stops_at(Moment { write, taken });
            let mut child = signer(&folder, &tag);
            let begun = Instant::now();
            let was_stopped = loop {
                match stopped.recv_timeout(Duration::from_millis(20)) {
                    Ok(()) => break true,
                    Err(RecvTimeoutError::Disconnected) => panic!("the gate is gone"),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if child.try_wait().unwrap().is_some() {
                    break false;
                }
                assert!(begun.elapsed() < DEADLINE, "neither stopped nor done");
            };
            gate.is_open();
            if was_stopped {
                child.kill().unwrap();
                let _status = child.wait().unwrap();
                killed += 1;
                let _tags = registry.nothing_is_half_signed(&digest);
                ends_well(signer(&folder, &tag));
            } else {
                all_were_made = true;
                ends_well(child);
            }
            assert_eq!(registry.nothing_is_half_signed(&digest), 3);
            for (end, name) in [(".sig", "layers"), ("", "manifests"), (".pgp", "layers")] {
                let tag = digest.tag(end);
                assert_eq!(count(&registry, &tag, name), 1, "{tag} after {write}, {taken}");
            }
        }
        if all_were_made {
            break;
        }
    }
    assert!(killed >= 16, "a signing has more writes than {killed} halves");
}
