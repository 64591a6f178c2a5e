//! Which limits, warnings and sign-in codes are news.
//!
//! Constraints. An agent says the same limit in several places: a row, a dialog, the footer. One turn that runs into a
//! limit is one event for each window or model; what names neither is of the one that was told before, and what names it
//! after words that did not is the same.

use wa_proto::EventKind;

use crate::look::Look;
use crate::matcher::PaneMatcher;
use crate::observation::Detected;
use crate::rules::Hit;

/// Codes remembered.
const CODES: usize = 16;

impl PaneMatcher {
    /// One warning for a window in one turn, and one limit for a model, in however many places they stand. What names
    /// neither is of the one that was told before.
    pub(crate) fn was_warned(&mut self, event: &Detected, seen: &Look) -> bool {
        let turns = self.running.as_ref().map_or(0, |agent| agent.turns);
        self.warned.retain(|(turn, _)| *turn == turns);
        let of = |name: &str| event.fields.get(name).map_or("", String::as_str);
        let kind = event.kind.as_str();
        let key =
            format!("{kind} {}{}", of("window"), if kind == "limit.reached" { of("model") } else { "" });
        let nameless = event.kind == EventKind::LimitReached && key.ends_with(' ');
        if self.warned.iter().any(|(_, told)| *told == key || (nameless && told.starts_with(kind))) {
            return true;
        }
        self.warned.push((turns, key));
        if event.kind == EventKind::LimitReached {
            // A dialog that is answered leaves the same limit behind as a line, perhaps after more work.
            let prompt = seen.prompt.map_or(0, |(_, words)| words);
            let before = self.limit_told.replace((prompt, event.rule.clone()));
            return nameless && before.is_some_and(|(below, rule)| below == prompt && rule != event.rule);
        }
        false
    }

    /// A sign-in code that was told stays on the screen, below which the agent may be started again.
    pub(crate) fn is_old_code(&self, hit: &Hit) -> bool {
        hit.event == EventKind::AuthDeviceCode && self.codes.contains(&hit.key.cast_signed())
    }

    pub(crate) fn note_code(&mut self, hit: &Hit) {
        if hit.event == EventKind::AuthDeviceCode {
            if self.codes.len() >= CODES {
                self.codes.remove(0);
            }
            self.codes.push(hit.key.cast_signed());
        }
    }
}
