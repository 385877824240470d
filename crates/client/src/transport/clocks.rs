//! Clocks that differ: found where a certificate is right but for the time.
//!
//! A certificate alone says little of a clock: that it begins later than now is proof of one
//! that is behind, and that it ended may be true. So the manager is asked what time it is
//! there, over a connection that shows no certificate and is good for nothing else. The
//! manager proves its key on it as on any other; only when its certificate is valid is passed
//! over. What it says is told to people; nothing is opened by it.

use std::fmt;
use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use super::NamedTime;
use crate::ca::START_TOLERANCE_MS;
use skep_core::base::Stamp;

/// What to do about a clock, in one line.
pub const SET_THE_CLOCK: &str = "see what is wrong with the clock of this machine: `timedatectl` shows it, and \
     `timedatectl set-ntp true` has it kept right";

/// Of whose certificate it is not the time, by the clock of whoever looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfTime {
    /// The manager's begins in so many milliseconds.
    Begins(u64),
    /// The manager's ended so many milliseconds ago.
    Ended(u64),
    /// The manager says so of the one that it was shown.
    Ours,
}

impl OutOfTime {
    /// What is wrong with a certificate that lasts from `starts` to `ends`, at `now`.
    pub(super) fn of(starts: Stamp, ends: Stamp, now: Stamp) -> Self {
        if ends <= now {
            Self::Ended(now.0.saturating_sub(ends.0))
        } else {
            Self::Begins(starts.0.saturating_sub(now.0))
        }
    }

    /// The same in rustls's words: so whoever is refused hears that it is for the time.
    pub(super) fn refusal(self, now: Stamp) -> CertificateError {
        let unix = |stamp: Stamp| UnixTime::since_unix_epoch(Duration::from_millis(stamp.0));
        let time = unix(now);
        match self {
            Self::Begins(ms) => {
                CertificateError::NotValidYetContext { time, not_before: unix(now.plus_ms(ms)) }
            }
            Self::Ended(ms) => {
                let not_after = unix(Stamp(now.0.saturating_sub(ms)));
                CertificateError::ExpiredContext { time, not_after }
            }
            Self::Ours => CertificateError::Expired,
        }
    }

    /// And back.
    pub(super) fn read(refusal: &CertificateError) -> Option<Self> {
        let ms = |seconds: u64| seconds.saturating_mul(1000);
        if let CertificateError::NotValidYetContext { time, not_before } = refusal {
            return Some(Self::Begins(ms(not_before.as_secs().saturating_sub(time.as_secs()))));
        }
        if let CertificateError::ExpiredContext { time, not_after } = refusal {
            return Some(Self::Ended(ms(time.as_secs().saturating_sub(not_after.as_secs()))));
        }
        None
    }
}

/// A certificate that is not of this time, and what the clocks have to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Whose, and since or until when.
    pub certificate: OutOfTime,
    /// What time it is at the manager, where it said so.
    pub said: Option<Said>,
}

/// What a manager said of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// BLAKE3 of the public key of which it proved to have the private one.
    pub key: [u8; 32],
    /// Milliseconds by which its clock is ahead of this machine's.
    pub ahead_ms: i64,
}

impl Said {
    pub(super) fn new(key: [u8; 32], there: NamedTime, here: Stamp) -> Self {
        let distance = i64::try_from(there.0.0.abs_diff(here.0)).unwrap_or(i64::MAX);
        let ahead_ms = if there.0 >= here { distance } else { -distance };
        Self { key, ahead_ms }
    }

    fn differs(&self) -> bool {
        self.ahead_ms.unsigned_abs() > START_TOLERANCE_MS
    }
}

impl Clocks {
    /// Whether the clock of this machine has to be looked at: it is another one than the
    /// manager's, or that is not known.
    #[must_use]
    pub fn may_differ(&self) -> bool {
        self.said.is_none_or(|said| said.differs())
    }
}

impl fmt::Display for Clocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CLOCK: &str = "this machine's clock is";
        match (self.said, self.certificate) {
            (Some(said), _) if said.differs() => {
                let way = if said.ahead_ms > 0 { "behind" } else { "ahead of" };
                write!(f, "{CLOCK} {} {way} the cluster's", span(said.ahead_ms.unsigned_abs()))
            }
            (Some(_), OutOfTime::Ended(ms)) => {
                let ms = span(ms);
                write!(f, "the manager's certificate ended {ms} ago, and the clocks agree")
            }
            (Some(_), OutOfTime::Begins(ms)) => write!(
                f,
                "the manager's certificate begins in {}, and the clocks agree: they were others \
                 when it was signed",
                span(ms)
            ),
            (Some(_), OutOfTime::Ours) => f.write_str(
                "it does not accept our certificate for the time, and the clocks agree: they were \
                 others when it was signed",
            ),
            (None, OutOfTime::Begins(ms)) => write!(
                f,
                "{CLOCK} at least {} behind the cluster's: the manager's certificate begins only \
                 then",
                span(ms)
            ),
            (None, OutOfTime::Ended(ms)) => write!(
                f,
                "the manager's certificate ended {} ago: {CLOCK} ahead of the cluster's, or that \
                 manager has not renewed it",
                span(ms)
            ),
            (None, OutOfTime::Ours) => f.write_str(
                "it does not accept our certificate for the time: its clock or this machine's is \
                 wrong",
            ),
        }
    }
}

/// A time in one unit, in which it has two digits where there are as many: `12 days`.
#[must_use]
pub fn span(ms: u64) -> String {
    let units = [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")];
    let unit = units.into_iter().find(|(length, _)| ms >= 2 * length);
    let (length, unit) = unit.unwrap_or((1_000, "seconds"));
    // A second more or less makes no day of it.
    format!("{} {unit}", (ms + length / 2) / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const NOW: Stamp = Stamp(1_800_000_000_000);

    fn told(certificate: OutOfTime, ahead_ms: Option<i64>) -> String {
        let said = ahead_ms.map(|ahead_ms| Said { key: [1; 32], ahead_ms });
        Clocks { certificate, said }.to_string()
    }

    #[test]
    fn a_clock_is_named_and_by_how_much_it_is_wrong() {
        let days = i64::try_from(400 * DAY).unwrap_or_default() - 700;
        let behind = told(OutOfTime::Begins(DAY), Some(days));
        assert_eq!(behind, "this machine's clock is 400 days behind the cluster's");
        let ahead = told(OutOfTime::Ended(DAY), Some(-days));
        assert_eq!(ahead, "this machine's clock is 400 days ahead of the cluster's");
        let ours = told(OutOfTime::Ours, Some(days));
        assert_eq!(ours, behind, "whoever found it");
    }

    #[test]
    fn no_more_is_said_than_is_known() {
        assert!(told(OutOfTime::Begins(9 * DAY), None).contains("at least 9 days behind"));
        let either = told(OutOfTime::Ended(9 * DAY), None);
        assert!(either.contains("ended 9 days ago") && either.contains(", or that manager"));
        let its_own = told(OutOfTime::Ended(9 * DAY), Some(2_000));
        assert_eq!(its_own, "the manager's certificate ended 9 days ago, and the clocks agree");
        let clocks = |said| Clocks { certificate: OutOfTime::Ours, said };
        assert!(clocks(None).may_differ());
        assert!(!clocks(Some(Said { key: [1; 32], ahead_ms: 3 })).may_differ());
    }

    #[test]
    fn which_way_it_is_out_of_time_goes_through_rustls_and_back() {
        let through = |of: OutOfTime| OutOfTime::read(&of.refusal(NOW));
        let ends = NOW.plus_ms(DAY);
        let early = OutOfTime::of(NOW.plus_ms(5_000), ends, NOW);
        assert_eq!((early, through(early)), (OutOfTime::Begins(5_000), Some(early)));
        let late = OutOfTime::of(NOW, ends, ends.plus_ms(7_000));
        assert_eq!((late, through(late)), (OutOfTime::Ended(7_000), Some(late)));
        assert_eq!(OutOfTime::read(&CertificateError::Revoked), None);
    }
}
