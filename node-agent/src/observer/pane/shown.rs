//! What others see of a pane: the view for those who look or act, the report for the board.

use std::sync::Arc;

use tokio::sync::watch;
use wa_match::Redactor;
use wa_proto::{AgentKind, Pane};

use super::Watched;
use super::logging::Logging;
use crate::observer::view::{LookError, View};
use crate::rules::explain::Explained;

/// A text of the pane, and as it may leave the node.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) raw: String,
    pub(super) clean: String,
}

impl Text {
    /// True: it is another.
    pub(super) fn set(&mut self, raw: &str, redactor: &Redactor) -> bool {
        if raw == self.raw {
            return false;
        }
        raw.clone_into(&mut self.raw);
        self.clean = redactor.redact(raw.trim()).into_owned();
        true
    }
}

impl Watched {
    pub(super) fn agent(&self) -> Option<&AgentKind> {
        self.seen.as_ref().and_then(|seen| seen.agent.as_ref())
    }

    /// There is a frame of it.
    pub(in crate::observer) fn is_seen(&self) -> bool {
        self.seq > 0
    }

    pub(in crate::observer) fn view(&mut self) -> Arc<View> {
        self.refresh_frame();
        Arc::new(View {
            pane: self.pane.clone(),
            frame: Arc::clone(&self.frame),
            title: self.title.raw.clone(),
            foreground: self.facts.foreground.clone(),
            group: Arc::clone(&self.group),
            agent: self.agent().cloned(),
            state: self.state(),
            tty: self.tty.clone(),
            mirror: self.mirror,
            excluded: self.logging.excluded(),
            touched: self.touched,
            layout: self.screen.layout(),
            seq: self.seq,
            drawn: self.drawn,
        })
    }

    /// Why the pane is in its state, rule by rule, and over which frame.
    pub(in crate::observer) fn explain(&mut self) -> Result<Explained, LookError> {
        if self.logging != Logging::On {
            return Err(LookError::NotMatched(self.not_logged()));
        }
        self.refresh_frame();
        Ok(Explained {
            pane: self.pane.clone(),
            frame: Arc::clone(&self.frame),
            state: self.state(),
            detail: self.detail(),
            explanation: self.matcher.explain(&self.engine, &self.frame, &self.facts),
        })
    }

    pub(in crate::observer) fn follow(&mut self) -> watch::Receiver<Arc<View>> {
        let view = self.view();
        match &self.views {
            Some(views) => {
                views.send_replace(view);
                views.subscribe()
            }
            None => {
                let (views, receiver) = watch::channel(view);
                self.views = Some(views);
                receiver
            }
        }
    }

    pub(super) fn publish(&mut self) {
        if self.views.as_ref().is_some_and(|views| views.receiver_count() == 0) {
            self.views = None;
        }
        if self.views.is_some() {
            let view = self.view();
            self.views.iter().for_each(|views| drop(views.send_replace(Arc::clone(&view))));
        }
    }

    /// The pane as the board shows it, if that is another than last time; else when it last printed.
    pub(in crate::observer) fn news(&mut self) -> News {
        if std::mem::take(&mut self.altered) {
            News::Report(Box::new(self.report()))
        } else {
            News::Output(self.last_output)
        }
    }

    /// The pane as the board shows it.
    fn report(&self) -> Pane {
        let seen = self.seen.as_ref();
        let session = self.conversation.told();
        let session_id = seen.map(|seen| seen.session_id.clone()).filter(|id| !id.is_empty());
        let of_file = || session.map(|session| session.session_id.clone()).unwrap_or_default();
        Pane {
            pane: self.pane.clone(),
            title: self.title.clean.clone(),
            cwd: self.cwd.clean.clone(),
            project: self.project.clean.clone(),
            agent: self.agent().cloned(),
            agent_version: seen.map(|seen| seen.version.clone()).unwrap_or_default(),
            agent_pid: seen.map_or(0, |seen| seen.agent_pid),
            state: self.state(),
            detail: self.detail(),
            session_id: session_id.unwrap_or_else(of_file),
            cols: self.size.0,
            rows: self.size.1,
            tty: self.tty.clone().unwrap_or_default(),
            last_output: self.last_output,
            mirror: self.mirror,
            session: session.cloned(),
            not_logged: self.not_logged(),
            account: self.account.clone(),
        }
    }
}

/// What the board has yet to hear of a pane.
pub(in crate::observer) enum News {
    Report(Box<Pane>),
    Output(Option<wa_proto::Timestamp>),
}
