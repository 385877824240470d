//! The hello tag: by what a manager tells a member's connection from a stranger's
//! before its handshake (docs/keys.md, 8).
//!
//! It stands in the server name of a connection's first message. It opens nothing, and
//! nobody is believed for it: it says where a connection waits.

use std::collections::{BTreeSet, VecDeque};

use data_encoding::BASE32_NOPAD;

use super::construct::{
    SEAL_OVERHEAD, context_hash, derive, head16, open, open_key_from, same, seal, seal_to,
};
use super::{BoxKey, SealError, labels};
use crate::base::{BootTime, ClusterId, Dice, Key32, NodeId, SecretBytes, Stamp, draw};

/// Bytes of a hello key: mask and own.
const KEY: usize = 64;
const SALT: usize = 8;
const PROOF: usize = 16;
/// Place, id, seconds, salt, proof.
const PLAIN: usize = 1 + 16 + 4 + SALT + PROOF;
/// Bytes of a tag.
const TAG: usize = SEAL_OVERHEAD + PLAIN;
/// Letters of a tag in base 32, in three labels of a name.
const LETTERS: [usize; 3] = [46, 46, 44];
/// What follows them.
const SUFFIX: &str = ".internal";
/// Whom a tag is for that any manager may take.
const ANYBODY: [u8; 16] = [0; 16];
/// How far a tag's time may be from a manager's: one whose clock is further off neither
/// leads nor signs.
const APART_S: u64 = 5 * 60;
/// Proofs remembered: what a cluster at its limits needs to connect anew five times.
const MOST_SEEN: usize = 65_536;
/// How long: twice as long as a tag is good.
const SEEN_MS: u64 = 10 * 60 * 1000;

/// Whose connection it is, and for what: each has a lane of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HelloPlace {
    /// A manager's, for messages of Raft.
    Raft,
    /// A manager's, for what else it asks.
    Manager,
    /// A node's.
    Node,
    /// An operator's.
    Operator,
}

impl HelloPlace {
    const ALL: [Self; 4] = [Self::Raft, Self::Manager, Self::Node, Self::Operator];

    fn number(self) -> u8 {
        match self {
            Self::Raft => 1,
            Self::Manager => 2,
            Self::Node => 3,
            Self::Operator => 4,
        }
    }

    /// The kind of member: a manager has one key for both of its places.
    fn kind(self) -> u8 {
        match self {
            Self::Raft | Self::Manager => 1,
            Self::Node => 2,
            Self::Operator => 3,
        }
    }

    fn read(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.number() == number)
    }
}

/// By which managers of one cluster tell members from strangers.
#[derive(Debug)]
pub struct HelloSecret {
    secret: Key32,
    mask: Key32,
}

/// What one member makes its tags with.
#[derive(Debug)]
pub struct HelloKey {
    mask: Key32,
    own: Key32,
}

/// Which manager a tag is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloTo {
    /// Any of the cluster's. Messages of Raft never are.
    Anybody,
    /// This one.
    Manager(NodeId),
}

impl HelloTo {
    fn bytes(&self) -> &[u8; 16] {
        match self {
            Self::Anybody => &ANYBODY,
            Self::Manager(id) => id.as_bytes(),
        }
    }
}

/// What a tag says, whose proof is right. Only [`HelloSecret::read`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    place: HelloPlace,
    id: [u8; 16],
    seconds: u32,
    proof: [u8; PROOF],
}

impl Hello {
    /// Whose connection it is, and for what.
    #[must_use]
    pub fn place(&self) -> HelloPlace {
        self.place
    }

    /// The member's id.
    #[must_use]
    pub fn id(&self) -> &[u8; 16] {
        &self.id
    }
}

/// `place 1 ‖ id 16 ‖ seconds 4 ‖ salt 8 ‖ to 16`, proved with a member's own key.
fn proof(own: &Key32, said: &[u8], to: &[u8; 16]) -> [u8; PROOF] {
    head16(derive(own, labels::HELLO_TAG, &[said, to]).expose())
}

fn box_context(cluster: ClusterId, manager: NodeId) -> [u8; 32] {
    context_hash(labels::HELLO_BOX, &[cluster.as_bytes(), manager.as_bytes()])
}

impl HelloSecret {
    /// With these bytes.
    #[must_use]
    pub fn new(secret: Key32) -> Self {
        let mask = derive(&secret, labels::HELLO_MASK, &[]);
        Self { secret, mask }
    }

    /// That of the cluster whose issuing CA has this private key (PKCS#8 DER).
    #[must_use]
    pub fn of_issuing_key(key: &SecretBytes, cluster: ClusterId) -> Self {
        let hashed = Key32::take(&mut { *blake3::hash(key.expose()).as_bytes() });
        Self::new(derive(&hashed, labels::HELLO, &[cluster.as_bytes()]))
    }

    /// The secret's bytes, for the key file.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// The secret for a manager that joins.
    ///
    /// # Errors
    /// [`SealError::LowOrder`].
    pub fn box_to(
        &self,
        dice: &mut dyn Dice,
        cluster: ClusterId,
        manager: NodeId,
        box_public: &[u8; 32],
    ) -> Result<Vec<u8>, SealError> {
        seal_to(dice, box_public, &box_context(cluster, manager), self.expose())
    }

    /// Opens what [`Self::box_to`] made for this manager.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`], [`SealError::Malformed`].
    pub fn open(
        boxed: &[u8],
        cluster: ClusterId,
        manager: NodeId,
        key: &BoxKey,
    ) -> Result<Self, SealError> {
        open_key_from(key.private(), &box_context(cluster, manager), boxed).map(Self::new)
    }

    fn own_key(&self, place: HelloPlace, id: &[u8; 16]) -> Key32 {
        derive(&self.secret, labels::HELLO_MEMBER, &[&[place.kind()], id])
    }

    /// What the member with this id is given.
    ///
    /// # Errors
    /// None in practice.
    pub fn key_of(&self, place: HelloPlace, id: &[u8; 16]) -> Result<HelloKey, SealError> {
        let mask = Key32::copy_of(self.mask.expose()).ok_or(SealError::Malformed)?;
        Ok(HelloKey { mask, own: self.own_key(place, id) })
    }

    /// Reads a server name. None where it is no tag of this cluster, or one for another
    /// manager than `own`. Whether it is of now, and new, [`SeenHellos`] says.
    #[must_use]
    pub fn read(&self, name: &str, own: NodeId) -> Option<Hello> {
        let plain = open(&self.mask, &tag_of(name)?).ok()?;
        let plain: &[u8; PLAIN] = plain.expose().try_into().ok()?;
        let (said, proved) = plain.split_at_checked(PLAIN - PROOF)?;
        let ([place], rest) = said.split_first_chunk::<1>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (seconds, _) = rest.split_first_chunk::<4>()?;
        let place = HelloPlace::read(*place)?;
        let key = self.own_key(place, id);
        let fits = |to: &[u8; 16]| same(&proof(&key, said, to), proved);
        let meant = fits(own.as_bytes()) || place != HelloPlace::Raft && fits(&ANYBODY);
        let proof = proved.try_into().ok()?;
        meant.then_some(Hello { place, id: *id, seconds: u32::from_le_bytes(*seconds), proof })
    }
}

impl HelloKey {
    /// Reads `mask 32 ‖ own 32`.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn parse(bytes: &SecretBytes) -> Result<Self, SealError> {
        let (mask, own) = bytes.expose().split_at_checked(KEY / 2).ok_or(SealError::Malformed)?;
        let key = |bytes| Key32::copy_of(bytes).ok_or(SealError::Malformed);
        Ok(Self { mask: key(mask)?, own: key(own)? })
    }

    /// What [`Self::parse`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> SecretBytes {
        let mut bytes = SecretBytes::zeroed(KEY);
        let parts = self.mask.expose().iter().chain(self.own.expose());
        for (to, from) in bytes.expose_mut().iter_mut().zip(parts) {
            *to = *from;
        }
        bytes
    }

    /// A name for one connection of the member with this id, made now.
    ///
    /// # Errors
    /// None in practice.
    pub fn name(
        &self,
        dice: &mut dyn Dice,
        place: HelloPlace,
        id: &[u8; 16],
        to: HelloTo,
        now: Stamp,
    ) -> Result<String, SealError> {
        // In 2106 they begin anew, on both sides.
        let seconds = u32::try_from(now.0 / 1000 % (1 << 32)).ok().ok_or(SealError::Malformed)?;
        let salt: [u8; SALT] = draw(dice);
        let said = [&[place.number()][..], id, &seconds.to_le_bytes(), &salt].concat();
        let proof = proof(&self.own, &said, to.bytes());
        let tag = seal(dice, &self.mask, &[&said[..], &proof].concat())?;
        Ok(name_of(&tag))
    }
}

/// A tag in base 32, in three labels, and [`SUFFIX`].
fn name_of(tag: &[u8]) -> String {
    let text = BASE32_NOPAD.encode(tag).to_ascii_lowercase();
    let mut name = String::with_capacity(text.len() + LETTERS.len() + SUFFIX.len());
    let mut letters = text.chars();
    for length in LETTERS {
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(letters.by_ref().take(length));
    }
    name.push_str(SUFFIX);
    name
}

/// What [`name_of`] wrote; None for any other text.
fn tag_of(name: &str) -> Option<[u8; TAG]> {
    let mut labels = name.strip_suffix(SUFFIX)?.split('.');
    let mut text = Vec::with_capacity(LETTERS.iter().sum());
    for length in LETTERS {
        let label = labels.next()?.as_bytes();
        if label.len() != length || label.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        text.extend(label.iter().map(u8::to_ascii_uppercase));
    }
    if labels.next().is_some() {
        return None;
    }
    BASE32_NOPAD.decode(&text).ok()?.try_into().ok()
}

/// The tags that one manager was shown lately: each is good once.
#[derive(Debug, Default)]
pub struct SeenHellos {
    /// In the order in which they came, and until when each is remembered.
    order: VecDeque<(BootTime, [u8; PROOF])>,
    known: BTreeSet<[u8; PROOF]>,
}

impl SeenHellos {
    /// Whether this tag is of now and was not shown before; it is remembered then.
    pub fn takes(&mut self, hello: &Hello, now: Stamp, boot: BootTime) -> bool {
        // Both sides count anew in 2106.
        let seconds = now.0 / 1000 % (1 << 32);
        if seconds.abs_diff(hello.seconds.into()) > APART_S || self.known.contains(&hello.proof) {
            return false;
        }
        while let Some((until, proof)) = self.order.front()
            && (*until < boot || self.order.len() >= MOST_SEEN)
        {
            self.known.remove(proof);
            self.order.pop_front();
        }
        self.order.push_back((BootTime(boot.0.saturating_add(SEEN_MS)), hello.proof));
        self.known.insert(hello.proof)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::testing::Seeded;

    const NOW: Stamp = Stamp(1_800_000_000_000);
    const OWN: NodeId = NodeId::from_bytes([1; 16]);
    const ID: [u8; 16] = [2; 16];

    fn secret(seed: u64) -> HelloSecret {
        HelloSecret::new(Key32::draw(&mut Seeded::new(seed)))
    }

    fn name(seed: u64, place: HelloPlace, to: HelloTo, now: Stamp) -> String {
        let key = secret(1).key_of(place, &ID).unwrap();
        key.name(&mut Seeded::new(seed), place, &ID, to, now).unwrap()
    }

    fn said(seed: u64, now: Stamp) -> Hello {
        let name = name(seed, HelloPlace::Node, HelloTo::Anybody, now);
        secret(1).read(&name, OWN).unwrap()
    }

    #[test]
    fn a_tag_says_who_comes_and_for_what() {
        for place in HelloPlace::ALL {
            let hello =
                secret(1).read(&name(9, place, HelloTo::Manager(OWN), NOW), OWN).expect("a tag");
            assert_eq!((hello.place(), hello.id()), (place, &ID));
            let other = NodeId::from_bytes([7; 16]);
            let elsewhere = name(9, place, HelloTo::Manager(other), NOW);
            assert_eq!(secret(1).read(&elsewhere, OWN), None, "for another manager");
            let any = secret(1).read(&name(9, place, HelloTo::Anybody, NOW), OWN);
            assert_eq!(any.is_some(), place != HelloPlace::Raft);
            assert_eq!(secret(2).read(&name(9, place, HelloTo::Anybody, NOW), OWN), None);
        }
    }

    #[test]
    fn a_tag_is_a_name_of_145_letters_or_so_and_says_nothing() {
        let name = name(9, HelloPlace::Node, HelloTo::Anybody, NOW);
        let labels: Vec<usize> = name.split('.').map(str::len).collect();
        assert_eq!(labels, [46, 46, 44, 8]);
        assert_eq!(TAG, 85);
        let again = super::tests::name(10, HelloPlace::Node, HelloTo::Anybody, NOW);
        let same = name.bytes().zip(again.bytes()).filter(|(one, other)| one == other).count();
        assert!(same < 32, "{same} letters of two tags are the same");
    }

    #[test]
    fn a_member_makes_only_its_own_tags() {
        let (own, other) = (ID, [3; 16]);
        for (of, says) in [
            ((HelloPlace::Node, own), (HelloPlace::Node, other)),
            ((HelloPlace::Node, own), (HelloPlace::Operator, own)),
            ((HelloPlace::Node, own), (HelloPlace::Raft, own)),
            ((HelloPlace::Operator, own), (HelloPlace::Manager, own)),
        ] {
            let key = secret(1).key_of(of.0, &of.1).unwrap();
            let to = HelloTo::Manager(OWN);
            let name = key.name(&mut Seeded::new(1), says.0, &says.1, to, NOW).unwrap();
            assert_eq!(secret(1).read(&name, OWN), None, "{of:?} says {says:?}");
        }
    }

    #[test]
    fn a_key_is_written_and_read_alike() {
        let key = secret(1).key_of(HelloPlace::Operator, &ID).unwrap();
        let read = HelloKey::parse(&key.to_bytes()).unwrap();
        assert_eq!(key.to_bytes().expose(), read.to_bytes().expose());
        assert_eq!(key.to_bytes().len(), KEY);
        for length in [0, 31, 32, 63, 65, 200] {
            assert!(HelloKey::parse(&SecretBytes::zeroed(length)).is_err(), "{length}");
        }
    }

    #[test]
    fn a_manager_that_joins_opens_its_box_and_nobody_else() {
        let mut dice = Seeded::new(3);
        let (cluster, own) = (ClusterId::from_bytes([4; 16]), BoxKey::draw(&mut dice));
        let boxed = secret(1).box_to(&mut dice, cluster, OWN, &own.public()).unwrap();
        let opened = HelloSecret::open(&boxed, cluster, OWN, &own).unwrap();
        assert_eq!(opened.expose(), secret(1).expose());
        let other = NodeId::from_bytes([9; 16]);
        assert!(HelloSecret::open(&boxed, cluster, other, &own).is_err());
        assert!(HelloSecret::open(&boxed, ClusterId::from_bytes([5; 16]), OWN, &own).is_err());
        assert!(HelloSecret::open(&boxed, cluster, OWN, &BoxKey::draw(&mut dice)).is_err());
    }

    #[test]
    fn the_secret_is_the_issuing_keys_and_the_clusters() {
        let of = |key: &[u8], cluster| {
            let key = SecretBytes::copy_of(key);
            *HelloSecret::of_issuing_key(&key, ClusterId::from_bytes([cluster; 16])).expose()
        };
        assert_eq!(of(b"a", 1), of(b"a", 1));
        assert_ne!(of(b"a", 1), of(b"a", 2));
        assert_ne!(of(b"a", 1), of(b"b", 1));
    }

    #[test]
    fn a_tag_is_good_once_and_for_five_minutes() {
        let mut seen = SeenHellos::default();
        assert!(seen.takes(&said(1, NOW), NOW, BootTime(0)));
        assert!(!seen.takes(&said(1, NOW), NOW, BootTime(0)), "shown again");
        assert!(seen.takes(&said(2, NOW), NOW, BootTime(0)), "another one of the same moment");
        for apart in [APART_S + 1, 86_400] {
            let ahead = said(3, NOW.plus_ms(apart * 1000));
            assert!(!seen.takes(&ahead, NOW, BootTime(0)));
            let late = said(3, Stamp(NOW.0 - apart * 1000));
            assert!(!seen.takes(&late, NOW, BootTime(0)));
        }
        assert!(seen.takes(&said(4, NOW.plus_ms(APART_S * 1000)), NOW, BootTime(0)));
        // It is forgotten when it is of no more use, whatever the clock does meanwhile.
        assert!(!seen.takes(&said(1, NOW), NOW, BootTime(SEEN_MS)));
        assert!(seen.takes(&said(5, NOW), NOW, BootTime(SEEN_MS + 1)));
        assert_eq!((seen.order.len(), seen.known.len()), (1, 1));
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut seen = SeenHellos::default();
        let hello = |number: u32| {
            let mut hello = said(1, NOW);
            hello.proof = [0; 16];
            hello.proof[..4].copy_from_slice(&number.to_le_bytes());
            hello
        };
        let most = u32::try_from(MOST_SEEN).unwrap();
        for number in 0..most + 10 {
            assert!(seen.takes(&hello(number), NOW, BootTime(0)));
        }
        assert_eq!((seen.order.len(), seen.known.len()), (MOST_SEEN, MOST_SEEN));
        assert!(!seen.takes(&hello(10), NOW, BootTime(0)));
        assert!(seen.takes(&hello(9), NOW, BootTime(0)), "the oldest are forgotten first");
    }

    proptest! {
        #[test]
        fn a_changed_letter_is_no_tag(at in 0..148_usize, by in 1..128_u8) {
            let mut text = name(9, HelloPlace::Node, HelloTo::Anybody, NOW).into_bytes();
            let at = at % text.len();
            text[at] = (text[at] ^ by) & 0x7f;
            prop_assert_eq!(secret(1).read(str::from_utf8(&text).unwrap(), OWN), None);
        }

        #[test]
        fn any_name_is_survived(name in ".{0,300}", letters in "[a-z2-7.]{0,200}") {
            prop_assert_eq!(secret(1).read(&name, OWN), None);
            prop_assert_eq!(secret(1).read(&letters, OWN), None);
            prop_assert_eq!(secret(1).read(&format!("{letters}.internal"), OWN), None);
        }

        #[test]
        fn any_bytes_in_a_name_are_survived(bytes in proptest::collection::vec(any::<u8>(), TAG)) {
            let name = name_of(&bytes);
            prop_assert_eq!(tag_of(&name).map(|tag| tag.to_vec()), Some(bytes));
            prop_assert_eq!(secret(1).read(&name, OWN), None);
        }

        #[test]
        fn whatever_a_member_seals_is_survived(
            plain in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let key = secret(1).key_of(HelloPlace::Node, &ID).unwrap();
            let tag = seal(&mut Seeded::new(1), &key.mask, &plain).unwrap();
            prop_assert_eq!(secret(1).read(&name_of(&tag), OWN), None);
        }
    }
}
