//! A shim's end of the socket to its worker. Never waits: what cannot be written yet is written when there is room.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::wire::{Frame, Writer};

/// Bytes read at a time.
const READ_BYTES: usize = 16 << 10;

pub(super) struct Link {
    pub(super) socket: UnixStream,
    arrived: Vec<u8>,
    leaving: Vec<u8>,
    /// Whether the worker is gone.
    pub(super) broken: bool,
}

impl Link {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, arrived: Vec::new(), leaving: Vec::new(), broken: false })
    }

    /// Begins a frame that is sent with the next [`Link::flush`].
    pub(super) fn say(&mut self, kind: u8) -> Writer<'_> {
        Writer::new(&mut self.leaving, kind)
    }

    /// Bytes that wait to be written.
    pub(super) const fn waiting(&self) -> usize {
        self.leaving.len()
    }

    /// Writes what can be written.
    pub(super) fn flush(&mut self) {
        let mut done = 0;
        while done < self.leaving.len() && !self.broken {
            match self.socket.write(&self.leaving[done..]) {
                Ok(0) => self.broken = true,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.broken = true,
            }
        }
        self.leaving.drain(..done);
    }

    /// Reads what is there.
    pub(super) fn read(&mut self) {
        let mut part = [0; READ_BYTES];
        loop {
            match self.socket.read(&mut part) {
                Ok(0) => self.broken = true,
                Ok(n) => {
                    self.arrived.extend_from_slice(&part[..n]);
                    if n == part.len() {
                        continue;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.broken = true,
            }
            return;
        }
    }

    /// Takes the frames out that have arrived whole. What is no frame breaks the link: nothing after it can be trusted.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut whole = 0;
        loop {
            match Frame::first(&self.arrived[whole..]) {
                Ok(Some((_, len))) => whole += len,
                Ok(None) => break,
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        let rest = self.arrived.split_off(whole);
        std::mem::replace(&mut self.arrived, rest)
    }
}
