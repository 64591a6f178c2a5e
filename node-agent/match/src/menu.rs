//! The choices of the dialog that stands in a pane, for those who answer it.
//!
//! Constraints: a dialog is known by its whole text, so that an answer meant for one never goes to another; a choice is found
//! by its label, never by its number or place. A label that two choices bear is none.

use std::ops::Range;

use wa_proto::{AgentKind, Frame};

use crate::composer::{self, is_option};
use crate::dialog;
use crate::rules::text::Sheet;

/// A dialog with its choices, from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// 16 hex digits: the same while the selection moves or the pane is re-wrapped. Events of dialogs carry it as `dialog`.
    pub id: String,
    pub choices: Vec<Choice>,
}

/// One choice of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub label: String,
    /// Enter would take this one.
    pub selected: bool,
}

/// Labels are cut where an event lists them; as much of one is enough to name it.
const DISTINCT: usize = 24;

/// The menu on the screen of this agent, if one stands there and shows its choices.
pub fn read(frame: &Frame, agent: &AgentKind) -> Option<Menu> {
    let view = composer::read(frame, agent);
    let sheet = Sheet::new(frame);
    let dialog = dialog::read(&sheet, &view, frame.cols)?;
    let options = view.rows.clone().filter(|row| is_option(sheet.text(*row)));
    let choices: Vec<Choice> = options
        .map(|row| Choice {
            label: dialog::label(&sheet, row, frame.cols),
            selected: is_selected(sheet.text(row)),
        })
        .collect();
    (!choices.is_empty()).then(|| Menu { id: id(dialog.key), choices })
}

/// The rows of the dialog on the screen of this agent, if one stands there that [`read`] reads.
pub fn rows(frame: &Frame, agent: &AgentKind) -> Option<Range<usize>> {
    read(frame, agent)?;
    Some(composer::read(frame, agent).rows)
}

pub(crate) fn id(key: u64) -> String {
    format!("{key:016x}")
}

fn is_selected(text: &str) -> bool {
    text.trim_start_matches([' ', '│', '\u{a0}']).starts_with(['❯', '›', '●', '>'])
}

impl Menu {
    /// Which choice Enter would take; `None` when that does not show.
    pub fn selected(&self) -> Option<usize> {
        let mut selected = self.choices.iter().enumerate().filter(|(_, choice)| choice.selected);
        let (at, _) = selected.next()?;
        selected.next().is_none().then_some(at)
    }

    /// The choice that bears the first of these labels that any bears.
    pub fn find(&self, labels: &[String]) -> Option<usize> {
        labels.iter().find_map(|wanted| {
            let wanted = plain(wanted);
            let mut found =
                self.choices.iter().enumerate().filter(|(_, choice)| bears(&plain(&choice.label), &wanted));
            let (at, _) = found.next()?;
            found.next().is_none().then_some(at)
        })
    }
}

fn bears(label: &str, wanted: &str) -> bool {
    label == wanted || (wanted.chars().count() >= DISTINCT && label.starts_with(wanted))
}

/// Without case, blanks, and the key hint that some agents put behind a label: `Yes, proceed (y)`.
fn plain(label: &str) -> String {
    let label = label.trim();
    let bare = match label.rsplit_once(" (") {
        Some((bare, hint)) if hint.len() <= 12 && hint.ends_with(')') => bare,
        _ => label,
    };
    bare.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn menu(labels: &[(&str, bool)]) -> Menu {
        let choices =
            labels.iter().map(|(label, selected)| Choice { label: (*label).into(), selected: *selected });
        Menu { id: String::new(), choices: choices.collect() }
    }

    fn find(menu: &Menu, labels: &[&str]) -> Option<usize> {
        menu.find(&labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_choice_is_found_by_its_label_alone() {
        let menu =
            menu(&[("Yes, proceed (y)", true), ("Yes, and don't ask again", false), ("No (esc)", false)]);
        assert_eq!(find(&menu, &["no"]), Some(2));
        assert_eq!(find(&menu, &["Cancel", "yes,  proceed"]), Some(0));
        assert_eq!(find(&menu, &["Yes"]), None, "the beginning of a label is not the label");
        assert_eq!(find(&menu, &["Yes, and don't ask again"]), Some(1));
        assert_eq!(menu.selected(), Some(0));
    }

    #[test]
    fn what_is_not_clear_is_not_chosen() {
        let menu = menu(&[("Yes", true), ("Yes", true)]);
        assert_eq!((find(&menu, &["Yes"]), menu.selected()), (None, None));
    }
}
