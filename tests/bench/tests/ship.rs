//! The benchmark itself, small: every part of it runs once, and all that was spooled arrives. Nothing of speed.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_small_run_ships_everything() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wa-bench"))
        .args(["ship", "--quick", "-o", "json", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(report["shipped"]["records"], report["replay"]["records"], "{report:#}");
    assert!(number(&report["rows"]) / 16.0 <= number(&report["shipped"]["records"]), "{report:#}");
    assert!(number(&report["shipped"]["commits"]) >= 2.0, "{report:#}");
    assert!(number(&report["baseline_rows_per_s"]) > 0.0, "{report:#}");
    // Compressed, and everything of it sent.
    assert!((0.02..0.8).contains(&number(&report["wired"]["per_text"])), "{report:#}");
    assert_eq!(report["goals"].as_array().unwrap().len(), 3, "{report:#}");
}
