//! `wa rules redact`: the node's redactor over files. No controller is asked.
//!
//! The table form prints the text as it would be stored, byte for byte but for the secrets (to a terminal, control
//! characters are shown instead of sent). With `--explain` it prints one row per finding and never the secret. Lines are
//! read one by one; one beyond a megabyte is read in pieces, and bytes that are no UTF-8 come out as U+FFFD.

use std::io::{BufRead, Read as _};
use std::path::Path;

use wa_match::{Redactor, RedactorState};

use super::source::open;
use crate::args::RedactFiles;
use crate::failure::{Exit, Failure};
use crate::output::text::{Keep, printable};
use crate::output::{Format, Out};
use crate::shape::{Redacted, RedactedLine};

/// Bytes of a line that are read at once.
const LINE: u64 = 1 << 20;

pub(super) fn redact(args: &RedactFiles, out: &mut Out) -> Result<Exit, Failure> {
    let redactor = match &args.node_config {
        Some(path) => {
            wa_node::config::redactor_of(path).map_err(|error| usage_or_missing(path, error.to_string()))?
        }
        None => Redactor::builtin().clone(),
    };
    let here = [String::from("-")];
    let files: &[String] = if args.files.is_empty() { &here } else { &args.files };
    // What cannot be opened is said before anything is printed.
    let mut sources = Vec::new();
    for name in files {
        sources.push((name.as_str(), open(name)?));
    }
    if args.explain {
        let mut stream = out.stream::<Redacted>(false);
        for (name, mut source) in sources {
            each_line(name, &mut *source, |line, number, state| {
                for finding in redactor.explain_line(state, line) {
                    stream.push(&Redacted::of(name, number, finding))?;
                }
                Ok(())
            })?;
        }
        stream.finish()?;
    } else if matches!(out.look.format, Format::Json | Format::Jsonl | Format::Name) {
        let mut stream = out.stream::<RedactedLine>(false);
        for (name, mut source) in sources {
            each_line(name, &mut *source, |line, number, state| {
                let text = redactor.redact_line(state, line).into_owned();
                stream.push(&RedactedLine { file: name.to_owned(), line: number, text })
            })?;
        }
        stream.finish()?;
    } else {
        for (name, mut source) in sources {
            each_line(name, &mut *source, |line, _, state| {
                let text = redactor.redact_line(state, line);
                if out.look.width.is_some() {
                    out.line(&printable(&text, Keep::Layout))
                } else {
                    out.line(&text)
                }
            })?;
        }
        out.flush()?;
    }
    Ok(Exit::Done)
}

fn usage_or_missing(path: &Path, message: String) -> Failure {
    if path.exists() { Failure::usage(message) } else { Failure::new(Exit::NotFound, message) }
}

/// Calls with each line, its number from 1, and what the redactor remembers of the lines before it.
fn each_line(
    name: &str,
    source: &mut dyn BufRead,
    mut take: impl FnMut(&str, u64, &mut RedactorState) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut state = RedactorState::default();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let read = (&mut *source).take(LINE).read_until(b'\n', &mut bytes);
        if read.map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))? == 0 {
            break;
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        take(&String::from_utf8_lossy(&bytes), number, &mut state)?;
    }
    Ok(())
}
