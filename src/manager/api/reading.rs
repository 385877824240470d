//! Whether somebody goes on reading the audit log, or begins to: whoever begins has a line.

use crate::manager::admit::caller::Admitted;
use crate::manager::running::Running;
use crate::store::AuditCursor;
use skep_client::transport::Problem;
use skep_core::audit::{Chain, Digest};
use skep_core::domain::doer;
use skep_core::seal::ReadingPlace;
use skep_core::wire::api;

/// How long a reading goes on under one line, in milliseconds.
const GOES_ON: u64 = 60 * 60 * 1000;

/// Somebody's reading of one chain.
pub(super) struct Reading {
    what: [u8; 32],
    began: u64,
    /// Whether there is a line about it.
    pub(super) goes_on: bool,
}

impl Reading {
    /// That which a request goes on with, or another one.
    ///
    /// # Errors
    /// Whoever asks has no identity.
    pub(super) fn of(
        running: &Running,
        admitted: &Admitted,
        chain: Chain,
        asked: &api::ReadAuditRequest,
    ) -> Result<Self, Problem> {
        let core = &running.core;
        let actor = admitted.actor()?;
        let who = core.consensus.read(|state| doer(state, &actor));
        let mut what = Digest::new("skep 1 audit reading");
        for text in [&who.kind, &who.id, &who.name, &asked.actor, &asked.name, &asked.secret] {
            what.bytes(text.as_bytes());
        }
        what.number(u64::from(chain == Chain::Acts));
        what.number(asked.since);
        what.number(u64::from(asked.whole));
        let (what, now) = (what.end(), core.clock.boot().0);
        let began = asked.after.as_ref().and_then(|after| {
            let at = (after.file, after.record, after.offset);
            let place = ReadingPlace { what, began: after.began, at };
            let fits = core.audit.reading().is_mark(&after.mark, &place);
            let lasts = now.checked_sub(after.began).is_some_and(|since| since < GOES_ON);
            (fits && lasts).then_some(after.began)
        });
        Ok(Self { what, began: began.unwrap_or(now), goes_on: began.is_some() })
    }

    /// From where it goes on, as whoever reads is told.
    pub(super) fn to(&self, running: &Running, next: AuditCursor) -> api::AuditCursor {
        let AuditCursor { file, record, offset } = next;
        let place = ReadingPlace { what: self.what, began: self.began, at: (file, record, offset) };
        let mark = running.core.audit.reading().mark(&place);
        api::AuditCursor { file, record, offset, began: self.began, mark }
    }
}
