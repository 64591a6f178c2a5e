//! The units in `deploy/` are what systemd accepts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn systemd_accepts_the_user_units() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    // The programs that the units start have to exist for `verify`: stand-ins in a home of the test's own.
    let home = tempfile::tempdir().unwrap();
    let bin = home.path().join(".local/bin");
    fs::create_dir_all(&bin).unwrap();
    for program in ["wa-node", "wa-controller"] {
        fs::write(bin.join(program), "#!/bin/sh\n").unwrap();
        fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let files: Vec<_> = fs::read_dir(units)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "service"))
        .collect();
    assert_eq!(files.len(), 3, "{files:?}");
    let verify = Command::new("systemd-analyze")
        .args(["--user", "verify", "--man=no"])
        .args(&files)
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .output();
    match verify {
        Err(error) => eprintln!("skipped: systemd-analyze cannot be run: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "systemd-analyze: {said}");
        }
    }
}
