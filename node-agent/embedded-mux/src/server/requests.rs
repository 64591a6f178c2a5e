//! What each request does. Those that are not here are answered with an error.

use std::ops::Range;
use std::sync::Arc;

use wa_mux::codec::{CommandBuilder, Introduction, Pdu, SpawnDomain, SplitRequest, TerminalSize};
use wa_screen::terminal::Size;

use super::command::Command;
use super::connection::{Connection, Refusal};
use super::pane::Pane;
use super::{InvertedRange, Place, VERSION, keys, lock};

type Answer = Result<Pdu, Refusal>;

/// Codes of responses and pushes, which are no requests.
fn is_request(pdu: &Pdu) -> bool {
    !matches!(
        pdu.ident(),
        0 | 2 | 4 | 8 | 10 | 23 | 25 | 27 | 29 | 30 | 32 | 37 | 39 | 42 | 44 | 47 | 49 | 52..=55 | 61
    )
}

/// Requests that count as a person's input.
fn is_input(pdu: &Pdu) -> bool {
    matches!(pdu.ident(), 9 | 11..=14 | 20 | 33 | 36)
}

fn size(size: TerminalSize) -> Size {
    let side = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    Size { cols: side(size.cols), rows: side(size.rows) }.clamped()
}

impl Connection {
    pub(super) fn serve(&mut self, pdu: Pdu) -> Answer {
        if is_input(&pdu) {
            self.shared.bump_input(self.client.as_ref());
        }
        match pdu {
            Pdu::Ping => Ok(Pdu::Pong),
            Pdu::GetCodecVersion => Ok(self.version()),
            Pdu::SetClientId { introduction } => Ok(self.introduce(introduction)),
            Pdu::GetClientList => Ok(Pdu::GetClientListResponse { clients: self.shared.clients() }),
            Pdu::ListPanes => Ok(self.list()),
            Pdu::GetPaneRenderableDimensions { pane_id } => self.dimensions(pane_id),
            Pdu::GetPaneRenderChanges { pane_id } => {
                self.push(pane_id, None);
                Ok(Pdu::LivenessResponse { pane_id, is_alive: self.shared.pane(pane_id).is_some() })
            }
            Pdu::GetLines { pane_id, lines } => self.lines(pane_id, &lines),
            Pdu::WriteToPane { pane_id, data } => self.write(pane_id, data),
            Pdu::SendPaste { pane_id, data } => self.paste(pane_id, &data),
            Pdu::SendKeyDown { pane_id, event, input_serial } => self.key(pane_id, event, input_serial),
            Pdu::Resize { tab_id, pane_id, size: wanted } => self.resize(tab_id, pane_id, size(wanted)),
            Pdu::SpawnV2 { domain, window_id, command, command_dir, size: wanted, workspace } => {
                check_domain(&domain)?;
                let command = self.command(command, command_dir);
                self.spawn(&command, window_id, size(wanted), &workspace)
            }
            Pdu::SplitPane { pane_id, split, command, command_dir, domain, move_pane_id: None } => {
                check_domain(&domain)?;
                self.split(pane_id, split, &self.command(command, command_dir))
            }
            Pdu::KillPane { pane_id } => {
                self.pane(pane_id)?;
                self.shared.kill_pane(pane_id);
                Ok(Pdu::UnitResponse)
            }
            Pdu::SetFocusedPane { pane_id } => self.focus(pane_id),
            Pdu::TabTitleChanged { tab_id, title } => self.tab_title(tab_id, title),
            Pdu::WindowTitleChanged { window_id, title } => self.window_title(window_id, title),
            other => Err(refused(&other)),
        }
    }

    fn command(&self, command: Option<CommandBuilder>, dir: Option<String>) -> Command {
        Command::from_wire(command, dir, self.shared.options.first_command.as_ref())
    }

    fn pane(&self, id: u64) -> Result<Arc<Pane>, Refusal> {
        let missing = || Refusal::from(format_args!("no such pane {id}"));
        self.shared.pane(id).ok_or_else(missing)
    }

    fn version(&self) -> Pdu {
        let program = std::env::current_exe().unwrap_or_default();
        Pdu::GetCodecVersionResponse {
            codec_version: self.shared.options.codec.number(),
            version: VERSION.to_owned(),
            executable_path: program.to_string_lossy().into_owned(),
            config_file_path: None,
        }
    }

    fn introduce(&mut self, introduction: Introduction) -> Pdu {
        // A proxy only forwards for another, which introduces itself.
        if !introduction.is_proxy {
            self.shared.introduce(introduction.client_id.clone());
            self.client = Some(introduction.client_id);
        }
        Pdu::UnitResponse
    }

    fn list(&self) -> Pdu {
        let state = lock(&self.shared.state);
        let (tabs, tab_titles) = state.list();
        let window_titles = state.windows.iter().map(|(id, w)| (*id, w.title.clone()));
        Pdu::ListPanesResponse { tabs, tab_titles, window_titles: window_titles.collect() }
    }

    fn dimensions(&self, pane_id: u64) -> Answer {
        let pane = self.pane(pane_id)?;
        let terminal = pane.terminal.lock();
        Ok(Pdu::GetPaneRenderableDimensionsResponse {
            pane_id,
            cursor: terminal.cursor().to_wire(),
            dims: terminal.dimensions().to_wire(),
        })
    }

    fn lines(&self, pane_id: u64, ranges: &[Range<i64>]) -> Answer {
        let pane = self.pane(pane_id)?;
        if let Some(range) = ranges.iter().find(|range| range.end < range.start) {
            if self.shared.options.inverted_range == InvertedRange::Die {
                tracing::error!(?range, "an inverted range: capacity overflow");
                std::process::exit(101);
            }
            return Err(Refusal::Drop(format!("the inverted range {range:?}")));
        }
        let rows = pane.terminal.lock().lines(ranges);
        Ok(Pdu::GetLinesResponse { pane_id, rows })
    }

    fn write(&self, pane_id: u64, data: Vec<u8>) -> Answer {
        let pane = self.pane(pane_id)?;
        if self.shared.options.freeze_on_unread_input {
            pane.write_blocking(&data)?;
        } else {
            pane.type_bytes(data)?;
        }
        Ok(Pdu::UnitResponse)
    }

    fn paste(&self, pane_id: u64, text: &str) -> Answer {
        let pane = self.pane(pane_id)?;
        let bracketed = pane.terminal.lock().bracketed_paste();
        pane.type_bytes(keys::paste(text, bracketed))?;
        Ok(Pdu::UnitResponse)
    }

    fn key(&mut self, pane_id: u64, event: wa_mux::codec::Key, serial: u64) -> Answer {
        let pane = self.pane(pane_id)?;
        let application = pane.terminal.lock().application_cursor();
        pane.type_bytes(keys::key(event, application))?;
        self.push(pane_id, Some(serial));
        Ok(Pdu::UnitResponse)
    }

    fn resize(&self, tab_id: u64, pane_id: u64, size: Size) -> Answer {
        if !lock(&self.shared.state).tabs.contains_key(&tab_id) {
            return Err(format_args!("no such tab {tab_id}").into());
        }
        let pane = self.pane(pane_id)?;
        self.shared.resize(&pane, size);
        Ok(Pdu::UnitResponse)
    }

    fn spawn(&self, command: &Command, window: Option<u64>, size: Size, workspace: &str) -> Answer {
        let size = match window {
            None => size,
            Some(id) => lock(&self.shared.state)
                .window_size(id)
                .ok_or_else(|| format!("window_id {id} not found on this server"))?,
        };
        let place = Place::Tab { window, workspace };
        let spawned = self.shared.spawn_pane(command, size, &place)?;
        Ok(Pdu::SpawnResponse {
            tab_id: spawned.tab,
            pane_id: spawned.pane,
            window_id: spawned.window,
            size: size.to_wire(),
        })
    }

    fn split(&self, pane_id: u64, split: SplitRequest, command: &Command) -> Answer {
        let Some(pane) = self.shared.pane(pane_id) else {
            return Err(format_args!("pane_id {pane_id} invalid").into());
        };
        let (first, second) =
            super::state::halves(pane.size(), split.direction, split.size, split.target_is_second)
                .ok_or("no space for a split")?;
        let (old, new) = if split.target_is_second { (first, second) } else { (second, first) };
        let place = Place::Beside {
            pane: &pane,
            shrinks_to: old,
            direction: split.direction,
            new_is_second: split.target_is_second,
        };
        let spawned = self.shared.spawn_pane(command, new, &place)?;
        Ok(Pdu::SpawnResponse {
            tab_id: spawned.tab,
            pane_id: spawned.pane,
            window_id: spawned.window,
            // The real server leaves out the pixels here.
            size: TerminalSize { pixel_width: 0, pixel_height: 0, ..new.to_wire() },
        })
    }

    fn focus(&self, pane_id: u64) -> Answer {
        let missing = || format!("pane {pane_id} not found");
        {
            let mut state = lock(&self.shared.state);
            let tab_id = state.tab_of(pane_id).ok_or_else(missing)?;
            let window_id = state.window_of(pane_id).ok_or_else(missing)?;
            if let Some(tab) = state.tabs.get_mut(&tab_id) {
                tab.active = pane_id;
            }
            if let Some(window) = state.windows.get_mut(&window_id) {
                window.active = tab_id;
            }
        }
        self.shared.focused(self.client.as_ref(), pane_id);
        self.shared.broadcast(Pdu::PaneFocused { pane_id });
        Ok(Pdu::UnitResponse)
    }

    fn tab_title(&self, tab_id: u64, title: String) -> Answer {
        match lock(&self.shared.state).tabs.get_mut(&tab_id) {
            None => return Err(format_args!("no such tab {tab_id}").into()),
            Some(tab) => tab.title.clone_from(&title),
        }
        self.shared.broadcast(Pdu::TabTitleChanged { tab_id, title });
        Ok(Pdu::UnitResponse)
    }

    fn window_title(&self, window_id: u64, title: String) -> Answer {
        match lock(&self.shared.state).windows.get_mut(&window_id) {
            None => return Err(format_args!("no such window {window_id}").into()),
            Some(window) => window.title.clone_from(&title),
        }
        self.shared.broadcast(Pdu::WindowTitleChanged { window_id, title });
        Ok(Pdu::UnitResponse)
    }
}

fn refused(pdu: &Pdu) -> Refusal {
    if is_request(pdu) {
        format_args!("{} is not served by wa-embedded-mux", pdu.name()).into()
    } else {
        format_args!("expected a request, got {}({pdu:?})", pdu.name()).into()
    }
}

fn check_domain(domain: &SpawnDomain) -> Result<(), Refusal> {
    match domain {
        SpawnDomain::Name(name) if name != "local" && name != "unix" => Err(format_args!(
            "resolve_spawn_tab_domain: domain name {name:?} is invalid. Possible names are \"local\", \"unix\"."
        )
        .into()),
        _ => Ok(()),
    }
}
