//! Screens that look like a dialog or a footer of a known agent and match nothing: an agent has changed, or a rule is
//! missing.
//!
//! Constraints: kept in memory only, redacted, and bounded. Counted per agent, version and shape; the matcher tells of a
//! shape once for as long as it stands. Operation: when all places are taken,
//! what was seen least goes first, of those the one not seen for longest; how many went is said in the log.

use wa_match::UnknownKind;
use wa_proto::wire::{to_us, v1};
use wa_proto::{AgentKind, PaneRef, Timestamp};

/// Shapes that are kept.
const MAX: usize = 64;
/// Of a sample, in bytes.
const MAX_TEXT: usize = 4 << 10;
/// Of an agent's name or version, in bytes.
const MAX_NAME: usize = 64;

/// One sight of such a screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strange<'a> {
    pub(crate) agent: &'a AgentKind,
    pub(crate) version: &'a str,
    pub(crate) kind: UnknownKind,
    /// Names the shape.
    pub(crate) key: u64,
    pub(crate) pane: &'a PaneRef,
    pub(crate) at: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct UnknownScreens {
    all: Vec<Shape>,
    dropped: u64,
}

#[derive(Debug)]
struct Shape {
    agent: String,
    version: String,
    kind: &'static str,
    key: u64,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    pane: PaneRef,
    text: String,
}

impl UnknownScreens {
    pub(super) fn count(&mut self, strange: &Strange<'_>, text: impl FnOnce() -> String) {
        let agent = beginning(strange.agent.as_str(), MAX_NAME);
        let version = beginning(strange.version, MAX_NAME);
        let kind = strange.kind.as_str();
        let same = |shape: &&mut Shape| {
            shape.key == strange.key && shape.kind == kind && shape.agent == agent && shape.version == version
        };
        if let Some(known) = self.all.iter_mut().find(same) {
            known.count = known.count.saturating_add(1);
            known.last = strange.at;
            known.pane = strange.pane.clone();
            return;
        }
        self.make_room();
        self.all.push(Shape {
            agent: agent.to_owned(),
            version: version.to_owned(),
            kind,
            key: strange.key,
            count: 1,
            first: strange.at,
            last: strange.at,
            pane: strange.pane.clone(),
            text: beginning(&text(), MAX_TEXT).to_owned(),
        });
    }

    fn make_room(&mut self) {
        if self.all.len() < MAX {
            return;
        }
        let least = self.all.iter().enumerate().min_by_key(|(_, shape)| (shape.count, shape.last));
        if let Some((at, _)) = least {
            self.all.swap_remove(at);
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                tracing::info!(
                    dropped = self.dropped,
                    kept = MAX,
                    "more kinds of unknown screens than are kept"
                );
            }
        }
    }

    pub(super) fn list(&self) -> Vec<v1::UnknownScreen> {
        let mut shapes: Vec<&Shape> = self.all.iter().collect();
        shapes.sort_by_key(|shape| std::cmp::Reverse((shape.count, shape.last)));
        let screen = |shape: &Shape| v1::UnknownScreen {
            agent: shape.agent.clone(),
            agent_version: shape.version.clone(),
            kind: shape.kind.to_owned(),
            count: shape.count,
            first_us: to_us(shape.first),
            last_us: to_us(shape.last),
            pane: Some(shape.pane.clone().into()),
            text: shape.text.clone(),
        };
        shapes.into_iter().map(screen).collect()
    }
}

fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use wa_proto::{Generation, MuxName};

    #[test]
    fn the_least_seen_goes_first_and_samples_are_bounded() {
        let pane =
            PaneRef { mux: MuxName::main(), generation: Generation::new("g-1-1").unwrap(), pane_id: 3 };
        let agent = AgentKind::codex();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let strange = |key: u64, second: i64| Strange {
            agent: &agent,
            version: "0.169.0",
            kind: UnknownKind::Dialog,
            key,
            pane: &pane,
            at: at(second),
        };
        let mut screens = UnknownScreens::default();
        screens.count(&strange(0, 1), || "é".repeat(5000));
        screens.count(&strange(0, 2), || panic!("its text is known"));
        for key in 1..200 {
            screens.count(&strange(key, 10), || format!("screen {key}"));
        }
        screens.count(&Strange { version: "0.170.0", ..strange(0, 11) }, || "another version".to_owned());
        let list = screens.list();
        assert_eq!((list.len(), list[0].count, list[0].text.len()), (MAX, 2, MAX_TEXT));
        assert_eq!((list[0].first_us, list[0].last_us), (1_000_000, 2_000_000));
        assert_eq!((list[1].agent_version.as_str(), list[1].count), ("0.170.0", 1));
        assert_eq!(screens.dropped, 201 - 64);
    }
}
