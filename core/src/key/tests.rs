use super::*;

#[test]
fn an_issued_key_is_found_by_its_secret_and_holds() {
    let (pepper, now) = (Pepper::random(), Timestamp::UNIX_EPOCH);
    let key = ApiKey::new(AccountId::new(now), "mine", "free", now);
    let (new, secret) = NewKey::issue("test", &pepper, key.clone());
    assert_eq!(new.hash, pepper.hash(&secret.reveal().parse().unwrap()));
    assert_eq!(new.key, ApiKey { display_prefix: secret.display_prefix(), ..key.clone() });
    assert!(new.key.check(now).is_ok());
    assert_ne!(NewKey::issue("test", &pepper, key).0.hash, new.hash, "a secret came twice");
}

#[test]
fn a_replaced_secret_holds_until_the_overlap_ends() {
    let now = Timestamp::UNIX_EPOCH;
    let (secret, plain) = NewSecret::issue("live", &Pepper::random(), now, Duration::from_hours(1));
    assert_eq!(secret.display_prefix, plain.display_prefix());
    let mut key = ApiKey::new(AccountId::new(now), "mine", "free", now);
    key.secret_ends_at = Some(secret.overlap_until);
    assert!(key.check(now + Duration::from_mins(59)).is_ok());
    assert_eq!(key.check(now + Duration::from_hours(1)).unwrap_err().code(), "api_key_rotated");
}
