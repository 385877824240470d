//! A signer before registries that are slow: whoever waits for one is told so in time, and others
//! are served meanwhile.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use skep_registry::rules::manifest::OCI_MANIFEST;
use skep_registry::work::Patience;

use crate::fake::{CLOSED, Fake, Request, answer};
use crate::sign::{TAG, UPLOADS, delivered, desk, of, sign, usual};

/// Far more than a machine with much to do needs, far less than a signer has.
const SHORT: Duration = Duration::from_millis(1_500);
const LONG: Duration = Duration::from_mins(10);
const BROKEN: &[u8] = b"HTTP/1.1 200 X\r\ncontent-length: 99\r\n\r\n{";

/// How a registry answers what it answers otherwise than usual.
type Row = fn(&Request) -> Option<Vec<u8>>;

/// What a signer with this patience says of an image at such a registry.
fn told(patience: Patience, registry: &Fake) -> String {
    let folder = delivered(&registry.host(), &registry.host());
    let desk = desk(&folder).with_patience(patience);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let refused = runtime.block_on(sign(&desk, "web/app")).unwrap_err();
    assert!(begun.elapsed() < LONG / 10, "{refused}");
    assert_eq!(refused.status().as_u16(), 502, "{refused}");
    refused.to_string()
}

/// A connection over which each byte takes its time.
struct Dripping(TcpStream);

impl Read for Dripping {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::sleep(SHORT / 15);
        self.0.write(bytes.get(..1).unwrap_or_default())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn whole_answers_have_to_come_in_time() {
    let patience = Patience { answer: SHORT, whole: LONG };
    let rows: [Row; 4] = [
        |_| loop {
            // It is connected, and hears nothing.
            thread::park();
        },
        |request| (request.path == TAG).then(|| BROKEN.to_vec()),
        |request| (request.path == UPLOADS).then(|| BROKEN.to_vec()),
        |request| (!request.body.is_empty()).then(|| BROKEN.to_vec()),
    ];
    for row in rows {
        let registry =
            Fake::start(move |request, _| row(request).unwrap_or_else(|| usual(request)));
        let told = told(patience, &registry);
        assert!(told.contains("no whole answer in"), "{told}");
    }
    let registry = Fake::start_over(|request, _| usual(request), Dripping);
    let told = told(patience, &registry);
    assert!(told.contains("no whole answer in"), "{told}");
}

#[test]
fn many_answers_that_come_in_time_have_an_end_too() {
    // What is written is never kept: it is read, written and read for a long time.
    let registry = Fake::start(|request, _| {
        thread::sleep(SHORT / 15);
        let takes = request.path != TAG && request.path.contains("/manifests/");
        if takes && !request.body.is_empty() { answer(201, "", "") } else { usual(request) }
    });
    let told = told(Patience { answer: LONG, whole: SHORT }, &registry);
    assert!(told.contains("the registry is too slow"), "{told}");
}

#[test]
fn while_one_waits_for_a_slow_answer_others_have_theirs() {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    let registry = Fake::start(|request, _| {
        if request.path.starts_with("/v2/slow/app/") {
            WAITING.fetch_add(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        }
        let there = request.path.starts_with("/v2/web/app/manifests/sha256");
        // What was put there, so that nothing is missing when it is read.
        match (there, request.body.is_empty()) {
            (true, true) => kept(request),
            (true, false) => {
                KEPT.lock().unwrap().push((request.path.clone(), request.body.clone()));
                answer(201, "oci-subject: x\r\n", "")
            }
            _ => usual(request),
        }
    });
    let folder = delivered(&registry.host(), &registry.host());
    let desk = desk(&folder).with_patience(Patience { answer: SHORT * 4, whole: LONG });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let slow = sign(&desk, "slow/app");
        tokio::pin!(slow);
        let mut fast = 0;
        // One after the other, until the slow one has got its answer.
        let refused = loop {
            tokio::select! {
                biased;
                done = &mut slow => break done.unwrap_err(),
                done = sign(&desk, "web/app") => {
                    assert_eq!(done.unwrap(), 2);
                    fast += usize::from(WAITING.load(Ordering::SeqCst) > 0);
                }
            }
        };
        assert!(refused.to_string().contains("no whole answer in"), "{refused}");
        assert!(fast > 0, "nobody else was served");
    });
}

static KEPT: std::sync::Mutex<Vec<(String, String)>> = std::sync::Mutex::new(Vec::new());

fn kept(request: &Request) -> Vec<u8> {
    let kept = KEPT.lock().unwrap();
    let found = kept.iter().rev().find(|(path, _)| *path == request.path);
    found.map_or_else(|| answer(404, CLOSED, "{}"), |(_, body)| of(OCI_MANIFEST, body))
}
