//! Real files, written while they are followed; real processes; and everything that happens to files.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_proto::{EventKind, Role};

use super::*;

const CLAUDE: &[u8] = include_bytes!("../../match/testdata/session-files/claude-2.1.jsonl");
const CODEX: &[u8] = include_bytes!("../../match/testdata/session-files/codex-0.144.jsonl");
const GEMINI: &[u8] = include_bytes!("../../match/testdata/session-files/gemini-0.24.json");
const ID: &str = "5f0c7f1e-6f0a-4c35-9c6e-0b9a3d1f2a44";
const OTHER: &str = "77777777-6f0a-4c35-9c6e-0b9a3d1f2a44";

/// A home, a project, and a process that works there.
struct World {
    dir: tempfile::TempDir,
    tasks: Tasks,
    files: SessionFiles,
    child: Child,
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A pane that is followed, and what was told of it so far.
struct Told {
    following: Following,
    updates: mpsc::Receiver<(u64, Update)>,
    session: AgentSession,
    messages: Vec<Message>,
    skipped: Vec<u64>,
    testimonies: Vec<Testimony>,
    notices: Vec<Notice>,
    position: Vec<u8>,
}

impl World {
    fn new() -> Self {
        Self::holding(None)
    }

    /// The process holds this file open, by its name below the home.
    fn holding(file: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("webapp")).unwrap();
        let stdin = file.map_or(Stdio::null(), |name| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            Stdio::from(OpenOptions::new().append(true).create(true).open(path).unwrap())
        });
        let child = Command::new("sleep")
            .arg("600")
            .env_clear()
            .env("HOME", dir.path())
            .current_dir(dir.path().join("webapp"))
            .stdin(stdin)
            .spawn()
            .unwrap();
        let tasks = Tasks::new(Shutdown::new());
        // The node's own home is elsewhere: the process's counts.
        let files = SessionFiles::start(&tasks, Homes::new([("HOME", "/nonexistent".into())]));
        Self { dir, tasks, files, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A session file of Claude Code for the project.
    fn claude(&self, id: &str) -> PathBuf {
        let cwd = fs::canonicalize(self.path("webapp")).unwrap();
        let name: String =
            cwd.to_str().unwrap().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let dir = self.path(".claude/projects").join(name);
        fs::create_dir_all(&dir).unwrap();
        dir.join(format!("{id}.jsonl"))
    }

    fn follow(&self, agent: &str, resume: &[u8]) -> Told {
        self.follow_with(&self.files, agent, resume, 64)
    }

    fn follow_with(&self, files: &SessionFiles, agent: &str, resume: &[u8], room: usize) -> Told {
        let (sender, updates) = mpsc::channel(room);
        let request = Follow {
            pane_id: 3,
            agent: AgentKind::new(agent),
            pid: self.child.id(),
            cwd: String::new(),
            resume: resume.to_vec(),
        };
        Told {
            following: files.follow(request, sender),
            updates,
            session: AgentSession::default(),
            messages: Vec::new(),
            skipped: Vec::new(),
            testimonies: Vec::new(),
            notices: Vec::new(),
            position: Vec::new(),
        }
    }
}

impl Told {
    async fn next(&mut self) {
        let update = tokio::time::timeout(Duration::from_secs(20), self.updates.recv()).await;
        let (pane, update) = update.unwrap_or_else(|_| panic!("nothing told; {:?}", self.session)).unwrap();
        assert_eq!(pane, 3);
        match update {
            Update::Session(session) => self.session = *session,
            Update::Testimony(testimony) => self.testimonies.push(testimony),
            Update::Notice(notice) => self.notices.push(notice),
            Update::Messages { messages, skipped_bytes, position, .. } => {
                assert!(!messages.is_empty());
                self.messages.extend(messages);
                self.skipped.push(skipped_bytes);
                self.position = position;
            }
        }
    }

    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.next().await;
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.text.as_str()).collect()
    }

    fn indices(&self) -> Vec<u64> {
        self.messages.iter().map(|message| message.index).collect()
    }

    fn kinds(&self) -> Vec<EventKind> {
        self.testimonies.iter().map(|testimony| testimony.kind).collect()
    }
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn prompt(id: &str, words: &str) -> String {
    let line = serde_json::json!({
        "type": "user", "uuid": "u", "sessionId": id, "version": "2.1.0", "cwd": "/x",
        "timestamp": wa_link::clock::now().to_string(), "message": {"role": "user", "content": words}
    });
    format!("{line}\n")
}

fn codex_path(id: &str) -> String {
    let day = wa_link::clock::now().strftime("%Y/%m/%d").to_string();
    format!(".codex/sessions/{day}/rollout-2026-11-22T02-08-24-{id}.jsonl")
}

#[tokio::test]
async fn a_file_that_the_process_holds_open_is_told_as_it_grows() {
    let name = codex_path(ID);
    let world = World::holding(Some(&name));
    let path = world.path(&name);
    let mut told = world.follow("codex", b"");
    // Written in pieces that end anywhere, as a pipe would.
    for piece in CODEX.chunks(CODEX.len() / 40 + 7) {
        append(&path, piece);
        tokio::task::yield_now().await;
    }
    told.until(|told| told.session.usage.output == 720 && told.messages.len() == 22).await;
    assert_eq!(told.indices(), (0..22).collect::<Vec<_>>());
    assert!(told.texts().contains(&"queued by enter"));
    assert_eq!(told.session.reason, format!("process {} holds it open", world.child.id()));
    assert_eq!(told.session.path, fs::canonicalize(&path).unwrap().to_str().unwrap());
    assert_eq!(told.session.problem, "");
    assert_eq!(told.notices, [], "records of another time are history");
    assert!(told.testimonies.is_empty(), "records of another time are history: {:?}", told.kinds());
    assert_eq!(told.skipped.iter().sum::<u64>(), 0);
}

#[tokio::test]
async fn the_file_of_the_first_turn_is_found_when_it_comes_and_the_next_session_too() {
    let world = World::new();
    let mut told = world.follow("claude", b"");
    told.until(|told| !told.session.reason.is_empty()).await;
    assert_eq!((told.session.session_id.as_str(), told.session.path.as_str()), ("", ""));
    assert!(told.session.reason.contains("no session file of"), "{}", told.session.reason);
    append(&world.claude(ID), prompt(ID, "first").as_bytes());
    told.until(|told| told.kinds() == [EventKind::TurnStarted] && told.session.session_id == ID).await;
    assert_eq!(told.texts(), ["first"]);
    assert!(told.session.reason.contains("newest session file of"), "{}", told.session.reason);
    // /clear goes on in a new file.
    append(&world.claude(OTHER), prompt(OTHER, "after clear").as_bytes());
    told.until(|told| told.session.session_id == OTHER && told.messages.len() == 2).await;
    assert_eq!(told.texts(), ["first", "after clear"]);
    assert_eq!(told.indices(), [0, 0]);
}

#[tokio::test]
async fn a_hook_names_the_session_and_a_path_outside_is_not_believed() {
    let world = World::new();
    append(&world.claude(ID), prompt(ID, "one").as_bytes());
    append(&world.claude(OTHER), prompt(OTHER, "two").as_bytes());
    let mut told = world.follow("claude", b"");
    let hint = |id: &str, path: &str| Hint {
        witness: Witness::Hook,
        session_id: id.to_owned(),
        path: path.to_owned(),
        source: "its hook SessionStart".to_owned(),
    };
    told.following.hint(hint(ID, ""));
    told.until(|told| told.session.session_id == ID).await;
    assert_eq!(told.session.reason, "its hook SessionStart names it");
    told.following.hint(hint(OTHER, world.claude(OTHER).to_str().unwrap()));
    told.until(|told| told.session.session_id == OTHER).await;
    // Back again: what was told is not told again, what came meanwhile is.
    append(&world.claude(ID), prompt(ID, "meanwhile").as_bytes());
    told.following.hint(hint(ID, ""));
    told.until(|told| told.session.session_id == ID && told.messages.len() == 3).await;
    assert_eq!(told.texts(), ["one", "two", "meanwhile"]);
    let secret = world.path("secret.jsonl");
    fs::write(&secret, prompt(ID, "not for you")).unwrap();
    told.following.hint(hint("gone", secret.to_str().unwrap()));
    told.until(|told| told.session.session_id.is_empty()).await;
    assert_eq!(told.session.reason, "its hook SessionStart names session gone, which has no file yet");
    assert!(!told.texts().contains(&"not for you"));
}

#[tokio::test]
async fn after_a_restart_nothing_is_told_twice_and_nothing_is_lost() {
    let world = World::new();
    let path = world.claude(ID);
    let lines: Vec<&[u8]> = CLAUDE.split_inclusive(|byte| *byte == b'\n').collect();
    append(&path, &lines[..12].concat());
    let mut first = world.follow("claude", b"");
    first.until(|told| told.messages.len() == 7).await;
    drop(first.following);
    append(&path, &lines[12..18].concat());
    // Half a line at the moment of the restart.
    append(&path, &lines[18][..40]);
    let again = SessionFiles::start(&world.tasks, Homes::default());
    let mut second = world.follow_with(&again, "claude", &first.position, 64);
    second.until(|told| told.messages.len() == 5).await;
    append(&path, &lines[18][40..]);
    append(&path, &lines[19..].concat());
    second.until(|told| told.messages.len() == 11 && told.session.usage.output == 131).await;
    assert_eq!(second.indices(), (7..18).collect::<Vec<_>>());
    assert_eq!(second.messages[0].name, "Bash");
    assert_eq!(second.messages[1].name, "Bash", "the result of a call from before the restart");
    assert_eq!((second.session.usage.input, second.session.compactions), (2279, 1));
    assert!(second.session.reason.contains("before the node restarted"), "{}", second.session.reason);
    assert_eq!(second.session.problem, "");

    let mut third = world.follow("claude", &second.position);
    third.until(|told| told.session.session_id == ID).await;
    append(&path, prompt(ID, "the end").as_bytes());
    third.until(|told| !told.messages.is_empty()).await;
    assert_eq!((third.texts(), third.indices()), (vec!["the end"], vec![18]));
}

#[tokio::test]
async fn a_position_that_does_not_fit_is_ignored_with_a_word() {
    let world = World::new();
    append(&world.claude(ID), prompt(ID, "one").as_bytes());
    let mut told = world.follow("claude", b"{\"no\":\"position\"}");
    told.until(|told| told.messages.len() == 1 && !told.session.problem.is_empty()).await;
    assert_eq!(told.session.problem, "the position of an earlier reading could not be used");
    drop(told.following);
    fs::write(world.claude(ID), [prompt(ID, "all"), prompt(ID, "is new")].concat()).unwrap();
    let mut told = world.follow("claude", &told.position);
    told.until(|told| told.messages.len() == 2 && !told.session.problem.is_empty()).await;
    assert!(told.session.problem.contains("replaced since the earlier reading"), "{}", told.session.problem);
}

#[tokio::test]
async fn a_file_that_is_cut_replaced_or_written_over_is_read_anew() {
    let world = World::new();
    let path = world.claude(ID);
    append(&path, [prompt(ID, "one"), prompt(ID, "two")].concat().as_bytes());
    let mut told = world.follow("claude", b"");
    told.until(|told| told.messages.len() == 2).await;
    // Cut, and shorter than before.
    fs::write(&path, prompt(ID, "cut")).unwrap();
    told.until(|told| told.texts().last() == Some(&"cut")).await;
    // Another file under the name.
    fs::write(path.with_extension("new"), prompt(ID, "replaced")).unwrap();
    fs::rename(path.with_extension("new"), &path).unwrap();
    told.until(|told| told.texts().last() == Some(&"replaced")).await;
    // Written over in place, and longer.
    let longer = "x".repeat(5000);
    fs::write(&path, prompt(ID, &longer)).unwrap();
    told.until(|told| told.texts().last() == Some(&longer.as_str())).await;
    append(&path, prompt(ID, "on").as_bytes());
    told.until(|told| told.texts().last() == Some(&"on")).await;
    let indices = told.indices();
    assert!(
        indices.windows(2).all(|pair| pair[0] < pair[1]),
        "no message takes the place of another: {indices:?}"
    );
    told.until(|told| told.session.problem.contains("read anew at")).await;
}

#[tokio::test]
async fn two_gigabytes_are_not_read() {
    let world = World::new();
    let path = world.claude(ID);
    append(&path, prompt(ID, "the beginning").as_bytes());
    let size = 2_u64 << 30;
    File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
    append(&path, format!("\nnot json\n{}", prompt(ID, "the end")).as_bytes());
    let mut told = world.follow("claude", b"");
    told.until(|told| told.messages.len() == 1 && told.session.problem.contains("not JSON")).await;
    assert_eq!(told.texts(), ["the end"]);
    assert_eq!(told.skipped, [size + 1], "all before the line that is not JSON");
    assert!(told.session.problem.contains("its first 2040 MiB were not read"), "{}", told.session.problem);
    append(&path, prompt(ID, "and on").as_bytes());
    told.until(|told| told.messages.len() == 2).await;
    let position = told.position.clone();
    drop(told.following);
    append(&path, prompt(ID, "and after").as_bytes());
    let mut again = world.follow("claude", &position);
    again.until(|told| told.messages.len() == 1).await;
    assert_eq!((again.texts(), again.messages[0].index), (vec!["and after"], told.messages[1].index + 1));
}

#[tokio::test]
async fn an_endless_line_is_skipped_and_the_next_is_told() {
    let world = World::new();
    let path = world.claude(ID);
    append(&path, prompt(ID, "before").as_bytes());
    let mut told = world.follow("claude", b"");
    told.until(|told| told.messages.len() == 1).await;
    let piece = vec![b'['; 1 << 20];
    for _ in 0..40 {
        append(&path, &piece);
    }
    append(&path, format!("\n{}", prompt(ID, "after")).as_bytes());
    told.until(|told| told.messages.len() == 2).await;
    assert_eq!(told.texts(), ["before", "after"]);
    assert_eq!(told.skipped, [0, (40 << 20) + 1]);
}

#[tokio::test]
async fn a_file_that_is_one_object_tells_what_is_new() {
    let world = World::new();
    let cwd = fs::canonicalize(world.path("webapp")).unwrap();
    let chats = world.path(".gemini/tmp/webapp/chats");
    fs::create_dir_all(&chats).unwrap();
    fs::write(world.path(".gemini/tmp/webapp/.project_root"), cwd.to_str().unwrap()).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, cwd.to_str().unwrap().as_bytes());
    let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut session: serde_json::Value = serde_json::from_slice(GEMINI).unwrap();
    session["projectHash"] = hash.into();
    let messages = session["messages"].as_array().unwrap().clone();
    let path = chats.join("session-2026-11-22T08-06-f5e69cfc.json");
    let write = |count: usize| {
        let mut part = session.clone();
        part["messages"] = messages[..count].to_vec().into();
        fs::write(&path, serde_json::to_vec_pretty(&part).unwrap()).unwrap();
    };
    write(4);
    let mut told = world.follow("gemini", b"");
    told.until(|told| told.messages.len() == 4).await;
    assert_eq!(told.session.session_id, "f5e69cfc-1598-4e91-92c1-2839cd9fb36f");
    for count in 5..=16 {
        write(count);
    }
    told.until(|told| told.messages.len() == 18).await;
    let position = told.position.clone();
    drop(told.following);
    write(20);
    let mut again = world.follow("gemini", &position);
    again.until(|told| told.messages.len() == 6 && told.session.usage.output == 540).await;
    assert_eq!(again.indices(), (18..24).collect::<Vec<_>>());
    assert_eq!(again.messages[5].role, Role::Assistant);
    assert_eq!(again.session.problem, "");
}

#[tokio::test]
async fn what_is_no_file_is_not_opened() {
    let world = World::new();
    let (pipe, link) = (world.claude(ID), world.claude(OTHER));
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    fs::write(world.path("secret"), prompt(OTHER, "secret")).unwrap();
    symlink(world.path("secret"), &link).unwrap();
    let mut told = world.follow("claude", b"");
    told.until(|told| told.session.reason.contains("no session file")).await;
    let third = "88888888-6f0a-4c35-9c6e-0b9a3d1f2a44";
    append(&world.claude(third), prompt(third, "real").as_bytes());
    told.until(|told| told.session.session_id == third && !told.messages.is_empty()).await;
    assert_eq!(told.texts(), ["real"]);
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_it_in_order() {
    let world = World::new();
    let path = world.claude(ID);
    let text = "words ".repeat(1000);
    let lines: String = (0..1000).map(|place| prompt(ID, &format!("{place} {text}"))).collect();
    append(&path, lines.as_bytes());
    let mut told = world.follow_with(&world.files, "claude", b"", 1);
    told.until(|told| told.messages.len() == 1000).await;
    for (place, message) in told.messages.iter().enumerate() {
        assert!(message.text.starts_with(&format!("{place} ")), "{place}");
    }
}

#[tokio::test]
async fn it_ends_when_nobody_follows_any_more() {
    let world = World::new();
    let mut told = world.follow("claude", b"");
    told.until(|told| !told.session.reason.is_empty()).await;
    assert_eq!(world.tasks.running().len(), 1);
    drop(told.following);
    let end = tokio::time::timeout(Duration::from_secs(10), told.updates.recv()).await.unwrap();
    assert_eq!(end, None);
    let unknown = world.follow("aider", b"");
    drop(unknown);
    assert_eq!(world.tasks.finish(Duration::from_secs(10)).await.stayed, Vec::<String>::new());
}

#[tokio::test]
async fn a_new_file_that_says_nothing_at_first_is_known_when_it_does() {
    let world = World::new();
    let cwd = fs::canonicalize(world.path("webapp")).unwrap();
    let meta = |id: &str| {
        let time = wa_link::clock::now().to_string();
        let payload = serde_json::json!({"id": id, "timestamp": time, "cwd": cwd, "source": "vscode"});
        format!("{}\n", serde_json::json!({"timestamp": time, "type": "session_meta", "payload": payload}))
    };
    let (first, second) = (world.path(&codex_path(ID)), world.path(&codex_path(OTHER)));
    fs::create_dir_all(first.parent().unwrap()).unwrap();
    append(&first, meta(ID).as_bytes());
    let mut told = world.follow("codex", b"");
    told.until(|told| told.session.session_id == ID).await;
    // Made, looked at while it is empty, and written only then.
    append(&second, b"");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    append(&second, meta(OTHER).as_bytes());
    told.until(|told| told.session.session_id == OTHER).await;
}
