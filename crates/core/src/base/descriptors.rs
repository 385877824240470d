//! What a process may do with the descriptors that the machine lets it have.
//!
//! A process that runs out of descriptors can write no log, open no file and accept
//! nobody. So everything that takes descriptors for others (connections, claims, files
//! held) is counted, and the counts are sized here, together, from the one limit: what
//! all of them may take, and what the process needs for itself, is never more than the
//! limit. docs/limits.md lists the numbers.

/// The open files that the system allows this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptors(usize);

/// Descriptors that a manager needs for itself: standard streams, the runtimes, the lock,
/// the listeners, the log's segment and the next one, snapshots, log reads (64), the
/// connections that it opens to other managers (48), and a reserve (16).
const MANAGER_OWN: usize = 128;
/// Descriptors that an agent needs for itself: standard streams, the runtimes, the lock,
/// the listener, FUSE (32), the connections to managers (16), and what wipes, walks
/// through `/proc`, the mount table and the log need (80).
const AGENT_OWN: usize = 128;
/// The fewest with which a manager or an agent works: as many again as it needs for itself.
pub const LEAST_DESCRIPTORS: usize = 256;

/// Connections to a local socket: nobody has more callers on one machine.
const LOCAL: usize = 1_024;
/// Connections from other managers: 6 of them with 16 each, and some that end.
const MANAGERS: usize = 112;
/// Connections of strangers, from `accept` to the end of their handshake.
const STRANGERS: usize = 512;
/// Connections of callers without a valid certificate.
const GUESTS: usize = 256;
/// Connections of nodes and operators: every node, and room for operators.
const KNOWN: usize = super::limits::NODES + 2_000;
/// Workloads of one agent: more than a machine has processes to run them.
const WORKLOADS: usize = 16_384;
/// Descriptors of one workload: its main process and its mount namespace.
const PER_WORKLOAD: usize = 2;
/// Files that an agent holds open; beyond these a mapping does the same.
const FILES: usize = 65_536;

/// Too few descriptors to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of open files is {0}, and at least {LEAST_DESCRIPTORS} are needed")]
pub struct TooFewDescriptors(pub usize);

/// How many of each a manager takes on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagerPlaces {
    /// Connections to the control socket.
    pub local: usize,
    /// Connections from other managers.
    pub managers: usize,
    /// Connections of strangers, from `accept` to the end of their handshake.
    pub strangers: usize,
    /// Connections of callers without a valid certificate.
    pub guests: usize,
    /// Connections of nodes and operators.
    pub known: usize,
}

/// How many of each an agent takes on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentPlaces {
    /// Connections to the agent's socket.
    pub local: usize,
    /// Workloads followed, those that only claim counted in: two descriptors each.
    pub workloads: usize,
    /// Delivered files held open for writing: one descriptor each.
    pub files: usize,
}

/// `most`, or the share (`of_16` sixteenths) of `rest` if that is less.
fn share(rest: usize, of_16: usize, most: usize) -> usize {
    (rest.saturating_mul(of_16) / 16).min(most)
}

impl Descriptors {
    /// As many as the process may have open at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(limit)
    }

    /// What is left beside the process's own.
    fn beside(self, own: usize) -> Result<usize, TooFewDescriptors> {
        if self.0 < LEAST_DESCRIPTORS {
            return Err(TooFewDescriptors(self.0));
        }
        Ok(self.0.saturating_sub(own))
    }

    /// A manager's places: of what it doesn't need for itself 2/16 are for the control
    /// socket, 3/16 for managers, 2/16 for strangers, 2/16 for guests, the rest for nodes
    /// and operators.
    ///
    /// # Errors
    /// [`TooFewDescriptors`].
    pub fn of_manager(self) -> Result<ManagerPlaces, TooFewDescriptors> {
        let rest = self.beside(MANAGER_OWN)?;
        let local = share(rest, 2, LOCAL);
        let managers = share(rest, 3, MANAGERS);
        let strangers = share(rest, 2, STRANGERS);
        let guests = share(rest, 2, GUESTS);
        let taken = local + managers + strangers + guests;
        let known = rest.saturating_sub(taken).min(KNOWN);
        Ok(ManagerPlaces { local, managers, strangers, guests, known })
    }

    /// An agent's places: of what it doesn't need for itself 2/16 are for its socket, 8/16
    /// for workloads, the rest for files.
    ///
    /// # Errors
    /// [`TooFewDescriptors`].
    pub fn of_agent(self) -> Result<AgentPlaces, TooFewDescriptors> {
        let rest = self.beside(AGENT_OWN)?;
        let local = share(rest, 2, LOCAL);
        let workloads = share(rest, 8, WORKLOADS * PER_WORKLOAD) / PER_WORKLOAD;
        let files = rest.saturating_sub(local + workloads * PER_WORKLOAD).min(FILES);
        Ok(AgentPlaces { local, workloads, files })
    }
}

/// Those of a process that may have as many descriptors as it likes.
impl Default for ManagerPlaces {
    fn default() -> Self {
        Self {
            local: LOCAL,
            managers: MANAGERS,
            strangers: STRANGERS,
            guests: GUESTS,
            known: KNOWN,
        }
    }
}

/// Those of a process that may have as many descriptors as it likes.
impl Default for AgentPlaces {
    fn default() -> Self {
        Self { local: LOCAL, workloads: WORKLOADS, files: FILES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_places_together_fit_into_any_limit() {
        let limits = (LEAST_DESCRIPTORS..5_000).chain([65_536, 524_288, 1 << 20, usize::MAX]);
        for limit in limits {
            let ManagerPlaces { local, managers, strangers, guests, known } =
                Descriptors::new(limit).of_manager().expect("enough");
            let taken = local + managers + strangers + guests + known;
            assert!(taken + MANAGER_OWN <= limit, "{limit}");
            // Two lanes of each of six managers, and somebody of each kind.
            assert!(managers >= 24 && local >= 16 && strangers >= 16 && guests >= 16, "{limit}");
            assert!(known >= 48, "{limit}");
            let AgentPlaces { local, workloads, files } =
                Descriptors::new(limit).of_agent().expect("enough");
            assert!(local + workloads * PER_WORKLOAD + files + AGENT_OWN <= limit, "{limit}");
            assert!(local >= 16 && workloads >= 32 && files >= 48, "{limit}");
        }
    }

    #[test]
    fn many_are_as_good_as_all() {
        let many = Descriptors::new(524_288);
        assert_eq!(many.of_manager(), Ok(ManagerPlaces::default()));
        assert_eq!(many.of_agent(), Ok(AgentPlaces::default()));
    }

    #[test]
    fn too_few_are_refused() {
        for few in [0, 64, LEAST_DESCRIPTORS - 1] {
            assert_eq!(Descriptors::new(few).of_manager(), Err(TooFewDescriptors(few)));
            assert_eq!(Descriptors::new(few).of_agent(), Err(TooFewDescriptors(few)));
        }
    }

    #[test]
    fn the_usual_limit_of_a_shell() {
        let usual = Descriptors::new(1_024);
        assert_eq!(
            usual.of_manager(),
            Ok(ManagerPlaces {
                local: 112,
                managers: 112,
                strangers: 112,
                guests: 112,
                known: 448
            })
        );
        assert_eq!(usual.of_agent(), Ok(AgentPlaces { local: 112, workloads: 224, files: 336 }));
    }
}
