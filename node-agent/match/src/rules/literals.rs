//! Which literals stand in a text: all of them looked for in one pass.
//!
//! Constraints. Every changed frame is searched, and most have nothing in them: what counts is the pace of the walk from
//! byte to byte. Each step waits for the table entry that the last one named, so one walk leaves the processor idle.
//!
//! Operation. The text is cut in four pieces that are walked at once; each goes on over the next cut as far as a literal can
//! reach. What is found twice is noted twice, which does no harm.

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::{Anchored, StartKind, dfa};

const WALKS: usize = 4;

pub(crate) struct Literals {
    automaton: dfa::DFA,
    start: StateID,
    /// Rule and bit of each literal.
    owners: Vec<(usize, u32)>,
    /// Bytes of the longest.
    longest: usize,
}

impl Literals {
    /// Literals, each with its rule and its bit there.
    ///
    /// # Errors
    /// More than the automaton can hold.
    pub(crate) fn new(words: &[String], owners: Vec<(usize, u32)>) -> Result<Self, String> {
        let automaton = dfa::DFA::builder()
            .start_kind(StartKind::Unanchored)
            .prefilter(false)
            .build(words)
            .map_err(|error| error.to_string())?;
        let start = automaton.start_state(Anchored::No).map_err(|error| error.to_string())?;
        let longest = words.iter().map(String::len).max().unwrap_or(0);
        Ok(Self { automaton, start, owners, longest })
    }

    /// Sets the bits of the literals that stand in a text, in the entries of their rules.
    pub(crate) fn search(&self, text: &[u8], seen: &mut [u32]) {
        let piece = text.len().div_ceil(WALKS);
        let beyond = self.longest.saturating_sub(1);
        let walk = |at: usize| {
            let from = (at * piece).min(text.len());
            &text[from..(from + piece + beyond).min(text.len())]
        };
        let walks: [&[u8]; WALKS] = std::array::from_fn(walk);
        let mut states = [self.start; WALKS];
        let [a, b, c, d] = walks;
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            for (state, byte) in states.iter_mut().zip([a, b, c, d]) {
                *state = self.automaton.next_state(Anchored::No, *state, *byte);
            }
            if states.iter().any(|state| self.automaton.is_special(*state)) {
                states.iter().for_each(|state| self.note(*state, seen));
            }
        }
        let together = walks.iter().map(|walk| walk.len()).min().unwrap_or(0);
        for (mut state, rest) in states.into_iter().zip(walks.map(|walk| &walk[together..])) {
            for byte in rest {
                state = self.automaton.next_state(Anchored::No, state, *byte);
                if self.automaton.is_special(state) {
                    self.note(state, seen);
                }
            }
        }
    }

    #[cold]
    fn note(&self, state: StateID, seen: &mut [u32]) {
        if !self.automaton.is_match(state) {
            return;
        }
        for at in 0..self.automaton.match_len(state) {
            let (rule, bit) = self.owners[self.automaton.match_pattern(state, at).as_usize()];
            seen[rule] |= bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_found_is_what_stands_there(
            words in proptest::collection::vec("[ab]{1,6}", 1..8),
            text in "[abc]{0,120}",
        ) {
            let owners: Vec<(usize, u32)> = (0..words.len()).map(|at| (at / 2, 1 << (at % 2))).collect();
            let literals = Literals::new(&words, owners.clone()).unwrap();
            let mut seen = vec![0; words.len()];
            literals.search(text.as_bytes(), &mut seen);
            let mut wanted = vec![0; words.len()];
            for (word, (rule, bit)) in words.iter().zip(owners) {
                wanted[rule] |= if text.contains(word.as_str()) { bit } else { 0 };
            }
            prop_assert_eq!(seen, wanted);
        }
    }

    #[test]
    fn nothing_is_searched_in_nothing() {
        let literals = Literals::new(&[], Vec::new()).unwrap();
        literals.search(b"some text", &mut []);
        literals.search(b"", &mut []);
    }
}
