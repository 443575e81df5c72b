//! Request bodies: JSON or MessagePack, bounded in size and time.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use muster_events::codec::{self, Encoding};
use muster_events::outcome::Problem;
use serde::de::DeserializeOwned;

use crate::config::Limits;
use crate::error::ApiError;

/// A body and how it is written. `Content-Type` says so; without one, `{` begins JSON and anything else is
/// MessagePack.
#[derive(Clone, Debug)]
pub struct Raw {
    /// How.
    pub encoding: Encoding,
    /// What.
    pub bytes: Bytes,
}

/// A body that is a `T`. What is not is answered 400, naming the field.
#[derive(Clone, Copy, Debug)]
pub struct Payload<T>(pub T);

impl Raw {
    /// The body as a `T`, or the 400 that names the field.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        Ok(codec::decode_request(self.encoding, &self.bytes)?)
    }
}

impl<S: Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let limits = request.extensions().get::<Arc<Limits>>().map(|l| **l).unwrap_or_default();
        let content_type = content_type(request.headers())?;
        let bytes = tokio::time::timeout(limits.body_read_timeout, read(request, limits.body_bytes))
            .await
            .map_err(|_| {
            let s = limits.body_read_timeout.as_secs_f64();
            Problem::new(
                408,
                format!("the body did not arrive within {s} s; send it faster or in smaller parts"),
            )
        })??;
        let encoding = match Encoding::of(content_type.as_deref(), &bytes) {
            // What is not there is written in no way; handlers say whether they need it.
            Err(_) if bytes.is_empty() => Encoding::Json,
            encoding => encoding?,
        };
        Ok(Self { encoding, bytes })
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Payload<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Raw::from_request(request, state).await?.decode().map(Self)
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    headers
        .get(CONTENT_TYPE)
        .map(|value| {
            let text =
                value.to_str().map_err(|_| Problem::new(415, "the Content-Type is not readable text"))?;
            Ok(text.to_owned())
        })
        .transpose()
}

/// Reads at most `max` bytes. Of a body that is larger, as much again is read and thrown away, so that a client which
/// sends before it listens hears the 413 and not a broken connection.
async fn read(request: Request, max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            413,
            format!("the body is larger than the {max} bytes that are taken; send it in smaller parts"),
        )
    };
    let announced: Option<usize> =
        request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let drained_max = max.saturating_mul(2);
    if announced.is_some_and(|n| n > drained_max) {
        return Err(too_large());
    }
    let mut chunks = request.into_body().into_data_stream();
    let mut kept = BytesMut::with_capacity(announced.unwrap_or(0).min(max));
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| Problem::new(400, format!("the body broke off: {e}")))?;
        seen = seen.saturating_add(chunk.len());
        if seen > drained_max {
            break;
        }
        if seen <= max {
            kept.extend_from_slice(&chunk);
        }
    }
    if seen > max { Err(too_large()) } else { Ok(kept.freeze()) }
}
