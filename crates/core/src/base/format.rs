//! The number of every stored format.

/// The number that stands in every file, command and state that this build writes: one for
/// all of them, so that one look at any of them tells whether this build reads it. Number 1
/// was written by builds before the first release, and nothing reads it any more.
pub const FORMAT: u32 = 11;

/// What an operator does about data of another number that is older.
pub const START_EMPTY: &str = "no release wrote this: start with an empty data directory, and initialise or join anew; \
     to look at the old data, run the build that wrote it";

/// A file, command or state of another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherFormat {
    /// Status 23.
    #[error("written by an unreleased build of skep (format {0})")]
    Older(u32),
    /// Status 25.
    #[error("written by a newer version of skep (format {0})")]
    Newer(u32),
}

impl OtherFormat {
    /// Whether this build reads what bears this number. 0 is no number: it is damage, which
    /// is told before this is asked.
    ///
    /// # Errors
    /// [`OtherFormat`].
    pub fn check(found: u32) -> Result<(), Self> {
        match found.cmp(&FORMAT) {
            std::cmp::Ordering::Less => Err(Self::Older(found)),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Self::Newer(found)),
        }
    }
}
