//! The edges between the crates are those of the table in ARCHITECTURE.md, and no others.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate may use, as the table says.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wa-proto", &[]),
    ("wa-link", &["wa-proto"]),
    ("wa-node", &["wa-proto", "wa-link", "wa-mux", "wa-screen", "wa-match"]),
    ("wa-mux", &[]),
    ("wa-screen", &["wa-proto", "wa-mux"]),
    ("wa-match", &["wa-proto"]),
    ("wa-embedded-mux", &["wa-mux", "wa-screen"]),
    ("wa-controller", &["wa-proto", "wa-link", "wa-match", "wa-workflow"]),
    ("wa-workflow", &["wa-proto"]),
    ("wa", &["wa-proto", "wa-link", "wa-screen", "wa-match", "wa-node", "wa-controller", "wa-embedded-mux"]),
];

/// The whole: may use everything.
const WHOLE: &[&str] = &["wa-tests", "wa-bench"];

/// No runtime, no clock, no I/O in the pure cores.
const PURE: &[&str] = &["wa-match", "wa-workflow", "wa-screen"];

fn metadata() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", manifest])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let metadata = metadata();
    let allowed: BTreeMap<_, BTreeSet<_>> =
        MAY_USE.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let mut found = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if WHOLE.contains(&name) {
            continue;
        }
        found.insert(name);
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = dependency["name"].as_str().unwrap();
            let dev = dependency["kind"].as_str() == Some("dev");
            let ours = target == "wa" || target.starts_with("wa-");
            assert!(dev || !ours || allowed.contains(target), "{name} must not use {target}");
            let runtime = target == "tokio" || target == "tonic" || target == "rusqlite";
            assert!(dev || !runtime || !PURE.contains(&name), "{name} is pure and must not use {target}");
        }
    }
    let table: BTreeSet<_> = allowed.keys().copied().collect();
    assert_eq!(found, table, "every crate of the table exists");
}
