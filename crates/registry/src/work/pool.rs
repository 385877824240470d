//! Slow hashes, on few threads of their own that everything else goes before: whoever floods
//! the server with passwords waits for others of that kind, and robots wait for none.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::rules::credential::{BadCredential, Verifier};

/// Hashes that wait, and those of one address among them.
const WAITING: usize = 256;
const OF_ONE: usize = 64;
/// How much the threads step back for others.
const NICE: i32 = 10;

struct Job {
    work: Box<dyn FnOnce() + Send>,
    place: Place,
}

/// A place among those of an address.
struct Place {
    places: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Place {
    fn take(places: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let mut all = places.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(address).or_insert(0);
        if *taken >= OF_ONE {
            return None;
        }
        *taken += 1;
        drop(all);
        Some(Self { places: Arc::clone(places), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// The threads' queue.
pub(super) struct Pool {
    jobs: mpsc::SyncSender<Job>,
    places: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// No place is left.
#[derive(Debug)]
pub(super) struct Full;

impl Pool {
    /// Starts its threads: as many as the machine has processors.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(WAITING);
        let queue = Arc::new(Mutex::new(queue));
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(16);
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name("hash".into()).spawn(move || {
                step_back();
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { work, place }) = next else { return };
                    work();
                    drop(place);
                }
            })?;
        }
        Ok(Self { jobs, places: Arc::default() })
    }

    /// Whether this is the password.
    pub(super) async fn verify(
        &self,
        verifier: Verifier,
        password: Zeroizing<Vec<u8>>,
        address: IpAddr,
    ) -> Result<bool, Full> {
        self.run(address, move || verifier.verify(&password)).await
    }

    /// What compares with this password.
    pub(super) async fn hash(
        &self,
        password: Zeroizing<Vec<u8>>,
        salt: [u8; 16],
        address: IpAddr,
    ) -> Result<Result<Verifier, BadCredential>, Full> {
        self.run(address, move || Verifier::of_password(&password, &salt)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        address: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Full> {
        let place = Place::take(&self.places, address).ok_or(Full)?;
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move || {
            // Nobody waits for one who has gone.
            if !answer.is_closed() {
                let _gone = answer.send(work());
            }
        });
        self.jobs.try_send(Job { work, place }).map_err(|_| Full)?;
        answered.await.map_err(|_| Full)
    }
}

/// A thread's own priority, as Linux has it.
fn step_back() {
    let own = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(own), NICE) {
        tracing::warn!(event = "hashes_not_nice", %error);
    }
}
