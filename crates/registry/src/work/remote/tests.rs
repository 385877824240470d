//! What is told of others.

use super::*;

#[test]
fn who_asks_can_be_sent() {
    let asker = |name: &str, password: &str| {
        RemoteUser::new(name, Zeroizing::new(password.to_owned())).map(|_| ())
    };
    assert_eq!(asker("alice", "correct horse"), Ok(()));
    for name in ["", "a:b", "a\nb", &"x".repeat(256)] {
        assert_eq!(asker(name, "x"), Err(BadRemoteUser::Name), "{name:.20}");
    }
    for password in ["", "a\r\nb", &"x".repeat(PASSWORD_BYTES + 1)] {
        assert_eq!(asker("a", password), Err(BadRemoteUser::Password), "{password:.20}");
    }
    let asker = RemoteUser::new("alice", Zeroizing::new("horse".to_owned())).unwrap();
    assert!(!format!("{asker:?}").contains("horse"));
    assert!(asker.basic().unwrap().is_sensitive());
}
