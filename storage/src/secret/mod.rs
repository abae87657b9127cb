//! Secrets at rest: every value under a key of its own, and those keys under a master key that no store
//! holds ("envelope encryption").
//!
//! [`Sealing`] is the one [`SecretStore`](aihub_core::SecretStore): it encrypts, and hands ciphertexts to
//! [`SealedRows`], which keep them and know no key. Rows in memory and in a database differ in nothing that
//! matters to the encryption, and it is written once; rows of your own get it for a handful of queries.
//!
//! Why two keys: a value is encrypted under a random *data key*, which is used once, for this value; the
//! data key is encrypted ("wrapped") under the newest *master key* of a [`KeyRing`], which comes from
//! outside. A master key is replaced by wrapping 32 bytes a secret anew ([`Sealing::rotate`]); no value is
//! decrypted for it.
//!
//! # What is kept
//!
//! Numbers are big-endian. `wrapped_key`, 65 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format: 1 |
//! | 1 | 4 | version of the master key |
//! | 5 | 12 | nonce, random |
//! | 17 | 32 | the data key, encrypted under the master key |
//! | 49 | 16 | tag |
//!
//! `value`, 29 bytes more than the secret has:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | format: 1 |
//! | 1 | 12 | nonce, random |
//! | 13 | n | the secret, encrypted under the data key |
//! | 13 + n | 16 | tag |
//!
//! Each is bound to its place by what is authenticated beside it and not kept:
//!
//! | bytes | what |
//! |---|---|
//! | 12 | `aihub.secret` |
//! | 1 | format: 1 |
//! | 1 | `k` for a data key, `v` for a value |
//! | 4 | version of the master key; 0 for a value, which stays as it is when its data key is wrapped anew |
//! | 2 + m | length of the owner's text form, and that (`house`, `acc_…`) |
//! | 2 + k | length of the name, and that |
//!
//! So whoever can write the table can neither change a byte, nor give one owner's secret to another one,
//! nor one name's to another name, nor take the value of one row with the data key of the next. They can
//! delete a secret, and they can put back both columns of an *older* value of the same owner and name, if
//! they have a copy of it: nothing outside the table counts how often a row was written.
//!
//! # Why AES-256-GCM
//!
//! It is in the crypto library that TLS brings already, in hardware nearly everywhere, and approved wherever
//! somebody asks. Its danger is a nonce used twice under one key. A data key is used once; a master key
//! wraps with random nonces, which [`RandomizedNonceKey`](aws_lc_rs::aead::RandomizedNonceKey) draws itself
//! and takes from nobody, and NIST SP 800-38D bounds that to 2³² wraps of one master key: a number of puts
//! that no table of secrets comes near, and that a new master key starts anew. `XChaCha20`, whose nonces need
//! no bound, was refused because it would bring a second implementation of cryptography.

mod envelope;
mod ring;
mod rows;
mod sealing;

pub use envelope::{Sealed, SealedValue, WrappedKey};
pub use ring::{KeyRing, KeyVersion};
pub use rows::{Place, Rewrap, SealedRows};
pub use sealing::{Rotated, Sealing};
