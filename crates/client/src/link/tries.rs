//! How often and how long one call is tried, and what is known of it when that is over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::CallKind;
use crate::answer::Answer;
use crate::error::CallError;

/// Managers that send a call on before we stop following.
const REDIRECTS: usize = 8;
/// Between two tries, at first and at most. A manager that knows no leader answers only after
/// a quarter of a second, or once there is one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(100));
/// How long an act with a request id may be sent again: its answer is
/// remembered for a minute, and the rest of it is for the way.
const REPEATABLE: Duration = Duration::from_secs(30);
/// Nobody is asked once more with less time than that for an answer: what came of it would be
/// unknown, where until then it is known that nothing was done.
const LEAST: Duration = Duration::from_millis(500);
/// The least time that one manager has for an answer, where another may have it.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long a call is repeated before that is told.
const TELL: Duration = Duration::from_secs(1);

/// Who hears that a call is still repeated, and why.
#[derive(Clone)]
pub(super) struct Patience(Arc<dyn Fn(&CallError) + Send + Sync>);

impl Patience {
    pub(super) fn new(tell: impl Fn(&CallError) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patience")
    }
}

/// The tries of one call.
#[derive(Debug)]
pub(super) struct Tries {
    kind: CallKind,
    pub(super) deadline: Instant,
    pause: Duration,
    redirects: usize,
    /// A manager was reached before.
    reached: bool,
    /// A try broke after it was sent: it may have been done.
    maybe_done: bool,
    /// Why the last try did not do, once there was one.
    last: Option<CallError>,
    begun: Instant,
    /// Who is still to be told that it goes on.
    patience: Option<Patience>,
}

impl Tries {
    pub(super) fn new(kind: CallKind, most: Duration, patience: Option<Patience>) -> Self {
        let repeatable = matches!(kind, CallKind::Repeatable(_));
        let most = if repeatable { most.min(REPEATABLE) } else { most };
        let begun = Instant::now();
        let deadline = begun + most.min(Duration::from_hours(24));
        Self {
            kind,
            deadline,
            pause: PAUSE.0,
            redirects: 0,
            reached: false,
            maybe_done: false,
            last: None,
            begun,
            patience,
        }
    }

    /// When to give up on a manager that took a call and says nothing: in time to
    /// ask another one, where asking again does no harm.
    pub(super) fn attempt(&self) -> Instant {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.kind {
            CallKind::Read | CallKind::Repeatable(_) => {
                self.deadline.min(Instant::now() + ATTEMPT.max(left / 3))
            }
            CallKind::Once(_) => self.deadline,
        }
    }

    /// No connection: that alone is no reason to go on; an election or an open
    /// question is.
    pub(super) async fn not_reached(&mut self, error: CallError) -> Result<(), CallError> {
        if self.reached { self.again(error).await } else { Err(error) }
    }

    pub(super) async fn answered(&mut self, answer: Answer) -> Result<(), CallError> {
        self.reached = true;
        match answer {
            Answer::Refused(failure) => Err(CallError::Answered(failure)),
            Answer::LeaderIsAt(_, failure) => {
                self.redirects += 1;
                // Managers that name each other in turn are between two leaders.
                if self.redirects <= REDIRECTS {
                    Ok(())
                } else {
                    self.again(CallError::Answered(failure)).await
                }
            }
            Answer::NoLeader(failure) | Answer::Busy(failure) => {
                self.again(CallError::Answered(failure)).await
            }
            Answer::Unknown(failure) => {
                self.maybe_done = true;
                self.again(CallError::Answered(failure)).await
            }
            Answer::Lost(why) => {
                self.maybe_done = true;
                self.again(CallError::Broken(why)).await
            }
        }
    }

    /// Waits for the next try, or ends with `error`.
    async fn again(&mut self, error: CallError) -> Result<(), CallError> {
        let over = Instant::now() + self.pause + LEAST >= self.deadline;
        match &self.kind {
            CallKind::Once(look) if self.maybe_done => {
                return Err(CallError::unknown(&error.to_string(), look));
            }
            CallKind::Repeatable(look) if self.maybe_done && over => {
                return Err(CallError::unknown(&error.to_string(), look));
            }
            _ if over => return Err(error),
            _ => {}
        }
        if self.begun.elapsed() >= TELL
            && let Some(Patience(tell)) = self.patience.take()
        {
            tell(&error);
        }
        self.last = Some(error);
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        Ok(())
    }

    /// Whether another try comes too late for an answer.
    pub(super) fn is_late(&self) -> bool {
        self.reached && Instant::now() + LEAST > self.deadline
    }

    /// The time is over while nobody is asked: what was answered last says more than that.
    pub(super) fn unasked(self, after: Duration) -> CallError {
        if let (Some(error), false) = (&self.last, self.maybe_done) {
            return error.clone();
        }
        let error = CallError::NotInTime { after, reached: self.reached };
        match &self.kind {
            CallKind::Repeatable(look) | CallKind::Once(look) if self.maybe_done => {
                CallError::unknown(&error.to_string(), look)
            }
            _ => error,
        }
    }

    /// The time is over while a call is under way.
    pub(super) fn silent(&self, after: Duration) -> CallError {
        let error = CallError::NoAnswer(after);
        match &self.kind {
            CallKind::Read => error,
            CallKind::Repeatable(look) | CallKind::Once(look) => {
                CallError::unknown(&error.to_string(), look)
            }
        }
    }
}
