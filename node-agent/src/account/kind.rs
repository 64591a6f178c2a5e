//! Where each agent keeps what, below its home.
//!
//! Measured with Codex 0.89.0, 0.144.0 and 0.169.0 and Gemini CLI 0.61.0 against a local stand-in for their services; of
//! Claude Code only what its documentation says, for it could not be run.
//!
//! Codex finds a session by `codex resume ID` in another home as soon as that home's `sessions` is a link to the
//! directory where it was begun, in all three versions, and appends to the same file. Databases beside it (`state_5.sqlite`
//! and others, since 0.144) are caches: a home without them builds its own, and they are never shared. It writes its
//! settings through the link and leaves that in place. Since 0.169 each home has a daemon of its own, with its program of
//! 404 MiB in `packages`, which may be shared. The first home's daemon lets go of a session 60 s after it was left; until
//! then a home that shared `thread-writer-locks` would be refused ("This conversation is open in another app"), so these
//! are not shared. Nothing was written twice, for an idle daemon does not write.
//!
//! Gemini CLI takes `GEMINI_CLI_HOME` for the user's home, with `.gemini` in it; `gemini --resume ID` needs `tmp`, where
//! `.project_root` tells whose directory a project's is, so `projects.json` may be missing. The first `.env` that it
//! finds, from its directory upwards, is the only one that it reads: one of the project, or `.gemini/.env` of a home
//! above it, hides the account's.

/// What a home of an agent consists of.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) agent: &'static str,
    /// Variable of the environment that names the home.
    pub(super) variable: &'static str,
    /// The directory below it where everything is; empty = itself.
    pub(super) inside: &'static str,
    /// Directory of the sessions: always shared.
    pub(super) sessions: &'static str,
    /// What else is shared, where the first home has it.
    pub(super) shared: &'static [&'static str],
    /// The agent's own sign-in: one of these files is enough.
    pub(super) sign_in: &'static [&'static str],
    /// Settings, which an account that signs in by a key has for itself; empty: it needs none of its own.
    pub(super) settings: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        agent: "codex",
        variable: "CODEX_HOME",
        inside: "",
        sessions: "sessions",
        shared: &[
            "config.toml",
            "hooks.json",
            "AGENTS.md",
            "AGENTS.override.md",
            "agents",
            "archived_sessions",
            "history.jsonl",
            "packages",
            "prompts",
            "rules",
            "session_index.jsonl",
            "skills",
        ],
        sign_in: &["auth.json"],
        settings: "",
    },
    Kind {
        agent: "claude",
        variable: "CLAUDE_CONFIG_DIR",
        inside: "",
        sessions: "projects",
        shared: &[
            "settings.json",
            "CLAUDE.md",
            "agents",
            "commands",
            "file-history",
            "history.jsonl",
            "hooks",
            "keybindings.json",
            "output-styles",
            "plans",
            "plugins",
            "rules",
            "sessions",
            "skills",
            "todos",
        ],
        sign_in: &[".credentials.json", super::key::CLAUDE_KEY],
        settings: "settings.json",
    },
    Kind {
        agent: "gemini",
        variable: "GEMINI_CLI_HOME",
        inside: ".gemini",
        sessions: "tmp",
        shared: &[
            "settings.json",
            "GEMINI.md",
            "acknowledgments",
            "agents",
            "commands",
            "extensions",
            "history",
            "keybindings.json",
            "policies",
            "projects.json",
            "skills",
            "trustedFolders.json",
        ],
        sign_in: &["oauth_creds.json", "gemini-credentials.json", ".env"],
        settings: "settings.json",
    },
];

/// `None`: accounts of this agent have no homes.
pub(super) fn of(agent: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.agent == agent)
}
