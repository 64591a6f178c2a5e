//! What the grid tells while it takes bytes: rows that fell off, questions to answer, and what the
//! program says beside its text.
//!
//! The grid calls back in the middle of a batch, with the cursor where it stands at that byte, so
//! answers and marks are exact. All lists are bounded per batch: a flood of bells or of questions
//! is cut, as text is by the scrollback.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use wa_mux::codec::{Progress, Zone};

use super::marks::Marks;
use super::wire::CELL_PIXELS;

/// The most notices of one batch.
const NOTICE_LIMIT: usize = 4096;
/// The most bytes of answers of one batch.
const REPLY_LIMIT: usize = 64 << 10;

/// Something a program said beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// BEL.
    Bell,
    /// OSC 9 and OSC 777.
    Toast {
        /// Only OSC 777 has one.
        title: Option<String>,
        /// The message.
        body: String,
    },
    /// OSC 7.
    WorkingDirectory,
    /// OSC 0 and 1.
    IconTitle(String),
    /// OSC 0 and 2.
    WindowTitle(String),
    /// OSC 1337 SetUserVar, decoded.
    UserVar {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// OSC 9;4.
    Progress(Progress),
    /// OSC 52; `primary`: the selection, not the clipboard.
    Clipboard {
        /// For the selection rather than the clipboard.
        primary: bool,
        /// What to put there.
        text: String,
    },
}

/// See the head of the module.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// Rows that left the primary screen's scrollback at its top, ever.
    pub(super) trimmed: i64,
    /// Rows that left the alternate screen at its top, ever.
    pub(super) alternate_scrolled: i64,
    pub(super) notices: Vec<Notice>,
    pub(super) replies: Vec<u8>,
    pub(super) title: Option<String>,
    pub(super) working_dir: Option<String>,
    pub(super) marks: Marks,
}

impl Watcher {
    fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICE_LIMIT {
            self.notices.push(notice);
        }
    }

    fn reply(&mut self, text: &str) {
        if self.replies.len() + text.len() <= REPLY_LIMIT {
            self.replies.extend_from_slice(text.as_bytes());
        }
    }

    fn window_title(&mut self, title: String) {
        self.title = Some(title.clone());
        let notice = Notice::WindowTitle(title.clone());
        // OSC 0 comes as icon title, then title; the real server tells them the other way round.
        match self.notices.pop_if(|last| *last == Notice::IconTitle(title)) {
            Some(icon) => {
                self.notice(notice);
                self.notice(icon);
            }
            None => self.notice(notice),
        }
    }

    fn mark(&mut self, screen: &vt100::Screen, zone: Zone) {
        if screen.alternate_screen() {
            return;
        }
        let above = i64::try_from(screen.scrollback_len()).unwrap_or(i64::MAX);
        let (row, col) = screen.cursor_position();
        self.marks.put(self.trimmed + above + i64::from(row), col, zone);
    }

    fn device_status(&mut self, screen: &vt100::Screen, private: bool, which: u16) {
        match which {
            5 => self.reply("\x1b[0n"),
            6 => {
                let (row, col) = screen.cursor_position();
                let col = col.min(screen.size().1.get() - 1);
                let sign = if private { "?" } else { "" };
                self.reply(&format!("\x1b[{sign}{};{}R", row + 1, col + 1));
            }
            _ => {}
        }
    }

    fn window_report(&mut self, screen: &vt100::Screen, which: u16) {
        let (rows, cols) = screen.size();
        let (rows, cols) = (rows.get(), cols.get());
        let (cell_wide, cell_high) = CELL_PIXELS;
        let (high, wide) = (u32::from(rows) * u32::from(cell_high), u32::from(cols) * u32::from(cell_wide));
        match which {
            14 => self.reply(&format!("\x1b[4;{high};{wide}t")),
            16 => self.reply(&format!("\x1b[6;{cell_high};{cell_wide}t")),
            18 => self.reply(&format!("\x1b[8;{rows};{cols}t")),
            _ => {}
        }
    }

    /// 1: set, 2: not set, 0: not known here.
    fn mode_report(&mut self, screen: &vt100::Screen, mode: u16) {
        let set = match mode {
            1 => Some(screen.application_cursor()),
            25 => Some(!screen.hide_cursor()),
            1049 => Some(screen.alternate_screen()),
            2004 => Some(screen.bracketed_paste()),
            // While it is set nothing comes this far.
            2026 => Some(false),
            _ => None,
        };
        let state = set.map_or(0, |set| if set { 1 } else { 2 });
        self.reply(&format!("\x1b[?{mode};{state}$y"));
    }

    fn toast_or_progress(&mut self, params: &[&[u8]]) {
        if params.first() != Some(&&b"4"[..]) {
            return self.notice(Notice::Toast { title: None, body: joined(params) });
        }
        let number = |at: usize| {
            params.get(at).and_then(|p| std::str::from_utf8(p).ok()?.parse::<u8>().ok()).unwrap_or(0)
        };
        self.notice(Notice::Progress(match number(1) {
            1 => Progress::Percentage(number(2).min(100)),
            2 => Progress::Error(number(2).min(100)),
            3 => Progress::Indeterminate,
            _ => Progress::None,
        }));
    }

    fn user_var(&mut self, params: &[&[u8]]) {
        let text = joined(params);
        let Some((name, value)) = text.strip_prefix("SetUserVar=").and_then(|rest| rest.split_once('='))
        else {
            return;
        };
        // What does not decode was not meant for us.
        let Ok(value) = BASE64.decode(value) else {
            return;
        };
        self.notice(Notice::UserVar {
            name: name.to_owned(),
            value: String::from_utf8_lossy(&value).into_owned(),
        });
    }
}

/// The parser behind splits at every `;`; a text may hold some.
fn joined(params: &[&[u8]]) -> String {
    String::from_utf8_lossy(&params.join(&b';')).into_owned()
}

impl vt100::Callbacks for Watcher {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.notice(Notice::Bell);
    }

    fn set_window_icon_name(&mut self, _: &mut vt100::Screen, name: &[u8]) {
        self.notice(Notice::IconTitle(String::from_utf8_lossy(name).into_owned()));
    }

    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.window_title(String::from_utf8_lossy(title).into_owned());
    }

    fn copy_to_clipboard(&mut self, _: &mut vt100::Screen, kind: &[u8], data: &[u8]) {
        let Ok(data) = BASE64.decode(data) else {
            return;
        };
        self.notice(Notice::Clipboard {
            primary: kind.contains(&b'p'),
            text: String::from_utf8_lossy(&data).into_owned(),
        });
    }

    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        second: Option<u8>,
        params: &[&[u16]],
        last: char,
    ) {
        let number = params.first().and_then(|p| p.first()).copied().unwrap_or(0);
        match (first, second, last) {
            (None, _, 'n') => self.device_status(screen, false, number),
            (Some(b'?'), None, 'n') => self.device_status(screen, true, number),
            (None, _, 'c') if number == 0 => self.reply("\x1b[?65;4;6;18;22c"),
            (Some(b'>'), None, 'c') => self.reply("\x1b[>1;277;0c"),
            (Some(b'='), None, 'c') => self.reply("\x1bP!|00000000\x1b\\"),
            (Some(b'>'), None, 'q') => {
                self.reply(concat!("\x1bP>|wa-screen ", env!("CARGO_PKG_VERSION"), "\x1b\\"));
            }
            (Some(b'?'), Some(b'$'), 'p') => self.mode_report(screen, number),
            (None, _, 't') => self.window_report(screen, number),
            _ => {}
        }
    }

    fn unhandled_osc(&mut self, screen: &mut vt100::Screen, params: &[&[u8]]) {
        let Some((number, rest)) = params.split_first() else {
            return;
        };
        match *number {
            b"0" => {
                let title = joined(rest);
                self.notice(Notice::IconTitle(title.clone()));
                self.window_title(title);
            }
            b"1" => self.notice(Notice::IconTitle(joined(rest))),
            b"2" => self.window_title(joined(rest)),
            b"7" => {
                self.working_dir = Some(joined(rest)).filter(|url| !url.is_empty());
                self.notice(Notice::WorkingDirectory);
            }
            b"9" => self.toast_or_progress(rest),
            b"10" if rest == [b"?"] => self.reply("\x1b]10;rgb:b2b2/b2b2/b2b2\x1b\\"),
            b"11" if rest == [b"?"] => self.reply("\x1b]11;rgb:0000/0000/0000\x1b\\"),
            b"12" if rest == [b"?"] => self.reply("\x1b]12;rgb:5252/adad/7070\x1b\\"),
            b"133" => {
                let zone = match rest.first().and_then(|p| p.first()) {
                    Some(b'A' | b'P' | b'N') => Zone::Prompt,
                    Some(b'B' | b'I') => Zone::Input,
                    Some(b'C' | b'D') => Zone::Output,
                    _ => return,
                };
                self.mark(screen, zone);
            }
            b"777" => {
                if let [b"notify", title, body @ ..] = rest {
                    self.notice(Notice::Toast {
                        title: Some(String::from_utf8_lossy(title).into_owned()),
                        body: joined(body),
                    });
                }
            }
            b"1337" => self.user_var(rest),
            _ => {}
        }
    }

    fn on_scroll(&mut self, _: vt100::capture::RowContents<'_>, alternate_screen: bool) {
        if alternate_screen {
            self.alternate_scrolled += 1;
        } else {
            self.trimmed += 1;
        }
    }
}
