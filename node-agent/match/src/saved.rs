//! What a matcher keeps over a restart of its program.
//!
//! Format: one byte of version, then TOML. It holds hashes and flags, never text of the screen, for it is written to disk.
//! Anything that cannot be read restores to a fresh matcher, which takes everything on the screen for history.

use serde::{Deserialize, Serialize};
use wa_proto::{AgentKind, PaneState, Timestamp};

use crate::aside::Aside;
use crate::compaction::Compaction;
use crate::life::Start;
use crate::matcher::{PaneMatcher, Running};
use crate::passing::Passing;
use crate::presence::Presences;
use crate::resets::Resets;
use crate::state::Left;

const VERSION: u8 = 2;
/// More is not ours.
const MAX_BYTES: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    state: PaneState,
    since: Option<Timestamp>,
    session_id: String,
    prompts: Vec<i64>,
    running: Option<Running>,
    #[serde(default)]
    starting: Option<Start>,
    left: Option<Gone>,
    compaction: Compaction,
    presences: Presences,
    #[serde(default)]
    codes: Vec<i64>,
    resets: Resets,
    /// The live rules, as a hash.
    #[serde(default)]
    rules: Option<i64>,
    /// The layout, and the row after the last that a frame showed.
    #[serde(default)]
    shown: Option<(i64, i64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gone {
    how: Left,
    agent: AgentKind,
}

impl PaneMatcher {
    /// The state that must survive a restart; empty before the first frame.
    pub fn save(&self) -> Vec<u8> {
        if self.fresh {
            return Vec::new();
        }
        let saved = Saved {
            state: self.state,
            since: self.since,
            session_id: self.session_id.clone(),
            prompts: self.prompts.clone(),
            running: self.running.clone(),
            starting: self.starting.clone(),
            left: self.left.clone().map(|(how, agent)| Gone { how, agent }),
            compaction: self.compaction.clone(),
            presences: self.presences.clone(),
            codes: self.codes.clone(),
            resets: self.resets.clone(),
            rules: self.aside.rules(),
            shown: self.passing.saved(),
        };
        let Ok(text) = toml::to_string(&saved) else { return Vec::new() };
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// A matcher that goes on from saved bytes; a fresh one if they are empty, damaged or of another version.
    pub fn restore(bytes: &[u8]) -> Self {
        Self::read(bytes).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, text) = bytes.split_first()?;
        if *version != VERSION || text.len() > MAX_BYTES {
            return None;
        }
        let saved: Saved = toml::from_str(std::str::from_utf8(text).ok()?).ok()?;
        let mut matcher = Self::default();
        matcher.fresh = false;
        matcher.state = saved.state;
        matcher.since = saved.since;
        matcher.session_id = saved.session_id;
        matcher.prompts = saved.prompts;
        matcher.running = saved.running;
        matcher.starting = saved.starting;
        matcher.left = saved.left.map(|gone| (gone.how, gone.agent));
        matcher.compaction = saved.compaction;
        matcher.presences = saved.presences;
        matcher.codes = saved.codes;
        matcher.resets = saved.resets;
        matcher.aside = Aside::restored(saved.rules);
        matcher.passing = Passing::restored(saved.shown);
        Some(matcher)
    }
}
