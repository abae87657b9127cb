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

diesel::table! {
    use crate::sql::values::{Document, Uuid};

    account_terms (account) {
        account -> Uuid,
        terms -> Document,
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
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::sql::values::Instant;

    windows (subject, unit, span, starts_at) {
        subject -> Text,
        unit -> Text,
        span -> Text,
        starts_at -> Instant,
        ends_at -> Nullable<Instant>,
        most -> Nullable<BigInt>,
        granted -> BigInt,
        settled -> BigInt,
        leased -> BigInt,
        recall -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Text};
    use crate::sql::values::{Instant, Uuid};

    leases (run, subject, unit, span, starts_at) {
        run -> Uuid,
        subject -> Text,
        unit -> Text,
        span -> Text,
        starts_at -> Instant,
        amount -> BigInt,
        answered -> BigInt,
    }
}

diesel::table! {
    use crate::sql::values::{Instant, Uuid};

    runs (run) {
        run -> Uuid,
        node -> Uuid,
        seen_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::BigInt;
    use crate::sql::values::Uuid;

    journals (node) {
        node -> Uuid,
        segment -> BigInt,
        place -> BigInt,
        seq -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::BigInt;
    use crate::sql::values::{Instant, Uuid};

    settlements (node, seq) {
        node -> Uuid,
        seq -> BigInt,
        posting -> Uuid,
        calls -> BigInt,
        booked_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::Text;
    use crate::sql::values::{Instant, Uuid};

    postings (id) {
        id -> Uuid,
        kind -> Text,
        source -> Text,
        effective_at -> Instant,
        booked_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Text};
    use crate::sql::values::Uuid;

    posting_lines (posting, account, currency) {
        posting -> Uuid,
        account -> Text,
        currency -> Text,
        nanos -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Text};

    balances (account, currency) {
        account -> Text,
        currency -> Text,
        nanos -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Text};
    use crate::sql::values::{Instant, Uuid};

    usage_rollups (account, width, starts_at, key, model, operation, status, currency) {
        account -> Uuid,
        width -> Text,
        starts_at -> Instant,
        key -> Uuid,
        model -> Text,
        operation -> Text,
        status -> Integer,
        currency -> Text,
        calls -> BigInt,
        prompt_tokens -> BigInt,
        cached_tokens -> BigInt,
        completion_tokens -> BigInt,
        reasoning_tokens -> BigInt,
        charge -> BigInt,
        cost -> BigInt,
        duration_us -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::sql::values::Instant;

    quota_alerts (subject, unit, span, starts_at, percent) {
        subject -> Text,
        unit -> Text,
        span -> Text,
        starts_at -> Instant,
        percent -> Integer,
        settled -> BigInt,
        most -> BigInt,
        raised_at -> Instant,
        fired_at -> Nullable<Instant>,
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
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    use crate::sql::values::{Document, Instant, Uuid};

    usage_records (call, at) {
        call -> Uuid,
        at -> Instant,
        account -> Uuid,
        key -> Uuid,
        plan -> Text,
        operation -> Text,
        organisation -> Nullable<Uuid>,
        flags -> Integer,
        model -> Text,
        provider -> Nullable<Text>,
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
        cost -> Nullable<BigInt>,
        charge -> Nullable<BigInt>,
        cost_currency -> Nullable<Text>,
        price_version -> Nullable<Text>,
        vendor_cost -> Nullable<BigInt>,
        vendor_currency -> Nullable<Text>,
        outcome -> Text,
        status -> Integer,
        duration_us -> BigInt,
        posting -> Nullable<Uuid>,
        detail -> Document,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Text};
    use crate::sql::values::{Instant, Uuid};

    sink_cursors (sink, node) {
        sink -> Text,
        node -> Uuid,
        seq -> BigInt,
        settlement -> BigInt,
        ends -> BigInt,
        claimed_by -> Uuid,
        claimed_until -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::Text;
    use crate::sql::values::{Instant, Uuid};

    sink_dead_letters (sink, call) {
        sink -> Text,
        call -> Uuid,
        reason -> Text,
        at -> Instant,
    }
}

diesel::joinable!(api_key_secrets -> api_keys (key));
diesel::allow_tables_to_appear_in_same_query!(api_keys, api_key_secrets, account_terms);
diesel::allow_tables_to_appear_in_same_query!(windows, leases, runs);
diesel::allow_tables_to_appear_in_same_query!(journals, settlements);
