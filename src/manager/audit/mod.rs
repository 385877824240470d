//! What a manager records of what it does, and what is done where it can't.
//!
//! A running manager has its own chain of the audit log; a locked one seals its lines to the key
//! that it will have; a new one has nothing to record. What the cluster applies has its lines
//! elsewhere (`consensus`). Where nothing can be written, a manager either does nothing that
//! ought to be recorded, or goes on and counts: as it was told.

mod act;
mod share;

use std::sync::Arc;

pub(in crate::manager) use self::act::Act;
use self::share::Share;
use crate::manager::problem;
use crate::store::{AuditLog, AuditStanding, LockedLines, NotRecorded, Retention};
use skep_client::transport::Problem;
use skep_core::audit::{Chain, Deed, Line, moment};
use skep_core::base::{Clock, Dice, NodeId};
use skep_core::seal::ReadingKey;

/// What is done where the audit log can't be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing that ought to be recorded.
    #[default]
    Halt,
    /// Everything; what has no line is counted.
    Continue,
}

/// How the audit log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditSettings {
    /// For how long.
    pub retention: Retention,
    /// What is done where it can't be written.
    pub on_failure: OnFailure,
}

enum To {
    Nowhere,
    Box { lines: LockedLines, public: [u8; 32] },
    Log(AuditLog),
}

/// Where a manager's acts are recorded. Clones are the same.
#[derive(Clone)]
pub(in crate::manager) struct Audit(Arc<Inner>);

struct Inner {
    to: To,
    on_failure: OnFailure,
    manager: String,
    clock: Arc<dyn Clock>,
    dice: fn() -> Box<dyn Dice>,
    reading: ReadingKey,
    share: Share,
}

impl Audit {
    /// Of a manager that has nothing to record.
    pub(in crate::manager) fn nowhere(clock: Arc<dyn Clock>, dice: fn() -> Box<dyn Dice>) -> Self {
        Self::new(To::Nowhere, OnFailure::Continue, String::new(), clock, dice)
    }

    /// Of a locked one.
    pub(in crate::manager) fn locked(
        node: NodeId,
        (lines, public): (LockedLines, [u8; 32]),
        clock: Arc<dyn Clock>,
        dice: fn() -> Box<dyn Dice>,
    ) -> Self {
        let to = To::Box { lines, public };
        Self::new(to, OnFailure::Continue, node.to_string(), clock, dice)
    }

    /// Of a running one.
    pub(in crate::manager) fn open(
        node: NodeId,
        log: AuditLog,
        on_failure: OnFailure,
        clock: Arc<dyn Clock>,
        dice: fn() -> Box<dyn Dice>,
    ) -> Self {
        Self::new(To::Log(log), on_failure, node.to_string(), clock, dice)
    }

    fn new(
        to: To,
        on_failure: OnFailure,
        manager: String,
        clock: Arc<dyn Clock>,
        dice: fn() -> Box<dyn Dice>,
    ) -> Self {
        let reading = ReadingKey::draw(&mut *dice());
        Self(Arc::new(Inner {
            to,
            on_failure,
            manager,
            clock,
            dice,
            reading,
            share: Share::default(),
        }))
    }

    /// The log of a running manager.
    pub(in crate::manager) fn log(&self) -> Option<&AuditLog> {
        match &self.0.to {
            To::Log(log) => Some(log),
            To::Nowhere | To::Box { .. } => None,
        }
    }

    /// What marks how far somebody has read.
    pub(in crate::manager) fn reading(&self) -> &ReadingKey {
        &self.0.reading
    }

    /// How it does.
    pub(in crate::manager) fn standing(&self) -> AuditStanding {
        self.log().map(AuditLog::standing).unwrap_or_default()
    }

    /// Whether anything may be done that ought to be recorded.
    ///
    /// # Errors
    /// What the caller is told.
    pub(in crate::manager) fn goes_on(&self) -> Result<(), Problem> {
        match self.standing().failing {
            Some(why) if self.0.on_failure == OnFailure::Halt => {
                Err(problem::audit::not_recorded(why))
            }
            _ => Ok(()),
        }
    }

    /// Records an act; when this returns, its line is written, or it is counted as lost.
    ///
    /// # Errors
    /// What the caller is told where it can't be recorded, and so must not be done.
    pub(in crate::manager) async fn record(&self, act: Act) -> Result<(), Problem> {
        let line = self.line(act);
        match &self.0.to {
            To::Nowhere => Ok(()),
            To::Log(log) => match log.record(line).await {
                Ok(()) => Ok(()),
                Err(NotRecorded(why)) if self.0.on_failure == OnFailure::Halt => {
                    Err(problem::audit::not_recorded(why))
                }
                Err(NotRecorded(_)) => {
                    log.lose(1);
                    Ok(())
                }
            },
            To::Box { lines, public } => {
                let (lines, public, dice) = (lines.clone(), *public, self.0.dice);
                let text = line.write([0; 32]).text;
                let keep = move || lines.keep(&mut *dice(), &public, text.as_bytes());
                match tokio::task::spawn_blocking(keep).await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => tracing::warn!(event = "locked_line_has_no_room"),
                    // A manager that can't write must still be unlocked, to be looked after.
                    Ok(Err(why)) => tracing::error!(event = "locked_line_not_kept", %why),
                    Err(why) => tracing::error!(event = "locked_line_not_kept", %why),
                }
                Ok(())
            }
        }
    }

    /// Counts an act that came to its end without a line.
    pub(in crate::manager) fn lose(&self) {
        if let Some(log) = self.log() {
            log.lose(1);
        }
    }

    /// Records a call: by a line of its own while its identity's share lasts, else by a count.
    ///
    /// # Errors
    /// As of [`Audit::record`].
    pub(in crate::manager) async fn record_call(&self, act: Act) -> Result<(), Problem> {
        if self.log().is_some() && !self.0.share.has_line(&act, self.0.clock.boot()) {
            return Ok(());
        }
        self.record(act).await
    }

    /// Writes the lines of calls that were only counted, where it is time, or all at the end.
    pub(in crate::manager) async fn settle(&self, end: bool) {
        let now = self.0.clock.boot();
        for (act, times) in self.0.share.due(now, end) {
            if self.record(Act { times, ..act.clone() }).await.is_err() {
                self.0.share.count(&act, times, now);
            }
        }
    }

    fn line(&self, act: Act) -> Line {
        let Act { who, from, deeds, refused, revision, times } = act;
        let outcome = if refused.is_empty() { "done" } else { "refused" };
        Line {
            v: 0,
            chain: Chain::Acts,
            manager: self.0.manager.clone(),
            n: 0,
            at: moment(self.0.clock.now()),
            who,
            from,
            acts: deeds,
            more: 0,
            times,
            outcome: outcome.to_owned(),
            why: refused,
            revision: revision.0,
            command: String::new(),
            answer: String::new(),
            prev: String::new(),
        }
    }

    /// Takes up what this manager went through while it was locked.
    pub(in crate::manager) async fn take_up(&self, lines: Vec<Option<Vec<u8>>>) {
        let Some(log) = self.log() else { return };
        for line in lines {
            let read = line.and_then(|text| Line::read(&text).ok());
            let line = read.unwrap_or_else(|| {
                let deeds = vec![Deed::new("audit.locked-line-damaged")];
                self.line(Act { deeds, ..Act::default() })
            });
            if let Err(why) = log.record(line).await {
                tracing::error!(event = "locked_line_not_recorded", %why);
                log.lose(1);
            }
        }
    }
}
