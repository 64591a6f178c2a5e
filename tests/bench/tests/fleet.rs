//! The benchmark itself, small: every phase runs once, every node comes back, and every event is in the log once.
//! Nothing of speed.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_small_fleet_loses_nothing_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wa-bench"))
        .args(["fleet", "--quick", "-o", "json", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{report:#}"));
    for phase in ["calm", "troubled"] {
        let phase = &report[phase];
        assert!(number(&phase["events_per_s"]) > 20.0, "{phase:#}");
        assert!(number(&phase["latency"]["samples"]) > 50.0, "{phase:#}");
        for asked in ["command", "version", "call", "empty"] {
            assert!(number(&phase["asked"][asked]["samples"]) >= 1.0, "{phase:#}");
        }
        assert!(number(&phase["cpu"]["controller"]) > 0.0, "{phase:#}");
    }
    let accounts = &report["accounts"];
    assert!(number(&accounts["spooled"]) > 400.0, "{accounts:#}");
    assert_eq!(accounts["spooled"], accounts["logged"], "{accounts:#}");
    assert_eq!(accounts["doubled"], 0, "{accounts:#}");
    let knocks = &report["restart"]["knocks"];
    assert!(number(&knocks["attempts"]) > 20.0, "{knocks:#}");
    assert!(knocks["shortest_ms"].is_null() || number(&knocks["shortest_ms"]) >= 1000.0, "{knocks:#}");
    assert!(number(&report["goals"].as_array().unwrap().len().into()) >= 9.0, "{report:#}");
}
