//! Who comes in, over real TLS: operators, revocation, and a node that was away for too long.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use serde_json::Value;
use support::head::Head;
use support::{answer, wa, wait_for};
use wa_controller::identity::ca::Authority;
use wa_link::clock;
use wa_link::context::Context;
use wa_link::principal::{Principal, Role};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::tls;
use wa_node::config::{agent_context_path, identity_path};

const LIMIT: Duration = Duration::from_secs(40);
const DAY: u64 = 86_400;

/// A controller, and the node of host `a` beside it.
struct House(Head);

impl std::ops::Deref for House {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.0
    }
}

impl House {
    fn start() -> Self {
        Self(Head::start())
    }

    fn wa_as(&self, context: &std::path::Path, args: &[&str]) -> (i32, String, String) {
        answer(wa(self.home.path(), args).env("WA_CONTEXT_FILE", context))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.wa(args);
        assert_eq!(code, 0, "{args:?}: {out} {err}");
        serde_json::from_str(&out).unwrap()
    }

    /// Makes a context of host `a` one that was issued so long ago.
    fn age(&self, role: Role, path: &std::path::Path, seconds: u64) -> Context {
        let who = Principal { role, name: "a".parse().unwrap() };
        let authority = Authority::open(&self.home.path().join("controller/ca"), clock::now()).unwrap();
        let then = clock::now() - Duration::from_secs(seconds);
        let (identity, record) = authority.make_identity(who, then).unwrap();
        let noted = self.running.store().write(move |tx| tx.record_certificate(&record, "test"));
        self.runtime.block_on(noted).unwrap();
        let context = Context { identity, ..Context::load(path).unwrap() };
        context.save(path).unwrap();
        context
    }

    fn start_node(&self) -> Tasks {
        let node = Tasks::new(Shutdown::new());
        let socket = format!("main={}", self.home.path().join("no-mux").display()).parse().unwrap();
        let config = wa_node::Config::new(self.state_dir(), vec![socket]);
        let shutdown = node.shutdown().clone();
        let _inside = self.runtime.enter();
        node.spawn_critical("node", Box::pin(wa_node::run(config, shutdown)));
        node
    }

    fn stop_node(&self, node: Tasks) {
        drop(self.runtime.block_on(node.finish(LIMIT)));
    }

    fn connected(&self) -> bool {
        self.json(&["fleet", "status", "-o", "json"])["items"][0]["connected"] == true
    }

    fn wait_connected(&self) {
        wait_for("the node to connect", LIMIT, || self.connected().then_some(()));
    }
}

#[test]
fn a_person_is_added_and_removed() {
    let house = House::start();
    let file = house.home.path().join("alice.context.toml");
    let out = file.to_str().unwrap();
    let add = ["fleet", "operator", "add", "alice", "--role", "viewer", "-o", "json", "--out", out];
    let added = house.json(&add);
    assert_eq!(
        (&added["schema"], &added["role"], &added["file"]),
        (&"wa.operator/1".into(), &"viewer".into(), &out.into())
    );
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let alice = Context::load(&file).unwrap();
    assert_eq!((alice.name.as_str(), alice.role), ("alice", Role::Viewer));
    assert_eq!(house.wa_as(&file, &["fleet", "status"]).0, 0);
    // Looks, and no more.
    let (code, _, err) = house.wa_as(&file, &["fleet", "operator", "list"]);
    assert!(code == 4 && err.contains("needs the role admin"), "{err}");

    // A file that is there stays, and nothing is asked for.
    let (code, _, err) = house.wa(&add);
    assert!(code == 2 && err.contains("is there already"), "{err}");
    // A second certificate is made on purpose only; then the file stays as it was, too.
    let (code, _, err) = house.wa(&[&add[..], &["--force"]].concat());
    assert!(code == 4 && err.contains("--replace"), "{err}");
    assert_eq!(Context::load(&file).unwrap(), alice);
    // Nothing is left of a file that was made for nothing.
    let other = house.home.path().join("other.toml");
    let (code, ..) =
        house.wa(&["fleet", "operator", "add", "alice", "--role", "admin", "--out", other.to_str().unwrap()]);
    assert!(code == 4 && !other.exists());
    house.json(&[&add[..], &["--force", "--replace"]].concat());
    assert_ne!(Context::load(&file).unwrap().identity, alice.identity);

    // To standard output, for the controller as that person reaches it.
    let bob = house.wa(&[
        "fleet",
        "operator",
        "add",
        "bob",
        "--role",
        "admin",
        "--controller",
        "https://wa.example:7443",
    ]);
    assert!(bob.0 == 0 && bob.2.contains("private key"), "{}", bob.2);
    std::fs::write(&other, bob.1).unwrap();
    assert_eq!(Context::load(&other).unwrap().controller, "https://wa.example:7443");

    let removed = house.json(&["fleet", "operator", "remove", "alice", "--reason", "left", "-o", "json"]);
    assert_eq!(removed["items"][0]["certificates"], 1);
    let (code, _, err) = house.wa_as(&file, &["fleet", "status"]);
    assert!(code == 4 && err.contains("was revoked"), "{code} {err}");
    let listed = house.json(&["fleet", "operator", "list", "-o", "json"]);
    let rows: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["role"].as_str().unwrap(), !row["revoked"].is_null()))
        .collect();
    assert_eq!(rows, [("alice", "viewer", true), ("bob", "admin", false), ("owner", "admin", false)]);
    assert!(house.wa(&["fleet", "operator", "list"]).1.contains("no: revoked 20"));
    assert_eq!(house.wa(&["fleet", "revoke", "nobody"]).0, 3);
}

#[test]
fn a_revoked_host_comes_back_with_a_token_only() {
    let house = House::start();
    house.enrol();
    let node = house.start_node();
    house.wait_connected();
    let began = std::time::Instant::now();
    assert_eq!(house.wa(&["fleet", "revoke", "a", "--reason", "lost"]).0, 0);
    wait_for("the node to be cut off", Duration::from_secs(5), || (!house.connected()).then_some(()));
    println!("cut off {:?} after the command began", began.elapsed());
    let before = house.running.metrics().render();
    let refused = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("wa_controller_calls_refused_total "));
        line.unwrap().to_owned()
    };
    wait_for("another attempt", LIMIT, || {
        (refused(&house.running.metrics().render()) != refused(&before)).then_some(())
    });
    assert!(!house.connected());
    let problem =
        |house: &House| house.json(&["fleet", "status", "-o", "json"])["items"][0]["problems"].to_string();
    let told = problem(&house);
    assert!(told.contains("by operator:owner (lost)") && told.contains("wa fleet token a"), "{told}");
    house.stop_node(node);
    house.enrol_again();
    let node = house.start_node();
    house.wait_connected();
    assert!(!problem(&house).contains("revoked"));
    house.stop_node(node);
}

#[test]
fn a_node_that_was_away_recovers_by_itself_and_its_agents_context_too() {
    let house = House::start();
    house.enrol();
    let identity = identity_path(&house.state_dir());
    let old = house.age(Role::Node, &identity, 3 * DAY);
    let agent = agent_context_path(&house.state_dir());
    let old_agent = house.age(Role::Agent, &agent, 89 * DAY);
    let node = house.start_node();
    house.wait_connected();
    let fresh = Context::load(&identity).unwrap();
    assert_ne!(fresh.identity.key_pem, old.identity.key_pem);
    assert!(tls::certificate_expiry(&fresh.identity.certificate_pem).unwrap() > clock::now());
    assert_eq!((&fresh.name, &fresh.controller, fresh.role), (&old.name, &old.controller, Role::Node));
    let fresh_agent = wait_for("the agents' context", LIMIT, || {
        Context::load(&agent).ok().filter(|context| *context != old_agent)
    });
    let until = tls::certificate_expiry(&fresh_agent.identity.certificate_pem).unwrap();
    let left = until.duration_since(clock::now());
    assert!(left.as_hours() > 89 * 24, "{left}");
    assert_eq!(fresh_agent.role, Role::Agent);
    assert_ne!(fresh_agent.identity.key_pem, old_agent.identity.key_pem);
    assert_eq!(std::fs::metadata(&agent).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(house.wa_as(&agent, &["fleet", "status"]).0, 0);
    house.stop_node(node);
}

#[test]
fn a_node_that_was_away_for_too_long_is_told_to_enrol() {
    let house = House::start();
    house.enrol();
    let identity = identity_path(&house.state_dir());
    let old = house.age(Role::Node, &identity, 32 * DAY);
    let node = house.start_node();
    wait_for("a refusal", LIMIT, || {
        house
            .running
            .metrics()
            .render()
            .contains("\nwa_controller_recoveries_refused_total 1\n")
            .then_some(())
    });
    assert_eq!(Context::load(&identity).unwrap(), old);
    assert!(!house.connected());
    // Of the enrolment there is a certificate that holds: its name is given up first.
    assert_eq!(house.wa(&["fleet", "revoke", "a"]).0, 0);
    house.stop_node(node);
    // What has run out is in nobody's way.
    house.enrol();
    let node = house.start_node();
    house.wait_connected();
    house.stop_node(node);
}
