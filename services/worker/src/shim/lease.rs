//! By when a program must be dead, unless that is put off in time (`on_disconnect: stop`).

use std::time::Duration;

use rustix::process::Signal;

use super::wire::{Frame, tag};

/// See the module's words. All in microseconds since the machine was started.
pub(super) struct Lease {
    until: u64,
    grace: u64,
    signal: Signal,
    /// Whether it has been asked to end: then nothing is put off any more.
    pub(super) asked: bool,
    killed: bool,
}

impl Lease {
    /// What a frame says of it.
    pub(super) fn read(frame: Frame<'_>) -> Option<Self> {
        let until = frame.number(tag::DEADLINE)?;
        let signal = frame.number(tag::SIGNAL).and_then(|n| Signal::from_named_raw(i32::try_from(n).ok()?));
        Some(Self {
            until,
            grace: frame.number(tag::GRACE).unwrap_or(0),
            signal: signal.unwrap_or(Signal::TERM),
            asked: false,
            killed: false,
        })
    }

    /// Puts it off.
    pub(super) fn renew(&mut self, until: u64) {
        if !self.asked {
            self.until = self.until.max(until);
        }
    }

    /// The signal that is due at `now`, once each.
    pub(super) fn due(&mut self, now: u64) -> Option<Signal> {
        if now >= self.until && !self.killed {
            (self.asked, self.killed) = (true, true);
            return Some(Signal::KILL);
        }
        if now >= self.asking() && !self.asked {
            self.asked = true;
            return Some(self.signal);
        }
        None
    }

    /// How long until the next signal is due.
    pub(super) fn left(&self, now: u64) -> Option<Duration> {
        let next = if self.asked { self.until } else { self.asking() };
        (!self.killed).then(|| Duration::from_micros(next.saturating_sub(now)))
    }

    const fn asking(&self) -> u64 {
        self.until.saturating_sub(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::wire::{Writer, kind};

    fn lease() -> Lease {
        let mut bytes = Vec::new();
        drop(
            Writer::new(&mut bytes, kind::LAUNCH)
                .number(tag::DEADLINE, 100)
                .number(tag::GRACE, 30)
                .number(tag::SIGNAL, 2),
        );
        Lease::read(Frame::first(&bytes).unwrap().unwrap().0).unwrap()
    }

    #[test]
    fn it_is_asked_in_time_and_killed_at_the_end() {
        let mut lease = lease();
        assert_eq!((lease.due(69), lease.left(60)), (None, Some(Duration::from_micros(10))));
        assert_eq!((lease.due(70), lease.due(71)), (Some(Signal::INT), None));
        lease.renew(500);
        assert_eq!(lease.left(71), Some(Duration::from_micros(29)), "who was asked to end ends");
        assert_eq!((lease.due(100), lease.due(101), lease.left(101)), (Some(Signal::KILL), None, None));
    }

    #[test]
    fn a_renewal_in_time_puts_it_off_and_a_late_look_kills_at_once() {
        let mut lease = lease();
        lease.renew(200);
        assert_eq!((lease.due(169), lease.due(1000)), (None, Some(Signal::KILL)));
        assert!(lease.asked);
    }
}
