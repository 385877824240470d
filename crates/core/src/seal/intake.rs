//! Data keys on their way from a client to the leader: one agreement with the intake key for
//! many of them (docs/keys.md, 5).

use super::construct::{agree, derive, open_key, public_of, seal};
use super::{DataKey, SealError, ValueContext, labels};
use crate::base::{ClusterId, Dice, Key32, SentKey};

/// Bytes of a commitment.
const COMMITMENT: usize = 32;

/// What a client's half and the intake key agreed on: one key, in both.
#[derive(Debug)]
pub struct IntakeAgreement {
    number: u64,
    half: [u8; 32],
    key: Key32,
}

/// The public half of an intake key, as managers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakePublic {
    /// The cluster.
    pub cluster: ClusterId,
    /// Of which number of the cluster key.
    pub number: u64,
    /// X25519.
    pub public: [u8; 32],
}

impl IntakePublic {
    fn agreed(&self, half: [u8; 32], shared: &Key32) -> IntakeAgreement {
        let number = self.number.to_le_bytes();
        let fields: [&[u8]; 4] = [self.cluster.as_bytes(), &number, &half, &self.public];
        let key = derive(shared, labels::INTAKE_AGREEMENT, &fields);
        IntakeAgreement { number: self.number, half, key }
    }

    /// In the leader: agrees with a client's half.
    pub(super) fn with_client(
        &self,
        private: &Key32,
        half: [u8; 32],
    ) -> Result<IntakeAgreement, SealError> {
        Ok(self.agreed(half, &agree(private, &half)?))
    }
}

impl IntakeAgreement {
    /// In a client: draws a half and agrees. The half's private part is gone afterwards.
    ///
    /// # Errors
    /// [`SealError::LowOrder`].
    pub fn draw(dice: &mut dyn Dice, intake: &IntakePublic) -> Result<Self, SealError> {
        let private = Key32::draw(dice);
        Ok(intake.agreed(public_of(&private), &agree(&private, &intake.public)?))
    }

    /// Whether it is the one with this half, under this number.
    #[must_use]
    pub fn is_of(&self, number: u64, half: &[u8; 32]) -> bool {
        self.number == number && self.half == *half
    }

    /// In a client: seals a data key for the leader.
    ///
    /// # Errors
    /// None today.
    pub fn seal(
        &self,
        dice: &mut dyn Dice,
        key: &DataKey,
        context: &ValueContext,
    ) -> Result<SentKey, SealError> {
        let context = context.hash();
        let mut bytes = key.commitment(&context).to_vec();
        bytes.extend_from_slice(&seal(dice, &self.sent_key_key(&context), key.expose())?);
        Ok(SentKey { number: self.number, half: self.half, bytes })
    }

    /// In the leader: opens it, and checks the commitment.
    pub(super) fn open(
        &self,
        sent: &SentKey,
        context: &ValueContext,
    ) -> Result<DataKey, SealError> {
        let (commitment, sealed) =
            sent.bytes.split_at_checked(COMMITMENT).ok_or(SealError::Malformed)?;
        let context = context.hash();
        DataKey::new(open_key(&self.sent_key_key(&context), sealed)?).if_it_is(commitment, &context)
    }

    fn sent_key_key(&self, context: &[u8; 32]) -> Key32 {
        derive(&self.key, labels::SENT_DATA_KEY, &[context])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::Seeded;
    use crate::seal::ClusterKey;
    use crate::seal::tests::context;

    fn parts(seed: u64) -> (Seeded, ClusterKey, DataKey) {
        let mut dice = Seeded::new(seed);
        let key = ClusterKey::draw(&mut dice, ClusterId::from_bytes([1; 16]), 3);
        let data = DataKey::draw(&mut dice);
        (dice, key, data)
    }

    #[test]
    fn one_agreement_carries_many_keys_and_each_in_its_own_context_only() {
        let (mut dice, key, first) = parts(1);
        let second = DataKey::draw(&mut dice);
        let client = IntakeAgreement::draw(&mut dice, &key.intake()).unwrap();
        let mut kept = None;
        for (data, size) in [(&first, 5), (&second, 6)] {
            let sent = client.seal(&mut dice, data, &context(size)).unwrap();
            let wrapped = key.rewrap(&mut dice, &sent, &context(size), &mut kept).unwrap();
            let opened = key.wrap_key().open_data_key(&wrapped, &context(size)).unwrap();
            assert_eq!(opened.expose(), data.expose());
            let elsewhere = key.rewrap(&mut dice, &sent, &context(7), &mut kept);
            assert_eq!(elsewhere.err(), Some(SealError::DoesNotOpen));
            assert!(kept.as_ref().is_some_and(|kept| kept.is_of(3, &client.half)));
        }
    }

    #[test]
    fn every_byte_of_a_sent_key_counts() {
        let (mut dice, key, data) = parts(2);
        let client = IntakeAgreement::draw(&mut dice, &key.intake()).unwrap();
        let sent = client.seal(&mut dice, &data, &context(5)).unwrap();
        for at in 0..sent.bytes.len() {
            let mut changed = sent.clone();
            changed.bytes[at] ^= 1;
            let refused = key.rewrap(&mut dice, &changed, &context(5), &mut None);
            assert_eq!(refused.err(), Some(SealError::DoesNotOpen), "byte {at}");
            changed.bytes.truncate(at);
            assert!(
                key.rewrap(&mut dice, &changed, &context(5), &mut None).is_err(),
                "cut at {at}"
            );
        }
        // The curve ignores the top bit of a half; the derivation does not.
        for bit in 0..256 {
            let mut changed = sent.clone();
            changed.half[bit / 8] ^= 1 << (bit % 8);
            assert!(key.rewrap(&mut dice, &changed, &context(5), &mut None).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_a_connection_keeps_serves_its_own_half_and_number_only() {
        let (mut dice, key, data) = parts(3);
        let next = ClusterKey::draw(&mut dice, ClusterId::from_bytes([1; 16]), 4);
        let mut kept = None;
        for _ in 0..2 {
            let client = IntakeAgreement::draw(&mut dice, &key.intake()).unwrap();
            let sent = client.seal(&mut dice, &data, &context(5)).unwrap();
            key.rewrap(&mut dice, &sent, &context(5), &mut kept).unwrap();
            let retired = Err(SealError::Retired { found: 3, wanted: 4 });
            assert_eq!(next.rewrap(&mut dice, &sent, &context(5), &mut kept), retired);
        }
        let renamed = IntakePublic { number: 4, ..key.intake() };
        let client = IntakeAgreement::draw(&mut dice, &renamed).unwrap();
        let sent = client.seal(&mut dice, &data, &context(5)).unwrap();
        assert!(next.rewrap(&mut dice, &sent, &context(5), &mut kept).is_err());
        let low = IntakePublic { public: [0; 32], ..key.intake() };
        let refused = IntakeAgreement::draw(&mut dice, &low);
        assert_eq!(refused.err(), Some(SealError::LowOrder));
        let sent = SentKey { number: 3, half: [0; 32], bytes: sent.bytes };
        let refused = key.rewrap(&mut dice, &sent, &context(5), &mut kept);
        assert_eq!(refused.err(), Some(SealError::LowOrder));
    }

    /// Made by docs/keys.md with `crypto_scalarmult` and `SecretBox` of libsodium (`PyNaCl`), and
    /// blake3's package for Python.
    #[test]
    fn a_sent_key_made_by_others_opens() {
        use crate::seal::cluster_key::testing::with_bytes;
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let key = with_bytes(ClusterId::from_bytes([1; 16]), 3, [7; 32]);
        let public = key.intake().public;
        assert_eq!(public.as_slice(), hex(KNOWN_INTAKE));
        let half = hex(KNOWN_HALF).try_into().unwrap();
        let sent = SentKey { number: 3, half, bytes: hex(KNOWN_SENT) };
        let agreed = key.agree(&sent).unwrap();
        assert_eq!(agreed.key.expose().as_slice(), hex(KNOWN_AGREED));
        assert_eq!(agreed.open(&sent, &context(5)).unwrap().expose(), &[9; 32]);
    }

    const KNOWN_INTAKE: &str = "a2e9013645489f53970294a0c2cb24c9925a96fa6369a83cf1a154247fd3c576";
    const KNOWN_HALF: &str = "50a61409b1ddd0325e9b16b700e719e9772c07000b1bd7786e907c653d20495d";
    const KNOWN_AGREED: &str = "0472240dc4b944a3fdb538d060e83754de5bec2fc755942a1f461ddcf9e9f357";
    const KNOWN_SENT: &str = "9e9ed7ba3ba676f2928b9170556b56d699c94b716848e48e4319498228acf4b00606060606060606060606060606060606060606\
        060606062dbb600a6ab989fce9120a58f901a4c1cdaf7c26c944aae04b3843af1e4961a6f03a69d55ad70d6346820ff1b9c8ebc6";
}
