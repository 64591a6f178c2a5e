//! What is known of a pane beside its rows: terminal, size, title, directory.

use wa_mux::client::PaneInfo;

use super::Watched;
use crate::observer::alerts;

/// Of a title, in bytes.
const MAX_TITLE: usize = 1 << 10;

impl Watched {
    /// What the server's list says of the pane.
    pub(in crate::observer) fn listed(&mut self, info: &PaneInfo) {
        let entry = &info.entry;
        self.set_tty(entry.tty_name.as_ref());
        self.set_size(entry.size.cols, entry.size.rows);
        self.set_title(&entry.title);
        self.set_cwd(entry.working_dir.as_deref());
        self.set_listed();
    }

    /// Title and directory are as well known as they will be.
    pub(super) fn set_listed(&mut self) {
        self.listed = true;
        // Without a terminal there is no process to wait for.
        self.scanned |= self.tty.is_none();
        self.judge();
    }

    pub(super) fn set_tty(&mut self, tty: Option<&String>) {
        if tty != self.tty.as_ref() {
            self.tty = tty.cloned();
            self.altered = true;
        }
    }

    pub(super) fn set_size(&mut self, cols: u64, rows: u64) {
        let size = (small(cols), small(rows));
        self.altered |= size != self.size;
        self.size = size;
    }

    pub(super) fn set_title(&mut self, title: &str) -> bool {
        let title = alerts::beginning(title, MAX_TITLE);
        let changed = self.title.set(title, &self.redactor);
        if changed {
            title.clone_into(&mut self.facts.title);
            self.altered = true;
            self.look_soon();
        }
        changed
    }

    pub(super) fn set_cwd(&mut self, url: Option<&str>) -> bool {
        let changed = url.is_some_and(|url| self.cwd.set(&path_of(url), &self.redactor));
        self.altered |= changed;
        changed
    }

    pub(in crate::observer) fn cwd(&self) -> &str {
        &self.cwd.raw
    }

    pub(in crate::observer) fn set_project(&mut self, project: &str) {
        self.altered |= self.project.set(project, &self.redactor);
    }

    pub(in crate::observer) fn set_mirror(&mut self, mirror: bool) {
        if mirror != self.mirror {
            self.mirror = mirror;
            self.altered = true;
        }
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The path of a `file://HOST/PATH` URL, without the slash at its end; what is no such URL, as it is.
fn path_of(url: &str) -> String {
    let Some(rest) = url.strip_prefix("file://") else { return url.to_owned() };
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    let path = String::from_utf8_lossy(&bytes).into_owned();
    if path.len() > 1 { path.trim_end_matches('/').to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_as_urls() {
        assert_eq!(path_of("file://host/home/a%20b/c/"), "/home/a b/c");
        assert_eq!(path_of("file:///"), "/");
        assert_eq!(path_of("/plain/"), "/plain/");
        assert_eq!(path_of("file://host/100%"), "/100%");
        assert_eq!(path_of("file://host/%zz%ff"), "/%zz\u{fffd}");
    }
}
