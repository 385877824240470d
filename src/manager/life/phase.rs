//! The life of a manager: what each phase answers, and how one leads to another.
//!
//! ```text
//!   new ──init──▶ running ──lock──▶ (the process starts anew) ──▶ locked
//!   locked ──unlock──▶ running        locked ──unlock, past its end──▶ expired
//!   expired ──unlock──▶ running       (the clock was wrong)
//!   running ──peers remember more──▶ rolled back ──repair──▶ running
//! ```

use crate::manager::problem;

use skep_client::transport::Problem;

/// Where a manager is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is on its disk.
    New,
    /// Its key file is there and closed.
    Locked,
    /// Its certificate is past its end.
    Expired,
    /// Unlocked.
    Running,
    /// Unlocked, on a disk that was put back to an older state.
    RolledBack,
}

/// What a call needs of the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Answered always.
    Nothing,
    /// A manager that is `new`.
    New,
    /// One that is locked.
    Locked,
    /// One that is unlocked.
    Running,
    /// `lock`: one that was initialised; a locked one has nothing to do.
    Initialised,
    /// `repair`: one whose disk is behind.
    RolledBack,
}

impl Phase {
    /// Whether a call with these needs is answered now.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn admits(self, needs: Needs) -> Result<(), Problem> {
        match (self, needs) {
            (_, Needs::Nothing)
            | (Self::New, Needs::New)
            | (Self::Locked | Self::Expired, Needs::Locked)
            | (Self::Running, Needs::Running)
            | (Self::RolledBack, Needs::RolledBack)
            | (
                Self::Locked | Self::Expired | Self::Running | Self::RolledBack,
                Needs::Initialised,
            ) => Ok(()),
            (
                Self::New,
                Needs::Locked | Needs::Running | Needs::Initialised | Needs::RolledBack,
            ) => Err(problem::life::not_initialised()),
            (Self::Locked | Self::Expired | Self::Running | Self::RolledBack, Needs::New) => {
                Err(problem::life::initialised())
            }
            (Self::Running | Self::RolledBack, Needs::Locked) => Err(problem::life::not_locked()),
            (Self::Locked, Needs::Running | Needs::RolledBack) => Err(problem::locked()),
            (Self::Expired, Needs::Running | Needs::RolledBack) => Err(problem::expired()),
            (Self::RolledBack, Needs::Running) => Err(problem::rolled_back()),
            (Self::Running, Needs::RolledBack) => Err(problem::life::not_rolled_back()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::Exit;

    #[test]
    fn each_phase_answers_what_it_can() {
        use Needs::{Initialised, Locked, New, Nothing, RolledBack, Running};
        const YES: Exit = Exit::Done;
        const NO: Exit = Exit::Refused;
        const LOCKED: Exit = Exit::Locked;
        const ENDED: Exit = Exit::IdentityEnded;
        // What a caller's process ends with.
        let table = [
            (Phase::New, [YES, YES, NO, NO, NO, NO]),
            (Phase::Locked, [YES, NO, YES, LOCKED, YES, LOCKED]),
            (Phase::Expired, [YES, NO, YES, ENDED, YES, ENDED]),
            (Phase::Running, [YES, NO, NO, YES, YES, NO]),
            (Phase::RolledBack, [YES, NO, NO, NO, YES, YES]),
        ];
        let columns = [Nothing, New, Locked, Running, Initialised, RolledBack];
        for (phase, row) in table {
            for (needs, exit) in columns.into_iter().zip(row) {
                let got = phase.admits(needs).map_or_else(|problem| problem.exit, |()| YES);
                assert_eq!(got, exit, "{phase:?} {needs:?}");
            }
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let phases = [Phase::New, Phase::Locked, Phase::Expired, Phase::Running, Phase::RolledBack];
        for phase in phases {
            for needs in
                [Needs::New, Needs::Locked, Needs::Running, Needs::Initialised, Needs::RolledBack]
            {
                if let Err(problem) = phase.admits(needs) {
                    assert!(!problem.hint.is_empty(), "{phase:?} {needs:?}");
                }
            }
        }
    }
}
