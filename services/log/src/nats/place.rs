//! Where a message stands: what the server writes into the subject for its acknowledgement.

use muster_events::time::Timestamp;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its sequence in the stream.
    pub(super) stream_seq: u64,
    /// Its number among those the consumer has delivered.
    pub(super) consumer_seq: u64,
    /// When the server stored it: nanoseconds since the Unix epoch.
    pub(super) nanos: i64,
    /// How many more the consumer had to deliver then.
    pub(super) pending: u64,
}

impl Place {
    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<nanoseconds>.<pending>`, with
    /// domain and account behind `ACK` in the newer form and possibly more tokens at its end.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        Self::read(reply, None)
    }

    /// The same, if the message came through the consumer of this name.
    pub(super) fn through(reply: &str, consumer: &str) -> Option<Self> {
        Self::read(reply, Some(consumer))
    }

    fn read(reply: &str, consumer: Option<&str>) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let skip = if rest.bytes().filter(|byte| *byte == b'.').count() == 6 { 1 } else { 3 };
        let mut tokens = rest.split('.').skip(skip);
        let (came_through, _deliveries) = (tokens.next()?, tokens.next()?);
        if consumer.is_some_and(|consumer| consumer != came_through) {
            return None;
        }
        let mut number = || tokens.next()?.parse::<u64>().ok();
        let (stream_seq, consumer_seq, nanos, pending) = (number()?, number()?, number()?, number()?);
        Some(Self { stream_seq, consumer_seq, nanos: i64::try_from(nanos).ok()?, pending })
    }

    /// When the server stored it.
    pub(super) const fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.nanos / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let place = Place { stream_seq: 100, consumer_seq: 7, nanos: 1_790_230_470_084_404_000, pending: 42 };
        assert_eq!(place.at(), Timestamp::from_micros(1_790_230_470_084_404));
        for text in [
            "$JS.ACK.muster-EVENTS.abc.1.100.7.1790230470084404000.42",
            "$JS.ACK._.hash.muster-EVENTS.abc.1.100.7.1790230470084404000.42",
            "$JS.ACK.hub.hash.muster-EVENTS.abc.1.100.7.1790230470084404000.42.token",
        ] {
            assert_eq!(Place::parse(text), Some(place), "{text}");
            assert_eq!(Place::through(text, "abc"), Some(place), "{text}");
            assert_eq!(Place::through(text, "muster-EVENTS"), None, "{text}");
        }
        for text in ["", "$JS.ACK.", "$JS.ACK.a.b.c", "_INBOX.x", "$JS.ACK.s.c.1.x.7.1.0"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
