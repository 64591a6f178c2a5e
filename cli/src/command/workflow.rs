//! `wa workflow`: what the controller would do by itself.

use std::path::{Path, PathBuf};

use wa_controller::{Definition, Vars, builtin_workflows};
use wa_proto::wire::v1;

use super::{Desk, rules, say};
use crate::args::Rehearsal;
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Out};
use crate::shape::{RehearsedItem, WorkflowItem, WorkflowShown};

/// Bytes of a workflow file.
const LIMIT: u64 = 1024 * 1024;

async fn all(desk: &Desk<'_>) -> Result<Vec<v1::Workflow>, Failure> {
    let session = &desk.session;
    let mut fleet = session.fleet();
    let asked = fleet.list_workflows(v1::ListWorkflowsRequest {});
    Ok(session.call(session.within(ANSWER), asked).await?.workflows)
}

pub(super) async fn list(desk: &mut Desk<'_>) -> Result<Exit, Failure> {
    let items: Vec<WorkflowItem> = all(desk).await?.into_iter().map(Into::into).collect();
    desk.out.list(&items)?;
    Ok(Exit::Done)
}

pub(super) async fn show(desk: &mut Desk<'_>, name: &str) -> Result<Exit, Failure> {
    let found = all(desk).await?.into_iter().find(|workflow| workflow.name == name);
    let found = found.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("there is no workflow {name:?}"))
            .remedy("`wa workflow list` has them")
    })?;
    let shown = WorkflowShown::from(found);
    if matches!(desk.out.look.format, Format::Json | Format::Jsonl) {
        desk.out.one(&shown)?;
    } else {
        desk.out.one(&shown.workflow)?;
        desk.out.list(&shown.steps)?;
    }
    Ok(Exit::Done)
}

/// Reads a definition as the controller would.
fn read(path: &Path) -> Result<Definition, String> {
    let text = wa_link::files::read_text(path, LIMIT).map_err(|error| error.to_string())?;
    Definition::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))
}

/// Asks no controller.
pub(crate) fn validate(files: &[PathBuf]) -> Result<Exit, Failure> {
    let mut bad = 0;
    for path in files {
        match read(path) {
            Ok(definition) => {
                let steps = definition.steps.len();
                say(&format!(
                    "{}: {} version {}, {steps} steps: good",
                    path.display(),
                    definition.name,
                    definition.version
                ));
            }
            Err(problem) => {
                bad += 1;
                say(&problem);
            }
        }
    }
    match bad {
        0 => Ok(Exit::Done),
        bad => Err(Failure::usage(format!("{bad} of {} files cannot be used", files.len()))),
    }
}

/// What a workflow would have done on a recorded pane. Asks no controller.
pub(crate) fn rehearse(args: &Rehearsal, out: &mut Out) -> Result<Exit, Failure> {
    let definition = definition(&args.workflow)?;
    let end = args.now.unwrap_or(out.look.now);
    let stream = rules::Stream { size: args.size, agent: args.agent.as_ref(), offset: args.offset };
    let played = rules::recorded(&args.recording, &stream, end)?;
    let agent = args.agent.as_ref().or(played.last_agent()).filter(|agent| agent.as_str() != "shell");
    let lines = wa_controller::rehearse(&definition, agent, &Vars::new(), &played.moments);
    let items: Vec<RehearsedItem> = lines.into_iter().map(RehearsedItem::from).collect();
    out.list(&items)?;
    Ok(Exit::Done)
}

/// One that is built in, or a file.
fn definition(name: &str) -> Result<Definition, Failure> {
    let built_in = builtin_workflows().map_err(|problem| Failure::failed(problem.to_string()))?;
    let names: Vec<String> = built_in.iter().map(|one| one.name.clone()).collect();
    if let Some(found) = built_in.into_iter().find(|one| one.name == name) {
        return Ok(found);
    }
    let path = Path::new(name);
    if !path.exists() {
        let message = format!("{name:?} is no workflow that is built in, and no file");
        return Err(Failure::new(Exit::NotFound, message).remedy(format!("built in: {}", names.join(", "))));
    }
    read(path).map_err(Failure::usage)
}
