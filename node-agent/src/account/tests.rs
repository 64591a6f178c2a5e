//! Homes on a real file system, and sign-ins in real panes.

mod homes;
mod sign_ins;
