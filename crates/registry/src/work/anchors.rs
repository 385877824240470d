//! How far this server's records reach is told to managers, by this machine's agent: whoever cuts
//! one shorter or writes it anew is found by comparing it with what they know.

use std::convert::Infallible;
use std::time::Duration;

use skep_client::put::{NotPut, RecordReach, anchor};
use skep_core::base::Name;

use super::auth::AgentAt;
use super::record::Reached;
use crate::rules::record::{Chain, Head};

/// How often it is looked whether there is something to tell.
const EVERY: Duration = Duration::from_secs(10);
/// How long the agent may take.
const ANSWER: Duration = Duration::from_secs(6);
/// The same at the end, when whoever ends this process waits.
const AT_END: Duration = Duration::from_secs(2);

/// Tells it.
#[derive(Debug)]
pub struct Anchors {
    agent: AgentAt,
    reached: Reached,
    told: Vec<(Name, Head)>,
    /// Whether it is known that it isn't told.
    silent: bool,
}

impl Anchors {
    /// By this agent, of these files.
    #[must_use]
    pub fn new(agent: AgentAt, reached: Reached) -> Self {
        Self { agent, reached, told: Vec::new(), silent: false }
    }

    /// Tells it whenever there is something new, without an end.
    pub async fn keep(&mut self) -> Infallible {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.tell(ANSWER).await;
        }
    }

    /// Tells how far they reach at the end.
    pub async fn end(&mut self) {
        self.tell(AT_END).await;
    }

    async fn tell(&mut self, within: Duration) {
        for (record, Chain { head, next: lines }) in self.reached.now() {
            let known = self.told.iter_mut().find(|(of, _)| *of == record);
            if lines == 0 || known.as_ref().is_some_and(|(_, told)| *told == head) {
                continue;
            }
            let reach = RecordReach { record: record.clone(), lines, head };
            let AgentAt { socket, service } = &self.agent;
            match anchor(socket, service, &reach, within).await {
                Ok(()) => {
                    match known {
                        Some((_, told)) => *told = head,
                        None => self.told.push((record.clone(), head)),
                    }
                    if std::mem::take(&mut self.silent) {
                        tracing::info!(event = "record_anchored", record = record.as_str());
                    }
                }
                // What is told next holds for this too.
                Err(NotPut::TooOften(_)) => {}
                Err(why) => {
                    let failure = why.failure();
                    if !std::mem::replace(&mut self.silent, true) {
                        let hint = failure.hint.clone().unwrap_or_default();
                        tracing::warn!(event = "record_not_anchored", why = failure.text, hint);
                    }
                }
            }
        }
    }
}
