//! Cutting one peer off: all that it has open ends at once (P8).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use skep_core::base::Stamp;

type OpenConnections = HashMap<[u8; 16], BTreeMap<u64, CutEntry>>;

/// One connection: when the certificate ends with which it was made, and what ends it.
#[derive(Debug)]
struct CutEntry {
    certificate_ends: Stamp,
    token: CancellationToken,
}

/// The open connections of each peer, by the id in its certificate. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cuts(Arc<Mutex<(u64, OpenConnections)>>);

impl Cuts {
    /// Ends every connection that this peer has open now.
    pub fn cut(&self, peer: [u8; 16]) {
        if let Some(open) = self.0.lock().1.get(&peer) {
            for entry in open.values() {
                entry.token.cancel();
            }
        }
    }

    /// Ends every connection that was made with a certificate which ended by then.
    pub fn cut_ended(&self, by: Stamp) {
        for entry in self.0.lock().1.values().flat_map(BTreeMap::values) {
            if entry.certificate_ends <= by {
                entry.token.cancel();
            }
        }
    }

    /// A connection of this peer, made with a certificate that ends then; `all` ends it too. It
    /// is forgotten with the entry.
    pub(super) fn enter(
        &self,
        peer: [u8; 16],
        certificate_ends: Stamp,
        all: &CancellationToken,
    ) -> CutPlace {
        let token = all.child_token();
        let (next, open) = &mut *self.0.lock();
        *next = next.wrapping_add(1);
        let entry = CutEntry { certificate_ends, token: token.clone() };
        open.entry(peer).or_default().insert(*next, entry);
        CutPlace { cuts: self.clone(), peer, number: *next, token }
    }
}

/// One open connection of a peer.
#[derive(Debug)]
pub(super) struct CutPlace {
    cuts: Cuts,
    peer: [u8; 16],
    number: u64,
    pub(super) token: CancellationToken,
}

impl Drop for CutPlace {
    fn drop(&mut self) {
        let (_, open) = &mut *self.cuts.0.lock();
        if let Some(own) = open.get_mut(&self.peer) {
            own.remove(&self.number);
            if own.is_empty() {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_is_cut_and_nobody_else() {
        let (cuts, all) = (Cuts::default(), CancellationToken::new());
        let (first, second) =
            (cuts.enter([1; 16], Stamp(5), &all), cuts.enter([1; 16], Stamp(5), &all));
        let other = cuts.enter([2; 16], Stamp(6), &all);
        cuts.cut([1; 16]);
        assert!(first.token.is_cancelled() && second.token.is_cancelled());
        assert!(!other.token.is_cancelled() && !all.is_cancelled());
        let again = cuts.enter([1; 16], Stamp(5), &all);
        assert!(!again.token.is_cancelled(), "what comes later is refused by others");
        cuts.cut_ended(Stamp(4));
        assert!(!again.token.is_cancelled() && !other.token.is_cancelled());
        cuts.cut_ended(Stamp(5));
        assert!(again.token.is_cancelled() && !other.token.is_cancelled(), "its time is over");
        drop((first, second, again, other));
        assert!(cuts.0.lock().1.is_empty(), "nothing is kept");
    }
}
