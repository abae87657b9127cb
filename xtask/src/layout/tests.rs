use serde_json::{Value, json};

use super::{Metadata, arrows, banned};

/// A workspace in which `folder` (package aihub-<leaf>) has these dependencies.
fn workspace(folder: &str, dependencies: &Value) -> Metadata {
    let leaf = folder.rsplit('/').next().unwrap();
    named(folder, &format!("aihub-{leaf}"), dependencies)
}

fn named(folder: &str, name: &str, dependencies: &Value) -> Metadata {
    serde_json::from_value(json!({
        "workspace_root": "/w",
        "workspace_members": ["it"],
        "packages": [
            {"id": "it", "name": name, "manifest_path": format!("/w/{folder}/Cargo.toml"), "dependencies": dependencies},
            {"id": "foreign", "name": "foreign", "manifest_path": "/registry/foreign/Cargo.toml",
             "dependencies": [{"name": "diesel", "kind": null, "path": null}]},
        ],
    }))
    .unwrap()
}

fn ours(folder: &str, kind: Option<&str>) -> Value {
    json!([{"name": "x", "kind": kind, "path": format!("/w/{folder}")}])
}

fn foreign(name: &str) -> Value {
    json!([{"name": name, "kind": null, "path": null}])
}

#[test]
fn the_intended_arrows_pass() {
    let fine = [
        ("providers", "core", None),
        ("storage", "core", None),
        ("middleware/layers", "core", None),
        ("middleware/gateway", "core", None),
        ("middleware/gateway", "middleware/layers", None),
        ("examples/server", "storage", None),
        ("examples/server", "examples/vendors", Some("dev")),
        ("providers", "examples/vendors", Some("dev")),
        ("core", "core", Some("dev")),
    ];
    for (from, to, kind) in fine {
        assert_eq!(arrows(&workspace(from, &ours(to, kind))), Vec::<String>::new(), "{from} -> {to}");
    }
}

#[test]
fn each_forbidden_arrow_is_named_with_what_to_do() {
    let wrong = [
        ("core", "providers", None, "turn the arrow around"),
        ("core", "storage", Some("dev"), "turn the arrow around"),
        ("providers", "storage", None, "port in core"),
        ("storage", "providers", None, "port in core"),
        ("storage", "middleware/layers", None, "port in core"),
        ("middleware/layers", "middleware/gateway", None, "port in core"),
        ("middleware/billing", "middleware/accounts", None, "port in core"),
        ("middleware/billing", "middleware/layers", None, "port in core"),
        ("middleware/gateway", "storage", Some("dev"), "port in core"),
        ("providers", "examples/vendors", None, "libraries do not depend on examples"),
        ("providers", "examples/bench", Some("dev"), "libraries do not depend on examples"),
        ("examples/bench", "examples/server", Some("dev"), "nothing depends on the reference server"),
        ("xtask", "core", None, "turn the arrow around"),
        ("storage", "xtask", None, "nothing depends on the chores"),
        ("storage", "stray", None, "no such room"),
    ];
    for (from, to, kind, advice) in wrong {
        let found = arrows(&workspace(from, &ours(to, kind)));
        assert_eq!(found.len(), 1, "{from} -> {to}: {found:?}");
        assert!(found[0].starts_with(&format!("{from} → {to}: ")), "{found:?}");
        assert!(found[0].contains(advice), "{found:?}");
    }
}

#[test]
fn rules_know_no_backend_and_no_settings_library() {
    for folder in ["core", "middleware/layers", "middleware/gateway", "middleware/billing"] {
        for name in ["diesel", "redis", "figment"] {
            let found = arrows(&workspace(folder, &foreign(name)));
            assert_eq!(found.len(), 1, "{folder} -> {name}");
            assert!(found[0].contains("put a port into core"), "{found:?}");
        }
        assert!(arrows(&workspace(folder, &foreign("serde"))).is_empty());
    }
    assert!(arrows(&workspace("storage", &foreign("diesel"))).is_empty());
    assert!(arrows(&workspace("examples/server", &foreign("figment"))).is_empty());
}

#[test]
fn names_and_rooms_follow_the_plan() {
    let found = arrows(&named("storage", "aihub-store", &json!([])));
    assert_eq!(found, ["storage: the package is named `aihub-store`; name it `aihub-storage`"]);
    assert!(arrows(&workspace("toys", &json!([])))[0].contains("no such room"));
    assert!(arrows(&workspace("middleware/billing/extra", &json!([])))[0].contains("no such room"));
}

#[test]
fn banned_packages_are_found_by_their_whole_name() {
    let tree = "aihub-core v0.1.0 (path)\nstring-ring v1.0.0\nreqwest-like v1.0.0\n";
    assert_eq!(banned(tree), Vec::<String>::new());
    let found = banned("serde v1.0.0\nring v0.17.0\nring v0.17.0 (*)\nopenssl-sys v0.9.0\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("`ring`") && line.contains("aws-lc-rs")));
}
