//! Whatever bytes come from a peer: they are read or refused, and what was read is read again as the same.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use proptest::prelude::*;
use prost::Message;
use wa_controller::identity::ca::Csr;
use wa_proto::wire::v1;
use wa_proto::wire::v1::controller_message::Kind as Down;
use wa_proto::wire::v1::node_message::Kind as Up;
use wa_proto::{Action, Line, Pane, PaneAddress, PaneRef, Record, Verb};

/// Converts there, back and there again.
fn again<W, D>(wire: W)
where
    W: Clone + From<D>,
    D: Clone + PartialEq + std::fmt::Debug + TryFrom<W>,
    <D as TryFrom<W>>::Error: std::fmt::Debug,
{
    if let Ok(read) = D::try_from(wire) {
        assert_eq!(D::try_from(W::from(read.clone())).unwrap(), read);
    }
}

fn up(message: v1::NodeMessage) {
    match message.kind {
        Some(Up::Panes(report)) => {
            report.panes.into_iter().for_each(again::<_, Pane>);
            report.gone.into_iter().for_each(again::<_, PaneRef>);
        }
        Some(Up::Renew(request)) => {
            drop(Csr::parse(&request.csr_pem));
        }
        _ => {}
    }
}

fn down(message: v1::ControllerMessage) {
    if let Some(Down::Action(action)) = message.kind {
        again::<_, Action>(action);
    }
}

fn some_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9/_.-]{1,12}", any::<String>(), Just("idle".to_owned())]
}

fn some_pane_ref() -> impl Strategy<Value = v1::PaneRef> {
    (some_text(), some_text(), any::<u64>()).prop_map(|(mux, generation, pane_id)| v1::PaneRef {
        mux,
        generation,
        pane_id,
    })
}

prop_compose! {
    fn some_pane()(
        pane in proptest::option::of(some_pane_ref()), texts in proptest::collection::vec(some_text(), 9),
        times: (i64, i64, i64), percent in proptest::option::of(any::<f64>()), pid: u32,
    ) -> v1::Pane {
        let text = |at: usize| texts[at].clone();
        let detail = v1::StateDetail {
            since_us: times.0, until_us: times.1, percent_left: percent, why: text(0), kind: text(1), ..Default::default()
        };
        v1::Pane {
            r#ref: pane, title: text(2), cwd: text(3), agent: text(4), state: text(5), account: text(6),
            agent_version: text(7), session_id: text(8), detail: Some(detail), last_output_us: times.2, agent_pid: pid,
            ..v1::Pane::default()
        }
    }
}

fn some_verb() -> impl Strategy<Value = v1::action::Verb> {
    use v1::action::Verb as Wire;
    prop_oneof![
        (some_text(), any::<bool>()).prop_map(|(text, enter)| Wire::Send(v1::SendText { text, enter })),
        proptest::collection::vec(some_text(), 0..4).prop_map(|keys| Wire::Keys(v1::PressKeys { keys })),
        (proptest::collection::vec(some_text(), 0..3), some_text())
            .prop_map(|(labels, dialog)| Wire::Choose(v1::ChooseLabel { labels, dialog })),
    ]
}

prop_compose! {
    fn some_action()(
        pane in some_pane_ref(), verb in some_verb(), id in proptest::collection::vec(any::<u8>(), 15..18),
        deadline: i64, fence: u64, who in some_text(), pid in any::<Option<u32>>(),
    ) -> v1::Action {
        v1::Action {
            action_id: id, pane: Some(pane), deadline_us: deadline, fence, who, verb: Some(verb),
            expect_agent_pid: pid.unwrap_or_default(), ..v1::Action::default()
        }
    }
}

/// The bytes with a few of them changed, and cut.
fn bent(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)], keep: &prop::sample::Index) -> Vec<u8> {
    if !bytes.is_empty() {
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = *to;
        }
        bytes.truncate(keep.index(bytes.len() + 1).max(bytes.len() / 2));
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        v1::NodeMessage::decode(bytes.as_slice()).map(up).ok();
        v1::ControllerMessage::decode(bytes.as_slice()).map(down).ok();
        v1::Record::decode(bytes.as_slice()).map(again::<_, Record>).ok();
        v1::Line::decode(bytes.as_slice()).map(again::<_, Line>).ok();
        v1::PaneAddress::decode(bytes.as_slice()).map(again::<_, PaneAddress>).ok();
    }

    #[test]
    fn a_pane_is_read_as_what_it_is_or_refused(
        pane in some_pane(), changes: Vec<(prop::sample::Index, u8)>, keep: prop::sample::Index,
    ) {
        again::<_, Pane>(pane.clone());
        let report = v1::PaneReport { panes: vec![pane], ..v1::PaneReport::default() };
        let bytes = v1::NodeMessage { kind: Some(Up::Panes(report)) }.encode_to_vec();
        v1::NodeMessage::decode(bent(bytes, &changes, &keep).as_slice()).map(up).ok();
    }

    #[test]
    fn an_action_is_read_as_what_it_is_or_refused(
        action in some_action(), changes: Vec<(prop::sample::Index, u8)>, keep: prop::sample::Index,
    ) {
        again::<_, Action>(action.clone());
        if let Ok(Action { verb: Verb::Send { text, .. }, .. }) = Action::try_from(action.clone()) {
            prop_assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')));
        }
        let bytes = v1::ControllerMessage { kind: Some(Down::Action(action)) }.encode_to_vec();
        v1::ControllerMessage::decode(bent(bytes, &changes, &keep).as_slice()).map(down).ok();
    }

    #[test]
    fn garbage_is_no_request_for_a_certificate(text in ".{0,300}", der: Vec<u8>) {
        prop_assert!(Csr::parse(&text).is_err());
        let begin = "-----BEGIN CERTIFICATE REQUEST-----";
        let body: String = der.iter().map(|byte| char::from(b'A' + byte % 26)).collect();
        let pem = format!("{begin}\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        prop_assert!(Csr::parse(&pem).is_err());
    }

    /// What was signed and then changed on its way is not the asker's any more. Three bytes of DER stand before it.
    #[test]
    fn a_changed_request_is_refused(at: prop::sample::Index, to in "[A-Za-z0-9+/]") {
        let (mut pem, _) = wa_link::tls::csr().unwrap();
        let body = pem.find("-----\n").unwrap() + 6..pem.rfind("\n-----END").unwrap() - 4;
        let letters: Vec<usize> = body.filter(|at| pem.as_bytes()[*at] != b'\n').collect();
        // 100 bytes: no name, and a key on P-256.
        let letters = &letters[4..136];
        let at = letters[at.index(letters.len())];
        prop_assume!(pem[at..=at] != to);
        pem.replace_range(at..=at, &to);
        prop_assert!(Csr::parse(&pem).is_err());
    }
}
