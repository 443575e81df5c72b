//! The one HTTP listener of muster: whoever serves HTTP serves it through [`serve`].
//!
//! A request passes, in this order: the door ([`config::Limits::connections`]), TLS, hyper's limits on heads, the
//! guard (token, foreign origins, panics, time), and then the router it was made for. Every refusal on the way has
//! the one error body of the product, see [`error::ApiError`], or that of the protocol its path belongs to (`family`).

pub mod config;
mod door;
pub mod error;
mod family;
mod guard;
pub mod payload;
pub mod query;
mod server;
mod tls;
pub mod tokens;

pub use config::{Limits, ListenConfig, ListenError, TlsFiles};
pub use error::{ApiError, ApiResult};
pub use payload::{Payload, Raw};
pub use query::Query;
pub use server::{Server, serve};
pub use tokens::Tokens;
