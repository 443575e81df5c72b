//! The language of muster.
//!
//! Everything that crosses the bus is a type of this crate, and nothing here does I/O. Along the flow of data:
//!
//! 1. [`command`]: what somebody asks for, with [`spec`] (tasks), [`job`], [`worker`] (registration, heartbeats) and
//!    [`report`] (what workers tell) as its nouns;
//! 2. [`event`] and [`commit`]: what was decided, and the one message that carries all a group of commands caused;
//! 3. [`order`]: what a worker shall do, derived from commits; [`output`]: what a task printed;
//! 4. [`outcome`]: what a publisher hears back, with the one error body of the product; [`record`]: an event as
//!    readers see it; [`standing`]: how a task stands, for whoever asks the manager;
//! 5. [`snapshot`]: the bytes of a state at one position of the log.
//!
//! [`id`], [`amount`], [`endpoint`], [`time`], [`hash`], [`resources`], [`lifecycle`] are the atoms; [`subject`] names every NATS subject; [`codec`] is the only place that
//! turns types into bytes, and [`upcast`] brings old bytes up to date.

pub mod amount;
pub mod codec;
pub mod command;
pub mod commit;
pub mod endpoint;
pub mod event;
pub mod hash;
pub mod id;
pub mod job;
pub mod leadership;
pub mod lifecycle;
pub mod order;
pub mod outcome;
pub mod output;
pub mod quota;
pub mod record;
pub mod report;
pub mod resources;
pub mod snapshot;
pub mod spec;
pub mod standing;
pub mod subject;
pub mod time;
pub mod upcast;
pub mod worker;
