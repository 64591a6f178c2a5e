//! The built-in files change only with their versions: a run that waits goes by the step's number in the version that it
//! began with, and `wa run list` names that version.

/// Name, version and hash of every built-in workflow.
const PINNED: &[(&str, u32, &str)] = &[
    ("claude-compaction-reread", 2, "f27fb88a90ab1df41b12708f98c5d94d30b993f042a31582b029ae4b91b63fbd"),
    ("limit-wait", 3, "1313575f10f7dc517bcf95731c9f37d0382071fb58f2ce55a166177a33b2939e"),
    ("crash-resume", 2, "c30cfcffd9c998aa231f8894ed8d6abc1f8207775f6358f2af9b46f6902436c2"),
    ("approval-notice", 1, "31bd65585382ef6e7228f3c748bc6a552a93d64bd257da650de48187441b245c"),
    ("auth-notice", 1, "c4b186927a8fbe8bd9c265cc60259bdf12a52d261b5131da1bc2b717ce2e6915"),
    ("account-login", 1, "06b188ca37f9f5cfe2154278eaa68c3fb4eb3272e4647eb5fd7e9bfaadf62b1c"),
    ("codex-account-switch", 3, "711a7b9f8da385b04dfd9638ce7bda4b04ccf938fa9e6e9c382c3becda48a047"),
    ("claude-account-switch", 2, "3a68b9fb46f7fe70ba0938e988cafa71cb5cf08aacae13e60c0d7805e92bc601"),
    ("gemini-account-switch", 2, "fccc29752fe978669073f736cc86347b584f15b0e3c0af5fedfbd79eb61b781d"),
    ("gemini-model-switch", 1, "cd41f1a573755f81949c80590984c7b08fe971912152f1bc14838656fd1f7e8c"),
];

#[test]
fn a_builtin_file_that_is_changed_has_a_new_version() {
    let mut problems = Vec::new();
    let all = wa_workflow::builtin().unwrap();
    for definition in &all {
        let (name, version, hash) = (&definition.name, definition.version, &definition.hash);
        let row = |version: u32| format!("    (\"{name}\", {version}, \"{hash}\"),");
        match PINNED.iter().find(|(pinned, ..)| pinned == name) {
            None => problems.push(format!("{name} is new. Put this into the table:\n{}", row(version))),
            Some((_, pinned, was)) if was == hash => assert_eq!(version, *pinned, "{name}"),
            Some((_, pinned, _)) if version <= *pinned => problems.push(format!(
                "{name}.toml was changed, and its version was not: a controller with the new file ends the runs that wait \
                 with the old one, and their version says nothing of it. Put `version = {}` into the file, run this test \
                 again, and put the line that it prints into the table.",
                pinned + 1
            )),
            Some(_) => problems.push(format!("{name} has a new version. Put this into the table:\n{}", row(version))),
        }
    }
    for (name, ..) in PINNED {
        if !all.iter().any(|definition| definition.name == *name) {
            problems.push(format!("{name} is gone. Take its line out of the table."));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
