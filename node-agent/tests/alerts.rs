//! What programs say beside their text, through real terminals.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

#[allow(dead_code, reason = "each test of the house uses its part")]
mod stage;

use stage::{Stage, WRAPPER};
use wa_proto::wire::v1::Event;

async fn script(stage: &Stage, script: &str) -> u64 {
    stage.open(&["/bin/bash", "--norc", "--noprofile", "-c", script]).await
}

fn of<'a>(events: &'a [Event], pane: u64, kind: &str) -> Vec<&'a Event> {
    let fits =
        |event: &&Event| event.event == kind && event.pane.as_ref().is_some_and(|at| at.pane_id == pane);
    events.iter().filter(fits).collect()
}

fn count(event: &Event) -> u64 {
    event.fields.get("count").map_or(1, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bells_is_counted_and_a_notification_has_its_words() {
    let stage = Stage::start().await;
    // The bells come in several batches, over more than a second.
    let pane = script(
        &stage,
        r"printf 'begin\n\a'; for i in {1..30}; do for j in {1..20}; do printf '\a'; done; sleep 0.05; done;
          printf '\e]777;notify;Codex;wants \e\\you\n'; printf '\e]9;token ghp_a1B2c3D4e5F6a1B2c3D4e5F6a1B2c3D4e5F6\a'; exec cat",
    )
    .await;
    let all = |stage: &Stage| {
        let events = stage.events();
        let bells = of(&events, pane, "bell");
        let sum: u64 =
            bells.iter().filter(|bell| !bell.fields.contains_key("toast")).map(|bell| count(bell)).sum();
        (sum == 601).then_some(bells.len())
    };
    let told = stage.until("every bell", all).await;
    assert!(told <= 6, "{told} events for 601 bells");
    let words = |text: &'static str| {
        move |stage: &Stage| {
            stage.event("bell", |bell| bell.fields.get("toast").is_some_and(|toast| toast.contains(text)))
        }
    };
    stage.until("a notification", words("Codex: wants")).await;
    stage.until("the other", words("redacted")).await;
    assert!(!format!("{:?}", stage.events()).contains("ghp_a1B2"));
    stage.stop().await;
}

/// A shell that marks its prompts, and nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn prompt_marks_tell_the_ends_of_commands() {
    let stage = Stage::start().await;
    let pane = script(
        &stage,
        r"export PS1='\[\e]133;A\e\\\]$ \[\e]133;B\e\\\]' PS0='\e]133;C\e\\'; exec bash --norc --noprofile",
    )
    .await;
    stage.shows(pane, "a prompt", |row| row == "$").await;
    stage.line(pane, "echo one two").await;
    let finished =
        |text: &'static str| move |stage: &Stage| stage.event("command.finished", |event| event.line == text);
    let event = stage.until("its end", finished("echo one two")).await;
    assert_eq!(
        (event.fields["command"].as_str(), event.witnesses.as_slice()),
        ("echo one two", &["screen".to_owned()][..])
    );
    stage.line(pane, "seq 1 500").await;
    stage.until("a flood's end", finished("seq 1 500")).await;
    // Thrown away: no command.
    stage.type_in(pane, "half a line").await;
    stage.shows(pane, "half a line", |row| row.ends_with("half a line")).await;
    stage.ctrl(pane, 'c').await;
    // What is typed before the prompt is back is thrown away, too.
    stage.shows(pane, "a prompt", |row| row == "$").await;
    stage.line(pane, "echo three").await;
    stage.until("the next end", finished("echo three")).await;
    let events = stage.events();
    let commands: Vec<&str> =
        of(&events, pane, "command.finished").iter().map(|event| event.line.as_str()).collect();
    assert_eq!(commands, ["echo one two", "seq 1 500", "echo three"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_integration_and_the_wrapper_tell_one_end_together() {
    let stage = Stage::start().await;
    let set = |value: &str| {
        format!(r"printf '\e]1337;SetUserVar=WEZTERM_PROG=%s\a' $(printf %s '{value}' | base64)")
    };
    let text = format!(
        "{}; {WRAPPER} exec -- sh -c 'echo working; exit 4'; {}; {}; {}; exec cat",
        set("make test"),
        set(""),
        set("secret ghp_a1B2c3D4e5F6a1B2c3D4e5F6a1B2c3D4e5F6"),
        set("")
    );
    let pane = script(&stage, &text).await;
    assert_eq!(stage.status(pane).await, "4");
    let two =
        |stage: &Stage| (of(&stage.events(), pane, "command.finished").len() == 2).then(|| stage.events());
    let events = stage.until("the second", two).await;
    let ends = of(&events, pane, "command.finished");
    assert_eq!((ends[0].fields["command"].as_str(), ends[0].fields["status"].as_str()), ("make test", "4"));
    assert!(ends[1].fields["command"].starts_with("secret [redacted"), "{:?}", ends[1].fields);
    stage.stop().await;
}

/// One `printf` forges all of it; nothing comes of it but what is bounded and said to be the screen's word.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_do_no_harm() {
    let stage = Stage::start().await;
    let agent = stage.dir().join("claude");
    std::os::unix::fs::symlink("/bin/cat", &agent).unwrap();
    let text = format!(
        r"for i in {{1..300}}; do printf '\e]1337;SetUserVar=v%s=MQ==\a' $i; printf '\e]1337;SetUserVar=wa_exit=MA==\a'; done;
          printf '\e]1337;SetUserVar=wa_exit=%s\a' $(printf '\e[2Jx' | base64); printf '\e]2;%s\a' $(head -c 100000 /dev/zero | tr '\0' t);
          printf '\e]9;4;1;999\a\e]9;4;7\a'; exec {}",
        agent.display()
    );
    let pane = script(&stage, &text).await;
    let shown = stage.pane("the agent", |shown| shown.pane.pane_id == pane && shown.agent.is_some()).await;
    assert!(shown.title.len() <= 1024, "{}", shown.title.len());
    stage.until("some", |stage| stage.event("command.finished", |_| true)).await;
    let events = stage.events();
    let ends = of(&events, pane, "command.finished");
    assert!((20..=25).contains(&ends.len()), "{}", ends.len());
    // The agent runs: what the terminal was told before it began says nothing of it.
    stage.line(pane, r"x").await;
    stage.shows(pane, "an echo", |row| row == "x").await;
    let shown = stage.pane("still the agent", |shown| shown.pane.pane_id == pane).await;
    assert_eq!(shown.detail.code, None);
    stage.stop().await;
}
