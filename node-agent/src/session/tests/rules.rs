//! A whole node, its panes and the controller: rules that come over the wire, and what is asked about them.

use wa_proto::wire::v1::rules_request::About;

use super::*;
use crate::Config;
use crate::config::identity_path;
use crate::rules::tests::panes::{screen, show};
use crate::rules::tests::{bad_set, pack, set, shadow};
use crate::testing::{Mux, main_socket, shown};

struct House {
    dir: tempfile::TempDir,
    fake: Fake,
    controller: Tasks,
    node: Tasks,
    mux: Mux,
}

impl House {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        show(dir.path(), &screen(&["❯ hello"], false));
        let mux = Mux::start(dir.path(), shown(dir.path()));
        let controller = Tasks::new(Shutdown::new());
        let (fake, url) = super::controller(&controller, 1 << 20, true).await;
        let identity = identity_path(&dir.path().join("node"));
        wa_link::files::create_private_dir(identity.parent().unwrap()).unwrap();
        fake.enrol(url, (2000, 2200), &identity);
        let house = Self { dir, fake, controller, node: Tasks::new(Shutdown::new()), mux };
        house.start(&house.node);
        house
    }

    fn start(&self, node: &Tasks) {
        let config = Config::new(self.dir.path().join("node"), vec![main_socket(&self.mux.socket)]);
        let shutdown = node.shutdown().clone();
        node.spawn_critical("node", Box::pin(crate::run(config, shutdown)));
    }

    async fn restart(&mut self) {
        let before = std::mem::replace(&mut self.node, Tasks::new(Shutdown::new()));
        drop(before.finish(LIMIT).await);
        self.start(&self.node);
    }

    async fn report(&self, what: &str, condition: impl Fn(&v1::RulesReport) -> bool) -> v1::RulesReport {
        self.fake.until(what, |memory| memory.rules.last().filter(|report| condition(report)).cloned()).await
    }

    async fn ask(&self, request_id: u64, about: About) -> v1::RulesReply {
        self.fake.say(Down::RulesRequest(v1::RulesRequest { request_id, about: Some(about) })).await;
        let answer =
            |memory: &mut Memory| memory.replies.iter().find(|reply| reply.request_id == request_id).cloned();
        self.fake.until("an answer", answer).await
    }

    async fn stop(self) {
        drop(self.node.finish(LIMIT).await);
        drop(self.controller.finish(LIMIT).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_come_over_the_wire_and_every_question_is_answered() {
    let mut house = House::open().await;
    let first = house.report("the report of a new node", |_| true).await;
    assert_eq!((first.revision.as_str(), first.refused.as_str()), ("", ""));
    let pushed = set(vec![pack("mine", "broken"), shadow("tried", "odd")]);
    house.fake.say(Down::RulePacks(pushed.clone())).await;
    house.report("the set in force", |report| report.revision == pushed.revision).await;
    house.fake.say(Down::RulePacks(bad_set())).await;
    let report = house.report("a refusal", |report| !report.refused.is_empty()).await;
    assert_eq!((&report.revision, &report.refused_revision), (&pushed.revision, &bad_set().revision));

    let idle = |memory: &mut Memory| {
        let pane = memory.last_panes.iter().find(|pane| pane.state == "idle" && pane.agent_pid > 0)?;
        pane.r#ref.clone()
    };
    let pane = house.fake.until("the agent", idle).await;
    show(house.dir.path(), &screen(&["❯ hello", "", "odd in one", "broken in one"], false));
    let event = |memory: &mut Memory| {
        let bodies = memory.records.iter().filter_map(|record| record.body.clone());
        bodies.into_iter().find_map(|body| match body {
            v1::record::Body::Event(event) if event.rule == "mine.broken" => Some(event),
            _ => None,
        })
    };
    let event = house.fake.until("the event of a pushed rule", event).await;
    assert_eq!((event.event.as_str(), event.fields["place"].as_str()), ("error.api", "one"));

    let reply = house.ask(1, About::Explain(pane.clone())).await;
    let explanation = reply.explanation.unwrap();
    assert_eq!((reply.error.as_str(), explanation.state.as_str()), ("", "idle"));
    let verdict = |rule: &str| {
        let trace = explanation.rules.iter().find(|trace| trace.rule == rule);
        trace.map(|trace| (trace.verdict.clone(), trace.row))
    };
    assert_eq!(verdict("mine.broken"), Some(("fired".to_owned(), 4)));
    assert_eq!(verdict("tried.odd"), Some(("shadowed".to_owned(), 3)));
    let gone = v1::PaneRef { pane_id: 4711, ..pane.clone() };
    assert!(house.ask(2, About::Explain(gone)).await.error.contains("gone"));
    let other = v1::PaneRef { generation: "g-1-1".into(), ..pane };
    assert!(house.ask(3, About::Explain(other)).await.error.contains("restarted"));
    let report = house.ask(4, About::Report(v1::RulesReportQuery {})).await.report.unwrap();
    let tried = report.packs.iter().find(|pack| pack.name == "tried").unwrap();
    assert_eq!((tried.shadowed.len(), tried.shadowed[0].count), (1, 1));
    assert!(house.ask(5, About::Unknown(v1::UnknownScreensQuery {})).await.unknown.is_empty());

    house.fake.with(|memory| memory.rules.clear());
    house.restart().await;
    let report = house.report("the report of a restarted node", |_| true).await;
    assert_eq!((report.revision, report.refused.as_str()), (pushed.revision, ""));
    house.stop().await;
}
