//! The way to the leader for what is asked beside the session.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::transport::Channel;

/// A connection as it is renewed.
type Calls = watch::Receiver<Channel>;

/// Where the leader is asked, while there is a session. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Upward(Arc<watch::Sender<Option<Calls>>>);

/// The way is open for as long as this lives.
#[derive(Debug)]
pub(super) struct OpenWay {
    way: Upward,
    calls: Calls,
}

impl Drop for OpenWay {
    fn drop(&mut self) {
        self.way.0.send_if_modified(|now| {
            // The next session may have opened it already.
            let own = now.as_ref().is_some_and(|now| now.same_channel(&self.calls));
            if own {
                *now = None;
            }
            own
        });
    }
}

impl Upward {
    /// There is a session: what is asked beside it goes this way.
    pub(super) fn open(&self, calls: Calls) -> OpenWay {
        self.0.send_replace(Some(calls.clone()));
        OpenWay { way: self.clone(), calls }
    }

    /// Waits for a session, and gives the newest connection to its manager.
    pub(super) async fn channel(&self) -> Channel {
        let mut ways = self.0.subscribe();
        loop {
            if let Some(calls) = ways.borrow_and_update().as_ref() {
                return calls.borrow().clone();
            }
            if ways.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
    }

    #[tokio::test]
    async fn a_session_that_ends_late_does_not_close_the_next_ones_way() {
        let way = Upward::default();
        let (_first, calls) = watch::channel(channel());
        let before = way.open(calls);
        let (_second, calls) = watch::channel(channel());
        let after = way.open(calls);
        drop(before);
        assert!(way.0.borrow().is_some());
        way.channel().await;
        drop(after);
        assert!(way.0.borrow().is_none());
    }
}
