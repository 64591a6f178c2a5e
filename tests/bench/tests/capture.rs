//! The benchmark itself, small: every part of it runs once, and what the node captured is exact. Nothing of speed.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_small_run_accounts_for_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_wa-bench"))
        .args(["capture", "--quick", "-o", "json", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 5, "{report:#}");
    for cell in cells {
        let told = &cell["with_node"];
        if cell["workload"] == "sessions" {
            let quality = &told["quality"];
            assert!(quality["stored"].as_u64() > Some(0), "{cell:#}");
            assert_eq!(quality["last"], quality["last_present"], "{cell:#}");
            continue;
        }
        let account = &told["account"];
        let rows = |name: &str| account[name].as_u64().unwrap();
        assert!(rows("printed") > 0, "{cell:#}");
        assert_eq!(rows("printed"), rows("captured") + rows("gapped"), "{cell:#}");
        for fault in ["doubled", "lost", "invented", "uncounted_gaps", "altered"] {
            assert_eq!(rows(fault), 0, "{fault}: {cell:#}");
        }
    }
}
