//! The thread that writes to standard error. Nobody else waits for whoever reads there: a
//! pipe that is full holds up this thread alone, and what finds no place meanwhile is
//! counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use tracing::Level;

use super::line::{Line, LogFormat};
use super::repeats::Repeats;
use skep_core::base::Clock;

/// Lines that wait to be written; a line has 4 KiB at most.
const QUEUE: usize = 1_024;
/// Between two looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Between two tries to say that all is to be written, while the queue is full.
const AGAIN: Duration = Duration::from_millis(10);

enum Item {
    Line(String),
    /// Everything that was hidden so far, and then a word that all is written.
    Flush(SyncSender<()>),
}

/// Where lines go. Clones see the same.
#[derive(Clone)]
pub(super) struct Writer {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

/// What the thread needs to know.
pub(super) struct Held {
    pub(super) repeats: Arc<Mutex<Repeats>>,
    pub(super) clock: Box<dyn Clock>,
    pub(super) format: LogFormat,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(held: Held) -> io::Result<Self> {
        Self::start_on(held, to_stderr)
    }

    fn start_on(
        held: Held,
        write: impl Fn(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("skep-lines".to_owned())
            .spawn(move || run(&held, &items, &counted, write))?;
        Ok(Self { queue, dropped })
    }

    /// Writes a line, soon. Never waits.
    pub(super) fn write(&self, line: String) {
        if self.queue.try_send(Item::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all is written, but not longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let start = Instant::now();
        let (done, written) = sync_channel(1);
        let mut item = Item::Flush(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(item) {
            if start.elapsed() >= limit {
                return;
            }
            item = back;
            std::thread::park_timeout(AGAIN);
        }
        // Late or never: whoever reads there holds it up.
        written.recv_timeout(limit.saturating_sub(start.elapsed())).ok();
    }
}

fn run(
    held: &Held,
    items: &Receiver<Item>,
    dropped: &AtomicU64,
    write: impl Fn(&[u8]) -> io::Result<()>,
) {
    let put = |line: &str| {
        // Nobody reads there any more: then nobody is told either.
        write(line.as_bytes()).ok();
    };
    let due = |at: u64| {
        let lines = held.repeats.lock().tick(at);
        for line in &lines {
            put(&line.render(held.clock.now()));
        }
    };
    let mut looked = Instant::now();
    loop {
        match items.recv_timeout(LOOK) {
            Ok(Item::Line(line)) => put(&line),
            Ok(Item::Flush(done)) => {
                due(u64::MAX);
                // Whoever asked may have given up.
                done.try_send(()).ok();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let line = Line::new(Level::WARN, "lines_dropped", held.format).number("lines", lost);
            put(&line.render(held.clock.now()));
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            due(held.clock.boot().0);
        }
    }
}

/// Writes all of it, however long that takes.
fn to_stderr(mut bytes: &[u8]) -> io::Result<()> {
    let stderr = io::stderr();
    while !bytes.is_empty() {
        match rustix::io::write(&stderr, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            // Whoever shares the pipe may have said that nobody is to wait for it.
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_client::machine::SystemClock;

    fn held() -> Held {
        let repeats = Arc::new(Mutex::new(Repeats::default()));
        Held { repeats, clock: Box::new(SystemClock), format: LogFormat::Text }
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody() {
        let (tell, wait) = sync_channel::<()>(0);
        let wait = Mutex::new(wait);
        let written = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&written);
        let writer = Writer::start_on(held(), move |bytes| {
            // Nobody reads until the other end is dropped.
            wait.lock().recv().ok();
            seen.lock().extend_from_slice(bytes);
            Ok(())
        });
        let writer = writer.expect("a thread");
        for number in 0..5_000 {
            writer.write(format!("line {number}\n"));
        }
        writer.flush(Duration::from_millis(50));
        assert_eq!(written.lock().len(), 0, "it came back although nothing is written");
        drop(tell);
        writer.flush(Duration::from_mins(1));
        let text = String::from_utf8(written.lock().clone()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= QUEUE + 4, "{}", lines.len());
        assert_eq!(lines.first(), Some(&"line 0"));
        let dropped = lines.iter().find(|line| line.contains("lines_dropped")).expect("counted");
        let count: usize = dropped.rsplit_once('=').expect("a count").1.parse().expect("a number");
        assert_eq!(count + lines.len() - 1, 5_000);
    }

    #[test]
    fn what_was_hidden_is_told_at_the_end() {
        let held = held();
        let repeats = Arc::clone(&held.repeats);
        let written = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&written);
        let writer = Writer::start_on(held, move |bytes| {
            seen.lock().extend_from_slice(bytes);
            Ok(())
        });
        let writer = writer.expect("a thread");
        for _ in 0..3 {
            repeats.lock().hear(0, Line::new(Level::ERROR, "away", LogFormat::Json));
        }
        writer.flush(Duration::from_mins(1));
        let text = String::from_utf8(written.lock().clone()).expect("text");
        assert!(text.ends_with("\"event\":\"away\",\"repeated\":2}\n"), "{text}");
    }
}
