//! A host that comes in during the trouble: somebody asks the controller for a token, brings it to the host, and
//! `wa-node enroll` runs there, as often as it takes.
//!
//! What it says when it fails is all that the person has to go by: a word of `wa fleet token` means another token, with
//! `--replace` if it says so; after anything else the same command is tried again. Now and then the token was read by
//! somebody else, who uses it at the same time.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wa_controller::identity::peer::Peer;
use wa_link::context::Context;
use wa_link::token::JoinToken;
use wa_node::config::identity_path;
use wa_node::enroll::{Enrolment, enroll};

use super::check::{self, Broken, broken};
use super::controller;
use super::desk::Answered;
use super::engine::Simulation;
use super::identity::{count, pass};

/// What came of it, once it is over.
pub(crate) type Answer = Arc<OnceLock<Result<String, String>>>;

/// Where the coming in of a host stands.
enum Stage {
    /// Nobody does anything before then.
    Waits(Duration),
    /// Somebody has asked for a token.
    Asks(Answered<String>),
    /// The token lies on the host.
    Invited,
    In,
}

/// The host that comes in, as the person at the desk sees it.
pub(crate) struct Guest {
    stage: Stage,
    replace: bool,
    /// That were given out.
    tokens: Vec<String>,
    /// Folders of others who have tried the same tokens.
    thieves: Vec<PathBuf>,
}

impl Guest {
    pub(crate) fn at(at: Duration) -> Self {
        Self { stage: Stage::Waits(at), replace: false, tokens: Vec::new(), thieves: Vec::new() }
    }
}

fn url() -> String {
    format!("https://{}:{}", controller::NAME, controller::PORT)
}

/// What `wa-node enroll` does in a folder with a token in it.
pub(crate) async fn come_in(folder: PathBuf) -> Result<String, String> {
    let enrolment = Enrolment {
        controller: url(),
        token_file: folder.join("token"),
        state_dir: folder,
        name: None,
        replace: false,
    };
    enroll(&enrolment).await.map(|enrolled| enrolled.name.to_string()).map_err(|error| error.to_string())
}

fn bring(folder: &std::path::Path, token: &str) {
    let path = folder.join("token");
    std::fs::write(&path, token).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// What is done about the guest now.
pub(crate) fn tend(simulation: &mut Simulation) {
    let Some(mut guest) = simulation.identity.guest.take() else { return };
    let stage = std::mem::replace(&mut guest.stage, Stage::In);
    guest.stage = guest.next(stage, simulation);
    simulation.identity.guest = Some(guest);
}

impl Guest {
    fn next(&mut self, stage: Stage, simulation: &mut Simulation) -> Stage {
        match stage {
            Stage::Waits(at) if at <= simulation.now => {
                let limb = simulation.limbs.last().unwrap();
                Stage::Asks(simulation.desk.token(&simulation.head, &limb.host.name, self.replace))
            }
            Stage::Asks(answer) => match answer.get() {
                None => Stage::Asks(answer),
                Some((_, Ok(token))) => self.invite(token, simulation),
                Some((_, Err(why))) => {
                    simulation.note(format_args!("no token: {why}"));
                    self.after(why, simulation)
                }
            },
            Stage::Invited => self.look(simulation),
            stage => stage,
        }
    }

    /// What a person does who has read this.
    fn after(&mut self, why: &str, simulation: &mut Simulation) -> Stage {
        self.replace |= why.contains("--replace");
        let pause = simulation.identity.rng.u64(300..4_000);
        Stage::Waits(simulation.now + Duration::from_millis(pause))
    }

    fn invite(&mut self, token: &str, simulation: &mut Simulation) -> Stage {
        self.tokens.push(token.to_owned());
        let at = simulation.limbs.len() - 1;
        bring(&simulation.limbs[at].host.folder, token);
        if simulation.identity.rng.u8(..4) == 0 {
            let folder = simulation.desk.host.folder.join(format!("thief-{}", self.thieves.len()));
            std::fs::create_dir(&folder).unwrap();
            bring(&folder, token);
            self.thieves.push(folder.clone());
            let wait = Duration::from_millis(simulation.identity.rng.u64(0..300));
            simulation.desk.spawn(async move {
                tokio::time::sleep(wait).await;
                drop(come_in(folder).await);
            });
        }
        simulation.note("the token lies on the host");
        simulation.start_node(at);
        Stage::Invited
    }

    /// The command has ended, or the host has been through something.
    fn look(&mut self, simulation: &mut Simulation) -> Stage {
        let at = simulation.limbs.len() - 1;
        let ended = simulation.limbs[at].enrolled.as_ref().and_then(|answer| answer.get().cloned());
        match ended {
            None if simulation.limbs[at].spool().is_some() => Stage::In,
            None => Stage::Invited,
            Some(ended) => {
                simulation.note(format_args!("enrolling ended: {ended:?}"));
                simulation.crash_node(at, false);
                match ended {
                    Ok(_) => {
                        simulation.start_node(at);
                        Stage::In
                    }
                    Err(why) if why.contains("wa fleet token") => {
                        std::fs::remove_file(simulation.limbs[at].host.folder.join("token")).unwrap();
                        self.after(&why, simulation)
                    }
                    Err(_) => {
                        let pause = Duration::from_millis(simulation.identity.rng.u64(300..4_000));
                        simulation.later(pause, super::plan::Deed::Start { node: at });
                        Stage::Invited
                    }
                }
            }
        }
    }
}

/// One token, one key; what was used before is refused and written down; who had it besides is out.
pub(crate) fn judge(simulation: &mut Simulation) -> Result<(), Broken> {
    let Some(guest) = &simulation.identity.guest else { return Ok(()) };
    let name = simulation.limbs.last().unwrap().host.name.clone();
    let (tokens, thieves) = (guest.tokens.clone(), guest.thieves.clone());
    let target = format!("spiffe://wa/node/{name}");
    let made = "SELECT count(*) FROM audit WHERE what = 'certificate' AND who = 'token' AND target = ?1";
    let used = "SELECT count(*) FROM tokens WHERE name = ?1 AND used_us IS NOT NULL";
    let (made, used) = (count(simulation, made, &target), count(simulation, used, &name));
    if made != used || made == 0 {
        return broken("S1", format!("{used} tokens of {name} were used, and let {made} keys in"));
    }
    since_the_last_join(simulation, &name, &target)?;
    for folder in thieves {
        stays_out(simulation, &folder)?;
    }
    for (n, token) in tokens.iter().enumerate() {
        replay(simulation, n, token, &name)?;
    }
    Ok(())
}

/// Nothing that the name was given before the last token was used is good for anything.
fn since_the_last_join(simulation: &Simulation, name: &str, target: &str) -> Result<(), Broken> {
    let Some(database) = check::database(simulation) else { return Ok(()) };
    let mut query = database
        .prepare(
            "SELECT substr(detail, 8, 32) FROM audit WHERE what = 'certificate' AND target = ?1 AND n <
                 (SELECT max(n) FROM audit WHERE what = 'certificate' AND who = 'token' AND target = ?1)",
        )
        .unwrap();
    let older: Vec<String> =
        query.query_map([target], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for serial in older {
        let live = "SELECT count(*) FROM certificates WHERE serial = ?1 AND revoked_us IS NULL";
        if count(simulation, live, &serial) != 0 {
            return broken("S1", format!("{name} was replaced, and {serial} of the one before holds"));
        }
    }
    Ok(())
}

/// Somebody used the token, too. If it was first, it was replaced since.
fn stays_out(simulation: &Simulation, folder: &std::path::Path) -> Result<(), Broken> {
    let Ok(context) = Context::load(&identity_path(folder)) else { return Ok(()) };
    let serial = Peer::of_pem(&context.identity.certificate_pem).map(|peer| peer.serial).unwrap_or_default();
    let live = "SELECT count(*) FROM certificates WHERE serial = ?1 AND revoked_us IS NULL";
    if count(simulation, live, &serial) != 0 {
        return broken("S1", "two keys came in by one token".to_owned());
    }
    Ok(())
}

/// A token that was given out is good for nobody any more. What it is told stands in the audit trail.
fn replay(simulation: &mut Simulation, n: usize, token: &str, name: &str) -> Result<(), Broken> {
    let hash = token.parse::<JoinToken>().unwrap().secret.hash();
    let used = check::database(simulation).is_some_and(|database| {
        let used = "SELECT used_us IS NOT NULL FROM tokens WHERE secret_hash = ?1";
        database.query_row(used, [hash.as_slice()], |row| row.get(0)).unwrap()
    });
    if !used {
        // It is good still, if it lets its name be replaced.
        return Ok(());
    }
    let folder = simulation.desk.host.folder.join(format!("replay-{n}"));
    std::fs::create_dir(&folder).unwrap();
    bring(&folder, token);
    let refused = "SELECT count(*) FROM audit WHERE what = 'join' AND decision = 'refused' AND target = ?1";
    let before = count(simulation, refused, name);
    let answer = Answer::default();
    let told = Arc::clone(&answer);
    let of = folder.clone();
    simulation.desk.spawn(async move { drop(told.set(come_in(of).await)) });
    let until = simulation.now + Duration::from_secs(40);
    while answer.get().is_none() && simulation.now < until {
        pass(simulation, Duration::from_millis(100));
    }
    let (said, after) = (answer.get().cloned(), count(simulation, refused, name));
    let helps = matches!(&said, Some(Err(why)) if why.contains("wa fleet token"));
    // A token of another CA does not come so far as to be shown.
    let shown = matches!(&said, Some(Err(why)) if why.contains("used before"));
    if !helps || after != before + i64::from(shown) || identity_path(&folder).exists() {
        return broken(
            "S1",
            format!(
                "a token of {name} was tried again: {said:?}, refusals in the audit trail {before} and {after}"
            ),
        );
    }
    Ok(())
}
