use super::*;

const ID: &str = "0f0e0d0c0b0a09080706050403020100";
const GEN: &str = "000102030405060708090a0b0c0d0e0f";
const SHA: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const BCRYPT: &str = "$2y$04$KDtBZq0hx5zVaYvIWUkY6O2.TnwO2BmDTvbpuwpLkxkp3Fpn1Vfd2";

fn user(kind: &str, hash: &str) -> Result<Credential, BadCredential> {
    Credential::read(&format!(
        r#"{{"version":1,"id":"{ID}","gen":"{GEN}","kind":"{kind}","hash":"{hash}"}}"#
    ))
}

#[test]
fn a_credential_reads_and_verifies() {
    let robot = user("sha256", SHA).unwrap();
    assert_eq!((robot.id.to_string(), robot.generation.to_string()), (ID.into(), GEN.into()));
    assert!(robot.verifier.is_robot() && robot.overlap_s == 0);
    assert!(robot.verifier.verify(b"abc") && !robot.verifier.verify(b"abd"));
    let hash = bcrypt::hash("hunter2", 4).unwrap();
    let person = user("bcrypt", &hash).unwrap();
    assert!(person.verifier.verify(b"hunter2") && !person.verifier.verify(b"hunter3"));
    let long = "x".repeat(80);
    let hash = bcrypt::hash(&long, 4).unwrap();
    let cut = user("bcrypt", &hash).unwrap();
    assert!(!cut.verifier.verify(long.as_bytes()), "what bcrypt would cut is refused");
    assert!(user("argon2id", DECOY).is_ok(), "the decoy is one of the kind");
    assert_eq!(format!("{:?}", user("sha256", SHA).unwrap().verifier), "sha256");
}

#[test]
fn hashes_out_of_bounds_are_refused() {
    let argon = |params: &str| {
        format!(
            "$argon2id$v=19${params}$c2tlcC1kZWNveS1zYWx0$kfIUVwUHc5QGVsdWNbPk22bCNH0G46QB25ZEcxhz/6k"
        )
    };
    assert!(user("argon2id", &argon("m=65536,t=4,p=1")).is_ok());
    for (kind, hash) in [
        ("argon2id", argon("m=65537,t=4,p=1")),
        ("argon2id", argon("m=65536,t=5,p=1")),
        ("argon2id", argon("m=65536,t=4,p=5")),
        ("argon2id", argon("m=19456,t=2,p=1").replace("argon2id", "argon2i")),
        ("argon2id", argon("m=19456,t=2,p=1").replace("v=19", "v=16")),
        ("argon2id", "$argon2id$v=19$m=19456,t=2,p=1$c2tlcC1kZWNveS1zYWx0".into()),
        ("bcrypt", BCRYPT.replace("$04$", "$03$")),
        ("bcrypt", BCRYPT.replace("$04$", "$15$")),
        ("bcrypt", BCRYPT.replace("$2y$", "$2z$")),
        ("bcrypt", format!("{BCRYPT}a")),
        ("bcrypt", String::new()),
        ("sha256", SHA.to_ascii_uppercase()),
        ("sha256", "ab".into()),
    ] {
        assert_eq!(user(kind, &hash).err(), Some(BadCredential::Hash), "{kind} {hash}");
    }
    assert!(user("bcrypt", BCRYPT).is_ok());
    assert_eq!(user("md5", SHA).err(), Some(BadCredential::Kind));
}

#[test]
fn what_is_not_as_documented_is_refused() {
    let sound = format!(
        r#"{{"version":1,"id":"{ID}","gen":"{GEN}","kind":"sha256","hash":"{SHA}","overlap_s":60}}"#
    );
    assert_eq!(Credential::read(&sound).unwrap().overlap_s, 60);
    let with = |from: &str, to: &str| Credential::read(&sound.replace(from, to)).err();
    assert_eq!(
        with(r#""version":1"#, r#""version":2"#),
        Some(BadCredential::File(BadFile::Version))
    );
    assert_eq!(with(ID, "0f"), Some(BadCredential::Tag("id")));
    assert_eq!(with(GEN, &GEN.to_ascii_uppercase()), Some(BadCredential::Tag("gen")));
    assert_eq!(with(":60", ":3601"), Some(BadCredential::Field("overlap_s")));
    for bad in [":-1", ":null", r#":60,"name":"root""#, r#":60,"owner":"root""#] {
        assert!(
            matches!(with(":60", bad), Some(BadCredential::File(BadFile::Shape { .. }))),
            "{bad}"
        );
    }
    let cut = sound.trim_end_matches('}');
    for text in ["", "{}", "[]", "null", "{\"version\":1}", cut] {
        assert!(
            matches!(Credential::read(text), Err(BadCredential::File(BadFile::Shape { .. }))),
            "{text}"
        );
    }
    let shown = Credential::read(&sound.replace("sha256", SHA)).unwrap_err().to_string();
    assert!(!shown.contains(SHA), "{shown}");
}

#[test]
fn rights_bound_an_account() {
    let rights = Rights::read(
        r#"{"version":1,"labels":{"team":["web"]},"scopes":["repository:web/*:pull"],
            "from":["10.0.0.0/8","::ffff:192.0.2.1"],"not_after":1000}"#,
    )
    .unwrap();
    assert_eq!(rights.labels["team"], ["web"]);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(rights.holds(ip("10.1.2.3"), 1000) && rights.holds(ip("192.0.2.1"), 0));
    assert!(!rights.holds(ip("10.1.2.3"), 1001) && !rights.holds(ip("11.1.2.3"), 0));
    assert!(rights.leaves("repository", "web/a", "pull"));
    assert!(!rights.leaves("repository", "web/a", "push"));
    let open = Rights::read(r#"{"version":1,"labels":{}}"#).unwrap();
    assert!(open.holds(ip("::1"), u64::MAX) && open.leaves("a", "b", "c"));
    let none = Rights::read(r#"{"version":1,"labels":{},"scopes":[],"from":[]}"#).unwrap();
    assert!(!none.holds(ip("::1"), 0) && !none.leaves("a", "b", "c"));
}

#[test]
fn rights_that_are_not_as_documented_are_refused() {
    for (more, why) in [
        (r#""from":["10.0.0.0/33"]"#, BadCredential::Field("from")),
        (r#""from":["host"]"#, BadCredential::Field("from")),
        (r#""scopes":["repository:a"]"#, BadCredential::Field("scopes")),
    ] {
        let text = format!(r#"{{"version":1,"labels":{{}},{more}}}"#);
        assert_eq!(Rights::read(&text).err(), Some(why), "{more}");
    }
    let many = vec!["\"10.0.0.1\""; 65].join(",");
    let text = format!(r#"{{"version":1,"labels":{{}},"from":[{many}]}}"#);
    assert_eq!(Rights::read(&text).err(), Some(BadCredential::Field("from")));
    for text in [
        r#"{"version":1}"#,
        r#"{"version":1,"labels":{},"owner":"root"}"#,
        r#"{"version":1,"labels":{},"not_after":-1}"#,
        r#"{"version":1,"labels":{"a":"b"}}"#,
    ] {
        assert!(
            matches!(Rights::read(text), Err(BadCredential::File(BadFile::Shape { .. }))),
            "{text}"
        );
    }
}

#[test]
fn what_is_written_is_read() {
    let tag = |byte| Tag::from_bytes([byte; 16]);
    let verifier = Verifier::of_password(b"correct horse", &[7; 16]).unwrap();
    assert!(verifier.verify(b"correct horse") && !verifier.verify(b"correct hors"));
    let mine = Credential { id: tag(1), generation: tag(2), verifier, overlap_s: 60 };
    assert_eq!(Credential::read(&mine.text()), Ok(mine));
    let asked = RightsAsked {
        labels: [("team".to_owned(), vec!["web".to_owned()])].into(),
        scopes: vec!["repository:web/*:pull".into()],
        from: vec!["10.0.0.0/8".into()],
        not_after: Some(9),
    };
    let rights = Rights::read(&Rights::text(&asked).unwrap()).unwrap();
    assert!(rights.holds([10, 0, 0, 1].into(), 9) && !rights.holds([10, 0, 0, 1].into(), 10));
    assert!(!rights.holds([11, 0, 0, 1].into(), 9));
    assert!(rights.leaves("repository", "web/app", "pull"));
    assert!(!rights.leaves("repository", "web/app", "push"));
    assert_eq!(rights.labels, asked.labels);
    let bad = RightsAsked { from: vec!["10.0.0.0/33".into()], ..asked };
    assert_eq!(Rights::text(&bad), Err(BadCredential::Field("from")));
}
