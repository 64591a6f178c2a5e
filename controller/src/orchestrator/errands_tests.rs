use wa_link::files;
use wa_proto::{Generation, MuxName};

use super::super::clock_tests::{DAY, wall};
use super::*;
use crate::accounts::Credentials;
use crate::accounts::choice::SignIn;
use crate::accounts::keys::{Sources, VaultConfig};
use crate::metrics::Metrics;
use crate::signin::BrowserConfig;
use crate::store::{AccountRow, Committed, DEFAULT_POOL, Observer};

/// Works nothing off.
struct Idle;

impl Observer for Idle {
    fn step(&self, _: &Tx<'_>) -> Result<(), StoreError> {
        Ok(())
    }
    fn committed(&self, _: Committed) {}
}

/// With one account.
async fn house(data_dir: &std::path::Path, tasks: &Tasks) -> House {
    files::create_private_dir(data_dir).unwrap();
    let sources = Sources::find(&VaultConfig::default(), None, data_dir).unwrap();
    let metrics = Arc::new(Metrics::default());
    let file = data_dir.join("state.db");
    let opened = Store::open(&file, sources, |_| Arc::new(Idle), metrics, clock::now()).unwrap();
    let store = Arc::new(opened.0);
    let account = AccountRow {
        alias: "work".parse().unwrap(),
        agent: AgentKind::codex(),
        pool: DEFAULT_POOL.into(),
        sign_in: SignIn::DeviceCode,
        provider: String::new(),
        max_panes: 0,
        disabled: false,
        default_hosts: Vec::new(),
        last_used: None,
    };
    let add = move |tx: &Tx<'_>| tx.add_account(&account, &Credentials::default(), "operator:o");
    store.write(add).await.unwrap();
    House {
        accounts: Accounts::new(Arc::clone(&store), data_dir.to_owned()),
        store,
        registry: Arc::new(Registry::from_kept(&[])),
        gate: Arc::new(Gate::default()),
        providers: Providers::default(),
        browser: Browser::new(BrowserConfig::new(data_dir, tasks.clone())),
    }
}

/// A home on a host that is away, which is asked for again and again.
fn errand(run: RunId) -> Errand {
    Errand {
        run,
        step: 1,
        workflow: "switch".into(),
        host: Host::new("web-1").unwrap(),
        pane: PaneRef { mux: MuxName::main(), generation: Generation::new("boot-1-1").unwrap(), pane_id: 1 },
        trace_parent: String::new(),
        agent: AgentKind::codex(),
        alias: "work".parse().unwrap(),
        until: clock::monotonic() + Duration::from_secs(3600),
        what: What::Home { api_key: false },
    }
}

/// A run that begins the same step again is given another errand; that the one before is over must not make the house lose
/// hold of it.
#[tokio::test]
async fn an_errand_that_was_replaced_leaves_the_next_one_its_place() {
    let place = tempfile::tempdir().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let (errands, run) = (Arc::new(Errands::default()), RunId::generate());
    let running = || tasks.running().into_iter().filter(|name| name.starts_with("errand of")).count();
    let until = async |count| {
        let end = clock::monotonic() + Duration::from_secs(20);
        while running() != count {
            assert!(clock::monotonic() < end, "{:?}", tasks.running());
            tokio::task::yield_now().await;
        }
    };
    errands.take_in(vec![(run, Some(errand(run)))]);
    let house = house(place.path(), &tasks).await;
    tasks.spawn("errands", run_errands(house, Arc::clone(&errands), Vec::new(), tasks.clone()));
    until(1).await;
    // The next one is taken before the first has noticed that it is over.
    errands.take_in(vec![(run, Some(errand(run)))]);
    let (_second, stop) = errands.next(tasks.shutdown()).unwrap();
    until(0).await;
    assert!(!stop.is_triggered());
    errands.take_in(vec![(run, None)]);
    assert!(stop.is_triggered(), "the run waits for it no longer");
    tasks.shutdown().trigger();
    assert!(tasks.finish(Duration::from_secs(20)).await.stayed.is_empty());
}

/// Its time is a length: a clock that is set takes none of it, and gives it no more.
#[tokio::test]
async fn an_errand_has_its_time_whatever_the_clock_shows() {
    let (place, (wall, _entered)) = (tempfile::tempdir().unwrap(), wall());
    let tasks = Tasks::new(Shutdown::new());
    let house = house(place.path(), &tasks).await;
    let asked = |errand: Errand| {
        let house = house.clone();
        async move { tokio::time::timeout(Duration::from_secs(1), errand.prepared(&house, false)).await }
    };
    let long = errand(RunId::generate());
    let over = Errand { until: clock::monotonic(), ..errand(RunId::generate()) };
    wall.set(DAY);
    assert!(asked(long).await.is_err(), "it has an hour");
    wall.set(-DAY);
    assert!(matches!(asked(over).await, Ok(Err(_))), "its time is over");
}
