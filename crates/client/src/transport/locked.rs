//! What a locked manager says to whoever connects: a TLS alert, before any handshake.
//!
//! It has no key to prove anything with, so nobody may rely on it. It is for the person who
//! wants to know why nobody answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// A fatal alert, `access_denied`, in a record of its own (RFC 8446, 5.1 and 6).
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// Whoever is told so at a time; others are closed at once.
const PLACES: usize = 64;
/// How long one may take to hear it.
const HEARS: Duration = Duration::from_secs(1);
/// Bytes of its own first message that are taken from it and thrown away, so that the
/// answer arrives before the end.
const TAKEN: u64 = 16 * 1024;
/// After `accept` failed the listener rests so long.
const REST: Duration = Duration::from_millis(100);

/// Tells everybody who connects that the manager is locked, for ever.
pub async fn say_locked(listener: TcpListener) {
    let places = Arc::new(Semaphore::new(PLACES));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(REST).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        tokio::spawn(async move {
            // One that doesn't listen to the end misses a hint.
            timeout(HEARS, tell(stream)).await.ok();
            drop(place);
        });
    }
}

async fn tell(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&ALERT).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(TAKEN), &mut tokio::io::sink()).await?;
    Ok(())
}
