//! The composer that the scripted agents share: keys and pastes make a draft, Enter sends it, prompts wait for their turn.
//!
//! What differs from agent to agent is data, their [`Manners`]. What a key means to the rest of the program is told by
//! [`Did`]; a composer knows of that only whether something is under way.

use std::collections::VecDeque;
use std::time::Duration;

use super::draft::{Draft, Fold};
use super::input::Key;

/// The most prompts that wait for their turn.
const QUEUE_LIMIT: usize = 64;

/// How an agent's composer behaves.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    pub(super) fold: Fold,
    /// Enter so soon behind a burst of keys is a newline.
    pub(super) burst: Duration,
    /// So many characters in one go are a burst.
    pub(super) burst_keys: usize,
    /// A paste is one, too.
    pub(super) paste_is_burst: bool,
    /// Prompts are sent without white space around them.
    pub(super) trims: bool,
    /// Takes no notice of so many times that Enter would send something.
    pub(super) swallows: u32,
    /// What leaves the program when it is sent.
    pub(super) exits: &'static [&'static str],
    /// Ctrl+C stops what is under way before it clears the draft.
    pub(super) stops_first: bool,
    /// How long a first Ctrl+C over an empty draft makes the second one leave; `None`: the first leaves where nothing is
    /// under way.
    pub(super) leaves_within: Option<Duration>,
}

/// What a key did beyond the draft.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Did {
    Nothing,
    /// Enter came too soon and was a newline.
    Newline,
    /// This was sent, and waits for its turn.
    Sent(String),
    /// What is under way is to stop.
    Stop,
    Leave,
}

/// See the head of the module. Times count from the program's start.
#[derive(Debug)]
pub(super) struct Composer {
    manners: Manners,
    pub(super) draft: Draft,
    queue: VecDeque<String>,
    /// When a burst came.
    burst: Option<Duration>,
    /// Until when a Ctrl+C leaves.
    armed_until: Option<Duration>,
}

impl Composer {
    /// `draft`: what stands in it at first.
    pub(super) fn new(manners: Manners, draft: Option<&str>) -> Self {
        let mut first = Draft::new(manners.fold);
        first.type_text(draft.unwrap_or_default());
        Self { manners, draft: first, queue: VecDeque::new(), burst: None, armed_until: None }
    }

    /// What happens by itself until `now`.
    pub(super) fn tick(&mut self, now: Duration) {
        self.armed_until = self.armed_until.filter(|until| now < *until);
    }

    /// Until when another Ctrl+C leaves, if so.
    pub(super) fn armed_until(&self) -> Option<Duration> {
        self.armed_until
    }

    /// Prompts that wait for their turn, in order.
    pub(super) fn queue(&self) -> impl ExactSizeIterator<Item = &str> {
        self.queue.iter().map(String::as_str)
    }

    /// The prompt whose turn it is.
    pub(super) fn next_prompt(&mut self) -> Option<String> {
        self.queue.pop_front()
    }

    /// A key was pressed for something else, such as a dialog.
    pub(super) fn pass_by(&mut self, key: &Key) {
        if *key != Key::Interrupt {
            self.armed_until = None;
        }
    }

    /// A key was pressed. `busy`: something is under way.
    pub(super) fn key(&mut self, key: Key, busy: bool, now: Duration) -> Did {
        self.pass_by(&key);
        match key {
            Key::Text(text) => {
                self.note_burst(text.chars().count() >= self.manners.burst_keys, now);
                self.draft.type_text(&text);
            }
            Key::Paste(text) => {
                self.note_burst(self.manners.paste_is_burst, now);
                self.draft.paste(&text);
            }
            Key::Backspace => self.draft.backspace(),
            Key::Clear => self.draft.clear(),
            Key::Enter => return self.enter(now),
            Key::Escape if busy => return Did::Stop,
            Key::Interrupt => return self.interrupt(busy, now),
            Key::EndOfInput if self.draft.is_empty() => return Did::Leave,
            Key::Escape | Key::EndOfInput | Key::Up | Key::Down => {}
        }
        Did::Nothing
    }

    fn note_burst(&mut self, is_burst: bool, now: Duration) {
        self.burst = is_burst.then_some(now).or(self.burst);
    }

    fn enter(&mut self, now: Duration) -> Did {
        if self.burst.take().is_some_and(|burst| now < burst + self.manners.burst) {
            self.draft.type_text("\n");
            return Did::Newline;
        }
        let text = self.draft.text();
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Did::Nothing;
        }
        if self.manners.swallows > 0 {
            self.manners.swallows -= 1;
            return Did::Nothing;
        }
        self.draft.clear();
        if self.manners.exits.contains(&trimmed) {
            return Did::Leave;
        }
        let prompt = if self.manners.trims { trimmed.to_owned() } else { text };
        if self.queue.len() < QUEUE_LIMIT {
            self.queue.push_back(prompt.clone());
        }
        Did::Sent(prompt)
    }

    fn interrupt(&mut self, busy: bool, now: Duration) -> Did {
        if busy && self.manners.stops_first {
            return Did::Stop;
        }
        if !self.draft.is_empty() {
            self.draft.clear();
            return Did::Nothing;
        }
        let leaves = match self.manners.leaves_within {
            None => !busy,
            Some(time) => self.armed_until.replace(now + time).is_some(),
        };
        match (leaves, busy) {
            (true, _) => Did::Leave,
            (false, true) => Did::Stop,
            (false, false) => Did::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANNERS: Manners = Manners {
        fold: Fold::Codex,
        burst: Duration::from_millis(100),
        burst_keys: 3,
        paste_is_burst: false,
        trims: true,
        swallows: 0,
        exits: &["/quit"],
        stops_first: false,
        leaves_within: None,
    };
    const START: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_secs(1);

    fn text(text: &str) -> Key {
        Key::Text(text.to_owned())
    }

    #[test]
    fn enter_sends_unless_it_comes_too_soon() {
        let mut composer = Composer::new(MANNERS, Some(" ab"));
        assert_eq!(composer.key(text("cde"), false, START), Did::Nothing);
        assert_eq!(composer.key(Key::Enter, false, START), Did::Newline);
        assert_eq!(composer.key(Key::Enter, false, START), Did::Sent("abcde".into()), "the burst is over");
        assert!(composer.draft.is_empty());
        assert_eq!(composer.key(Key::Enter, false, START), Did::Nothing, "nothing to send");
        composer.key(Key::Paste("pasted".into()), true, START);
        assert_eq!(composer.key(Key::Enter, true, START), Did::Sent("pasted".into()));
        assert_eq!(composer.queue().collect::<Vec<_>>(), ["abcde", "pasted"]);
        assert_eq!(composer.next_prompt().as_deref(), Some("abcde"));
        composer.key(text("/quit"), false, START);
        assert_eq!(composer.key(Key::Enter, false, LATER), Did::Leave);

        let other = Manners { paste_is_burst: true, trims: false, swallows: 1, ..MANNERS };
        let mut composer = Composer::new(other, None);
        composer.key(Key::Paste("x ".into()), false, START);
        assert_eq!(composer.key(Key::Enter, false, START), Did::Newline);
        assert_eq!(composer.key(Key::Enter, false, START), Did::Nothing, "swallowed");
        assert_eq!(composer.key(Key::Enter, false, START), Did::Sent("x \n".into()));
    }

    #[test]
    fn control_c_clears_stops_and_leaves_in_each_agents_order() {
        let mut composer = Composer::new(MANNERS, Some("draft"));
        let presses = |composer: &mut Composer, busy| composer.key(Key::Interrupt, busy, START);
        assert_eq!(
            [true, true, false].map(|busy| presses(&mut composer, busy)),
            [Did::Nothing, Did::Stop, Did::Leave]
        );

        let twice = Manners { leaves_within: Some(LATER), ..MANNERS };
        let mut composer = Composer::new(twice.clone(), None);
        assert_eq!(presses(&mut composer, true), Did::Stop);
        assert_eq!(composer.armed_until(), Some(LATER));
        composer.key(Key::Up, false, START);
        assert_eq!(presses(&mut composer, false), Did::Nothing, "another key came between");
        composer.tick(LATER);
        assert_eq!(presses(&mut composer, false), Did::Nothing, "too late");
        assert_eq!(presses(&mut composer, false), Did::Leave);

        let mut composer = Composer::new(Manners { stops_first: true, ..twice }, Some("draft"));
        assert_eq!(presses(&mut composer, true), Did::Stop);
        assert_eq!((composer.armed_until(), composer.draft.text().as_str()), (None, "draft"));
    }
}
