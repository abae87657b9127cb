//! The tables, in column types of our own, so that one declaration serves every database.

diesel::table! {
    use diesel::sql_types::{Nullable, Text};
    use crate::sql::values::{Document, Instant, Uuid};

    api_keys (id) {
        id -> Uuid,
        account -> Uuid,
        name -> Text,
        display_prefix -> Text,
        plan -> Text,
        permission -> Text,
        operations -> Document,
        models -> Document,
        allowed_ips -> Document,
        limits -> Document,
        created_at -> Instant,
        expires_at -> Nullable<Instant>,
        revoked_at -> Nullable<Instant>,
        last_used_at -> Nullable<Instant>,
    }
}

diesel::table! {
    use diesel::sql_types::{Binary, Nullable};
    use crate::sql::values::{Instant, Uuid};

    api_key_secrets (hash) {
        hash -> Binary,
        key -> Uuid,
        ends_at -> Nullable<Instant>,
    }
}

#[cfg(feature = "secrets")]
diesel::table! {
    use diesel::sql_types::{Binary, Text};

    secrets (owner, name) {
        owner -> Text,
        name -> Text,
        wrapped_key -> Binary,
        value -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::BigInt;
    use crate::sql::values::{Instant, Uuid};

    quota_windows (subject, month) {
        subject -> Uuid,
        month -> Instant,
        calls_settled -> BigInt,
        calls_held -> BigInt,
        tokens_settled -> BigInt,
        tokens_held -> BigInt,
        nanos_settled -> BigInt,
        nanos_held -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::BigInt;
    use crate::sql::values::{Document, Instant, Uuid};

    quota_holds (call) {
        call -> Uuid,
        account -> Uuid,
        key -> Uuid,
        month -> Instant,
        calls -> BigInt,
        tokens -> BigInt,
        nanos -> BigInt,
        asked -> Document,
    }
}

diesel::joinable!(api_key_secrets -> api_keys (key));
diesel::allow_tables_to_appear_in_same_query!(api_keys, api_key_secrets);
