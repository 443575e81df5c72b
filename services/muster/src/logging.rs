//! The program's own log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: services say what they do (info), other commands only what is wrong (warn); `-v` says more and
/// `RUST_LOG` overrides all of it.
pub(crate) fn init(service: bool, verbose: u8) {
    let level = match (service, verbose) {
        (false, 0) => "warn",
        (true, 0) => "info,async_nats=warn,muster_http=warn",
        (_, 1) => "debug,hyper=info,hyper_util=info,reqwest=info,rustls=info",
        (_, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 0);
    // Fails only where a subscriber is set already: then that one serves.
    drop(subscriber.try_init());
}
