//! What the foreground program of a pane is called and where it stands.
//!
//! Read from `/proc` when a push is made, and at most every 300 ms, as the real server does. On
//! systems without `/proc` the program that the pane was started with has to do.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use wa_screen::terminal::Facts;

use super::lock;

const FRESH: Duration = Duration::from_millis(300);

/// Remembers [`Facts`] for a while.
#[derive(Debug)]
pub(super) struct Watch {
    started: String,
    trailing_slash: bool,
    last: Mutex<Option<(Instant, Facts)>>,
}

impl Watch {
    pub(super) fn new(started: String, trailing_slash: bool) -> Self {
        Self { started, trailing_slash, last: Mutex::new(None) }
    }

    /// The facts about the program whose process group `group` tells.
    pub(super) fn facts(&self, group: impl FnOnce() -> Option<i32>) -> Facts {
        let mut last = lock(&self.last);
        if let Some((when, facts)) = &*last
            && when.elapsed() < FRESH
        {
            return facts.clone();
        }
        let facts = self.read(group());
        *last = Some((Instant::now(), facts.clone()));
        facts
    }

    fn read(&self, group: Option<i32>) -> Facts {
        let link = |what: &str| std::fs::read_link(format!("/proc/{}/{what}", group?)).ok();
        let name = link("exe")
            .as_deref()
            .and_then(Path::file_name)
            .map_or_else(|| self.started.clone(), |n| n.to_string_lossy().into_owned());
        let working_dir = link("cwd").map(|dir| {
            let mut url = format!("file://{}", escape(&dir.to_string_lossy()));
            if self.trailing_slash && !url.ends_with('/') {
                url.push('/');
            }
            url
        });
        Facts { name, working_dir }
    }
}

fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'+' | b'@' | b':' | b',' | b'=' => {
                out.push(byte.into());
            }
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.extend(format!("%{byte:02X}").chars()),
        }
    }
    out
}
