//! The listener itself.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{Method, Uri};
use axum::{Router, middleware};
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use hyper_util::rt::TokioTimer;
use muster_events::id::Actor;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{ListenConfig, ListenError};
use crate::door::Door;
use crate::family;
use crate::guard::{self, Guard};
use crate::tls;
use crate::tokens::ANONYMOUS;

/// A listener at work.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    task: JoinHandle<Result<(), ListenError>>,
}

impl Server {
    /// `http://127.0.0.1:8080`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Waits until it has ended: after its shutdown was asked, all requests have been answered, or the time for that
    /// has passed and what was still under way was cut.
    pub async fn ended(self) -> Result<(), ListenError> {
        self.task.await.unwrap_or_else(|e| {
            Err(ListenError::Ended { listen: self.addr, source: std::io::Error::other(e) })
        })
    }
}

/// Binds and begins to serve `router` under the name `name` (for the log). It ends when `shutdown` is cancelled:
/// nothing new is taken, what is under way may finish within [`crate::Limits::drain`].
///
/// Handlers find the caller's [`Actor`] in the request's extensions.
pub async fn serve(
    config: ListenConfig,
    name: &'static str,
    router: Router,
    shutdown: CancellationToken,
) -> Result<Server, ListenError> {
    config.check()?;
    let listen = config.listen;
    let acceptor = config.tls.as_ref().map(tls::load).transpose()?;
    let listener = TcpListener::bind(listen).await.map_err(|source| ListenError::Bind { listen, source })?;
    let addr = listener.local_addr().map_err(|source| ListenError::Bind { listen, source })?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    tracing::info!(name, listen = %format!("{scheme}://{addr}"), tokens = config.tokens.is_some(), "listening");
    let router = guarded(router, &config)?;
    let door = Door::new(config.limits.connections);
    let run = async move {
        match acceptor {
            None => run(listener, door, router, &config, shutdown).await,
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls).acceptor(door);
                run(listener, acceptor, router, &config, shutdown).await
            }
        }
        .map_err(|source| ListenError::Ended { listen: addr, source })
    };
    Ok(Server { addr, scheme, task: tokio::spawn(run) })
}

fn guarded(router: Router, config: &ListenConfig) -> Result<Router, ListenError> {
    let anonymous = Actor::new(ANONYMOUS)
        .map_err(|e| ListenError::Ended { listen: config.listen, source: std::io::Error::other(e) })?;
    let guard = Arc::new(Guard {
        limits: Arc::new(config.limits),
        tokens: config.tokens.clone(),
        anonymous,
        local_hosts_only: config.tokens.is_none() && config.listen.ip().to_canonical().is_loopback(),
    });
    let index = config.index;
    Ok(router
        .fallback(move |method: Method, uri: Uri| async move { guard::no_such_path(&method, &uri, index) })
        .method_not_allowed_fallback(guard::no_such_method)
        .layer(middleware::from_fn_with_state(guard, guard::guard))
        .layer(middleware::from_fn(family::reword)))
}

async fn run<A>(
    listener: TcpListener,
    acceptor: A,
    router: Router,
    config: &ListenConfig,
    shutdown: CancellationToken,
) -> std::io::Result<()>
where
    A: Accept<TcpStream, Router, Service = Router> + Clone + Send + Sync + 'static,
    A::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    A::Future: Send,
{
    let handle = Handle::new();
    let mut server = axum_server::Server::<SocketAddr>::from_listener(listener)
        .handle(handle.clone())
        .acceptor(acceptor)
        .http1_only();
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.limits.header_read_timeout)
        .max_buf_size(config.limits.header_bytes.max(8192));
    let serving = server.serve(router.into_make_service());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended,
        () = shutdown.cancelled() => {
            handle.graceful_shutdown(Some(config.limits.drain));
            serving.await
        }
    }
}
