//! The last lines of what is there. Within a bound of bytes: older ones are left out.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream::TryStreamExt;
use muster_log::bus::{Chunk, Live};
use muster_log::error::LogError;

use super::lines::Lines;

/// The most bytes they may have.
const BYTES_MAX: usize = 16 << 20;

/// The last `lines` lines as they were printed, and the position of the last piece.
pub(super) async fn bytes(mut chunks: Live<Chunk>, lines: u64) -> Result<(VecDeque<Bytes>, u64), LogError> {
    let mut kept: VecDeque<Bytes> = VecDeque::new();
    let (mut last, mut bytes, mut ends) = (0, 0, 0_u64);
    while let Some(chunk) = chunks.try_next().await? {
        last = chunk.position;
        bytes += chunk.bytes.len();
        ends += line_ends(&chunk.bytes);
        kept.push_back(chunk.bytes);
        // A piece goes when the lines are all there without it. The last line may lack its end.
        while let Some(front) = kept.front()
            && (bytes > BYTES_MAX || ends - line_ends(front) > lines)
        {
            bytes -= front.len();
            ends -= line_ends(front);
            kept.pop_front();
        }
    }
    let open = u64::from(kept.back().is_some_and(|b| !b.ends_with(b"\n")));
    let mut surplus = (ends + open).saturating_sub(lines);
    while surplus > 0
        && let Some(front) = kept.front_mut()
    {
        match front.iter().position(|b| *b == b'\n') {
            Some(end) => {
                drop(front.split_to(end + 1));
                surplus -= 1;
            }
            None => drop(kept.pop_front()),
        }
        if kept.front().is_some_and(Bytes::is_empty) {
            kept.pop_front();
        }
    }
    Ok((kept, last))
}

fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// The last `count` lines as objects, and the position of the last piece. What is open then stays in `lines`, unless
/// nothing more is read: then it counts as a line.
pub(super) async fn lines(
    mut chunks: Live<Chunk>,
    count: u64,
    lines: &mut Lines,
    all: bool,
) -> Result<(VecDeque<Bytes>, u64), LogError> {
    let mut kept: VecDeque<Bytes> = VecDeque::new();
    let (mut last, mut bytes) = (0, 0);
    let mut keep = |fresh: Vec<Vec<u8>>| {
        for line in fresh {
            bytes += line.len();
            kept.push_back(line.into());
            while kept.len() as u64 > count || bytes > BYTES_MAX {
                bytes -= kept.pop_front().map_or(0, |line| line.len());
            }
        }
    };
    while let Some(chunk) = chunks.try_next().await? {
        last = chunk.position;
        keep(lines.take(&chunk));
    }
    if all {
        keep(lines.end());
    }
    Ok((kept, last))
}
