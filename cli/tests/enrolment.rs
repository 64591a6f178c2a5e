//! `wa-node enroll` on a host that is somebody already, and tokens on their way to it.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use support::head::Head;
use wa_link::clock;
use wa_link::context::Context;
use wa_link::shutdown::{Shutdown, Tasks};
use wa_node::config::{agent_context_path, identity_path};
use wa_node::enroll::{EnrolError, Enrolled, Enrolment, enroll};
use wa_node::spool::{Group, NewRecord, Options, Spool};
use wa_proto::Lane;
use wa_proto::wire::v1;

/// A controller, and host `a` that has joined.
struct House(Head);

impl House {
    fn start() -> Self {
        let head = Head::start();
        head.enrol();
        Self(head)
    }

    /// That has seen what its controller does not have.
    fn with_a_line() -> Self {
        let house = Self::start();
        house.see_a_line();
        house
    }

    /// A token file for this name.
    fn token(&self, args: &[&str]) -> PathBuf {
        let file = self.0.home.path().join("token");
        fs::remove_file(&file).ok();
        let out = ["--out", file.to_str().unwrap()];
        let (code, _, err) = self.0.wa(&[&["fleet", "token"], args, &out].concat());
        assert_eq!(code, 0, "{err}");
        file
    }

    fn enroll(&self, token_file: PathBuf, replace: bool) -> Result<Enrolled, EnrolError> {
        let enrolment = Enrolment {
            controller: self.0.running.url.clone(),
            token_file,
            state_dir: self.0.state_dir(),
            name: None,
            replace,
        };
        self.0.runtime.block_on(enroll(&enrolment))
    }

    /// Who the host is: its own context and that of its agents.
    fn who(&self) -> (Context, Context) {
        let dir = self.0.state_dir();
        (Context::load(&identity_path(&dir)).unwrap(), Context::load(&agent_context_path(&dir)).unwrap())
    }

    fn open_spool(&self) -> Spool {
        let _inside = self.0.runtime.enter();
        Spool::open(&self.0.state_dir().join("spool"), Options::default()).unwrap().0
    }

    /// What the host has to tell.
    fn see_a_line(&self) {
        let spool = self.open_spool();
        let body = v1::record::Body::Lines(v1::Lines::default());
        let line = NewRecord { lane: Lane::Bulk, time: clock::now(), trace_parent: String::new(), body };
        let group = Group { records: vec![line], positions: Vec::new() };
        self.0.runtime.block_on(spool.append_durable(group)).unwrap();
        self.0.runtime.block_on(spool.close());
    }

    /// The id of the spool, and how much is in it.
    fn spool(&self) -> (wa_proto::SpoolId, u64) {
        let spool = self.open_spool();
        let status = spool.status();
        self.0.runtime.block_on(spool.close());
        (status.id, status.bulk.next - 1)
    }
}

#[test]
fn a_host_is_made_another_one_on_purpose_only() {
    let house = House::with_a_line();
    let before = (house.who(), house.spool());
    // Nothing of what is refused spends the token.
    let token = house.token(&["b"]);
    let error = house.enroll(token.clone(), false).unwrap_err().to_string();
    assert!(error.contains("belongs to the host a") && error.contains("--replace"), "{error}");
    assert!((house.who(), house.spool()) == before, "nothing was changed");

    let enrolled = house.enroll(token, true).unwrap();
    let (node, agent) = house.who();
    assert_eq!((enrolled.name.as_str(), node.name.as_str(), agent.name.as_str()), ("b", "b", "b"));
    // What was seen as `a` is not shipped as `b`, and not thrown away either.
    let [note] = enrolled.notes.as_slice() else { panic!("{:?}", enrolled.notes) };
    let aside = fs::read_dir(house.0.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("spool-of-a-"))
        .unwrap();
    assert!(note.contains(aside.to_str().unwrap()), "{note}");
    assert!(fs::read_dir(&aside).unwrap().next().is_some());
    assert_eq!((before.1.1, house.spool().1), (1, 0));
}

#[test]
fn an_identity_that_holds_is_replaced_on_purpose_only() {
    let house = House::with_a_line();
    let before = (house.who(), house.spool());
    let token = house.token(&["a", "--replace"]);
    let error = house.enroll(token.clone(), false).unwrap_err().to_string();
    assert!(error.contains("enrolled as a already, until") && error.contains("--replace"), "{error}");
    assert!((house.who(), house.spool()) == before, "nothing was changed");
    assert!(house.enroll(token, true).unwrap().notes.is_empty());
    assert_ne!(house.who().0.identity, before.0.0.identity);
    assert_eq!(house.spool(), before.1, "the same host goes on where it was");
    // A damaged identity is in nobody's way.
    fs::write(identity_path(&house.0.state_dir()), "not a context").unwrap();
    house.enroll(house.token(&["a", "--replace"]), false).unwrap();
    assert_eq!(house.spool(), before.1);
}

#[test]
fn a_running_node_keeps_its_identity() {
    let house = House::start();
    let before = house.who();
    let node = Tasks::new(Shutdown::new());
    let socket = format!("main={}", house.0.home.path().join("no-mux").display()).parse().unwrap();
    let config = wa_node::Config::new(house.0.state_dir(), vec![socket]);
    let shutdown = node.shutdown().clone();
    let inside = house.0.runtime.enter();
    node.spawn_critical("node", Box::pin(wa_node::run(config, shutdown)));
    drop(inside);
    support::wait_for("the node to connect", Duration::from_secs(40), || {
        house.0.wa(&["fleet", "status", "-o", "json"]).1.contains("\"connected\": true").then_some(())
    });
    let token = house.token(&["b"]);
    let error = house.enroll(token.clone(), true).unwrap_err().to_string();
    assert!(error.contains("a node runs on this state directory"), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    drop(house.0.runtime.block_on(node.finish(Duration::from_secs(20))));
    assert!(house.who() == before, "nothing was changed");
    house.enroll(token, true).unwrap();
}

#[test]
fn the_word_in_a_token_cannot_be_changed() {
    let house = House::start();
    let before = house.who();
    let token = house.token(&["b"]);
    let text = fs::read_to_string(&token).unwrap();
    fs::write(&token, text.replace("wa-join-1.b.", "wa-join-1.a.")).unwrap();
    let error = house.enroll(token.clone(), true).unwrap_err().to_string();
    assert!(error.contains("not for the name in its text"), "{error}");
    assert!(house.who() == before, "nothing was changed");
    fs::write(&token, text).unwrap();
    house.enroll(token, true).unwrap();
}

#[test]
fn a_token_is_written_for_its_owner_alone_and_one_open_to_others_is_told() {
    let house = House::start();
    let token = house.token(&["b"]);
    assert_eq!(fs::metadata(&token).unwrap().mode() & 0o7777, 0o600);
    let path = token.to_str().unwrap();
    // It is not printed besides, and one that is there stays.
    let (code, _, err) = house.0.wa(&["fleet", "token", "c", "--out", path]);
    assert!(code == 2 && err.contains("is there already"), "{err}");
    let before = fs::read_to_string(&token).unwrap();
    let secret = before.trim().rsplit('.').nth(1).unwrap().to_owned();
    let (code, out, err) = house.0.wa(&["fleet", "token", "c", "--out", path, "--force", "-o", "json"]);
    assert_eq!(code, 0, "{err}");
    let after = fs::read_to_string(&token).unwrap();
    let newer = after.trim().rsplit('.').nth(1).unwrap();
    assert!(newer != secret && !out.contains(newer) && !err.contains(newer), "{out} {err}");
    assert!(out.contains(path), "{out}");
    // Nothing is left of a file that was made for nothing.
    let other = house.0.home.path().join("other");
    let (code, ..) = house.0.wa(&["fleet", "token", "a", "--out", other.to_str().unwrap()]);
    assert!(code == 4 && !other.exists());

    fs::set_permissions(&token, Permissions::from_mode(0o644)).unwrap();
    let notes = house.enroll(token, true).unwrap().notes;
    assert!(notes[0].contains("others can read the token"), "{notes:?}");
}
