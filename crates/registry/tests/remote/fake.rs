//! A registry that answers as a test says.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The header's line of an answer that is the last of its connection.
pub(crate) const CLOSED: &str = "connection: close\r\n";

/// What was asked.
pub(crate) struct Request {
    pub(crate) path: String,
    /// What a form sent.
    pub(crate) body: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    /// Reads one; none at the end of the connection.
    pub(crate) fn read(from: &mut impl Read) -> Option<Self> {
        let mut from = BufReader::with_capacity(1, from);
        let mut lines = from.by_ref().lines();
        let first = lines.next()?.ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        let headers = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
        let headers = headers.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        });
        let mut request = Self { path, body: String::new(), headers: headers.collect() };
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        from.take(length.unwrap_or(0)).read_to_string(&mut request.body).ok()?;
        Some(request)
    }
}

/// An answer's bytes.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// It listens as long as the test runs.
pub(crate) struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Fake {
    /// Answers by what is asked and by where it listens itself.
    pub(crate) fn start(
        answers: impl Fn(&Request, &str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::start_over(answers, |stream| stream)
    }

    /// The same over connections that are wrapped.
    pub(crate) fn start_over<S: Read + Write>(
        answers: impl Fn(&Request, &str) -> Vec<u8> + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (seen, counted) = (Arc::clone(&asked), Arc::clone(&connections));
        let answers = Arc::new((answers, wrap));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                *counted.lock().unwrap() += 1;
                let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
                std::thread::spawn(move || {
                    let mut stream = (answers.1)(stream);
                    while let Some(request) = Request::read(&mut stream) {
                        seen.lock().unwrap().push(request.path.clone());
                        let answer = (answers.0)(&request, &address.to_string());
                        // One that says so, or doesn't say all of it, is the last.
                        let text = String::from_utf8_lossy(&answer);
                        let last = !text.contains("\r\n\r\n") || text.contains(CLOSED);
                        if stream.write_all(&answer).is_err() || last {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, asked, connections }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The paths that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}
