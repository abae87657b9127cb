//! The tables, in column types of our own, so that one declaration serves every database.

diesel::table! {
    use diesel::sql_types::{Binary, Nullable, Text};
    use crate::sql::values::{Document, Instant, Uuid};

    api_keys (id) {
        id -> Uuid,
        hash -> Binary,
        account -> Uuid,
        name -> Text,
        display_prefix -> Text,
        plan -> Text,
        permission -> Text,
        models -> Document,
        allowed_ips -> Document,
        created_at -> Instant,
        expires_at -> Nullable<Instant>,
        revoked_at -> Nullable<Instant>,
    }
}
