//! The node as a process: SIGHUP reads its local rule packs again, and a crash would leave nothing of its memory.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use wa_link::context::Context;
use wa_link::principal::Role;
use wa_link::tls::Identity;
use wa_proto::Host;

/// Nothing here takes longer unless it is broken.
const LIMIT: Duration = Duration::from_secs(30);

const PACK: &str = r#"
schema = "wa.pack/1"
[[rule]]
id = "mine.broken"
event = "error.api"
agent = "*"
region = "transcript"
literals = ["broken in"]
pattern = 'broken in (?P<place>\S+)'
rearm = "gone"
[[rule.example]]
text = "broken in core"
fields = { place = "core" }
"#;

/// Of a node whose controller is nowhere.
fn identity(path: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate_pem = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let identity =
        Identity { ca_pem: certificate_pem.clone(), certificate_pem, key_pem: key.serialize_pem() };
    let controller = "https://127.0.0.1:9".to_owned();
    let context = Context { name: Host::new("web-1").unwrap(), controller, role: Role::Node, identity };
    wa_link::files::create_private_dir(path.parent().unwrap()).unwrap();
    context.save(path).unwrap();
}

struct Node {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Node {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wa-node"))
            .args(["run", "--state-dir"])
            .arg(dir.join("state"))
            .arg("--mux-socket")
            .arg(dir.join("no-socket"))
            .arg("--config")
            .arg(dir.join("node.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line of its log that holds these words.
    fn says(&self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("never: {words}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_hangup_reads_local_packs_again_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    identity(&wa_node::config::identity_path(&dir.path().join("state")));
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("node.toml", "rule_packs = [\"mine.toml\"]\n");
    write("mine.toml", PACK);
    // So that the node has something to turn off.
    let core = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: core.maximum, ..core }).unwrap();
    let mut node = Node::start(dir.path());
    node.says("node runs");
    #[cfg(target_os = "linux")]
    {
        // It holds keys of accounts and codes of sign-ins for a moment.
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.child.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    }
    write("mine.toml", &PACK.replace("broken in (", "broken in (("));
    node.signal(Signal::HUP);
    let refused = node.says("were not read again");
    assert!(refused.contains("mine.toml") && refused.contains("mine.broken"), "{refused}");
    write("mine.toml", PACK);
    write("other.toml", &PACK.replace("mine.broken", "other.broken"));
    write("node.toml", "rule_packs = [\"mine.toml\", \"other.toml\"]\n");
    node.signal(Signal::HUP);
    let read = node.says("read again packs=");
    assert!(read.contains("packs=2"), "{read}");
    node.signal(Signal::TERM);
    assert!(node.child.wait().unwrap().success());
}
