//! The door: how many connections there may be.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Counts connections in. Those beyond the bound are answered 503, and those beyond a second bound are closed.
#[derive(Clone)]
pub(crate) struct Door {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    full: Router,
}

impl Door {
    pub(crate) fn new(connections: usize) -> Self {
        let full = Router::new().fallback(move || async move { refusal(connections) });
        Self {
            places: Arc::new(Semaphore::new(connections)),
            refusals: Arc::new(Semaphore::new(connections / 8 + 8)),
            full,
        }
    }

    fn admit(&self, stream: TcpStream, router: Router) -> io::Result<(Counted, Router)> {
        // Answers are small and often the last thing on their connection for a while: waiting to fill a packet only
        // delays them.
        stream.set_nodelay(true)?;
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok((Counted { stream, _place: place }, router));
        }
        match Arc::clone(&self.refusals).try_acquire_owned() {
            Ok(place) => Ok((Counted { stream, _place: place }, self.full.clone())),
            Err(_) => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
        }
    }
}

fn refusal(connections: usize) -> Response {
    let message =
        format!("all {connections} connections this listener takes are in use; try again in a moment");
    let mut response = ApiError::new(503, message).into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Accept<TcpStream, Router> for Door {
    type Stream = Counted;
    type Service = Router;
    type Future = std::future::Ready<io::Result<(Counted, Router)>>;

    fn accept(&self, stream: TcpStream, router: Router) -> Self::Future {
        std::future::ready(self.admit(stream, router))
    }
}

/// A connection and its place.
pub(crate) struct Counted {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
