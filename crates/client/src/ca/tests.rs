//! What chains are accepted, and what is taken from a requester.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fixtures::{Authority, LEAF_MS, NOW, manager, operator, worker};
use super::*;
use skep_core::base::{ClusterId, Fingerprint, SecretBytes, Stamp};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn verified(authority: &Authority, chain: &[Vec<u8>]) -> Result<Leaf, CaError> {
    verify_chain(chain, authority.fingerprint(), NOW)
}

#[test]
fn every_role_is_issued_and_verified() {
    let authority = Authority::new(1);
    for role in [manager(7), worker(8), operator(9)] {
        let holder = authority.holder(role);
        let leaf = verified(&authority, &holder.chain).expect("a chain");
        assert_eq!(leaf.subject, authority.subject(role));
        assert_eq!(leaf.key, key_digest(&holder.key.public()));
        assert_eq!(leaf.starts, Stamp(NOW.0 - 60_000));
        assert_eq!(leaf.ends, NOW.plus_ms(LEAF_MS));
        assert_eq!(read_leaf(&holder.chain[0]), Ok(leaf));
    }
}

#[test]
fn certificates_say_what_is_documented() {
    let authority = Authority::new(1);
    let holder = authority.holder(manager(7));
    let [leaf, issuing, root] = [0, 1, 2].map(|at: usize| {
        let (_, read) = X509Certificate::from_der(&holder.chain[at]).expect("a certificate");
        read
    });
    let years = |read: &X509Certificate<'_>| {
        let validity = read.validity();
        let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
        seconds / (365 * 24 * 60 * 60)
    };
    assert_eq!((years(&root), years(&issuing)), (20, 5));
    let below = |read: &X509Certificate<'_>| {
        let found = read.basic_constraints().expect("readable").expect("constraints");
        assert!(found.critical);
        (found.value.ca, found.value.path_len_constraint)
    };
    assert_eq!(below(&root), (true, Some(1)));
    assert_eq!(below(&issuing), (true, Some(0)));
    assert_eq!(below(&leaf), (false, None));
    let cluster = authority.cluster;
    let id = manager(7).id_text();
    assert_eq!(root.subject().to_string(), format!("O={cluster}, CN=Skep root CA, title=prod"));
    assert_eq!(issuing.subject().to_string(), format!("O={cluster}, CN=Skep issuing CA"));
    let expected = format!("O={cluster}, OU=manager, CN={id}, title=some-name");
    assert_eq!(leaf.subject().to_string(), expected);
    assert_ne!(leaf.raw_serial(), issuing.raw_serial());
}

#[test]
fn a_renewed_leaf_has_another_serial_number() {
    let authority = Authority::new(1);
    let key = PrivateKey::generate().expect("a key");
    let [first, second] = [NOW, NOW.plus_ms(DAY)].map(|now| {
        let subject = authority.subject(worker(1));
        let leaf = authority.issuer.sign_leaf(&key.public(), &subject, now, now.plus_ms(DAY));
        let leaf = leaf.expect("a leaf");
        let (_, read) = X509Certificate::from_der(&leaf).expect("a certificate");
        read.raw_serial().to_vec()
    });
    assert_ne!(first, second);
}

#[test]
fn nothing_but_the_key_is_taken_from_a_request() {
    let authority = Authority::new(1);
    let key = PrivateKey::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = authority.subject(manager(66)).distinguished_name();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names =
        vec![SanType::DnsName("evil.example".try_into().expect("a DNS name"))];
    let request = params.serialize_request(&*key.pair().expect("a pair")).expect("a request");

    let public = public_key_of_request(request.der()).expect("a public key");
    assert_eq!(public, key.public());
    let subject = authority.subject(worker(1));
    let leaf = authority.issuer.sign_leaf(&public, &subject, NOW, NOW.plus_ms(DAY));
    let chain =
        [leaf.expect("a leaf"), authority.issuing.clone(), authority.root.certificate.clone()];
    assert_eq!(verified(&authority, &chain).expect("a chain").subject, subject);
    let text = chain[0].as_slice();
    assert!(!text.windows(12).any(|part| part == b"evil.example"));
    let (_, read) = X509Certificate::from_der(text).expect("a certificate");
    assert!(!read.is_ca());
    let purposes = read.extended_key_usage().expect("readable").expect("purposes");
    assert!(!purposes.value.server_auth);
}

#[test]
fn chains_cut_swapped_or_foreign_are_refused() {
    let (ours, other) = (Authority::new(1), Authority::new(2));
    let chain = ours.holder(worker(1)).chain;
    let theirs = other.holder(worker(1)).chain;
    for cut in [&chain[..0], &chain[..1], &chain[..2], &chain[1..]] {
        assert!(matches!(verified(&ours, cut), Err(CaError::Malformed(_))));
    }
    let longer = [&chain[..], &chain[2..]].concat();
    assert!(matches!(verified(&ours, &longer), Err(CaError::Malformed(_))));

    let pick = |parts: [&Vec<u8>; 3]| parts.map(Clone::clone);
    let refused = CaError::OtherCluster { expected: ours.fingerprint() };
    assert_eq!(verified(&ours, &theirs), Err(refused.clone()));
    let swapped = pick([&chain[0], &chain[2], &chain[1]]);
    assert_eq!(verified(&ours, &swapped), Err(refused));
    for mixed in [
        pick([&theirs[0], &chain[1], &chain[2]]),
        pick([&theirs[0], &theirs[1], &chain[2]]),
        pick([&chain[0], &theirs[1], &chain[2]]),
        pick([&chain[1], &chain[1], &chain[2]]),
        pick([&chain[1], &chain[0], &chain[2]]),
    ] {
        assert_eq!(verified(&ours, &mixed), Err(CaError::NotSigned));
    }
    let roots = pick([&chain[2], &chain[2], &chain[2]]);
    assert_eq!(verified(&ours, &roots), Err(CaError::Malformed("certificate authority")));
}

#[test]
fn a_twin_of_the_cluster_is_another_cluster() {
    // The same ids and names, but other keys: only the fingerprint tells.
    let (ours, twin) = (Authority::new(1), Authority::new(1));
    let chain = ours.holder(worker(1)).chain;
    let theirs = twin.holder(worker(1)).chain;
    let mixed = [theirs[0].clone(), theirs[1].clone(), chain[2].clone()];
    assert_eq!(verified(&ours, &mixed), Err(CaError::NotSigned));
    let mixed = [theirs[0].clone(), chain[1].clone(), chain[2].clone()];
    assert_eq!(verified(&ours, &mixed), Err(CaError::NotSigned));
}

/// A certificate made with `change`d parameters and signed by `by`.
fn odd_leaf(
    authority: &Authority,
    by: (&[u8], &PrivateKey),
    key: &PrivateKey,
    change: impl FnOnce(&mut CertificateParams),
) -> Vec<u8> {
    let subject = authority.subject(worker(1));
    let mut params = CertificateParams::default();
    params.distinguished_name = subject.distinguished_name();
    params.subject_alt_names = vec![subject.alternative_name().expect("a name")];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let time = |stamp: Stamp| {
        let seconds = i64::try_from(stamp.0 / 1000).expect("seconds");
        time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
    };
    params.not_before = time(NOW);
    params.not_after = time(NOW.plus_ms(DAY));
    change(&mut params);
    let pair = by.1.pair().expect("a pair");
    let issuer = rcgen::Issuer::from_ca_cert_der(&by.0.into(), &*pair).expect("an issuer");
    let public = rcgen::SubjectPublicKeyInfo::from_der(&key.public()).expect("a public key");
    params.signed_by(&public, &issuer).expect("a certificate").der().to_vec()
}

#[test]
fn leaves_of_another_shape_are_refused() {
    let cluster = ClusterId::from_bytes([1; 16]);
    let root = Root::generate(cluster, &"prod".parse().expect("a name"), NOW).expect("a root");
    let issuing_key = PrivateKey::generate().expect("a key");
    let issuing = root.sign_issuing(&issuing_key.public(), cluster, NOW).expect("an issuing CA");
    let authority = Authority {
        cluster,
        issuer: Issuer::new(
            issuing.clone(),
            PrivateKey::from_pkcs8(skep_core::base::SecretBytes::copy_of(issuing_key.expose()))
                .expect("a key"),
        )
        .expect("an issuer"),
        root,
        issuing,
    };
    let key = PrivateKey::generate().expect("a key");
    let verdict = |change: &dyn Fn(&mut CertificateParams)| {
        let leaf = odd_leaf(&authority, (&authority.issuing, &issuing_key), &key, change);
        let chain = [leaf, authority.issuing.clone(), authority.root.certificate.clone()];
        verify_chain(&chain, authority.fingerprint(), NOW)
    };
    assert!(verdict(&|_| {}).is_ok(), "the shape that is ours");
    let shape = Err(CaError::Malformed("leaf certificate"));
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    assert_eq!(verdict(&|p| p.extended_key_usages.push(server.clone())), shape);
    assert_eq!(verdict(&|p| p.extended_key_usages = vec![server.clone()]), shape);
    assert_eq!(verdict(&|p| p.extended_key_usages.clear()), shape);
    assert_eq!(verdict(&|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::Any)), shape);
    assert_eq!(verdict(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), shape);
    assert_eq!(verdict(&|p| p.is_ca = IsCa::NoCa), shape);
    assert_eq!(verdict(&|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)), shape);
    assert_eq!(verdict(&|p| p.key_usages.clear()), shape);
    assert_eq!(verdict(&|p| p.subject_alt_names.clear()), shape);
    let name = |text: &str| SanType::DnsName(text.try_into().expect("a DNS name"));
    assert_eq!(verdict(&|p| p.subject_alt_names.push(name("b.example"))), shape);
    assert_eq!(verdict(&|p| p.subject_alt_names = vec![name("b.example")]), shape);
    let manager = authority.subject(manager(1)).distinguished_name();
    assert_eq!(verdict(&|p| p.distinguished_name = manager.clone()), shape);
    let email = rcgen::DnType::CountryName;
    assert_eq!(verdict(&|p| p.distinguished_name.push(email.clone(), "XX")), shape);
    let critical = |p: &mut CertificateParams| {
        let mut odd = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4], vec![5, 0]);
        odd.set_criticality(true);
        p.custom_extensions.push(odd);
    };
    assert_eq!(verdict(&critical), shape);

    // Another cluster's id under this cluster's authority.
    let mut subject = authority.subject(worker(1));
    subject.cluster = ClusterId::from_bytes([9; 16]);
    let name = subject.distinguished_name();
    assert_eq!(verdict(&|p| p.distinguished_name = name.clone()), Err(CaError::NotSigned));
    // Signed by the issuing key under the root's name.
    let leaf = odd_leaf(&authority, (&authority.root.certificate, &issuing_key), &key, |_| {});
    let chain = [leaf, authority.issuing.clone(), authority.root.certificate.clone()];
    assert_eq!(verified(&authority, &chain), Err(CaError::NotSigned));
    // Longer than its issuer.
    let late = |p: &mut CertificateParams| p.not_after += time::Duration::days(365 * 6);
    assert_eq!(verdict(&late), Err(CaError::NotSigned));
}

#[test]
fn a_leaf_issues_nothing() {
    let authority = Authority::new(1);
    let holder = authority.holder(worker(1));
    let key = PrivateKey::generate().expect("a key");
    let forged = odd_leaf(&authority, (&holder.chain[0], &holder.key), &key, |_| {});
    // As an issuing CA, and in a chain of four.
    let chain = [forged.clone(), holder.chain[0].clone(), holder.chain[2].clone()];
    assert_eq!(verified(&authority, &chain), Err(CaError::NotSigned));
    let chain = [&[forged], &holder.chain[..]].concat();
    assert!(verified(&authority, &chain).is_err());
    assert!(Issuer::new(holder.chain[0].clone(), holder.key).is_err());
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let authority = Authority::new(1);
    let key = PrivateKey::generate().expect("a key");
    let subject = authority.subject(manager(1));
    let mut params = CertificateParams::default();
    params.distinguished_name = subject.distinguished_name();
    let own = params.self_signed(&*key.pair().expect("a pair")).expect("a certificate");
    let own = own.der().to_vec();
    let chain = [own.clone(), authority.issuing.clone(), authority.root.certificate.clone()];
    assert_eq!(verified(&authority, &chain), Err(CaError::NotSigned));
    let chain = [own.clone(), own.clone(), own];
    let refused = CaError::OtherCluster { expected: authority.fingerprint() };
    assert_eq!(verified(&authority, &chain), Err(refused));
}

#[test]
fn expired_is_said_only_where_all_else_is_right() {
    let (ours, other) = (Authority::new(1), Authority::new(2));
    let chain = ours.holder(worker(1)).chain;
    let at = |now: u64| verify_chain(&chain, ours.fingerprint(), Stamp(now));
    let (starts, ends) = (NOW.0 - 60_000, NOW.0 + LEAF_MS);
    assert!(at(ends - 1).is_ok());
    assert_eq!(at(ends), Err(CaError::Expired));
    assert!(at(starts - START_TOLERANCE_MS).is_ok());
    assert_eq!(at(starts - START_TOLERANCE_MS - 1), Err(CaError::Expired));
    assert_eq!(at(u64::MAX), Err(CaError::Expired));
    assert_eq!(at(0), Err(CaError::Expired));

    let late = Stamp(ends);
    let foreign = other.holder(worker(1)).chain;
    let verdict = verify_chain(&foreign, ours.fingerprint(), late);
    assert!(matches!(verdict, Err(CaError::OtherCluster { .. })));
    let mixed = [foreign[0].clone(), chain[1].clone(), chain[2].clone()];
    assert_eq!(verify_chain(&mixed, ours.fingerprint(), late), Err(CaError::NotSigned));
}

#[test]
fn no_leaf_outlives_its_issuer() {
    let authority = Authority::new(1);
    let key = PrivateKey::generate().expect("a key");
    let subject = authority.subject(worker(1));
    let sign =
        |now: Stamp, ends: Stamp| authority.issuer.sign_leaf(&key.public(), &subject, now, ends);
    let leaf = sign(NOW, Stamp(u64::MAX)).expect("a leaf");
    assert_eq!(read_leaf(&leaf).expect("a leaf").ends, authority.issuer.ends());
    let after = authority.issuer.ends();
    assert_eq!(sign(after, after.plus_ms(DAY)), Err(CaError::Expired));
    assert_eq!(sign(NOW, NOW), Err(CaError::Expired));
    let foreign = Authority::new(2).subject(worker(1));
    let refused = authority.issuer.sign_leaf(&key.public(), &foreign, NOW, NOW.plus_ms(DAY));
    assert!(matches!(refused, Err(CaError::Malformed(_))));
    let refused = authority.issuer.sign_leaf(b"no key", &subject, NOW, NOW.plus_ms(DAY));
    assert_eq!(refused, Err(CaError::Malformed("public key")));
}

#[test]
fn key_and_certificate_must_belong_together() {
    let authority = Authority::new(1);
    let other = PrivateKey::generate().expect("a key");
    assert!(Issuer::new(authority.issuing.clone(), other).is_err());
    let other = PrivateKey::generate().expect("a key");
    assert!(Issuer::new(authority.root.certificate.clone(), other).is_err());
    assert!(Issuer::new(b"nothing".to_vec(), PrivateKey::generate().expect("a key")).is_err());
    let foreign = ClusterId::from_bytes([2; 16]);
    let public = PrivateKey::generate().expect("a key").public();
    assert!(authority.root.sign_issuing(&public, foreign, NOW).is_err());
}

#[test]
fn every_byte_of_a_chain_counts() {
    let authority = Authority::new(1);
    let chain = authority.holder(manager(1)).chain;
    for (at, certificate) in chain.iter().enumerate() {
        for byte in 0..certificate.len() {
            let mut changed = chain.clone();
            changed[at][byte] ^= 1;
            assert!(verified(&authority, &changed).is_err(), "certificate {at}, byte {byte}");
        }
    }
}

#[test]
fn an_issuing_ca_begins_after_the_one_whose_place_it_takes() {
    let first = Authority::new(1);
    let second = first.rotated();
    let third = second.rotated();
    let begins = [&first, &second, &third].map(|authority| authority.issuer.begins());
    assert_eq!(begins[1].0 - begins[0].0, 1000, "within the second");
    assert_eq!(begins[2].0 - begins[1].0, 1000);
    for authority in [&first, &second, &third] {
        let holder = authority.holder(worker(1));
        let issued = verify_issued(&holder.chain, first.fingerprint(), NOW).expect("verifies");
        assert_eq!(issued.issuer, authority.issuer.begins());
        assert_eq!(issuer_begins(&holder.chain[1]), Ok(issued.issuer));
    }
    let (public, cluster) = (PrivateKey::generate().expect("a key").public(), first.cluster);
    let after = |after| first.root.sign_issuing_after(&public, cluster, NOW, after);
    // Later than now by the hour that an authority begins before it is made.
    let read = |der: Vec<u8>| issuer_begins(&der).expect("an issuing CA");
    let long_ago = after(Stamp(0)).map(read).expect("signed");
    assert_eq!(long_ago, begins[0]);
    assert_eq!(after(NOW).map(read), Ok(Stamp(NOW.0 + 1000)));
    assert_eq!(after(NOW.plus_ms(START_TOLERANCE_MS)), Err(CaError::Expired), "a clock is wrong");
}

#[test]
fn a_root_is_opened_with_its_own_key_only() {
    let authority = Authority::new(1);
    let certificate = authority.root.certificate.clone();
    let foreign = PrivateKey::generate().expect("a key");
    assert!(Root::new(certificate, foreign).is_err());
    let own = PrivateKey::from_pkcs8(SecretBytes::copy_of(authority.root.key.expose()));
    assert!(Root::new(authority.issuing.clone(), own.expect("a key")).is_err(), "no root");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..5),
    ) {
        prop_assert!(verify_chain(&parts, Fingerprint([0; 32]), NOW).is_err());
        for part in &parts {
            prop_assert!(read_leaf(part).is_err());
            prop_assert!(public_key_of_request(part).is_err());
        }
    }
}
