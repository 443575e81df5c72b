//! The API: what the log says, over HTTP.
//!
//! One rule makes it one product: a GET reads the read model; everything else becomes a command on NATS, waits for its
//! outcome, and answers with it. Along the flow of data: [`projector`] folds the log into the [`model`] (the domain's
//! state and the [`views`]), [`routes`] answer from it, [`feed`] follows it live, and [`commands`] carries what callers
//! ask to the manager. All paths stand in one table, [`routes::table`], from which the router and the
//! [`openapi`](fn@openapi) document are made.
//!
//! An API keeps nothing of its own but a cache of what it has folded: run as many as you like.

mod answers;
mod app;
mod bare;
mod cache;
mod commands;
mod error;
mod feed;
mod forgotten;
mod history;
mod model;
mod openapi;
mod past;
mod positions;
mod projector;
mod routes;
#[cfg(test)]
mod tests;
mod views;

pub use app::{ApiConfig, Ready, run};
pub use bare::{Answer, Bare};
pub use cache::{CACHE_EVENTS_DEFAULT, CacheConfig};
pub use error::{ApiFault, Broken};
pub use openapi::openapi;
