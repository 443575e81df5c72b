//! What the API shows, folded from the log beside the domain's own state: pure, no I/O.

pub(crate) mod archive;
pub(crate) mod events;
pub(crate) mod hosts;
pub(crate) mod jobs;
pub(crate) mod postings;
pub(crate) mod saved;
pub(crate) mod tasks;
