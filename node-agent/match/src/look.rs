//! One look at a screen: which agent is there, what its composer holds, which rules match.
//!
//! Constraints. The process table decides which agent runs; only where it cannot speak (no process table, ssh, a
//! container) the screen does, and then only by structure that a quotation does not have: the composer with its footer, a
//! dialog with its key hints.

use memchr::memchr3;
use wa_proto::{AgentKind, EventKind, Frame};

use crate::composer::{self, Composer, ComposerView};
use crate::observation::{Facts, Progress};
use crate::process::Foreground;
use crate::rules::text::Sheet;
use crate::rules::{Engine, Hit, Scene, Surface, last_prompt};

/// What the window title says, or a progress bar beside it. One `printf` forges them: they help, and prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TitleSign {
    None,
    Working,
    Waiting,
    Ready,
}

pub(crate) struct Look {
    pub(crate) agent: Option<AgentKind>,
    /// The process table named it.
    pub(crate) by_process: bool,
    pub(crate) version: String,
    pub(crate) view: ComposerView,
    pub(crate) hits: Vec<Hit>,
    /// Matches of rules in shadow.
    pub(crate) shadowed: Vec<Hit>,
    /// The agent's process holds the terminal.
    pub(crate) alive: bool,
    /// The agent that has just gone, or whose last words stand there.
    pub(crate) left: Option<AgentKind>,
    /// The last submitted prompt: row and hash of its words.
    pub(crate) prompt: Option<(usize, u64)>,
    pub(crate) sheet: Sheet,
    pub(crate) title: TitleSign,
    /// Columns of the pane.
    pub(crate) cols: u32,
    /// The shell says that the agent's command is over.
    pub(crate) over: bool,
    /// A shell's prompt waits in the last row.
    pub(crate) waits: bool,
}

/// What earlier looks found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known<'a> {
    /// The agent of this process, where the process table does not speak now.
    pub(crate) agent: Option<&'a AgentKind>,
    pub(crate) version: &'a str,
    /// The agent that has just gone.
    pub(crate) left: Option<&'a AgentKind>,
    /// A saved screen: the agent named for it may have ended on it.
    pub(crate) still: bool,
}

pub(crate) fn look(engine: &Engine, frame: &Frame, facts: &Facts, known: &Known<'_>) -> Look {
    let sheet = Sheet::new(frame);
    let silent = matches!(facts.foreground, Foreground::Unknown | Foreground::Remote { .. });
    let sure = facts.foreground.agent_pid().is_some_and(|pid| pid != 0) && !known.still;
    let command = (!sure).then(|| command_on_screen(&sheet)).flatten();
    let waits = !sure && shell_waits(&sheet);
    let quoted = command.as_ref().is_some_and(|command| command.prints);
    let printed = command.as_ref().filter(|command| command.prints).map(|command| command.row);
    let unnamed = command.is_none() && facts.foreground.agent_pid().is_none();
    let command = command.and_then(|command| Some((command.agent?, command.over)));
    let (agent, by_process, mut version) = match &facts.foreground {
        Foreground::Agent { kind, version, .. } => (Some(kind.clone()), true, version.clone()),
        Foreground::Shell { .. } | Foreground::Other { .. } => (None, false, String::new()),
        Foreground::Unknown | Foreground::Remote { .. } => {
            // What a printing program or a shell that waits stand below is not an agent's screen.
            let seen = || (!quoted && !waits).then(|| agent_on_screen(frame, &sheet)).flatten();
            let runs = |(_, over): &&(AgentKind, bool)| !over || known.still;
            let begun = || command.as_ref().filter(runs).map(|(agent, _)| agent.clone());
            let signs_in = || sign_in_on_screen(&sheet).filter(|_| command.is_none() && !quoted && !waits);
            let agent = known.agent.cloned().or_else(seen).or_else(begun).or_else(signs_in);
            (agent, false, String::new())
        }
    };
    if version.is_empty() && agent.is_some() {
        version = known.version.to_owned();
    }
    let view = agent.as_ref().map_or_else(ComposerView::missing, |agent| composer::glance(frame, agent));
    let prompt = agent.as_ref().and_then(|agent| last_prompt(&sheet, agent, &view));
    let title = match title_sign(&facts.title, agent.as_ref()) {
        TitleSign::None if facts.progress == Some(Progress::Busy) => TitleSign::Working,
        sign => sign,
    };
    // A saved end screen without a process table: its own words name the agent, or the command that began it.
    // What another program prints are nobody's last words.
    let over = command.filter(|(_, over)| *over && view.content == Composer::Missing).map(|(agent, _)| agent);
    let key = || (unnamed && !quoted && (is_key_sign_in(&sheet) || is_exec(&sheet))).then(AgentKind::codex);
    let ended =
        || end_on_screen(silent && !quoted, agent.as_ref(), &sheet).or_else(|| over.clone()).or_else(key);
    let left = known.left.cloned().or_else(ended);
    // Named by a person, it may have ended on this very screen.
    let alive = sure || (quoted && known.left.is_none());
    let over = over.is_some() && over == agent;
    let (hits, shadowed) = (Vec::new(), Vec::new());
    let cols = frame.cols;
    let mut look = Look {
        agent,
        by_process,
        version,
        view,
        hits,
        shadowed,
        alive,
        left,
        prompt,
        sheet,
        title,
        cols,
        over,
        waits,
    };
    let hits = engine.hits(&look.scene());
    let is_shadow = |hit: &Hit| engine.rule(hit.rule).is_some_and(|rule| rule.shadow);
    (look.shadowed, look.hits) = hits.into_iter().partition(is_shadow);
    keep_last_code(&mut look.hits);
    if let Some(printed) = printed.filter(|_| look.view.content == Composer::Missing) {
        // What another program prints is nobody's word at all; above it an agent may have said its last.
        let said = |hit: &Hit| known.left.is_some() && hit.rows.start < printed;
        look.hits.retain(said);
        look.shadowed.retain(said);
    }
    if waits && known.left.is_none() && look.view.content == Composer::Missing {
        // What a conversation marks with a sign stands above a composer or an end screen; plain words may be all that
        // a command prints.
        let over = look.hits.iter().any(|hit| hit.event == EventKind::SessionEnded);
        let signed =
            |hit: &Hit| hit.event == EventKind::LimitReached && !hit.line.starts_with(|c: char| c.is_ascii());
        look.hits.retain(|hit| over || !signed(hit));
    }
    // The lowest banner is of the session that is on the screen.
    let unversioned = facts.foreground.version().is_empty();
    if unversioned && let Some(banner) = look.hits.iter().rev().find_map(|hit| hit.fields.get("version")) {
        look.version = banner.clone();
    }
    look
}

impl Look {
    /// The screen, as rules are run over it.
    pub(crate) fn scene(&self) -> Scene<'_> {
        Scene {
            surface: Surface::Frame,
            sheet: &self.sheet,
            view: &self.view,
            agent: self.agent.as_ref(),
            alive: self.alive,
            left: self.left.as_ref(),
            version: &self.version,
            prompt: self.prompt.map(|(row, _)| row),
            from: 0,
        }
    }
}

/// A sign-in by code says whose it is in rows of its own.
fn sign_in_on_screen(sheet: &Sheet) -> Option<AgentKind> {
    let begins = |row: usize, words: &str| sheet.rows[row].column == 0 && sheet.text(row).starts_with(words);
    let codex = |row: usize| {
        begins(row, "Welcome to Codex [v") && begins(row + 1, "OpenAI's command-line coding agent")
    };
    let gemini = |row: usize| begins(row, "Please visit the following URL to authorize the application:");
    let mut rows = 0..sheet.rows.len().saturating_sub(1);
    if sheet.squeezed.contains("one-timecode") && rows.clone().any(codex) {
        return Some(AgentKind::codex());
    }
    if is_claude_sign_in(sheet) {
        return Some(AgentKind::claude());
    }
    // It waits for the code in the last row.
    let asks = sheet.squeezed.bytes().ends_with(b"Entertheauthorizationcode:");
    (asks && rows.any(gemini)).then(AgentKind::gemini)
}

/// Claude Code waits for a code near the end of the screen, below its banner or the address that gives the code.
fn is_claude_sign_in(sheet: &Sheet) -> bool {
    let written = (0..sheet.rows.len()).rev().filter(|row| !sheet.is_blank(*row)).take(3);
    let asks = |row: usize| {
        sheet.rows[row].column <= 2 && sheet.text(row).starts_with("Paste code here if prompted >")
    };
    let headed = || ["/oauth/authorize?", "ClaudeCodev"].iter().any(|words| sheet.squeezed.contains(words));
    written.into_iter().any(asks) && headed()
}

/// A sign-in by key says so in a row of its own, and below it how it ended; then a shell waits.
fn is_key_sign_in(sheet: &Sheet) -> bool {
    let reads =
        |row: usize| sheet.rows[row].column == 0 && sheet.text(row).starts_with("Reading API key from stdin");
    let last = (0..sheet.rows.len()).rev().find(|row| !sheet.is_blank(*row));
    last.is_some_and(|last| shell_waits(sheet) && (last.saturating_sub(3)..last).any(reads))
}

/// Without a terminal of its own Codex heads its output with a block of names and values; when it is over a shell waits.
fn is_exec(sheet: &Sheet) -> bool {
    let begins = |row: usize, words: &str| sheet.rows[row].column == 0 && sheet.text(row).starts_with(words);
    let rows = 0..sheet.rows.len().saturating_sub(1);
    let head = rows.clone().any(|row| begins(row, "OpenAI Codex v") && begins(row + 1, "--------"));
    head && rows.clone().any(|row| begins(row, "session id: ")) && shell_waits(sheet)
}

/// Of several sign-in codes on a screen only the last is good.
fn keep_last_code(hits: &mut Vec<Hit>) {
    let codes = hits.iter().filter(|hit| hit.event == EventKind::AuthDeviceCode);
    let last = codes.map(|hit| hit.rows.start).max();
    hits.retain(|hit| hit.event != EventKind::AuthDeviceCode || Some(hit.rows.start) == last);
}

/// A command that stands behind a shell's prompt.
struct Command {
    /// The agent that it runs, if it runs one.
    agent: Option<AgentKind>,
    /// The same prompt stands below it again.
    over: bool,
    /// It prints what was written elsewhere.
    prints: bool,
    row: usize,
}

/// Programs whose output may be anybody's words.
const PRINTERS: &[&str] = &[
    "cat",
    "bat",
    "head",
    "tail",
    "less",
    "more",
    "nl",
    "sed",
    "awk",
    "grep",
    "rg",
    "ag",
    "git",
    "diff",
    "echo",
    "printf",
    "history",
    "strings",
    "zcat",
    "jq",
    "curl",
    "find",
    "journalctl",
];

/// The last command on the screen. A prompt names the user or the directory and ends in `$`, `#` or `%`; that a command
/// is over shows in the same prompt, which waits in the last row.
fn command_on_screen(sheet: &Sheet) -> Option<Command> {
    let rows = 0..sheet.rows.len();
    let last = rows.clone().rev().find(|row| !sheet.is_blank(*row))?;
    let prompts = |row: &usize| prompt_and_command(sheet, *row).is_some_and(|(_, rest)| !rest.is_empty());
    let row = rows.rev().find(prompts)?;
    let (prompt, command) = prompt_and_command(sheet, row)?;
    let programs = || command.split(['|', '&', ';']).filter_map(|part| part.split_whitespace().next());
    let agent = match programs().next_back()? {
        "codex" => Some(AgentKind::codex()),
        "gemini" => Some(AgentKind::gemini()),
        "claude" => Some(AgentKind::claude()),
        _ => None,
    };
    let prints = agent.is_none() && programs().any(|program| PRINTERS.contains(&program));
    let waits =
        prompt_and_command(sheet, last).is_some_and(|(again, rest)| again == prompt && rest.is_empty());
    Some(Command { agent, over: last > row && waits, prints, row })
}

/// A shell's prompt stands in the last row, and nothing behind it.
fn shell_waits(sheet: &Sheet) -> bool {
    let last = (0..sheet.rows.len()).rev().find(|row| !sheet.is_blank(*row));
    last.and_then(|row| prompt_and_command(sheet, row)).is_some_and(|(_, rest)| rest.is_empty())
}

/// `dev@box:~/webapp$ codex login`: the prompt, and what was typed behind it.
fn prompt_and_command(sheet: &Sheet, row: usize) -> Option<(&str, &str)> {
    sheet.rows.get(row).filter(|place| place.column == 0 && !place.boxed)?;
    let text = sheet.text(row);
    let end = memchr3(b'$', b'#', b'%', text.as_bytes()).filter(|end| *end >= 2)?;
    let (prompt, rest) = text.split_at(end + 1);
    let names = prompt.contains('@') || prompt.starts_with(['~', '/']);
    let names = names && !prompt.contains(char::is_whitespace);
    (names && (rest.is_empty() || rest.starts_with(' '))).then(|| (prompt, rest.trim()))
}

/// The agent whose composer or dialog stands on the screen, with words beside it that only it prints.
fn agent_on_screen(frame: &Frame, sheet: &Sheet) -> Option<AgentKind> {
    let proof: [(AgentKind, &[&str]); 6] = [
        // Before Claude Code, whose composer looks the same.
        (AgentKind::new("copilot"), &["/commands·?help", "escinterrupt", "Copilotv", "tellCopilotwhattodo"]),
        (AgentKind::new("opencode"), &["ctrl+pcommands", "Permissionrequired", "╹▀▀▀▀", "escdismiss"]),
        (
            AgentKind::new("aider"),
            &["Aiderv", "(Y)es/(N)o", "sent,", "litellm.", "^Cagaintoexit", "Waitingfor"],
        ),
        (AgentKind::claude(), &["ClaudeCode", "❯", "esctointerrupt", "EsctocancelTab", "Esctocancel"]),
        (
            AgentKind::gemini(),
            &[
                "Typeyourmessageor@path",
                "/model",
                "(esctocancel",
                "GeminiCLI",
                "1.Allowonce",
                "1.Yes,allowonce",
                "Waitingforuserconfirmation",
                "nosandbox",
                "(PressEsctoclose)",
                "limitreachedfor",
                "Wearecurrentlyexperiencinghighdemand",
                "GeminiAPIKey",
                "loopwasdetected",
                "ConfirmRewind",
                "LoginwithGoogle",
                "SigninwithGoogle",
                "SignedinwithGoogle",
                "LoggedinwithGoogle",
            ],
        ),
        (
            AgentKind::codex(),
            &[
                "contextleft",
                "?forshortcuts",
                "esctointerrupt)",
                "OpenAICodex(v",
                "default·~",
                "Pressenterto",
                "pressenterto",
                "enterselect",
                "·escback",
                "entertosubmit",
                "Codexjustgotanupgrade",
                "WelcometoCodex",
                "Resumeaprevioussession",
                "enterresume",
            ],
        ),
    ];
    // Whatever is quoted above it, this composer is no other agent's.
    if composer::is_codex_footer(frame, &composer::glance(frame, &AgentKind::codex())) {
        return Some(AgentKind::codex());
    }
    proof.into_iter().find_map(|(kind, words)| {
        let view = composer::glance(frame, &kind);
        let says = || words.iter().any(|word| sheet.squeezed.contains(word));
        let drawn = || kind == AgentKind::gemini() && marks_in_box(sheet, &view);
        let there = view.content != Composer::Missing || view.working.is_some();
        (there && (says() || drawn())).then_some(kind)
    })
}

/// A dialog in a box, with a dot before the choice that is marked: only Gemini CLI draws it so.
fn marks_in_box(sheet: &Sheet, view: &ComposerView) -> bool {
    let marked = |row: usize| {
        let text = sheet.text(row).strip_prefix('●');
        sheet.rows.get(row).is_some_and(|place| place.boxed)
            && text.is_some_and(|text| composer::is_option(text) && text.starts_with(' '))
    };
    view.content == Composer::Dialog && view.rows.clone().any(marked)
}

fn end_on_screen(silent: bool, agent: Option<&AgentKind>, sheet: &Sheet) -> Option<AgentKind> {
    if agent.is_some() || !silent {
        return None;
    }
    let words = [
        ("claude--resume", AgentKind::claude()),
        ("claude--worktree", AgentKind::claude()),
        ("codexresume", AgentKind::codex()),
        ("Agentpoweringdown", AgentKind::gemini()),
        ("gemini--resume", AgentKind::gemini()),
        ("opencode-sses_", AgentKind::new("opencode")),
        ("copilot--resume=", AgentKind::new("copilot")),
    ];
    let named = words.into_iter().find(|(word, _)| sheet.squeezed.contains(word)).map(|(_, kind)| kind);
    // Its title may have scrolled out.
    let summary = ["AgentActive:", "APITime:", "ModelUsage"].iter().all(|word| sheet.squeezed.contains(word));
    named.or_else(|| summary.then(AgentKind::gemini))
}

fn title_sign(title: &str, agent: Option<&AgentKind>) -> TitleSign {
    let title = title.trim_start();
    let Some(first) = title.chars().next() else { return TitleSign::None };
    match agent.map(AgentKind::as_str) {
        Some("codex") if title.starts_with('[') && title.contains("] Action Required") => TitleSign::Waiting,
        Some("codex") if ('\u{2801}'..='\u{28ff}').contains(&first) => TitleSign::Working,
        Some("gemini") => match first {
            '✦' | '⏲' => TitleSign::Working,
            '✋' => TitleSign::Waiting,
            '◇' => TitleSign::Ready,
            _ => TitleSign::None,
        },
        _ => TitleSign::None,
    }
}
