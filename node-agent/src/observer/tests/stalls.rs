//! A node that stands still for a while, and a disk that does: memory stays bounded, nothing is lost uncounted, and one
//! catch-up per pane follows.
//!
//! The node runs in a process of its own, this test program started again, for its memory to be measured and for it to be
//! stopped.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use tokio::signal::unix::{SignalKind, signal};
use wa_embedded_mux::{EmbeddedMux, Options, Running};
use wa_proto::Lane;
use wa_proto::wire::v1;

use crate::spool::{self, Spool};
use crate::testing::{Node, shell};

const PANES: usize = 3;
const LINES: usize = 20_000;
/// What a node may need more than before, in KiB: the queue of the spool, the server's pushes, one answer per pane.
const MORE_KIB: u64 = 64 << 10;
/// Gaps of one pane: between the pushes that waited in the connection's buffers, each of which brings a screen.
const MAX_GAPS: usize = 40;
/// Rows that the server still holds when the node reads again.
const HELD: i64 = 3400;

/// The node's side: waits for lines to be durable, as it is told.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests start it"]
async fn child() {
    let Ok(dir) = std::env::var("WA_TEST_NODE") else { return };
    // Instead of the end of the program, a write past the limit is an error.
    let _too_large = signal(SignalKind::from_raw(25)).unwrap();
    let node = Node::start(Path::new(&dir), &Path::new(&dir).join("sock"));
    loop {
        let word = tokio::task::spawn_blocking(|| {
            let mut word = String::new();
            std::io::stdin().read_line(&mut word).map(|_| word.trim().to_owned())
        });
        let word = word.await.unwrap().unwrap();
        if word.is_empty() {
            break;
        }
        let all = |node: &Node| node.all_lines().iter().filter(|line| **line == word).count() == PANES;
        node.until(&word, |node| all(node).then_some(())).await;
        println!("@{word}");
    }
    node.stop().await;
}

struct Stage {
    dir: tempfile::TempDir,
    _mux: Running,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Stage {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path().join("sock"));
        let script = format!(
            "echo ready; until [ -e {0}/go ]; do sleep 0.05; done; seq -f 'line %.0f of a flood' {LINES}; echo x >> {0}/done; \
             until [ -e {0}/last ]; do sleep 0.05; done; echo the end; sleep 1.2; exec cat",
            dir.path().display()
        );
        options.first_command = Some(shell(&script));
        let size = options.size;
        let mux = EmbeddedMux::start(options).unwrap();
        for _ in 1..PANES {
            mux.handle().spawn(&shell(&script), size, "default").unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "observer::tests::stalls::child", "--ignored", "--nocapture"])
            .env("WA_TEST_NODE", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { dir, _mux: mux, child, stdin, stdout }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Waits until every pane's line is durable.
    fn until(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        let mut said = String::new();
        while said.trim() != format!("@{line}") {
            said.clear();
            assert!(self.stdout.read_line(&mut said).unwrap() > 0, "the node ended before {line:?}");
        }
    }

    /// Lets the panes print, and waits until they have.
    fn flood(&self) {
        std::fs::write(self.dir.path().join("go"), "").unwrap();
        let began = Instant::now();
        let done = || std::fs::read_to_string(self.dir.path().join("done")).unwrap_or_default();
        while done().lines().count() < PANES {
            assert!(began.elapsed() < Duration::from_secs(60), "the panes are held up: {:?}", done());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets the panes print their last line, and waits until it is durable: what is printed while nothing can be kept may
    /// be a part of a gap, what is printed afterwards is not.
    fn end(&mut self) {
        std::fs::write(self.dir.path().join("last"), "").unwrap();
        self.until("the end");
    }

    /// The most memory that the node has had so far, in KiB.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn finish(self) -> BTreeMap<u64, Account> {
        let Self { dir, _mux, mut child, stdin, mut stdout } = self;
        drop(stdin);
        stdout.read_to_string(&mut String::new()).unwrap();
        assert!(child.wait().unwrap().success());
        let (spool, _) = Spool::open(&dir.path().join("spool"), spool::Options::default()).unwrap();
        let mut accounts: BTreeMap<u64, Account> = BTreeMap::new();
        let mut from = 1;
        loop {
            let batch = spool.read(Lane::Bulk, from, 1 << 20);
            if batch.records.is_empty() {
                return accounts;
            }
            from = batch.next;
            for record in &batch.records {
                match record.body.as_ref().unwrap() {
                    v1::record::Body::Lines(lines) => {
                        let account = accounts.entry(lines.pane.as_ref().unwrap().pane_id).or_default();
                        account.stored.extend(lines.lines.iter().map(|line| (line.row, line.rows)));
                    }
                    v1::record::Body::Gap(gap) => {
                        let account = accounts.entry(gap.pane.as_ref().unwrap().pane_id).or_default();
                        account.gaps.push(gap.clone());
                    }
                    // What the spool let go of, by pane.
                    v1::record::Body::Hole(hole) => {
                        for gap in &hole.gaps {
                            let account = accounts.entry(gap.pane.as_ref().unwrap().pane_id).or_default();
                            account.gaps.push(gap.clone());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Account {
    stored: BTreeMap<i64, u32>,
    gaps: Vec<v1::Gap>,
}

/// `held`: the node could not read meanwhile, so one catch-up brings all that the server still holds. One that reads, and
/// cannot keep what it reads, lets go of the oldest in memory.
fn check(accounts: &BTreeMap<u64, Account>, held: bool) {
    assert_eq!(accounts.len(), PANES);
    for (pane, Account { stored, gaps }) in accounts {
        assert!(gaps.len() <= MAX_GAPS, "pane {pane}: {gaps:?}");
        let kept: u64 = stored.values().map(|rows| u64::from(*rows)).sum();
        let lost: u64 = gaps.iter().map(|gap| gap.rows.unwrap()).sum();
        let last = stored.last_key_value().unwrap().0.unsigned_abs();
        assert_eq!(kept + lost, last + 1, "pane {pane}: {gaps:?}");
        let ends = gaps.iter().filter_map(|gap| Some(gap.first_row? + gap.rows? as i64));
        let caught_up = ends.max().unwrap_or(0);
        assert!(!held || last as i64 - caught_up >= HELD, "pane {pane}: {gaps:?}");
        // "ready" and "the end" beside the flood.
        assert_eq!(last + 1, LINES as u64 + 2, "pane {pane}");
    }
}

#[test]
fn a_stopped_node_catches_up_once() {
    let mut stage = Stage::start();
    stage.until("ready");
    let before = stage.peak();
    rustix::process::kill_process(stage.pid(), Signal::STOP).unwrap();
    stage.flood();
    rustix::process::kill_process(stage.pid(), Signal::CONT).unwrap();
    stage.end();
    let more = stage.peak() - before;
    assert!(more < MORE_KIB, "{more} KiB more");
    check(&stage.finish(), true);
}

#[test]
fn a_disk_that_refuses_holds_the_node_up_and_no_more() {
    let mut stage = Stage::start();
    stage.until("ready");
    let before = stage.peak();
    let old = rustix::process::prlimit(
        Some(stage.pid()),
        Resource::Fsize,
        Rlimit { current: Some(0), maximum: None },
    )
    .unwrap();
    stage.flood();
    // Long enough for everything that could grow to grow.
    std::thread::sleep(Duration::from_secs(3));
    let more = stage.peak() - before;
    assert!(more < MORE_KIB, "{more} KiB more");
    rustix::process::prlimit(Some(stage.pid()), Resource::Fsize, old).unwrap();
    stage.end();
    let more = stage.peak() - before;
    assert!(more < MORE_KIB, "{more} KiB more");
    check(&stage.finish(), false);
}
