//! Whether a manager confirmed the set lately: `..fresh/at`, judged by the boot clock, so that
//! a wall clock set back makes nothing fresh (docs/registry/formats.md).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use skep_core::base::BootTime;

use super::folder::Unready;

/// Where it lies in the service's folder.
const FOLDER: &str = "..fresh";
const MARK: &str = "at";
/// Bytes of it.
const BYTES: u64 = 128;
/// Where the kernel says which boot this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// This boot, as the kernel names it.
#[derive(Clone, Debug)]
pub struct Freshness {
    boot: String,
}

impl Freshness {
    /// Of this machine.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_this_boot() -> std::io::Result<Self> {
        Ok(Self { boot: std::fs::read_to_string(BOOT)?.trim().to_owned() })
    }

    /// Whether the set in `folder` was confirmed at most `limit_s` seconds ago.
    pub(super) fn judge(&self, folder: &Path, limit_s: u64, now: BootTime) -> Result<(), Unready> {
        let mut text = String::new();
        let read = File::open(folder.join(FOLDER).join(MARK))
            .and_then(|file| file.take(BYTES).read_to_string(&mut text));
        if let Err(error) = read {
            return Err(not_fresh(format!("..fresh/at: {error}")));
        }
        self.within(&text, limit_s, now).map_err(not_fresh)
    }

    fn within(&self, text: &str, limit_s: u64, now: BootTime) -> Result<(), String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [revision, boot, at] = words.as_slice() else {
            return Err("..fresh/at doesn't read".into());
        };
        let (Ok(_), Ok(at)) = (revision.parse::<u64>(), at.parse::<u64>()) else {
            return Err("..fresh/at doesn't read".into());
        };
        if *boot != self.boot {
            return Err("..fresh/at is of another boot".into());
        }
        let Some(age) = now.0.checked_sub(at) else {
            return Err("..fresh/at is of a time to come".into());
        };
        let limit = limit_s.saturating_mul(1_000);
        if age > limit { Err(format!("confirmed {} s ago", age / 1_000)) } else { Ok(()) }
    }
}

fn not_fresh(why: String) -> Unready {
    Unready::new("no manager has confirmed these credentials lately", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_decides() {
        let fresh = Freshness { boot: "b".into() };
        let within = |text: &str| fresh.within(text, 10, BootTime(50_000)).is_ok();
        assert!(within("7 b 50000\n") && within("7 b 40000"));
        assert!(!within("7 b 39999"), "too old");
        assert!(!within("7 c 50000"), "another boot");
        assert!(!within("7 b 50001"), "of a time to come");
        for text in ["", "7 b", "7 b 1 2", "x b 50000", "7 b -1", "7 b 1e3"] {
            assert!(!within(text), "{text}");
        }
    }
}
