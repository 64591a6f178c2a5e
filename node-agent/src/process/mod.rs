//! The process witness: which program holds a pane's terminal.
//!
//! Constraints: one pass over the process table serves all panes; the table is looked at when panes say something, at
//! most every half second, and freshly before anything is typed. Only the members of the terminal's foreground group
//! count: agents keep daemons of the same name elsewhere. Nothing here says what a program is; that is
//! `wa_match::identify`.

mod exits;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod ps;

use std::collections::HashMap;

use wa_match::ProcessInfo;

pub use exits::Exits;

/// One look at the process table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Members of the foreground process group, by path of the terminal.
    pub groups: HashMap<String, Vec<ProcessInfo>>,
}

/// Where processes are found.
pub trait ProcessTable: Send + Sync {
    /// The foreground groups of these terminals (`/dev/pts/3`). A terminal that is not there is not in the answer.
    fn look(&self, ttys: &[String]) -> Snapshot;

    /// Whether these processes, and so what they are, still are the terminal's foreground group, as far as each of them
    /// tells. Cheap; `false` means only that [`Self::look`] has to say.
    fn still(&self, tty: &str, group: &[ProcessInfo]) -> bool;
}

/// The table of this host.
pub fn of_this_host() -> Box<dyn ProcessTable> {
    #[cfg(target_os = "linux")]
    return Box::new(linux::Proc::default());
    #[cfg(not(target_os = "linux"))]
    return Box::new(ps::Ps);
}
