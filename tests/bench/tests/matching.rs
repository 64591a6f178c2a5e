//! The benchmark itself, small: every part of it runs once over real frames. Nothing of speed.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_small_run_measures_every_part() {
    let output = Command::new(env!("CARGO_BIN_EXE_wa-bench"))
        .args(["match", "--quick", "-o", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["literals"].as_u64() > Some(50), "{report:#}");
    let frames = report["frames"].as_array().unwrap();
    let names: Vec<_> = frames.iter().map(|cell| cell["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["80x24", "120x40", "200x50", "200x50, full"]);
    for cell in frames {
        assert!(cell["frames"].as_u64() > Some(10) && cell["mean_bytes"].as_u64() > Some(100), "{cell:#}");
        assert!(cell["observe"]["p50_us"].as_f64() > Some(0.0), "{cell:#}");
    }
    let transcript = report["transcript"].as_array().unwrap();
    assert_eq!(transcript.len(), 2, "{report:#}");
    // The rules ran: the sessions were recorded to show what they look for. A page tells each kind once.
    let events = |pages: &Value| pages["events"].as_u64().unwrap();
    assert!(events(&transcript[0]) > 5 && events(&transcript[1]) > 0, "{transcript:#?}");
    assert_eq!(report["goals"].as_array().unwrap().len(), 9, "{report:#}");
}
