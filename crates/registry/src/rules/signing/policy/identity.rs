//! Which reference a signature may be about, when an image is asked for under another.

use super::reference::Reference;

/// How the two are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// They are the same, tag and all.
    MatchExact,
    /// The same, or, where the image is asked for by its digest, of one repository.
    MatchRepoDigestOrExact,
    /// Of one repository.
    MatchRepository,
    /// The signature is about this one.
    ExactReference(Reference),
    /// The signature is about this repository.
    ExactRepository(Reference),
    /// As `MatchRepoDigestOrExact`, the beginning of the image's name being replaced.
    Remap {
        /// What it begins with.
        prefix: String,
        /// What stands there in the signature.
        signed: String,
    },
}

impl Identity {
    /// Whether a signature about `signed` does for `image`.
    #[must_use]
    pub fn fits(&self, image: &Reference, signed: &str) -> bool {
        let Some(signed) = Reference::read(signed) else { return false };
        let exact =
            |image: &Reference| !image.is_name_only() && !signed.is_name_only() && *image == signed;
        let digest_or_exact = |image: &Reference| {
            let by_digest = image.tag().is_none() && image.digest().is_some();
            let one_repository = !signed.is_name_only() && image.name() == signed.name();
            if by_digest { one_repository } else { exact(image) }
        };
        match self {
            Self::MatchExact => exact(image),
            Self::MatchRepoDigestOrExact => digest_or_exact(image),
            Self::MatchRepository => image.name() == signed.name(),
            Self::ExactReference(known) => exact(known),
            Self::ExactRepository(known) => known.name() == signed.name(),
            Self::Remap { prefix, signed: to } => {
                image.remapped(prefix, to).is_some_and(|image| digest_or_exact(&image))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        Reference::read(text).expect("a reference")
    }

    #[test]
    fn each_kind_takes_what_it_says() {
        let digest = format!("r.example/a@sha256:{}", "0".repeat(64));
        let other = format!("r.example/a@sha256:{}", "1".repeat(64));
        let tagged = format!("r.example/a:1@sha256:{}", "0".repeat(64));
        let exact = Identity::MatchExact;
        let digest_or = Identity::MatchRepoDigestOrExact;
        let repository = Identity::MatchRepository;
        let one = Identity::ExactReference(reference("s.example/b:2"));
        let within = Identity::ExactRepository(reference("s.example/b"));
        let remap = Identity::Remap { prefix: "r.example".into(), signed: "s.example/x".into() };
        for (identity, image, signed, fits) in [
            (&exact, "r.example/a:1", "r.example/a:1", true),
            (&exact, "r.example/a:1", "r.example/a:2", false),
            (&exact, "r.example/a:1", "r.example/a", false),
            (&exact, "r.example/a", "r.example/a", false),
            (&exact, &digest, "r.example/a:1", false),
            (&exact, &digest, &digest, true),
            (&exact, "busybox:1", "docker.io/library/busybox:1", true),
            (&digest_or, "r.example/a:1", "r.example/a:1", true),
            (&digest_or, "r.example/a:1", "r.example/a:2", false),
            (&digest_or, "r.example/a:1", "r.example/b:1", false),
            (&digest_or, &digest, "r.example/a:9", true),
            (&digest_or, &digest, &other, true),
            (&digest_or, &digest, "r.example/a", false),
            (&digest_or, &digest, "r.example/b:9", false),
            (&digest_or, &tagged, "r.example/a:2", false),
            (&digest_or, "r.example/a", "r.example/a:1", false),
            (&repository, "r.example/a:1", "r.example/a:2", true),
            (&repository, "r.example/a:1", "r.example/a", true),
            (&repository, "r.example/a:1", "r.example:5000/a", false),
            (&repository, "r.example/a:1", "r.example/a/b:1", false),
            (&repository, "r.example/a:1", "not a reference", false),
            (&one, "r.example/a:1", "s.example/b:2", true),
            (&one, "r.example/a:1", "s.example/b:3", false),
            (&within, "r.example/a:1", "s.example/b:3", true),
            (&within, "r.example/a:1", "s.example/c:3", false),
            (&remap, "r.example/a:1", "s.example/x/a:1", true),
            (&remap, "r.example/a:1", "s.example/x/a:2", false),
            (&remap, "r.example/a:1", "r.example/a:1", false),
            (&remap, "q.example/a:1", "q.example/a:1", true),
            (&remap, &digest, "s.example/x/a:7", true),
        ] {
            let said = format!("{identity:?}: {image} by {signed}");
            assert_eq!(identity.fits(&reference(image), signed), fits, "{said}");
        }
    }
}
