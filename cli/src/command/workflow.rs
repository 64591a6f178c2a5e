//! `wa workflow`: what the controller would do by itself.

use std::path::PathBuf;

use wa_controller::Definition;
use wa_proto::wire::v1;

use super::{Desk, say};
use crate::client::ANSWER;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::shape::{WorkflowItem, WorkflowShown};

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

/// Asks no controller.
pub(crate) fn validate(files: &[PathBuf]) -> Result<Exit, Failure> {
    let mut bad = 0;
    for path in files {
        let read = wa_link::files::read_text(path, LIMIT).map_err(|error| error.to_string());
        let checked = read.and_then(|text| {
            Definition::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))
        });
        match checked {
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
