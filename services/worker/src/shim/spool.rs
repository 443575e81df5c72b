//! What a program has printed and its worker has not settled yet: a window of it in memory; what is beyond that, where it
//! is wished, on the disk up to a bound; beyond that the last of it in memory again. What lies between is lost, which the
//! reader sees by the offsets.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes in memory that wait to be settled; then the program waits at its pipe, or the disk takes over.
pub(super) const WINDOW: usize = 256 << 10;
/// Bytes in memory of the end of what is beyond the disk's bound.
const TAIL: usize = 128 << 10;
/// Pieces of one stream that have not been sent are kept together up to this size.
const TOGETHER: usize = 16 << 10;
/// What stands before each piece on the disk.
const HEADER: usize = 1 + 8 + 8 + 4;

/// Something printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// 0 for stdout, 1 for stderr.
    pub(super) stream: usize,
    /// Where it begins in its stream.
    pub(super) start: u64,
    /// When it was read, in microseconds since the Unix epoch.
    pub(super) at: i64,
    pub(super) bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The output of one attempt.
pub(super) struct Spool {
    window: VecDeque<Piece>,
    window_bytes: usize,
    /// How many of the window the present worker has been sent.
    sent: usize,
    /// How far each stream has been read.
    read: [u64; 2],
    /// How far each stream is settled.
    settled: [u64; 2],
    /// Whether what does not fit into the window may be put on the disk.
    to_disk: bool,
    disk: Disk,
    tail: VecDeque<Piece>,
    tail_bytes: usize,
}

/// The part that is on the disk.
struct Disk {
    path: PathBuf,
    bytes_max: u64,
    file: Option<File>,
    /// Where the next piece is written.
    written: u64,
    /// Where the next piece is read.
    taken: u64,
}

impl Spool {
    /// One that may put so many bytes on the disk, in a file of this name.
    pub(super) const fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self {
            window: VecDeque::new(),
            window_bytes: 0,
            sent: 0,
            read: [0; 2],
            settled: [0; 2],
            to_disk: false,
            disk: Disk { path, bytes_max, file: None, written: 0, taken: 0 },
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    /// Says whether the disk may be used.
    pub(super) const fn allow_disk(&mut self, allowed: bool) {
        self.to_disk = allowed;
    }

    /// How far each stream has been read.
    pub(super) const fn read(&self) -> [u64; 2] {
        self.read
    }

    /// How far each stream is settled.
    pub(super) const fn settled(&self) -> [u64; 2] {
        self.settled
    }

    /// Whether more may be read from the program.
    pub(super) fn has_room(&self) -> bool {
        self.to_disk || (self.window_bytes < WINDOW && self.is_all_in_window())
    }

    /// Takes what was read.
    pub(super) fn push(&mut self, stream: usize, at: i64, bytes: &[u8]) {
        let piece = Piece { stream, start: self.read[stream], at, bytes: bytes.to_vec() };
        self.read[stream] = piece.end();
        if self.is_all_in_window() && (self.window_bytes < WINDOW || !self.to_disk) {
            return self.push_window(piece);
        }
        if self.tail.is_empty() && self.disk.push(&piece) {
            return;
        }
        self.tail_bytes += piece.bytes.len();
        append(&mut self.tail, piece, 0);
        while self.tail_bytes > TAIL {
            let Some(first) = self.tail.front_mut() else { return };
            let over = (self.tail_bytes - TAIL).min(first.bytes.len());
            first.bytes.drain(..over);
            first.start += over as u64;
            if first.bytes.is_empty() {
                self.tail.pop_front();
            }
            self.tail_bytes -= over;
        }
    }

    fn push_window(&mut self, piece: Piece) {
        self.window_bytes += piece.bytes.len();
        append(&mut self.window, piece, self.sent);
    }

    fn is_all_in_window(&self) -> bool {
        self.disk.is_empty() && self.tail.is_empty()
    }

    /// The next piece that the worker has not been sent.
    pub(super) fn next(&mut self) -> Option<Piece> {
        loop {
            let settled = self.settled;
            let Some(piece) = self.window.get(self.sent) else {
                self.refill();
                self.window.get(self.sent)?;
                continue;
            };
            self.sent += 1;
            // What is settled of it need not be sent.
            let known = settled[piece.stream].saturating_sub(piece.start);
            let known = usize::try_from(known).unwrap_or(usize::MAX).min(piece.bytes.len());
            if known < piece.bytes.len() {
                let bytes = piece.bytes[known..].to_vec();
                return Some(Piece { start: piece.start + known as u64, bytes, ..*piece });
            }
        }
    }

    /// Brings what is beyond the window into it, where there is room.
    fn refill(&mut self) {
        while self.window_bytes < WINDOW {
            let next = self.disk.take().or_else(|| {
                let piece = self.tail.pop_front()?;
                self.tail_bytes -= piece.bytes.len();
                Some(piece)
            });
            let Some(piece) = next else { return };
            self.push_window(piece);
        }
    }

    /// Whether the worker has been sent everything.
    pub(super) fn is_all_sent(&self) -> bool {
        self.sent == self.window.len() && self.is_all_in_window()
    }

    /// The worker has done with a stream up to here.
    pub(super) fn settle(&mut self, stream: usize, upto: u64) {
        self.settled[stream] = self.settled[stream].max(upto);
        while let Some(first) = self.window.front().filter(|p| p.end() <= self.settled[p.stream]) {
            self.window_bytes -= first.bytes.len();
            self.window.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Another worker has come: it has been sent nothing.
    pub(super) const fn send_again(&mut self) {
        self.sent = 0;
    }
}

/// Adds a piece, to the one before it where that is of the same stream, small and beyond the first `fixed`.
fn append(pieces: &mut VecDeque<Piece>, piece: Piece, fixed: usize) {
    let open = pieces.len() > fixed;
    match pieces.back_mut().filter(|_| open) {
        Some(last)
            if last.stream == piece.stream
                && last.end() == piece.start
                && last.bytes.len() + piece.bytes.len() <= TOGETHER =>
        {
            last.bytes.extend_from_slice(&piece.bytes);
            last.at = piece.at;
        }
        _ => pieces.push_back(piece),
    }
}

impl Disk {
    const fn is_empty(&self) -> bool {
        self.taken == self.written
    }

    /// Whether it has taken the piece: there is room, and the disk took it.
    fn push(&mut self, piece: &Piece) -> bool {
        let len = (HEADER + piece.bytes.len()) as u64;
        if self.written + len > self.bytes_max {
            return false;
        }
        let mut record = Vec::with_capacity(HEADER + piece.bytes.len());
        record.push(u8::from(piece.stream == 1));
        record.extend(piece.start.to_le_bytes());
        record.extend(piece.at.to_le_bytes());
        record.extend(u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(&piece.bytes);
        let written = self.written;
        let stored = self.open().and_then(|file| file.write_all_at(&record, written));
        if stored.is_ok() {
            self.written += len;
        }
        stored.is_ok()
    }

    /// The file has no name: it is gone with the shim.
    fn open(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            let file = File::options().read(true).write(true).create_new(true).open(&self.path)?;
            std::fs::remove_file(&self.path)?;
            self.file = Some(file);
        }
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The oldest piece. One that cannot be read is lost with all that follows on the disk.
    fn take(&mut self) -> Option<Piece> {
        if self.is_empty() {
            return None;
        }
        let piece = self.file.as_ref().and_then(|file| read_at(file, self.taken).ok());
        match &piece {
            Some(piece) => self.taken += (HEADER + piece.bytes.len()) as u64,
            None => self.taken = self.written,
        }
        if self.is_empty() {
            // The room it took is free again.
            (self.file, self.written, self.taken) = (None, 0, 0);
        }
        piece
    }
}

fn read_at(file: &File, place: u64) -> io::Result<Piece> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, place)?;
    let number = |at: usize| header[at..].first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
    let len = header[17..].first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, place + HEADER as u64)?;
    Ok(Piece { stream: usize::from(header[0] == 1), start: number(1), at: number(9).cast_signed(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(folder: &tempfile::TempDir, bytes_max: u64) -> Spool {
        Spool::new(folder.path().join("spool"), bytes_max)
    }

    /// All that is left to be sent of both streams, each with the offset behind it; gaps are skipped.
    fn rest(spool: &mut Spool) -> [(Vec<u8>, u64); 2] {
        let mut all: [(Vec<u8>, u64); 2] = Default::default();
        while let Some(piece) = spool.next() {
            let stream = &mut all[piece.stream];
            stream.0.extend_from_slice(&piece.bytes);
            stream.1 = piece.end();
            spool.settle(piece.stream, piece.end());
        }
        all
    }

    #[test]
    fn what_is_not_settled_is_sent_again_from_the_very_byte() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = spool(&folder, 0);
        spool.push(0, 1, b"one\n");
        assert_eq!(spool.next().unwrap().bytes, b"one\n");
        spool.push(0, 2, b"two\n");
        spool.push(1, 3, b"err");
        spool.settle(0, 2);
        spool.send_again();
        let [out, err] = rest(&mut spool);
        assert_eq!((out, err), ((b"e\ntwo\n".to_vec(), 8), (b"err".to_vec(), 3)));
        assert!(spool.is_all_sent() && spool.window.is_empty());
    }

    #[test]
    fn a_full_window_lets_the_program_wait_or_goes_to_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = spool(&folder, 1 << 20);
        let block = [b'x'; 8 << 10];
        while spool.has_room() {
            spool.push(0, 1, &block);
        }
        assert_eq!(spool.read[0], WINDOW as u64);
        spool.allow_disk(true);
        assert!(spool.has_room());
        for n in 0..64_u8 {
            spool.push(usize::from(n % 2), 1, &[n; 8 << 10]);
        }
        assert!(spool.tail.is_empty() && spool.window_bytes <= WINDOW);
        spool.allow_disk(false);
        assert!(!spool.has_room(), "what is on the disk goes first");
        let [(out, end), (err, _)] = rest(&mut spool);
        assert_eq!((out.len() as u64, err.len()), (end, 32 * (8 << 10)));
        assert_eq!(out.last(), Some(&62));
        assert!(spool.has_room() && std::fs::read_dir(folder.path()).unwrap().count() == 0);
    }

    #[test]
    fn beyond_the_bound_the_end_is_kept_and_the_gap_shows() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = spool(&folder, 100 << 10);
        spool.allow_disk(true);
        let mut sum = 0;
        for n in 0..200_u8 {
            spool.push(0, 1, &[n; 10_000]);
            sum += 10_000;
        }
        let mut ends = Vec::new();
        let mut expected = 0;
        while let Some(piece) = spool.next() {
            if piece.start != expected {
                ends.push((expected, piece.start));
            }
            expected = piece.end();
            spool.settle(0, expected);
        }
        assert_eq!(expected, sum);
        assert_eq!(ends.len(), 1, "one gap: {ends:?}");
        assert_eq!(sum - ends[0].1, TAIL as u64);
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_the_middle_only() {
        let mut spool = Spool::new(PathBuf::from("/nonexistent/spool"), 1 << 30);
        spool.allow_disk(true);
        for _ in 0..100 {
            spool.push(0, 1, &[7; 10_000]);
        }
        let [(out, end), _] = rest(&mut spool);
        assert!(out.len() >= WINDOW + TAIL && end == 1_000_000, "{} of {end}", out.len());
    }
}
