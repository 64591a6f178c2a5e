//! The scripted agents on real terminals.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use support::{PATIENCE, Server, Wire};
use wa_embedded_mux::demo;
use wa_embedded_mux::{Command, Options};
use wa_mux::codec::{Key, KeyCode, Modifiers, Pdu, Row};
use wa_screen::terminal::Size;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wa-demo-agent");
/// Short times, so that a test is short too; long enough to be seen.
const QUICK: &[&str] = &["--turn", "400ms", "--compact-for", "400ms"];

/// An agent in pane 0, with a client that watches it.
struct Agent {
    server: Server,
    client: Wire,
    record: PathBuf,
    _folder: tempfile::TempDir,
}

impl Agent {
    /// Claude Code, with short times.
    fn claude(arguments: &[&str]) -> Self {
        Self::start("claude", &QUICK.iter().chain(arguments).copied().collect::<Vec<_>>())
    }

    fn start(name: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_owned();
        Self::start_with(folder, &home, name, arguments)
    }

    /// With a home that outlives it.
    fn start_in(home: &Path, name: &str, arguments: &[&str]) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), home, name, arguments)
    }

    fn start_with(folder: tempfile::TempDir, home: &Path, name: &str, arguments: &[&str]) -> Self {
        demo::install(folder.path(), Path::new(PROGRAM)).unwrap();
        let record = folder.path().join("record");
        let mut args: Vec<OsString> = vec![folder.path().join(name).into()];
        args.extend(arguments.iter().map(Into::into));
        let env =
            [("HOME", home.as_os_str()), ("SCRIPTED_RECORD", record.as_os_str()), ("TERM", "xterm".as_ref())];
        let env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let command = Command { env: Some(env), ..Command::new(args) };
        let server = Server::start(|options: &mut Options| options.first_command = Some(command));
        let mut client = server.client();
        client.ask(&Pdu::GetPaneRenderChanges { pane_id: 0 });
        Self { server, client, record, _folder: folder }
    }

    /// The viewport, trailing blanks and blank rows left out.
    fn screen(&mut self) -> Vec<Row> {
        let dims = match self.client.ask(&Pdu::GetPaneRenderableDimensions { pane_id: 0 }) {
            Pdu::GetPaneRenderableDimensionsResponse { dims, .. } => dims,
            pdu => panic!("{pdu:?}"),
        };
        let bottom = dims.physical_top + i64::try_from(dims.viewport_rows).unwrap();
        let viewport = dims.physical_top..bottom;
        match self.client.ask(&Pdu::GetLines { pane_id: 0, lines: vec![viewport] }) {
            Pdu::GetLinesResponse { rows, .. } => rows,
            pdu => panic!("{pdu:?}"),
        }
    }

    fn texts(&mut self) -> Vec<String> {
        let rows = self.screen();
        let texts = rows.iter().map(|row| row.text.trim_end_matches(' ').to_owned());
        texts.filter(|text| !text.is_empty()).collect()
    }

    /// Waits until the screen is as wanted.
    fn until(&mut self, what: &str, mut wanted: impl FnMut(&[String]) -> bool) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let texts = self.texts();
            if wanted(&texts) {
                return texts;
            }
            assert!(Instant::now() < end, "{what}: {texts:#?}");
            // The next look when there is something to see.
            self.client.until(|_| Some(()));
        }
    }

    fn until_row(&mut self, wanted: &str) -> Vec<String> {
        self.until(wanted, |rows| rows.iter().any(|row| row.contains(wanted)))
    }

    fn until_idle(&mut self) -> Vec<String> {
        self.until_row("? for shortcuts")
    }

    fn paste(&mut self, text: &str) {
        self.client.ask(&Pdu::SendPaste { pane_id: 0, data: text.into() });
    }

    fn press(&mut self, code: KeyCode, modifiers: Modifiers) {
        let event = Key { code, modifiers };
        self.client.ask(&Pdu::SendKeyDown { pane_id: 0, event, input_serial: 1 });
    }

    fn enter(&mut self) {
        self.press(KeyCode::Enter, Modifiers::NONE);
    }

    fn recorded(&self) -> String {
        std::fs::read_to_string(&self.record).unwrap()
    }
}

#[test]
fn a_prompt_is_drafted_sent_and_answered() {
    let mut claude = Agent::claude(&[]);
    let idle = claude.until_idle();
    assert!(idle[0].contains("Claude Code v2.1.29"), "{idle:#?}");
    let composer = idle.iter().position(|row| row == "❯\u{a0}").unwrap();
    let rule = "─".repeat(80);
    assert_eq!((&idle[composer - 1], &idle[composer + 1]), (&rule, &rule));
    assert_eq!(idle[composer + 2..], ["  ? for shortcuts"]);
    // The cursor that is seen is a reversed blank in the composer.
    let rows = claude.screen();
    let row = rows.iter().find(|row| row.text.starts_with("❯\u{a0}")).unwrap();
    assert!(row.runs.iter().any(|run| run.style.reverse && run.start == 5));

    claude.paste("two words");
    claude.until_row("❯\u{a0}two words");
    assert_eq!(claude.recorded(), "");
    claude.enter();
    let busy = claude.until_row("Mulling…");
    assert!(busy.contains(&"  esc to interrupt".to_owned()) && busy.contains(&"❯\u{a0}".to_owned()));
    let spinner = busy.iter().find(|row| row.contains("Mulling…")).unwrap();
    assert!(spinner.ends_with("tokens)") && spinner.contains("s · ↓ "), "{spinner}");
    // In the transcript an ordinary blank follows the glyph, on a background of its own.
    let rows = claude.screen();
    let submitted = rows.iter().find(|row| row.text.starts_with("❯ two words")).unwrap();
    assert!(submitted.runs.iter().all(|run| run.style.bg == wa_mux::codec::Color::Rgb(55, 55, 55)));

    let done = claude.until_idle();
    assert!(done.contains(&"⏺ Done with turn 1: 9 characters read.".to_owned()), "{done:#?}");
    assert_eq!(claude.recorded(), "two words\n");
}

#[test]
fn long_pastes_are_folded_and_newlines_recorded() {
    let mut claude = Agent::claude(&[]);
    claude.until_idle();
    claude.paste("one\ntwo\nthree\nfour");
    claude.until_row("[Pasted text #1 +3 lines]");
    claude.enter();
    claude.until_row("⏺ Done with turn 1");
    assert_eq!(claude.recorded(), "one\\ntwo\\nthree\\nfour\n");
}

#[test]
fn conversations_are_compacted_by_themselves_and_on_demand() {
    let mut claude = Agent::claude(&["--compact-after", "600ms", "--compact-after", "700ms"]);
    claude.until_idle();
    claude.until_row("✽ Compacting conversation…");
    let first = claude.until_row("✻ Conversation compacted (ctrl+o for history)");
    claude.until_row("✽ Compacting conversation…");
    // The second looks just like the first.
    let second = claude.until("a second one", |rows| rows == first);
    assert!(second[0].contains("Claude Code v2.1.29"));
    claude.until_idle();
    claude.paste("/compact");
    claude.until_row("❯\u{a0}/compact");
    claude.enter();
    let asked_for = claude.until_row("  ⎿  Compacted (ctrl+o to see full summary)");
    assert!(asked_for.contains(&"❯ /compact".to_owned()), "{asked_for:#?}");
    claude.until_idle();
    // A change of width paints everything anew, and that is all.
    let before = claude.texts();
    let size = Size { cols: 100, rows: 24 };
    assert!(claude.server.running.handle().resize(0, size));
    let wide = "─".repeat(100);
    let after = claude.until("the new width", |rows| rows.contains(&wide));
    let no_rules =
        |rows: &[String]| rows.iter().filter(|row| !row.starts_with('─')).cloned().collect::<Vec<_>>();
    assert_eq!(no_rules(&after), no_rules(&before));
    assert_eq!(claude.recorded(), "/compact\n");
}

#[test]
fn the_old_style_draws_a_double_rule() {
    let mut claude = Agent::claude(&["--style", "2.0", "--compact-after", "100ms"]);
    let rows = claude.until_row("Conversation compacted · ctrl+o for history");
    let marker = rows.iter().find(|row| row.contains("compacted")).unwrap();
    assert!(marker.starts_with("════") && marker.ends_with("════"));
    assert_eq!(marker.chars().count(), 80);
    assert!(rows[0].contains("v2.0."));
}

#[test]
fn a_dialog_takes_the_composers_place() {
    let mut claude = Agent::claude(&["--dialog-after", "100ms", "--draft", "half a thought"]);
    let rows = claude.until_row("Do you want to proceed?");
    assert!(rows.iter().all(|row| !row.starts_with('❯')));
    assert!(rows.contains(&" ❯ 1. Yes".to_owned()));
    assert_eq!(rows.last().unwrap(), " Esc to cancel · Tab to amend");
    // A paste means nothing to it.
    claude.paste("Proceed.");
    claude.press(KeyCode::Down, Modifiers::NONE);
    claude.press(KeyCode::Down, Modifiers::NONE);
    claude.until_row(" ❯ 3. No");
    claude.enter();
    let rows = claude.until_row("half a thought");
    assert!(rows.contains(&"  ⎿  Interrupted · What should Claude do instead?".to_owned()));
    assert_eq!(claude.recorded(), "dialog: No\n");
    assert!(rows.iter().all(|row| !row.contains("Proceed.")));
}

#[test]
fn some_enters_are_swallowed() {
    let mut claude = Agent::claude(&["--swallow-enter", "1"]);
    claude.until_idle();
    claude.paste("again");
    claude.until_row("❯\u{a0}again");
    claude.enter();
    assert!(claude.texts().contains(&"❯\u{a0}again".to_owned()));
    assert_eq!(claude.recorded(), "");
    claude.enter();
    claude.until_row("⏺ Done with turn 1");
    assert_eq!(claude.recorded(), "again\n");
}

#[test]
fn what_is_sent_meanwhile_waits_its_turn() {
    let mut claude = Agent::claude(&[]);
    claude.until_idle();
    for prompt in ["first", "second"] {
        claude.paste(prompt);
        claude.enter();
    }
    claude.until_row("⏺ Done with turn 2");
    assert_eq!(claude.recorded(), "first\nsecond\n");
}

#[test]
fn limits_are_told() {
    let mut claude = Agent::claude(&["--limit-after", "100ms"]);
    claude.until_row("  ⎿  You've hit your session limit · resets 5pm (America/Chicago)");
    claude.until_row("     /upgrade to increase your usage limit.");
}

#[test]
fn ctrl_c_clears_then_warns_then_leaves() {
    let mut claude = Agent::claude(&["--draft", "to be dropped"]);
    claude.until_row("to be dropped");
    let c = KeyCode::Char('c');
    claude.press(c, Modifiers::CTRL);
    claude.until_idle();
    claude.press(c, Modifiers::CTRL);
    claude.until_row("Press Ctrl-C again to exit");
    claude.press(c, Modifiers::CTRL);
    claude.client.until(|push| matches!(push, Pdu::PaneRemoved { pane_id: 0 }).then_some(()));
}

/// Names of the processes that this test's process started.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else {
            continue;
        };
        if stat[close + 1..].split_whitespace().nth(1) == Some(own.as_str()) {
            names.push(stat[open + 1..close].to_owned());
        }
    }
    names
}

#[test]
fn the_demonstration_has_four_panes() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("demo");
    let panes = demo::install(&home, Path::new(PROGRAM)).unwrap();
    assert_eq!(home.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let names: Vec<_> = panes.iter().map(|pane| pane.name).collect();
    assert_eq!(names, ["claude", "codex", "gemini", "shell"]);
    // Once more in the same place does no harm.
    assert_eq!(demo::install(&home, Path::new(PROGRAM)).unwrap(), panes);

    let server = Server::start(|options| options.first_command = None);
    let handle = server.running.handle();
    let mut client = server.client();
    let variables = [("HOME", folder.path().as_os_str()), ("TERM", "xterm".as_ref())];
    let env: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    for (wanted, pane) in (0..).zip(&panes) {
        let command = Command { env: Some(env.clone()), ..pane.command.clone() };
        assert_eq!(handle.spawn(&command, pane.size, "demo").unwrap().pane, wanted);
    }
    client.until_text(0, "✻ Conversation compacted");
    client.ask(&Pdu::GetPaneRenderChanges { pane_id: 1 });
    for pane in 1..4 {
        let wanted = ["", "hit your usage limit", "14 passed, 0 failed", "14 passed; 0 failed"][pane];
        let pane = pane as u64;
        let mut late = server.client();
        late.ask(&Pdu::GetPaneRenderChanges { pane_id: pane });
        late.until_text(pane, wanted);
    }
    // The process table shows the agents' names; other tests add theirs.
    let children = children();
    for name in ["claude", "codex", "gemini", "sh"] {
        assert!(children.iter().any(|child| child == name), "{name}: {children:?}");
    }
}

#[test]
fn programs_know_when_they_are_agents() {
    let is = |name: &str| demo::is_agent(Some(&OsString::from(name)));
    assert!(is("/tmp/demo/claude") && is("codex") && is("./gemini"));
    assert!(!is("/usr/bin/wa") && !is("") && !demo::is_agent(None));
}

/// Rows of a recorded screen of the real program, blank ones left out.
fn recorded(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|row| !row.is_empty()).collect()
}

#[test]
fn codex_and_gemini_draw_what_the_real_ones_were_recorded_to_draw() {
    let popup = recorded(include_str!("../testdata/demo/codex-rate-limit-popup.txt"));
    let args = ["--turn", "300ms", "--limit-turn", "1", "--offer", "limit", "--prompt", "300ms=go on"];
    let mut codex = Agent::start("codex", &args);
    let rows = codex.until_row("Press enter to confirm");
    assert_eq!(rows[rows.len() - popup.len()..], popup);
    assert!(rows.contains(&"› go on".to_owned()), "{rows:#?}");
    // Its first choice would change the model.
    codex.press(KeyCode::Down, Modifiers::NONE);
    codex.until_row("› 2. Keep current model");
    codex.enter();
    codex.until_row("  gpt-5.1-codex default · ");
    assert_eq!(codex.recorded(), "dialog: Keep current model\n");

    let dialog = recorded(include_str!("../testdata/demo/gemini-limit-dialog.txt"));
    let mut gemini = Agent::start("gemini", &["--turn", "300ms", "--limit-turn", "1", "--burst", "0ms"]);
    // As wide as the terminal was that it was recorded in.
    assert!(gemini.server.running.handle().resize(0, Size { cols: 120, rows: 40 }));
    let wide = "─".repeat(120);
    gemini.until("its width", |rows| rows.contains(&wide));
    gemini.paste("continue with the tests");
    gemini.until_row(" > continue with the tests");
    gemini.enter();
    let rows = gemini.until_row("3. Stop");
    // Only the hour differs.
    let same = |row: &str| !row.contains("Access resets at");
    let drawn: Vec<&str> = rows[rows.len() - dialog.len()..].iter().map(String::as_str).collect();
    let without =
        |rows: &[&str]| rows.iter().filter(|row| same(row)).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(without(&drawn), without(&dialog));
    assert_eq!(drawn.len(), dialog.len());
}

#[test]
fn an_enter_too_soon_behind_a_burst_is_a_newline() {
    let mut codex = Agent::start("codex", &["--turn", "300ms", "--burst", "5s"]);
    codex.until_row("› Explain this codebase");
    codex.client.write(0, "one two\r");
    codex.until_row("› one two");
    codex.enter();
    codex.until_row("• Done.");
    // A paste is told from keys.
    codex.paste("three");
    codex.until_row("› three");
    codex.enter();
    codex.until("another answer", |rows| rows.iter().filter(|row| row.starts_with("• Done.")).count() == 2);
    assert_eq!(codex.recorded(), "newline\none two\nthree\n");
}

#[test]
fn a_session_of_codex_is_resumed_by_its_id() {
    let home = tempfile::tempdir().unwrap();
    let mut first = Agent::start_in(home.path(), "codex", &["--turn", "300ms"]);
    first.until_row("› Explain this codebase");
    first.paste("remember this");
    first.until_row("› remember this");
    first.enter();
    first.until_row("• Done.");
    first.press(KeyCode::Char('c'), Modifiers::CTRL);
    first.client.until(|push| matches!(push, Pdu::PaneRemoved { pane_id: 0 }).then_some(()));
    let mut second = Agent::start_in(home.path(), "codex", &["resume", "--last"]);
    let rows = second.until_row("› remember this");
    assert!(rows.iter().any(|row| row.starts_with("• Done.")), "{rows:#?}");
}
