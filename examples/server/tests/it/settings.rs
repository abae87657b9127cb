//! Wrong settings stop the start with exit code 64 and one line that says what to do.

use std::process::Output;

use crate::hub::{aihub, last_line};

fn refused(environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = aihub(folder.path(), &["check"]).envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "more than one line: {said}");
    said
}

fn config(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aihub.toml");
    std::fs::write(&file, text).unwrap();
    aihub(folder.path(), &["--config", file.to_str().unwrap(), "check"]).output().unwrap()
}

#[test]
fn an_unknown_setting_is_named_with_its_value_and_the_nearest_name() {
    let said = refused(&[("AIHUB_SERVER__LISTN", "127.0.0.1:1")]);
    for part in ["server.listn", "127.0.0.1:1", "AIHUB_SERVER__LISTN", "`server.listen`"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert!(refused(&[("AIHUB_SERVER__LISTN", "1")]).contains("`server.listn` = 1 "), "a number is shown as one");
    let output = config("[upstream]\nretrys = 3\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        said.contains("upstream.retrys") && said.contains("`upstream.retries`") && said.contains("aihub.toml"),
        "{said}"
    );
}

#[test]
fn a_wrong_value_is_named() {
    let said = refused(&[("AIHUB_SERVER__LISTEN", "everywhere")]);
    assert!(said.contains("server.listen") && said.contains("everywhere"), "{said}");
    let said = refused(&[("AIHUB_KEYS__DEFAULT_PLAN", "gold")]);
    assert!(said.contains("gold") && said.contains("free, pro"), "{said}");
}

const DEPARTURES: &str = "AIHUB_UPSTREAM__DEPARTURES";

/// Each variable with its value, and what the one line has to say beside the setting.
const WITHOUT_EFFECT: [(&str, &str, &[&str]); 45] = [
    ("AIHUB_SERVER__MAX_CALLS_IN_FLIGHT", "0", &["server.max_calls_in_flight` = 0", "from 1 to"]),
    ("AIHUB_SERVER__MAX_CALLS_PER_KEY", "0", &["server.max_calls_per_key` = 0", "from 1 to"]),
    ("AIHUB_SERVER__MAX_BODY_BYTES", "0", &["server.max_body_bytes` = 0", "from 1 to"]),
    ("AIHUB_SERVER__BODY_TIMEOUT_S", "0", &["server.body_timeout_s` = 0", "from 1 to"]),
    ("AIHUB_SERVER__WRITE_TIMEOUT_S", "18446744073709551615", &["server.write_timeout_s", "whole number"]),
    ("AIHUB_SERVER__WORKERS", "1000000", &["server.workers` = 1000000", "at most 1024"]),
    ("AIHUB_UPSTREAM__FIRST_EVENT_TIMEOUT_MS", "0", &["upstream.first_event_timeout_ms` = 0", "from 1 to"]),
    ("AIHUB_UPSTREAM__ANSWER_TIMEOUT_MS", "-1", &["upstream.answer_timeout_ms` = -1", "from 1 to"]),
    ("AIHUB_UPSTREAM__IDLE_TIMEOUT_MS", "0", &["upstream.idle_timeout_ms` = 0", "from 1 to"]),
    ("AIHUB_UPSTREAM__CONNECT_TIMEOUT_MS", "soon", &["upstream.connect_timeout_ms` = \"soon\"", "whole number"]),
    ("AIHUB_UPSTREAM__BREAKER_FAILURES", "0", &["upstream.breaker_failures` = 0", "from 1 to"]),
    ("AIHUB_UPSTREAM__BREAKER_WINDOW_S", "0", &["upstream.breaker_window_s` = 0", "from 1 to"]),
    ("AIHUB_UPSTREAM__BREAKER_PAUSE_S", "0", &["upstream.breaker_pause_s` = 0", "from 1 to"]),
    (
        DEPARTURES,
        r#"[{provider="gemin",model="*",policy="void"}]"#,
        &["departures[0]", "gemin *", "no call comes to it"],
    ),
    (DEPARTURES, r#"[{provider="gemini",model="gpt*",policy="void"}]"#, &["departures[0]", "no call comes to it"]),
    (
        DEPARTURES,
        r#"[{provider="gemini",model="*",policy="void"},{provider="gemini",model="gemini-2.5-pro",policy="cancel"}]"#,
        &["departures[1]", "gemini-2.5-pro", "the rules before it"],
    ),
    (DEPARTURES, r#"[{provider="gemini",model="*",policy="drain"}]"#, &["departures[0]", "needs `within_s`"]),
    (DEPARTURES, r#"[{provider="gemini",model="*",policy="void",within_s=3}]"#, &["departures[0]", "leave them out"]),
    (
        DEPARTURES,
        r#"[{provider="gemini",model="*",policy="drain",within_s=3,cost_cap="0 USD"}]"#,
        &["departures[0]", "\"0 USD\"", "above zero"],
    ),
    (DEPARTURES, r#"[{provider="gemini",model="*",policy="wait"}]"#, &["departures.0.policy", "cancel, drain, void"]),
    ("AIHUB_KEYS__EXPIRE_AFTER_DAYS", "4000000", &["keys.expire_after_days` = 4000000", "at most 36500"]),
    ("AIHUB_JOURNAL__SEGMENT_MIB", "0", &["journal.segment_mib` = 0", "from 1 to"]),
    ("AIHUB_JOURNAL__MOST_MIB", "100", &["journal.most_mib` = 100", "twice"]),
    ("AIHUB_PLANS__PRO__QUOTAS", r#"[{per="day"}]"#, &["plans.pro.quotas[0]", "limits nothing"]),
    ("AIHUB_IDEMPOTENCY__KEEP_HOURS", "0", &["idempotency.keep_hours` = 0", "from 1 to"]),
    ("AIHUB_IDEMPOTENCY__KEEP_HOURS", "9000", &["idempotency.keep_hours` = 9000", "at most 8760"]),
    ("AIHUB_UPSTREAM__ANSWER_TIMEOUT_MS", "86400000", &["idempotency.keep_hours` = 24", "upstream.answer_timeout_ms"]),
    ("AIHUB_IDEMPOTENCY__MAX_ANSWER_BYTES", "1000000000", &["idempotency.max_answer_bytes", "at most 67108864"]),
    ("AIHUB_PLANS__PRO__DEFAULT_OUTPUT_TOKENS", "0", &["plans.pro.default_output_tokens` = 0", "at least 1"]),
    ("AIHUB_PLANS__PRO__REQUESTS_PER_MINUTE", "0", &["plans.pro.requests_per_minute` = 0", "leave it out"]),
    ("AIHUB_PLANS__PRO__MARKUP", "20", &["plans.pro.markup` = 20", "a percentage such as `20%`"]),
    ("AIHUB_PLANS__PRO__MARKUP", "-101%", &["plans.pro.markup` = \"-101%\"", "not below -100%"]),
    ("AIHUB_PLANS__PRO__NAME", "gold", &["plans.pro.name` = \"gold\"", "`pro`"]),
    ("AIHUB_PLANS__FREE__MODELS", "{only=[]}", &["plans.free.models.only", "at least one"]),
    ("AIHUB_PLANS__FREE__MODELS", r#"{only=["openia/*"]}"#, &["plans.free.models.only` = \"openia/*\"", "no model"]),
    ("AIHUB_CATALOGUE__DEFAULT_MODEL", "nope", &["catalogue.default_model` = \"nope\"", "no model"]),
    ("AIHUB_CATALOGUE__DEFAULT_MODEL", "google/gemini-embedding-001", &["catalogue.default_model", "chats"]),
    ("AIHUB_CATALOGUE__ALIASES__FAST", "nope", &["catalogue.aliases.fast` = \"nope\"", "no model"]),
    (
        "AIHUB_CATALOGUE__FALLBACKS",
        r#"{nope=["openai/gpt-4o-mini"]}"#,
        &["catalogue.fallbacks.nope", "`nope` is no model"],
    ),
    (
        "AIHUB_CATALOGUE__FALLBACKS",
        r#"{"openai/gpt-4o-mini"=["nope"]}"#,
        &["catalogue.fallbacks.openai/gpt-4o-mini` = \"nope\""],
    ),
    ("AIHUB_SERVER__TRUSTED_PROXIES", r#"["10.0.0.0/40"]"#, &["server.trusted_proxies", "`10.0.0.0/40`", "10.0.0.0/8"]),
    ("AIHUB_SERVER__TRUSTED_PROXIES", "10.0.0.0/8", &["server.trusted_proxies", "a list of addresses and networks"]),
    ("AIHUB_CONFIG", "/etc/aihub.toml", &["(set by AIHUB_CONFIG)", "`--config FILE`"]),
    ("AIHUB_BLORP", "1", &["(set by AIHUB_BLORP)", "`aihub settings`"]),
    ("OPENROUTER_API_KEY", " , ", &["providers.openrouter", "holds no key"]),
];

#[test]
fn what_lets_nothing_through_or_has_no_effect_is_refused() {
    for (variable, value, parts) in WITHOUT_EFFECT {
        let said = refused(&[(variable, value)]);
        for part in parts {
            assert!(said.contains(part), "{variable}={value}: {part} is missing: {said}");
        }
    }
    let openai = r#"{kind="openai",base_url="http://127.0.0.1:9/v1",api_keys="k"}"#;
    let said = refused(&[("AIHUB_PROVIDERS__MINE", openai)]);
    assert!(said.contains("providers.mine") && said.contains("catalogue.file"), "{said}");
}

#[test]
fn a_default_model_has_to_be_sold_where_anything_is() {
    let folder = tempfile::tempdir().unwrap();
    let check = |environment: &[(&str, &str)]| {
        aihub(folder.path(), &["check"]).envs(environment.iter().copied()).output().unwrap().status.code()
    };
    let mini = ("AIHUB_CATALOGUE__DEFAULT_MODEL", "openai/gpt-4o-mini");
    assert_eq!(check(&[("AIHUB_CATALOGUE__DEFAULT_MODEL", "")]), Some(0), "none");
    assert_eq!(check(&[mini]), Some(0), "nothing is sold yet");
    assert_eq!(check(&[mini, ("OPENROUTER_API_KEY", "k")]), Some(0));
    let said = refused(&[mini, ("GEMINI_API_KEY", "k")]);
    assert!(said.contains("catalogue.default_model") && said.contains("no enabled provider"), "{said}");
    let alias = ("AIHUB_CATALOGUE__ALIASES__FAST", "openai/gpt-4o-mini");
    assert_eq!(check(&[alias, ("AIHUB_CATALOGUE__DEFAULT_MODEL", "fast"), ("OPENROUTER_API_KEY", "k")]), Some(0));
}

#[test]
fn networks_of_proxies_are_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let networks = r#"["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"]"#;
    let output = aihub(folder.path(), &["check"]).env("AIHUB_SERVER__TRUSTED_PROXIES", networks).output().unwrap();
    assert_eq!(last_line(&output), "ok");
}

#[test]
fn a_file_that_is_no_toml_is_told_in_one_line_without_its_secrets() {
    for text in ["[server\nx = 1\n", "[providers.openrouter]\napi_keys = \"hunter2\n"] {
        let output = config(text);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains("aihub.toml") && said.contains("line ") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn what_cannot_be_written_is_named_by_its_setting() {
    let said = refused(&[("DATABASE_URL", "sqlite://nowhere/hub.db")]);
    assert!(said.contains("`store.url` (DATABASE_URL)") && said.contains("may be written"), "{said}");
    let said = refused(&[("AIHUB_KEYS__PEPPER_FILE", "nowhere/pepper")]);
    assert!(said.contains("`keys.pepper_file`") && said.contains("nowhere/pepper"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let output = aihub(folder.path(), &["serve"]).env("AIHUB_STORE__USAGE_FILE", "nowhere/usage").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("`store.usage_file`") && said.trim_end().lines().count() == 1, "{said}");
}

#[test]
fn the_pepper_stands_beside_the_database_however_its_url_is_written() {
    for url in ["sqlite:hub.db", "sqlite://hub.db"] {
        let folder = tempfile::tempdir().unwrap();
        let output = aihub(folder.path(), &["check"]).env("DATABASE_URL", url).output().unwrap();
        assert_eq!(last_line(&output), "ok");
        assert!(folder.path().join("hub.db.pepper").is_file(), "{url}");
    }
}

#[test]
fn a_key_without_a_usable_name_or_plan_is_not_made() {
    let long = "x".repeat(201);
    for arguments in [["--name", ""], ["--name", "  "], ["--name", "two\nlines"], ["--name", &long]] {
        let folder = tempfile::tempdir().unwrap();
        let output = aihub(folder.path(), &["keys", "create"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was made for {arguments:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let output = aihub(folder.path(), &["keys", "create", "--name", "x", "--plan", "gold"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(64) && said.contains("gold") && said.contains("free, pro"), "{said}");
    let made = aihub(folder.path(), &["keys", "create", "--name", &"x".repeat(200)]);
    assert!(last_line(&{ made }.env("AIHUB_KEYS__EXPIRE_AFTER_DAYS", "36500").output().unwrap()).starts_with("ahub_"));
}

#[test]
fn a_store_that_cannot_be_opened_is_never_replaced_by_another() {
    let said = refused(&[
        ("DATABASE_URL", "postgres://user:hunter2@db/aihub"),
        ("AIHUB_KEYS__PEPPER", "a pepper of at least 32 characters"),
    ]);
    assert!(said.contains("DATABASE_URL") && !said.contains("hunter2"), "{said}");
    refused(&[("DATABASE_URL", "mysql://x")]);
    refused(&[("REDIS_URL", "http://localhost")]);
}

#[test]
fn an_address_without_a_key_has_no_effect_and_is_refused() {
    let said = refused(&[("AIHUB_PROVIDERS__OPENROUTER__BASE_URL", "http://127.0.0.1:9/api/v1")]);
    assert!(said.contains("providers.openrouter"), "{said}");
}

#[test]
fn secrets_are_not_shown() {
    let said = refused(&[("AIHUB_KEYS__PEPPER", "too-short-secret")]);
    assert!(!said.contains("too-short-secret"), "{said}");
}

#[test]
fn keys_in_memory_would_be_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = aihub(folder.path(), &["keys", "create", "--name", "x"]);
    let output = command.env("DATABASE_URL", "memory:").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[test]
fn commands_print_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let document = aihub(folder.path(), &["openapi"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/chat/completions"]["post"].is_object());
    assert_eq!(last_line(&aihub(folder.path(), &["check"]).output().unwrap()), "ok");
    let key = last_line(&aihub(folder.path(), &["keys", "create", "--name", "x"]).output().unwrap());
    assert!(key.starts_with("ahub_live_") && !key.contains(' '), "{key}");
    let settings = aihub(folder.path(), &["settings"]).output().unwrap();
    assert!(String::from_utf8(settings.stdout).unwrap().contains("[server]"));
    for right in ["--help", "--version"] {
        assert_eq!(aihub(folder.path(), &[right]).output().unwrap().status.code(), Some(0), "{right}");
    }
    assert_eq!(aihub(folder.path(), &["serv"]).output().unwrap().status.code(), Some(64));
}

#[test]
fn what_the_suites_and_their_clients_read_is_no_setting() {
    let folder = tempfile::tempdir().unwrap();
    let mut check = aihub(folder.path(), &["check"]);
    let output = check.env("AIHUB_WIRE_SAMPLES", "samples").env("AIHUB_API_KEY", "ahub_live_x").output().unwrap();
    assert_eq!(last_line(&output), "ok");
}

#[test]
fn a_pepper_that_is_gone_is_not_replaced_by_another() {
    let folder = tempfile::tempdir().unwrap();
    last_line(&aihub(folder.path(), &["keys", "create", "--name", "x"]).output().unwrap());
    std::fs::remove_file(folder.path().join("aihub.db.pepper")).unwrap();
    let output = aihub(folder.path(), &["check"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(64) && said.contains("put it back"), "{said}");
    assert!(!folder.path().join("aihub.db.pepper").exists());
}
