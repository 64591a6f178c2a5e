//! What a pane shows, and what of it is to be logged. Pure: no I/O, no clock, no randomness.
//!
//! One [`PaneScreen`] per pane. Its driver owns the connection to the multiplexer and does this:
//!
//! 1. Make a [`PaneScreen::new`], or a [`PaneScreen::resume`] from the position that was stored for this pane of this
//!    generation. Hand in every push of the pane as [`Input::Changes`], in the order of the stream, from the first push of
//!    the connection on (which brings the whole viewport).
//! 2. Do what [`PaneScreen::apply`] returns, in order: store lines, gaps and repaints; for [`Output::Fetch`] ask the
//!    server for exactly these ranges and bring the answer as [`Input::Rows`], or say [`Input::FetchFailed`]. There is
//!    never more than one question under way, and each must be answered, unless [`Input::Detached`] came in between.
//!    Between the server's answer and handing it in, await a barrier (`render_changes`) and hand in the pushes before it
//!    first: so a change of screen or width that happened under the question is known when its answer is judged.
//! 3. Call it again with [`Input::Tick`] at [`PaneScreen::next_wakeup`].
//! 4. After [`Output::FrameChanged`] take [`PaneScreen::frame`], show it to the matcher, and hand back where the agent's
//!    live area begins as [`Input::LiveTop`] and which agent process runs as [`Input::AgentProcess`].
//! 5. Store [`PaneScreen::position`] with the last record of what an `apply` returned, in the same write: then nothing is
//!    logged twice or lost, wherever the node is killed.
//! 6. [`Input::Detached`] when the connection drops (the same screen goes on when the same server is dialled again),
//!    [`Input::Removed`] when the pane is gone. After that nothing comes any more.
//!
//! What is counted: on the primary screen every row number is, once, in a line (`rows`), a gap or a repaint; a line of a
//! higher `rev` stands in place of its predecessor, one of `rows` 0 was swallowed by the line above it. A new `layout`
//! begins where row numbers change their meaning: at a column change, on entering and leaving the alternate screen, and
//! where a page was wiped, whose rows in the viewport come again.

mod alternate;
mod clock;
mod document;
mod fetch;
mod grid;
mod hash;
mod judge;
mod live;
mod page;
mod position;
mod primary;
mod push;
mod record;
mod repaint;
mod resync;
mod screen;
mod switch;
pub mod terminal;

pub use position::Position;
pub use screen::{Input, Options, Output, PaneScreen, Removal};
