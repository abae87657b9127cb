use aihub_core::{AccountId, SecretOwner, Timestamp};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;

fn place(owner: SecretOwner, name: &str) -> Place {
    Place { owner, name: name.parse().unwrap() }
}

fn house(name: &str) -> Place {
    place(SecretOwner::House, name)
}

fn plain(bytes: &[u8]) -> SecretSlice<u8> {
    bytes.to_vec().into()
}

/// Each key is the last byte of its version, 32 times.
fn ring(versions: &[KeyVersion]) -> KeyRing {
    use base64::Engine as _;
    let entry = |version: &KeyVersion| {
        let key = [u8::try_from(version & 255).unwrap(); KEY];
        format!("{version}:{}", base64::engine::general_purpose::STANDARD.encode(key))
    };
    KeyRing::parse(&versions.iter().map(entry).collect::<Vec<_>>().join(",")).unwrap()
}

fn damages(error: &Error) -> bool {
    (error.kind(), error.code()) == (ErrorKind::Internal, "secret_damaged")
}

/// The layout is what the documentation says: what is on disk is read for years.
#[test]
fn the_bytes_are_those_of_the_documentation() {
    let sealed = seal(&ring(&[7]), &house("a"), &plain(b"12345")).unwrap();
    let (key, value) = (sealed.key.as_bytes(), sealed.value.as_bytes());
    assert_eq!((key.len(), value.len()), (65, 29 + 5));
    assert_eq!((&key[..5], value[0]), (&[1, 0, 0, 0, 7][..], 1));
    let bound = bound(&place(SecretOwner::House, "ab"), Part::Key(258));
    assert_eq!(bound, b"aihub.secret\x01k\x00\x00\x01\x02\x00\x05house\x00\x02ab");
    assert_eq!(super::bound(&house("ab"), Part::Value), b"aihub.secret\x01v\x00\x00\x00\x00\x00\x05house\x00\x02ab");
}

/// Made from the documentation by another implementation (`AESGCM` of Python's `cryptography`; the data key is
/// the bytes from 0 to 31): a change that cannot read it loses what people have.
#[test]
fn what_another_implementation_wrote_can_be_read() {
    let sealed = Sealed { key: WrappedKey(unhex(WRITTEN_KEY)), value: SealedValue(unhex(WRITTEN_VALUE)) };
    let read = open(&ring(&[1]), &house("vendor/openrouter"), &sealed).unwrap();
    assert_eq!(read.expose_secret(), b"sk-or-v1-example");
}

const WRITTEN_KEY: &str = "01000000016465666768696a6b6c6d6e6f5f0d294c93570f99084f216bbbd54a4c5b43701f1c6612cddb11a1fef5a00cfec02ad258e201bdfebee60fc93b30a238";
const WRITTEN_VALUE: &str =
    "01c8c9cacbcccdcecfd0d1d2d362134cb4f4e18d11595967df737687715ae0e4474b9a0f769e5fb967bbe6e07f";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn equal_secrets_have_nothing_in_common() {
    let ring = ring(&[1]);
    let [one, two] = [0, 1].map(|_| seal(&ring, &house("a"), &plain(&[0; 64])).unwrap());
    assert_ne!(one.key.as_bytes()[5..], two.key.as_bytes()[5..]);
    assert_ne!(one.value.as_bytes()[13..29], two.value.as_bytes()[13..29]);
}

#[test]
fn a_row_cannot_stand_for_another_one() {
    let ring = ring(&[1]);
    let account = || SecretOwner::from(AccountId::new(Timestamp::UNIX_EPOCH));
    let places = [house("ab"), house("a"), place(account(), "ab"), place(account(), "ab"), place(account(), "a")];
    for here in &places {
        let sealed = seal(&ring, here, &plain(b"mine")).unwrap();
        for there in places.iter().filter(|there| *there != here) {
            let other = seal(&ring, there, &plain(b"other")).unwrap();
            assert!(damages(&open(&ring, there, &sealed).unwrap_err()), "the whole row");
            let mixed = Sealed { key: other.key.clone(), value: sealed.value.clone() };
            assert!(damages(&open(&ring, there, &mixed).unwrap_err()), "the value alone");
            let mixed = Sealed { key: sealed.key.clone(), value: other.value };
            assert!(damages(&open(&ring, there, &mixed).unwrap_err()), "the key alone");
            assert!(damages(&rewrap(&ring, there, &sealed.key).unwrap_err()), "a rotation launders nothing");
        }
        let again = seal(&ring, here, &plain(b"mine")).unwrap();
        let mixed = Sealed { key: again.key, value: sealed.value };
        assert!(damages(&open(&ring, here, &mixed).unwrap_err()), "two puts of one secret");
    }
}

#[test]
fn a_missing_master_key_is_named() {
    let sealed = seal(&ring(&[1]), &house("a"), &plain(b"x")).unwrap();
    for error in [
        open(&ring(&[2]), &house("a"), &sealed).unwrap_err(),
        rewrap(&ring(&[3, 2]), &house("a"), &sealed.key).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.code()), (ErrorKind::Internal, "master_key_missing"));
        assert!(error.message().contains("master key 1,"), "{error}");
    }
    // Another key under the same number is no missing one, and opens nothing.
    let impostor = KeyRing::random();
    assert!(damages(&open(&impostor, &house("a"), &sealed).unwrap_err()));
}

#[test]
fn a_rewrapped_key_opens_the_same_value_under_the_new_master_key_alone() {
    let sealed = seal(&ring(&[1]), &house("a"), &plain(b"value")).unwrap();
    let key = rewrap(&ring(&[2, 1]), &house("a"), &sealed.key).unwrap();
    assert_eq!(key.version(), Some(2));
    let sealed = Sealed { key, ..sealed };
    assert_eq!(open(&ring(&[2]), &house("a"), &sealed).unwrap().expose_secret(), b"value");
    assert_eq!(open(&ring(&[1]), &house("a"), &sealed).unwrap_err().code(), "master_key_missing");
}

#[test]
fn nothing_printable_holds_a_key_or_a_ciphertext() {
    let sealed = seal(&ring(&[1]), &house("a"), &plain(b"value")).unwrap();
    let sized = "SealedValue(34 bytes)";
    assert_eq!(format!("{sealed:?}"), format!("Sealed {{ key: WrappedKey(under Some(1)), value: {sized} }}"));
}

proptest! {
    #[test]
    fn what_is_sealed_opens(bytes in proptest::collection::vec(any::<u8>(), 0..300), version in 1..=KeyVersion::MAX) {
        let ring = ring(&[version]);
        let sealed = seal(&ring, &house("a"), &plain(&bytes)).unwrap();
        prop_assert_eq!(sealed.key.version(), Some(version));
        let opened = open(&ring, &house("a"), &sealed).unwrap();
        prop_assert_eq!(opened.expose_secret(), &bytes[..]);
    }

    #[test]
    fn any_change_of_a_byte_is_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        change in 1..=u8::MAX,
    ) {
        let ring = ring(&[1]);
        let sealed = seal(&ring, &house("a"), &plain(&bytes)).unwrap();
        let opens = |sealed: &Sealed| open(&ring, &house("a"), sealed).is_ok();
        prop_assert!(opens(&sealed));
        for place in 0..sealed.key.0.len() {
            let mut changed = sealed.clone();
            changed.key.0[place] ^= change;
            prop_assert!(!opens(&changed), "byte {} of the key", place);
            prop_assert!(rewrap(&ring, &house("a"), &changed.key).is_err());
        }
        for place in 0..sealed.value.0.len() {
            let mut changed = sealed.clone();
            changed.value.0[place] ^= change;
            prop_assert!(!opens(&changed), "byte {} of the value", place);
        }
        for length in 0..sealed.key.0.len() {
            let cut = Sealed { key: WrappedKey(sealed.key.0[..length].to_vec()), ..sealed.clone() };
            prop_assert!(!opens(&cut), "{} bytes of the key", length);
        }
        for length in 0..sealed.value.0.len() {
            let cut = Sealed { value: SealedValue(sealed.value.0[..length].to_vec()), ..sealed.clone() };
            prop_assert!(!opens(&cut), "{} bytes of the value", length);
        }
        let mut longer = sealed.clone();
        longer.key.0.push(change);
        prop_assert!(!opens(&longer));
        let mut longer = sealed;
        longer.value.0.push(change);
        prop_assert!(!opens(&longer));
    }

    /// The bounds, by which stores search, and the version that a key says agree on any bytes.
    #[test]
    fn bounds_hold_what_is_under_a_version(
        bytes in proptest::collection::vec(prop_oneof![0..3_u8, Just(255), any::<u8>()], 0..8),
        version in prop_oneof![0..4_u32, Just(KeyVersion::MAX), any::<KeyVersion>()],
    ) {
        let (least, beyond) = WrappedKey::bounds(version);
        let key = WrappedKey(bytes);
        prop_assert_eq!(least <= key.0 && key.0 < beyond, key.version() == Some(version));
    }
}
