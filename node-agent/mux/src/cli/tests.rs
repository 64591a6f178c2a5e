//! Against recorded outputs, printed by a stand-in for `wezterm` that also notes how it was called.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recordings/cli");
    std::fs::read(folder.join(name)).unwrap()
}

/// A program cannot be started while anybody has it open for writing, and a process that another test is just about to
/// start has every file of ours open for a moment.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Stand {
    folder: tempfile::TempDir,
    observer: CliObserver,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Stand {
    /// A program of this shell text, which finds the recorded files in `$recorded` and its own folder in `$here`.
    async fn new(script: &str, interval: Duration, timeout: Duration) -> Self {
        let alone = ALONE.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("wezterm");
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recordings/cli");
        let (here, recorded) = (folder.path().display(), recorded.display());
        let text = format!("#!/bin/sh\nhere='{here}'\nrecorded='{recorded}'\n{script}\n");
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = CliOptions { program, socket: "/run/some/sock".into(), timeout, interval };
        Self { folder, observer: CliObserver { options, turn: Mutex::new(None) }, _alone: alone }
    }

    async fn quick(script: &str) -> Self {
        Self::new(script, Duration::ZERO, Duration::from_secs(20)).await
    }

    fn noted(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("calls")).unwrap()
    }
}

#[test]
fn the_recorded_list() {
    let panes = list(&recorded("list.json"));
    let seen: Vec<_> = panes
        .iter()
        .map(|pane| (pane.pane_id, pane.size.rows, pane.size.cols, pane.title.as_str(), pane.cwd.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, 24, 80, "bash", "file:///home/dev/home/"),
            (1, 24, 80, "bash", "file:///usr/"),
            (3, 12, 30, "both", "file://host/srv/x"),
        ]
    );
    assert_eq!(
        (panes[1].tab_title.as_str(), panes[2].tty_name.as_deref()),
        ("build tab", Some("/dev/pts/3"))
    );
    assert_eq!((panes[2].cursor_x, panes[2].cursor_y), (3, 11));
}

fn list(bytes: &[u8]) -> Vec<CliPane> {
    parse::list(bytes).unwrap()
}

#[test]
fn the_recorded_texts() {
    let rows = parse::text(&recorded("get-text-0-3.txt"), 4);
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].trim_end(), "$ . /home/dev/col.sh");
    assert_eq!(rows[3].trim_end(), "xyz0123456789ABCDEFGHIJ");
    // Never more than the pane has, and nothing that could drive a terminal.
    assert_eq!(parse::text(&recorded("get-text-after-seq-100.txt"), 24).len(), 24);
    let styled = parse::text(&recorded("get-text-escapes.txt"), 100);
    assert!(styled.iter().all(|row| !row.contains(char::is_control)));
}

#[test]
fn the_recorded_errors_say_their_point() {
    let point = |name: &str| parse::failure(&recorded(name));
    assert_eq!(
        point("err-server-down.stderr"),
        "failed to connect to Socket(\"/home/dev/run/nope\"): connecting to /home/dev/run/nope"
    );
    assert!(point("err-get-text-missing-pane.stderr").ends_with("reason: \"Error: no such pane 9999\" }))"));
    assert!(
        point("err-no-pane-id.stderr").starts_with("--pane-id was not specified and $WEZTERM_PANE is not")
    );
    assert_eq!(parse::failure(b""), "no message");
}

#[tokio::test]
async fn a_look_at_panes_and_one_viewport() {
    let stand = Stand::quick(
        r#"echo "$WEZTERM_UNIX_SOCKET $*" >> "$here/calls"
           case "$*" in *list*) cat "$recorded/list.json";; *) cat "$recorded/get-text-0-3.txt";; esac"#,
    )
    .await;
    let panes = stand.observer.list().await.unwrap();
    let rows = stand.observer.viewport(&panes[2]).await.unwrap();
    assert_eq!(rows[1].trim_end(), "red p200 rgb");
    assert_eq!(
        stand.noted(),
        "/run/some/sock -n cli --prefer-mux --no-auto-start list --format json\n\
         /run/some/sock -n cli --prefer-mux --no-auto-start get-text --pane-id 3 --start-line 0 --end-line 11\n"
    );
    // A pane without rows has no range, so nothing is asked.
    let none = CliPane { size: parse::CliSize { rows: 0, cols: 80 }, ..panes[0].clone() };
    assert!(stand.observer.viewport(&none).await.unwrap().is_empty());
    assert_eq!(stand.noted().lines().count(), 2);
}

#[tokio::test]
async fn a_failure_is_told_in_the_programs_words() {
    let stand = Stand::quick(r#"cat "$recorded/err-get-text-missing-pane.stderr" >&2; exit 1"#).await;
    let pane = list(&recorded("list.json")).remove(0);
    let error = stand.observer.viewport(&pane).await.unwrap_err();
    assert!(error.is_no_such_pane(), "{error}");
    let gone =
        CliObserver::new(CliOptions { program: "/nonexistent/wezterm".into(), ..CliOptions::new("/sock") });
    let error = gone.list().await.unwrap_err();
    assert!(error.to_string().starts_with("cannot run /nonexistent/wezterm"), "{error}");
}

#[tokio::test]
async fn rubbish_for_a_list_is_an_error() {
    let stand = Stand::quick("echo 'WINID TABID PANEID'").await;
    assert!(matches!(stand.observer.list().await, Err(CliError::BadList(_))));
}

#[tokio::test]
async fn a_process_that_hangs_is_killed() {
    // Its own pid is noted before it hangs.
    let stand =
        Stand::new(r#"echo $$ > "$here/calls"; exec sleep 600"#, Duration::ZERO, Duration::from_secs(2))
            .await;
    let error = stand.observer.list().await.unwrap_err();
    assert!(matches!(error, CliError::Timeout { command: "list", .. }), "{error}");
    let pid: i32 = stand.noted().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    assert!(rustix::process::test_kill_process(pid).is_err(), "it was killed and reaped");
}

#[tokio::test]
async fn one_process_at_a_time_and_the_interval_between_them() {
    let stand = Stand::new(
        r#"mkdir "$here/running" || echo "two at a time" >> "$here/calls"
           echo "[]"; sleep 0.05; rmdir "$here/running"; echo done >> "$here/calls""#,
        Duration::from_millis(200),
        Duration::from_secs(20),
    )
    .await;
    let begun = Instant::now();
    let (a, b, c) = tokio::join!(stand.observer.list(), stand.observer.list(), stand.observer.list());
    assert!([a, b, c].iter().all(Result::is_ok));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(stand.noted(), "done\ndone\ndone\n");
    let hasty = CliObserver::new(CliOptions { interval: Duration::ZERO, ..CliOptions::new("/sock") });
    assert_eq!(hasty.options.interval, MIN_INTERVAL);
}
