//! How far the files of a record are on the disk, for whoever tells it elsewhere.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use skep_core::base::Name;

use crate::rules::record::{Chain, called};

/// Of each file what it is called and the last line that is on the disk. Clones see the same.
#[derive(Clone, Debug)]
pub struct Reached(Arc<Mutex<Vec<(Name, Chain)>>>);

impl Reached {
    /// Of files that nothing is known of yet. Two of one name are told apart by a number.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut names: Vec<Name> = Vec::new();
        for path in paths {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let plain = called(&file);
            let mut numbered = (1_u32..).map(|number| {
                if number == 1 { plain.clone() } else { format!("{plain}-{number}") }
            });
            let taken = |name: &Name| names.contains(name);
            names.extend(numbered.find_map(|text| text.parse().ok().filter(|of| !taken(of))));
        }
        Self(Arc::new(Mutex::new(names.into_iter().map(|of| (of, Chain::default())).collect())))
    }

    pub(super) fn set(&self, ends: impl Iterator<Item = Chain>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, known), end) in all.iter_mut().zip(ends) {
            *known = end;
        }
    }

    /// Where each stands.
    pub(in crate::work) fn now(&self) -> Vec<(Name, Chain)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_told_apart() {
        let reached = Reached::of(&["/a/web", "/b/web", "/c/other"].map(PathBuf::from));
        let names: Vec<String> = reached.now().iter().map(|(of, _)| of.to_string()).collect();
        assert_eq!(names, ["web", "web-2", "other"]);
    }
}
