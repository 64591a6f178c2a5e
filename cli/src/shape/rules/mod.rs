//! The shapes of `wa rules …`, redaction aside.

mod explained;
mod packs;
mod pushed;
mod scanned;
mod tested;
mod unknown;

pub(crate) use explained::Explained;
pub(crate) use packs::{PackItem, PackShown, RuleShown};
pub(crate) use pushed::Pushed;
pub(crate) use scanned::Scanned;
pub(crate) use tested::PackTest;
pub(crate) use unknown::UnknownItem;

use anstyle::{AnsiColor, Style};

/// How a node stands to what is wanted.
fn outcome_style(outcome: &str) -> Style {
    match outcome {
        "refused" => AnsiColor::Red.on_default(),
        "pending" | "unreachable" => AnsiColor::Yellow.on_default(),
        _ => Style::new(),
    }
}
