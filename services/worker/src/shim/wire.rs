//! What a worker and a shim say to each other. A frame is its length (32 bits, little end first), its kind, and fields:
//! each a tag, a length and bytes. A reader passes over tags it does not know, so either side may be newer; [`PROTOCOL`]
//! grows when one that does so would do wrong. The frames [`kind::HELLO`] and [`kind::RELEASE`] stay as they are for ever: with them
//! any worker can tell of which version a shim is, and end what it looks after.

use std::io;

/// The version of all this.
pub(crate) const PROTOCOL: u64 = 1;
/// The longest frame: a program's arguments and environment are within what the kernel lets a program have.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// What a frame is.
pub(crate) mod kind {
    /// Run this program.
    pub(crate) const LAUNCH: u8 = 1;
    /// Signal the program's process group.
    pub(crate) const SIGNAL: u8 = 2;
    /// The worker has done with one stream's output up to here.
    pub(crate) const SETTLED: u8 = 3;
    /// Nobody needs to know any more how the attempt ended; what of it still runs is killed.
    pub(crate) const RELEASE: u8 = 4;
    /// Go on with the output after what has been stored of both streams.
    pub(crate) const RESUME: u8 = 5;
    /// The program may live longer: until then.
    pub(crate) const LEASE: u8 = 7;
    /// Whether output that nobody takes may go to the disk; else the program waits at its pipe.
    pub(crate) const SPOOL: u8 = 6;

    /// Who speaks, and what it looks after: said first to a worker that comes back.
    pub(crate) const HELLO: u8 = 16;
    /// The program runs.
    pub(crate) const STARTED: u8 = 17;
    /// The program could not be started.
    pub(crate) const NOT_STARTED: u8 = 18;
    /// It has printed.
    pub(crate) const OUTPUT: u8 = 19;
    /// It has ended with all that it started, and all its output has been said.
    pub(crate) const ENDED: u8 = 20;
}

/// What a field is.
pub(crate) mod tag {
    pub(crate) const PROTOCOL: u8 = 1;
    /// A program's file.
    pub(crate) const PROGRAM: u8 = 2;
    /// The name it is called by.
    pub(crate) const NAME: u8 = 3;
    /// An argument; may be repeated.
    pub(crate) const ARGUMENT: u8 = 4;
    /// `NAME=VALUE`; may be repeated.
    pub(crate) const VARIABLE: u8 = 5;
    /// The working folder.
    pub(crate) const FOLDER: u8 = 6;
    /// What a worker wants to be told of the attempt when it comes back.
    pub(crate) const HELD: u8 = 7;
    /// The most bytes of output that are put on the disk.
    pub(crate) const SPOOL_MAX: u8 = 8;
    /// The program ends with the worker.
    pub(crate) const ALONE: u8 = 9;
    /// A process's number.
    pub(crate) const PID: u8 = 10;
    /// Microseconds since the Unix epoch.
    pub(crate) const AT: u8 = 11;
    /// An exit code.
    pub(crate) const CODE: u8 = 12;
    /// The signal that ended a program, or is to be sent.
    pub(crate) const SIGNAL: u8 = 13;
    /// The system's number of an error.
    pub(crate) const ERRNO: u8 = 14;
    /// 0 for stdout, 1 for stderr.
    pub(crate) const STREAM: u8 = 15;
    /// A place in a stream; may be repeated for both.
    pub(crate) const OFFSET: u8 = 16;
    /// What was printed.
    pub(crate) const BYTES: u8 = 17;
    /// How far a stream has been read; repeated for both.
    pub(crate) const READ: u8 = 18;
    /// 0 or 1.
    pub(crate) const FLAG: u8 = 19;
    /// By when a program must be dead, in microseconds since the machine was started.
    pub(crate) const DEADLINE: u8 = 21;
    /// How many of those it has to end when asked.
    pub(crate) const GRACE: u8 = 22;
    /// A program was ended because its deadline was not put off.
    pub(crate) const CUT_OFF: u8 = 23;
    /// The boot of the machine, as the kernel names it.
    pub(crate) const BOOT: u8 = 20;
}

/// Writes one frame.
pub(crate) struct Writer<'a> {
    to: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Begins a frame at the end of `to`.
    pub(crate) fn new(to: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = to.len();
        to.extend([0, 0, 0, 0, kind]);
        Self { to, start }
    }

    /// Adds a field.
    pub(crate) fn field(self, tag: u8, bytes: &[u8]) -> Self {
        self.to.push(tag);
        self.to.extend(length(bytes.len()));
        self.to.extend_from_slice(bytes);
        self
    }

    /// Adds a number.
    pub(crate) fn number(self, tag: u8, number: u64) -> Self {
        self.field(tag, &number.to_le_bytes())
    }

    /// Adds a number that may be negative.
    pub(crate) fn signed(self, tag: u8, number: i64) -> Self {
        self.field(tag, &number.to_le_bytes())
    }
}

impl Drop for Writer<'_> {
    /// The frame ends with its writer.
    fn drop(&mut self) {
        let len = length(self.to.len() - self.start - 4);
        self.to[self.start..self.start + 4].copy_from_slice(&len);
    }
}

/// What is longer than 4 GiB is longer than [`FRAME_BYTES_MAX`], and refused where it is read.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// A frame that has been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Its kind.
    pub(crate) kind: u8,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame in `bytes` and how many bytes it takes, once all of it is there.
    pub(crate) fn first(bytes: &'a [u8]) -> io::Result<Option<(Self, usize)>> {
        let Some(len) = bytes.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*len) as usize;
        if len == 0 || len > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {len} bytes")));
        }
        let Some([kind, body @ ..]) = bytes.get(4..4 + len) else { return Ok(None) };
        Ok(Some((Self { kind: *kind, body }, 4 + len)))
    }

    /// All fields, in their order. Ends at one that is not whole.
    pub(crate) fn fields(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (tag, after) = rest.split_first()?;
            let (len, after) = after.split_first_chunk::<4>()?;
            let (field, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some((*tag, field))
        })
    }

    /// The first field of this tag.
    pub(crate) fn get(self, tag: u8) -> Option<&'a [u8]> {
        self.fields().find_map(|(t, field)| (t == tag).then_some(field))
    }

    /// The first field of this tag, as a number.
    pub(crate) fn number(self, tag: u8) -> Option<u64> {
        number(self.get(tag)?)
    }

    /// The same where it may be negative.
    pub(crate) fn signed(self, tag: u8) -> Option<i64> {
        Some(i64::from_le_bytes(self.get(tag)?.try_into().ok()?))
    }

    /// The first two numbers of this tag; what is missing is 0.
    pub(crate) fn pair(self, tag: u8) -> [u64; 2] {
        let mut all = self.fields().filter(|(t, _)| *t == tag).filter_map(|(_, field)| number(field));
        [all.next().unwrap_or(0), all.next().unwrap_or(0)]
    }
}

fn number(field: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_else_is_in_it() {
        let mut bytes = Vec::new();
        drop(
            Writer::new(&mut bytes, kind::OUTPUT)
                .number(tag::STREAM, 1)
                .field(200, b"later")
                .field(tag::BYTES, b"x"),
        );
        drop(Writer::new(&mut bytes, kind::RESUME).number(tag::OFFSET, 3).number(tag::OFFSET, 4));
        for cut in 0..bytes.len() - 1 {
            if let Some((frame, _)) = Frame::first(&bytes[..cut]).unwrap() {
                assert_eq!(frame.kind, kind::OUTPUT);
            }
        }
        let (first, len) = Frame::first(&bytes).unwrap().unwrap();
        assert_eq!(
            (first.kind, first.number(tag::STREAM), first.get(tag::BYTES)),
            (kind::OUTPUT, Some(1), Some(&b"x"[..]))
        );
        assert_eq!(first.get(tag::PID), None);
        let (second, rest) = Frame::first(&bytes[len..]).unwrap().unwrap();
        assert_eq!((second.pair(tag::OFFSET), len + rest), ([3, 4], bytes.len()));
    }

    #[test]
    fn nonsense_is_refused_and_broken_fields_end() {
        assert!(Frame::first(&[0, 0, 0, 0]).is_err());
        assert!(Frame::first(&[255, 255, 255, 255, 1]).is_err());
        let (frame, _) = Frame::first(&[7, 0, 0, 0, 9, 1, 255, 255, 0, 0, 1]).unwrap().unwrap();
        assert_eq!(frame.fields().count(), 0);
    }
}
