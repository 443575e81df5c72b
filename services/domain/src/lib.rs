//! The pure core: what muster knows and how it decides. No clock, no randomness, no I/O, no hash order: `now` and new
//! ids are arguments, and every collection is ordered.
//!
//! Along the flow of data: [`decide`] looks at a command and the [`state`] and says which events follow;
//! [`placement`] does the same for waiting tasks, [`deadline`] for what time brings about and [`load`] for what HTTP
//! workers say of themselves; [`evolve`](mod@evolve)
//! applies events to the state, the same for the leader, a replay, a standby and every read model, and [`fold`] whole
//! commits, checking that they are one log; [`snapshot`] makes bytes of what was folded and back; [`orders`] derives from events what workers shall do; [`fleet`], [`groups`],
//! [`ports`] and [`claims`] keep what placement looks at; [`plan`] tries out a job
//! on a copy; [`rebalance`] says which tasks would be better off elsewhere, and [`moves`] which may go; [`retention`] says what leaves the state long after its end, and [`extract`] what it was; [`invariants`] checks a state apart from the logic that made it.

pub mod claims;
pub mod deadline;
pub mod decide;
pub mod evolve;
pub mod extract;
pub mod fleet;
pub mod fold;
pub mod gangs;
pub mod groups;
pub mod invariants;
pub mod jobs;
pub mod load;
mod lookup;
pub mod moves;
pub mod orders;
pub mod placement;
pub mod plan;
pub mod ports;
pub mod quota;
pub mod rebalance;
mod restart;
pub mod retention;
pub mod snapshot;
pub mod state;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod purity;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod testing;
