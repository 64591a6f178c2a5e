//! Lists to choose from in dialogs: what keys mean to them.

use super::input::Key;

/// Moves the mark of a list of so many choices; whether the key does that.
pub(super) fn moves(key: &Key, marked: &mut usize, count: usize) -> bool {
    match key {
        Key::Up => *marked = marked.saturating_sub(1),
        Key::Down => *marked = (*marked + 1).min(count.saturating_sub(1)),
        _ => return false,
    }
    true
}

/// What a key chooses in a list whose last choice is the way out. A number chooses at once; a paste means nothing.
pub(super) fn choose(key: &Key, marked: &mut usize, count: usize) -> Option<usize> {
    if moves(key, marked, count) {
        return None;
    }
    match key {
        Key::Enter => Some(*marked),
        Key::Escape | Key::Interrupt => count.checked_sub(1),
        Key::Text(text) => text.parse::<usize>().ok()?.checked_sub(1).filter(|at| *at < count),
        _ => None,
    }
}
