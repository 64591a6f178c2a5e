//! `wa up --demo`: four scripted panes, told as they happen.
//!
//! Constraints. It leaves nothing behind: everything lives in one temporary directory, the programs in the panes have
//! their home there, too, and it is removed at the end. What is told comes from the controller's own interface, as any
//! user has it. It says nothing that it has not seen: with `--for` the exit code is 0 only if all of it happened.
//!
//! Operation. The multiplexer starts empty; when the node watches it, the panes are opened, so that nothing happens
//! unseen. The agents are this very program under other names, by which the process table shows them.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use wa_embedded_mux::demo::{self, DemoPane};
use wa_embedded_mux::{Command, EmbeddedMux, Options, Running};
use wa_link::shutdown::{EndedBy, Tasks};
use wa_node::observer::MuxSocket;
use wa_proto::wire::v1;
use wa_proto::{Host, MuxName};

use super::house::{House, Plan};
use super::story::Story;
use super::{leave_note, pointer};
use crate::args::Up;
use crate::client::{ANSWER, Session};
use crate::command::{self, say};
use crate::failure::{Exit, Failure};
use crate::output::Out;
use crate::output::text::{Keep, printable};
use crate::shape::EventLine;
use crate::target::Target;

/// How often the story is brought up to date.
const LOOK: Duration = Duration::from_millis(300);
/// How long the look at the end may take.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How long the node may take to find the multiplexer.
const CONNECT: Duration = Duration::from_secs(10);
/// Stands in what the shell pane prints.
const QUERY: &str = "quoted_comma";
/// Variables that the panes must not inherit: they would lead out of the temporary directory, or into it by mistake.
const NOT_FOR_PANES: &[&str] = &["WEZTERM_", "XDG_", "WA_", "OTEL_", "CLAUDE", "CODEX_", "GEMINI_"];

/// A temporary directory of ours that goes with its handle.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        // The path of a unix socket is short: 108 bytes, on some systems 104.
        const LONGEST: usize = 60;
        let mut base = std::env::temp_dir();
        if base.as_os_str().len() > LONGEST {
            base = PathBuf::from("/tmp");
        }
        let path = base.join(format!("wa-demo-{}", uuid::Uuid::now_v7().simple()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }

    fn make(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        wa_link::files::create_private_dir(&path).map_err(super::said)?;
        Ok(path)
    }
}

impl Folder {
    /// Writes the controller's configuration: a limit is waited out without pauses of minutes.
    fn automation(&self) -> Result<PathBuf, Failure> {
        let files = [
            ("limit-wait.toml", include_str!("limit-wait.toml")),
            ("controller.toml", "workflows = ['limit-wait.toml']\n"),
        ];
        for (name, text) in files {
            wa_link::files::write_private(&self.0.join(name), text.as_bytes()).map_err(super::said)?;
        }
        Ok(self.0.join("controller.toml"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            say(&format!("wa: {} stays behind: {error}", self.0.display()));
        }
    }
}

pub(super) async fn demo(
    args: &Up,
    place: &Path,
    signals: &Tasks,
    ended: &EndedBy,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let begin = Instant::now();
    let end = args.run_for.map(|length| begin + length);
    let folder = Folder::new()?;
    let mux = start_mux(&folder.make("mux")?.join("sock"))?;
    let plan = Plan {
        dir: folder.0.clone(),
        listen: args.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        name: args
            .name
            .clone()
            .map_or_else(|| Host::new("demo"), Ok)
            .map_err(|e| Failure::usage(e.to_string()))?,
        sockets: vec![MuxSocket { name: MuxName::main(), path: mux.handle().socket().to_owned() }],
        automation: Some(folder.automation()?),
    };
    let house = House::open(&plan).await?;
    say(&format!("controller and node run at {}; in another terminal: wa status", house.url()));
    let left = leave_note(&house, place);
    let mut story = Story::default();
    let told = tokio::select! {
        told = tell(&house, &mux, &folder, end, &mut story) => told,
        failure = house.broken() => Err(failure),
        () = signals.shutdown().triggered() => Ok(()),
    };
    if told.is_ok() {
        // What happened since the last look. A controller that does not answer now is not waited for.
        timeout(LAST_LOOK, look(house.session(), &mut story)).await.ok();
    }
    pointer::remove(place);
    house.close().await;
    // Stopping waits for the programs in the panes.
    signals.spawn_blocking("stop the multiplexer", move || mux.stop()).await.ok();
    drop(folder);
    left?;
    told?;
    if ended.signal().is_some() && end.is_some() {
        return Err(Failure::interrupted());
    }
    finish(&story, end.is_some(), out)
}

/// Prints the account; with `--for` what is missing is a failure.
fn finish(story: &Story, whole: bool, out: &mut Out) -> Result<Exit, Failure> {
    out.list(&story.account())?;
    let missing = story.missing();
    if whole && !missing.is_empty() {
        return Err(Failure::failed(format!("this did not happen: {}", missing.join("; ")))
            .remedy("on a slow machine give it longer: --for 60s; WA_LOG=info shows what it did"));
    }
    Ok(Exit::Done)
}

fn start_mux(socket: &Path) -> Result<Running, Failure> {
    let mut options = Options::new(socket);
    options.first_command = None;
    EmbeddedMux::start(options).map_err(|error| Failure::failed(error.to_string()))
}

/// Opens the panes and tells what happens, until the end or for ever.
async fn tell(
    house: &House,
    mux: &Running,
    folder: &Folder,
    end: Option<Instant>,
    story: &mut Story,
) -> Result<(), Failure> {
    until_watched(house.session()).await?;
    open_panes(mux, folder)?;
    let telling = async {
        let mut ticks = tokio::time::interval(LOOK);
        let mut trouble = None;
        loop {
            ticks.tick().await;
            if let Err(failure) = look(house.session(), story).await
                && trouble.as_ref() != Some(&failure)
            {
                say(&format!("wa: {failure}"));
                trouble = Some(failure);
            }
        }
    };
    match end {
        Some(end) => {
            timeout_at(end, telling).await.ok();
        }
        None => telling.await,
    }
    Ok(())
}

/// Waits until the node is connected to the multiplexer.
async fn until_watched(session: &Session) -> Result<(), Failure> {
    let end = Instant::now() + CONNECT;
    loop {
        let answer = session.call(ANSWER, session.fleet().fleet_status(v1::FleetStatusRequest {})).await?;
        let watched = |node: &v1::NodeStatus| {
            node.connected && node.muxes.iter().any(|mux| mux.codec != 0 && mux.problem.is_empty())
        };
        if answer.nodes.iter().any(watched) {
            return Ok(());
        }
        if Instant::now() > end {
            let problems: Vec<&str> =
                answer.nodes.iter().flat_map(|node| &node.problems).map(String::as_str).collect();
            return Err(Failure::failed(format!(
                "the node did not find the multiplexer within {} s: {}",
                CONNECT.as_secs(),
                problems.join("; ")
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn open_panes(mux: &Running, folder: &Folder) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("the demo's programs cannot be set up: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let panes = demo::install(&folder.make("bin")?, &program).map_err(failed)?;
    let (home, work) = (folder.make("home")?, folder.make("home/webapp")?);
    let env = environment(std::env::vars_os(), &home);
    for DemoPane { name, command, size } in panes {
        let command = Command { env: Some(env.clone()), cwd: Some(work.clone()), ..command };
        let spawned = mux
            .handle()
            .spawn(&command, size, "wa")
            .map_err(|error| Failure::failed(format!("the pane for {name} did not open: {error}")))?;
        say(&format!("opened pane {} for {name}", spawned.pane));
    }
    Ok(())
}

/// What the programs in the panes see of our environment.
fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    home: &Path,
) -> Vec<(OsString, OsString)> {
    let theirs = |name: &OsString| {
        let name = name.to_string_lossy();
        !["HOME", "PWD", "OLDPWD", "SHLVL", "_"].contains(&&*name)
            && !NOT_FOR_PANES.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut env: Vec<_> = variables.filter(|(name, _)| theirs(name)).collect();
    env.push(("HOME".into(), home.into()));
    env
}

/// Asks the controller what is new, and says it.
async fn look(session: &Session, story: &mut Story) -> Result<(), Failure> {
    let mut news = story.panes(&command::panes(session, &Target::All).await?);
    let request = v1::EventsRequest { tail: 200, ..v1::EventsRequest::default() };
    let mut events = session.stream(false, session.fleet().events(request)).await?;
    while let Some(event) = events.next().await? {
        news.extend(story.event(&EventLine::try_from(event)?));
    }
    news.extend(story.runs(&command::runs(session, None, 50).await?));
    if !story.has_hit() {
        let request = v1::SearchRequest { query: QUERY.to_owned(), limit: 1, ..v1::SearchRequest::default() };
        let hits = command::hits(session, request).await?;
        news.extend(hits.first().and_then(|hit| story.hit(QUERY, hit)));
    }
    for line in news {
        say(&printable(&line, Keep::Nothing));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_get_a_home_of_their_own() {
        let variable = |name: &str| (OsString::from(name), OsString::from("x"));
        let ours = ["HOME", "PATH", "WEZTERM_PANE", "XDG_RUNTIME_DIR", "WA_CONTEXT_FILE", "LANG", "_"];
        let env = environment(ours.iter().map(|name| variable(name)), Path::new("/tmp/home"));
        let theirs: Vec<_> = env.iter().map(|(name, value)| (name.to_str(), value.to_str())).collect();
        assert_eq!(
            theirs,
            [(Some("PATH"), Some("x")), (Some("LANG"), Some("x")), (Some("HOME"), Some("/tmp/home"))]
        );
    }

    #[test]
    fn the_folder_goes_with_its_handle() {
        let folder = Folder::new().unwrap();
        let path = folder.make("mux").unwrap();
        assert!(path.join("sock").as_os_str().len() < 104);
        drop(folder);
        assert!(!path.parent().unwrap().exists());
    }
}
