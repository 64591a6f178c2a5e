//! Questions of the controller about panes, rules and accounts, and the sets of rules that it sends.
//!
//! Answers are made beside the stream, a bounded number at a time; whoever asks beyond that is told so at once.

use futures_util::future::BoxFuture;
use wa_proto::PaneRef;
use wa_proto::wire::v1;
use wa_proto::wire::v1::rules_request::About;

use super::{Link, Message};

/// Panes looked at for the controller at a time.
const MAX_ANSWERS: usize = 16;

pub(super) type Answering = BoxFuture<'static, Message>;

impl Link<'_> {
    pub(super) fn screen(&mut self, request: v1::ScreenRequest) {
        let request_id = request.request_id;
        let failed = move |error: String| {
            Message::ScreenReply(v1::ScreenReply { request_id, error, ..v1::ScreenReply::default() })
        };
        let pane = match self.askable(request.pane, "too many screens at once") {
            Ok(pane) => pane,
            Err(error) => return self.push(failed(error)),
        };
        let screens = &self.parts.screens;
        let secrets = if request.reveal { screens.secrets(&pane) } else { Vec::new() };
        let screen = screens.screen(pane);
        self.answers.push(Box::pin(async move {
            match screen.await {
                Ok(screen) => {
                    let (screen, error) = (Some(screen), String::new());
                    Message::ScreenReply(v1::ScreenReply { request_id, screen, error, secrets })
                }
                Err(error) => failed(error),
            }
        }));
    }

    pub(super) fn rules(&mut self, request: v1::RulesRequest) {
        let request_id = request.request_id;
        let rules = &self.parts.rules;
        let empty = v1::RulesReply { request_id, ..v1::RulesReply::default() };
        let reply = match request.about {
            Some(About::Explain(pane)) => return self.explain(request_id, pane),
            Some(About::Unknown(_)) => v1::RulesReply { unknown: rules.unknown_screens(), ..empty },
            Some(About::Report(_)) => v1::RulesReply { report: Some(rules.report()), ..empty },
            None => v1::RulesReply { error: "the node does not understand the question".to_owned(), ..empty },
        };
        self.push(Message::RulesReply(reply));
    }

    pub(super) fn account(&mut self, request: v1::AccountRequest) {
        let request_id = request.request_id;
        let error = match &self.parts.accounts {
            Some(_) if self.answers.len() >= MAX_ANSWERS => "too many questions at once",
            Some(accounts) => {
                let answer = accounts.answer(request);
                return self.answers.push(Box::pin(async move { Message::AccountReply(answer.await) }));
            }
            None => "the node keeps no homes of accounts",
        };
        let error = error.to_owned();
        self.push(Message::AccountReply(v1::AccountReply {
            request_id,
            error,
            ..v1::AccountReply::default()
        }));
    }

    fn explain(&mut self, request_id: u64, pane: v1::PaneRef) {
        let failed = move |error: String| {
            Message::RulesReply(v1::RulesReply { request_id, error, ..v1::RulesReply::default() })
        };
        let pane = match self.askable(Some(pane), "too many questions at once") {
            Ok(pane) => pane,
            Err(error) => return self.push(failed(error)),
        };
        let explain = self.parts.screens.explain(pane);
        self.answers.push(Box::pin(async move {
            match explain.await {
                Ok(explanation) => {
                    let explanation = Some(explanation);
                    Message::RulesReply(v1::RulesReply {
                        request_id,
                        explanation,
                        ..v1::RulesReply::default()
                    })
                }
                Err(error) => failed(error),
            }
        }));
    }

    /// The pane that is asked for, if one more may be asked.
    fn askable(&self, pane: Option<v1::PaneRef>, too_many: &str) -> Result<PaneRef, String> {
        if self.answers.len() >= MAX_ANSWERS {
            return Err(too_many.to_owned());
        }
        let pane = pane.ok_or_else(|| "no pane is named".to_owned())?;
        PaneRef::try_from(pane).map_err(|error| error.to_string())
    }
}
