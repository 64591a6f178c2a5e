//! `wa rules …`: recognition and redaction.
//!
//! What only reads files runs here and asks nobody, with the engine that the node runs; the rest asks the controller.

mod cuts;
mod explain;
mod list;
mod packs;
mod passed;
mod push;
mod redact;
mod replay;
mod scan;
mod show;
pub(super) mod source;
mod still;
mod test;
mod unknown;

pub(super) use scan::{Stream, recorded};

use crate::args::Rules;
use crate::command::Desk;
use crate::failure::{Exit, Failure};
use crate::output::Out;

/// Whether the controller is asked.
pub(crate) fn asks(args: &Rules) -> bool {
    match args {
        Rules::List(args) => !args.local,
        Rules::Explain(args) => args.file.is_none(),
        Rules::Push(_) | Rules::Unknown(_) => true,
        Rules::Show(_) | Rules::Test(_) | Rules::Scan(_) | Rules::Redact(_) => false,
    }
}

/// What asks nobody.
pub(crate) fn here(args: &Rules, out: &mut Out) -> Result<Exit, Failure> {
    match args {
        Rules::List(args) => list::local(args, out),
        Rules::Show(args) => show::show(args, out),
        Rules::Test(args) => test::test(args, out),
        Rules::Scan(args) => scan::scan(args, out),
        Rules::Explain(args) => explain::saved(args, out),
        Rules::Redact(args) => redact::redact(args, out),
        Rules::Push(_) | Rules::Unknown(_) => Ok(Exit::Done),
    }
}

/// What asks the controller.
pub(super) async fn there(desk: &mut Desk<'_>, args: &Rules) -> Result<Exit, Failure> {
    match args {
        Rules::List(_) => list::list(desk).await,
        Rules::Explain(args) => explain::pane(desk, args).await,
        Rules::Push(args) => push::push(desk, args).await,
        Rules::Unknown(args) => unknown::unknown(desk, args).await,
        Rules::Show(_) | Rules::Test(_) | Rules::Scan(_) | Rules::Redact(_) => Ok(Exit::Done),
    }
}

/// Finds the mistakes in files before any controller is asked.
pub(super) fn check(args: &Rules) -> Result<(), Failure> {
    match args {
        Rules::Push(args) => push::check(args),
        _ => Ok(()),
    }
}
