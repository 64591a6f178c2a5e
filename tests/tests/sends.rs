//! Sends with real processes: node, controller, multiplexer, terminals and a scripted agent, while one of them is killed,
//! stopped or resized, or a person types. Each text is submitted at most once, whatever happens, and what `wa send` says of
//! it is what the agent got. Thousands of sends run in the simulation; here are a few, in real time.
//!
//! `WA_LONG=1` sends some hundreds.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use wa_mux::codec::{Key, KeyCode, Modifiers};
use wa_tests::{Answer, Scene};

/// What happens in the middle of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strike {
    Nothing,
    KillNode,
    StopNode,
    Resize,
    Letter,
    PersonEnter,
}

const STRIKES: [Strike; 8] = [
    Strike::Nothing,
    Strike::KillNode,
    Strike::KillNode,
    Strike::StopNode,
    Strike::Resize,
    Strike::Resize,
    Strike::Letter,
    Strike::PersonEnter,
];

fn press(scene: &Scene, key: Key) {
    scene.stage.with_mux(async |client| Ok(client.send_key(0, key).await.map(drop)?)).unwrap();
}

fn strike(scene: &mut Scene, strike: Strike, rng: &mut fastrand::Rng) {
    match strike {
        Strike::Nothing => {}
        Strike::KillNode => {
            scene.node.take().unwrap().kill();
            scene.node = Some(scene.stage.start_node(&[]).unwrap());
        }
        Strike::StopNode => {
            let node = scene.node.as_ref().unwrap();
            node.stop();
            thread::sleep(Duration::from_millis(rng.u64(50..2_000)));
            node.resume();
        }
        Strike::Resize => scene.stage.resize_pane(0, rng.u64(60..120), rng.u64(20..40)).unwrap(),
        Strike::Letter => press(scene, Key::plain(KeyCode::Char('x'))),
        Strike::PersonEnter => press(scene, Key::plain(KeyCode::Enter)),
    }
}

/// One send, with its strike at a random moment.
fn send(scene: &mut Scene, text: &str, what: Strike, rng: &mut fastrand::Rng) -> Answer {
    let args = ["send", &scene.pane, text, "-o", "json", "--timeout", "15s"];
    let sent = scene.stage.wa_started(&args);
    thread::sleep(Duration::from_millis(rng.u64(0..600)));
    strike(scene, what, rng);
    sent.answer()
}

/// What was left in the composer goes, and a node that was killed is back.
fn tidy(scene: &Scene) {
    press(scene, Key::with(KeyCode::Char('u'), Modifiers::CTRL));
    scene.wait_state("idle");
}

#[test]
fn a_text_is_submitted_once_or_it_is_said_that_it_was_not() {
    let long = std::env::var_os("WA_LONG").is_some();
    let (count, limit) =
        if long { (300, Duration::from_secs(3_000)) } else { (12, Duration::from_secs(100)) };
    let seed = std::env::var("WA_SENDS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut scene = Scene::with_claude(&[]);
    scene.wait_state("idle");
    let mut table: BTreeMap<(Strike, String), u32> = BTreeMap::new();
    let began = Instant::now();
    for number in 0..count {
        if began.elapsed() > limit {
            break;
        }
        let what = STRIKES[number % STRIKES.len()];
        let text = format!("part {number} of the work");
        let answer = send(&mut scene, &text, what, &mut rng);
        let said = if answer.stdout.trim().is_empty() {
            "no answer".to_owned()
        } else {
            answer.json()["outcome"].as_str().unwrap().to_owned()
        };
        tidy(&scene);
        let got = scene.submitted();
        let whole = got.iter().filter(|prompt| **prompt == text).count();
        let any = got.iter().filter(|prompt| prompt.contains(&text)).count();
        let fits = match said.as_str() {
            "submitted" => (whole, any) == (1, 1),
            "refused" | "expired" => any == 0,
            _ => any <= 1,
        };
        assert!(fits, "send {number}, seed {seed}, {what:?}: {said}, and the agent got {got:?}: {answer:?}");
        *table.entry((what, said)).or_default() += 1;
    }
    println!("{table:?} in {:?}", began.elapsed());
    let sent: u32 = table.values().sum();
    let done: u32 = table.iter().filter(|((_, said), _)| said == "submitted").map(|(_, count)| count).sum();
    assert!(done * 6 >= sent, "hardly anything was sent: {table:?}");
}
