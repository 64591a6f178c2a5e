//! Runs of a controller whose clock is set, in a world with a clock of its own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use wa_link::net::{Door, Wire};
use wa_link::shutdown::{Shutdown, Tasks};
use wa_link::world::{self, Change, World};
use wa_link::{clock, files};
use wa_proto::{AgentKind, EventKind, Generation, MuxName};

use super::*;
use crate::accounts::keys::{Sources, VaultConfig};
use crate::metrics::Metrics;
use crate::store::{NewAction, RunSummary, Store};

/// Nothing in these tests takes this long unless it is broken.
const LIMIT: Duration = Duration::from_secs(20);
pub(super) const DAY: SignedDuration = SignedDuration::from_hours(27);

/// The wall clock of the machine, and by how much it is wrong here.
#[derive(Default)]
pub(super) struct Wall {
    ahead: Mutex<SignedDuration>,
}

impl Wall {
    pub(super) fn set(&self, ahead: SignedDuration) {
        *self.ahead.lock().unwrap() = ahead;
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that others ask")]
impl World for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.ahead.lock().unwrap()
    }

    fn connect(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        Box::pin(std::future::ready(Err(io::ErrorKind::HostUnreachable.into())))
    }

    fn listen(&self, _: SocketAddr) -> io::Result<Box<dyn Door>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local(&self, _: &Path) -> io::Result<(Box<dyn Wire>, String)> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn change(&self, _: Change<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// A controller's store and what works on it, without a network.
struct House {
    store: Arc<Store>,
    tasks: Tasks,
}

impl House {
    fn open(data: &Path, workflow: &str) -> Self {
        files::create_private_dir(data).unwrap();
        let sources = Sources::find(&VaultConfig::default(), None, data).unwrap();
        let definitions = Arc::new(vec![Definition::parse(workflow).unwrap()]);
        let registry = Arc::new(Registry::from_kept(&[]));
        let mut alarm = None;
        let observer = |kept: &crate::store::Kept| -> Arc<dyn Observer> {
            let gate = Arc::new(Gate::from_kept(&kept.actions, &kept.pauses, 10));
            let orchestrator = Arc::new(Orchestrator::new(definitions, Vec::new(), registry, gate));
            alarm = Some(orchestrator.alarm());
            orchestrator
        };
        let metrics = Arc::new(Metrics::default());
        let (store, _) =
            Store::open(&data.join("state.db"), sources, observer, metrics, clock::now()).unwrap();
        let (store, tasks, alarm) = (Arc::new(store), Tasks::new(Shutdown::new()), alarm.unwrap());
        let (of, shutdown) = (Arc::clone(&store), tasks.shutdown().clone());
        tasks.spawn("timers", async move { run_timers(&of, &alarm, &shutdown).await });
        Self { store, tasks }
    }

    async fn close(self) {
        self.tasks.shutdown().trigger();
        assert!(self.tasks.finish(LIMIT).await.stayed.is_empty());
    }

    /// Begins a run on a pane whose node is away.
    async fn begin(&self) -> RunId {
        let host = Host::new("web-1").unwrap();
        let pane =
            PaneRef { mux: MuxName::main(), generation: Generation::new("boot-1-1").unwrap(), pane_id: 1 };
        let mut event = Event::new(EventKind::Bell, [("count", "1")]);
        (event.pane, event.agent) = (Some(pane.clone()), Some(AgentKind::codex()));
        self.store.write(move |tx| tx.inbox_trigger(&host, &pane, &event, "wait")).await.unwrap();
        self.store.runs(None, None, 1).await.unwrap()[0].run.id
    }

    async fn run(&self, id: RunId) -> RunSummary {
        self.store.run(id).await.unwrap().unwrap().0
    }

    /// How the run ended, and after how long.
    async fn ended(&self, id: RunId) -> (String, Duration) {
        let begun = clock::monotonic();
        loop {
            let summary = self.run(id).await;
            if let Status::Ended { reason, .. } = summary.run.status {
                return (reason, begun.elapsed());
            }
            assert!(begun.elapsed() < LIMIT, "the run waits on: {:?}", summary.run);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn waits(timeout: &str) -> String {
    format!(
        "name = 'wait'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
         [[step]]\ndo = 'wait_until'\nstates = ['idle']\ntimeout = '{timeout}'\n\
         [[step]]\ndo = 'type'\ntext = 'hello'\ntimeout = '5s'\n"
    )
}

pub(super) fn wall() -> (Arc<Wall>, world::Entered) {
    let wall = Arc::new(Wall::default());
    let entered = world::enter(Arc::clone(&wall) as Arc<dyn World>);
    (wall, entered)
}

#[tokio::test]
async fn a_wait_that_was_set_by_a_clock_that_was_ahead_is_as_long_as_it_was() {
    let (place, (wall, _entered)) = (tempfile::tempdir().unwrap(), wall());
    wall.set(DAY);
    let house = House::open(&place.path().join("data"), &waits("3s"));
    let run = house.begin().await;
    wall.set(SignedDuration::ZERO);
    let (reason, after) = house.ended(run).await;
    assert!(reason.contains("not idle in time"), "{reason}");
    assert!(after >= Duration::from_secs(2), "it waits for its time: {after:?}");
    house.close().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_while_nobody_looks_stretches_no_wait() {
    let (place, (wall, _entered)) = (tempfile::tempdir().unwrap(), wall());
    wall.set(DAY);
    let (data, workflow) = (place.path().join("data"), waits("3s"));
    let house = House::open(&data, &workflow);
    let run = house.begin().await;
    house.close().await;
    wall.set(SignedDuration::ZERO);
    let house = House::open(&data, &workflow);
    let (reason, _) = house.ended(run).await;
    assert!(reason.contains("not idle in time"), "{reason}");
    house.close().await;
}

#[tokio::test]
async fn a_clock_that_is_set_forward_ends_no_wait() {
    let (place, (wall, _entered)) = (tempfile::tempdir().unwrap(), wall());
    wall.set(-DAY);
    let house = House::open(&place.path().join("data"), &waits("4s"));
    let run = house.begin().await;
    wall.set(SignedDuration::ZERO);
    // As when another run's time has come.
    house.store.write(|tx| tx.wake_runs()).await.unwrap();
    let (_, after) = house.ended(run).await;
    assert!(after >= Duration::from_secs(3), "its time was not over: {after:?}");
    house.close().await;
}

/// Until when people can answer was a length, too.
#[tokio::test]
async fn what_people_are_asked_stays_open_as_long_as_it_was_to() {
    let (place, (wall, _entered)) = (tempfile::tempdir().unwrap(), wall());
    let asks = "name = 'wait'\nversion = 1\non = 'bell'\nmax_actions = 1\n\
        [[step]]\ndo = 'ask'\ntext = 'well?'\ntimeout = '1h'\nchoices = [{ label = 'yes', to = 'end' }]\n\
        [[step]]\nid = 'end'\ndo = 'finish'\ntext = 'done'\n";
    wall.set(DAY);
    let (data, host) = (place.path().join("data"), Host::new("web-1").unwrap());
    let house = House::open(&data, asks);
    let run = house.run(house.begin().await).await.run;
    let action = Action {
        id: wa_proto::ActionId::generate(),
        pane: run.trigger.pane,
        deadline: clock::now(),
        fence: 0,
        who: "operator:ada".into(),
        expect_agent: None,
        expect_agent_pid: None,
        expect_shell: false,
        trace_parent: String::new(),
        verb: Verb::Kill,
    };
    let new = NewAction { host, action, run: None, idempotency_key: None, summary: "kill".into() };
    let until = clock::now() + SignedDuration::from_mins(10);
    house.store.write(move |tx| tx.hold(&new, "rule[0]", until)).await.unwrap();
    let open_for = async |store: &Store, what: &str| {
        let asked = store.notices(true, None, 1).await.unwrap()[0].until.unwrap();
        let held = store.approvals(true, None, 1).await.unwrap()[0].until;
        let near = |until: Timestamp, minutes: i64| {
            let left = until.duration_since(clock::now());
            (SignedDuration::from_mins(minutes) - left).abs() < SignedDuration::from_secs(30)
        };
        assert!(near(asked, 60) && near(held, 10), "{what}: {asked}, {held}");
    };
    open_for(&house.store, "as it was asked").await;
    wall.set(SignedDuration::ZERO);
    house.store.write(|_| Ok(())).await.unwrap();
    open_for(&house.store, "set back").await;
    wall.set(DAY);
    house.store.write(|_| Ok(())).await.unwrap();
    open_for(&house.store, "set forward").await;
    house.close().await;
    wall.set(SignedDuration::ZERO);
    let house = House::open(&data, asks);
    house.store.write(|_| Ok(())).await.unwrap();
    open_for(&house.store, "set back while nobody looked").await;
    house.close().await;
}

/// A timer comes once: without it, the run would have its pane for ever.
#[tokio::test]
async fn a_run_whose_input_cannot_be_worked_off_is_ended() {
    let (place, (_, _entered)) = (tempfile::tempdir().unwrap(), wall());
    let data = place.path().join("data");
    let house = House::open(&data, &waits("1s"));
    let run = house.begin().await;
    rusqlite::Connection::open(data.join("state.db"))
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON run_inputs WHEN NEW.input LIKE '%timer%'
             BEGIN SELECT RAISE (ABORT, 'something is wrong'); END",
        )
        .unwrap();
    let (reason, _) = house.ended(run).await;
    assert!(reason.contains("something is wrong"), "{reason}");
    let told = house.store.notices(false, None, 10).await.unwrap();
    assert!(told[0].text.contains("something is wrong"), "{told:?}");
    house.close().await;
}
