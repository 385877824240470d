//! How far records reach that workloads keep by themselves: the leader puts it on record, so that
//! whoever has this machine can't cut one shorter unseen. Who may ask is decided as for what
//! workloads write, and nothing is kept here: what was not handed on is said again by the workload.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::puts::{NotCarried, Puts};
use skep_client::transport::rpc::api::writing_client::WritingClient;
use skep_core::base::Name;
use skep_core::wire::api;

/// How long it may take, a leader included that is sought.
const WITHIN: Duration = Duration::from_secs(5);

/// How far a record reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordEnd {
    /// What the workload calls it.
    pub record: Name,
    /// Lines of its newest file.
    pub lines: u64,
    /// The head of the last of them.
    pub head: [u8; 32],
}

impl Puts {
    /// Has managers put on record how far a record reaches that a process of a service's workload
    /// keeps.
    ///
    /// # Errors
    /// What the caller is told: by this agent, or by the leader in its own words.
    pub async fn anchor(
        &self,
        who: (u32, i32),
        service: Name,
        end: RecordEnd,
    ) -> Result<(), NotCarried> {
        let admitted = self.admit(who, service.clone(), Vec::new()).await;
        let (id, _) = admitted.map_err(NotCarried::Refused)?;
        let parts = &self.0;
        if parts.anchors.check_key(&id).is_err() {
            parts.anchors_dropped.fetch_add(1, Ordering::Relaxed);
            if parts.anchors_said.check().is_ok() {
                let count = parts.anchors_dropped.swap(0, Ordering::Relaxed);
                tracing::warn!(event = "record_anchored_too_often", last = %service, count);
            }
            return Err(NotCarried::TooOften);
        }
        let asked = api::AnchorRecordRequest {
            service: id.as_bytes().to_vec(),
            record: end.record.to_string(),
            lines: end.lines,
            head: end.head.to_vec(),
        };
        let carry = async {
            let mut leader = WritingClient::new(parts.upward.channel().await);
            leader.anchor_record(asked).await
        };
        match tokio::time::timeout(WITHIN, carry).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(NotCarried::Told(status)),
            Err(_late) => Err(NotCarried::NotSent),
        }
    }
}
