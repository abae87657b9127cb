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

diesel::table! {
    use diesel::sql_types::{Binary, Integer, Nullable, Text};
    use crate::sql::values::{Document, Instant, Uuid};

    idempotency_keys (account, key) {
        account -> Uuid,
        key -> Text,
        fingerprint -> Binary,
        request -> Uuid,
        begun_at -> Instant,
        running_until -> Instant,
        expires_at -> Instant,
        ended -> Nullable<Text>,
        status -> Nullable<Integer>,
        headers -> Nullable<Document>,
        body -> Nullable<Binary>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
    use crate::sql::values::{Document, Instant, Uuid};

    usage_records (call, at) {
        call -> Uuid,
        at -> Instant,
        account -> Uuid,
        key -> Uuid,
        plan -> Text,
        operation -> Text,
        stream -> Bool,
        model -> Text,
        provider -> Nullable<Text>,
        served_model -> Nullable<Text>,
        input -> BigInt,
        cache_read -> BigInt,
        cache_write -> BigInt,
        audio_input -> BigInt,
        image_input -> BigInt,
        tool_input -> BigInt,
        output -> BigInt,
        reasoning -> BigInt,
        audio_output -> BigInt,
        image_output -> BigInt,
        searches -> BigInt,
        estimated -> Bool,
        cost -> Nullable<BigInt>,
        cost_currency -> Nullable<Text>,
        vendor_cost -> Nullable<BigInt>,
        vendor_currency -> Nullable<Text>,
        outcome -> Text,
        status -> Integer,
        duration_us -> BigInt,
        first_event_us -> Nullable<BigInt>,
        detail -> Document,
    }
}

diesel::joinable!(api_key_secrets -> api_keys (key));
diesel::allow_tables_to_appear_in_same_query!(api_keys, api_key_secrets);
