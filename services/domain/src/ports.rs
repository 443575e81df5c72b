//! Which ports of which host tasks have. Workers on one host share its ports, so it is the host that counts.
//!
//! Derived from the tasks: `evolve` keeps it with each event, and a snapshot leaves it out.

use std::collections::{BTreeMap, BTreeSet};

use muster_events::spec::{PortAsk, PortRange};

/// How many live tasks have each port: one, unless workers have come to say that their hosts are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(BTreeMap<Box<str>, BTreeMap<u16, u32>>);

impl Ports {
    /// Whether a port of a host is taken.
    pub fn is_taken(&self, host: &str, port: u16) -> bool {
        self.0.get(host).is_some_and(|taken| taken.contains_key(&port))
    }

    pub(crate) fn take(&mut self, host: &str, ports: impl Iterator<Item = u16>) {
        for port in ports {
            // Few tasks have ports, so few hosts are named here.
            let taken = match self.0.get_mut(host) {
                Some(taken) => taken,
                None => self.0.entry(host.into()).or_default(),
            };
            *taken.entry(port).or_default() += 1;
        }
    }

    pub(crate) fn give_back(&mut self, host: &str, ports: impl Iterator<Item = u16>) {
        let Some(taken) = self.0.get_mut(host) else { return };
        for port in ports {
            if let Some(count) = taken.get_mut(&port) {
                *count -= 1;
                if *count == 0 {
                    taken.remove(&port);
                }
            }
        }
        if taken.is_empty() {
            self.0.remove(host);
        }
    }
}

/// The ports as a round of placement sees them: with what it has allotted itself.
#[derive(Clone)]
pub(crate) struct PortBook<'a> {
    before: &'a Ports,
    now: BTreeMap<Box<str>, BTreeSet<u16>>,
}

impl<'a> PortBook<'a> {
    pub(crate) const fn new(before: &'a Ports) -> Self {
        Self { before, now: BTreeMap::new() }
    }

    fn is_taken(&self, host: &str, port: u16) -> bool {
        self.before.is_taken(host, port) || self.now.get(host).is_some_and(|taken| taken.contains(&port))
    }

    /// The ports that these asks would get, by their names; `None` where one cannot be had now. `start` says where in
    /// the range to begin, so that a port that has just become free is not taken again at once.
    pub(crate) fn offer(
        &self,
        host: &str,
        range: Option<PortRange>,
        asks: &[PortAsk],
        start: u64,
    ) -> Option<BTreeMap<String, u16>> {
        let mut offered: BTreeMap<String, u16> = BTreeMap::new();
        let fixed: BTreeSet<u16> = asks.iter().filter_map(|ask| ask.port).collect();
        let mut rest = range.into_iter().flat_map(|r| in_turn(r, start));
        for ask in asks {
            let port = match ask.port {
                Some(port) => Some(port).filter(|port| !self.is_taken(host, *port)),
                None => rest.find(|port| !fixed.contains(port) && !self.is_taken(host, *port)),
            };
            offered.insert(ask.name.clone(), port?);
        }
        Some(offered)
    }

    pub(crate) fn take(&mut self, host: &str, ports: impl Iterator<Item = u16>) {
        let taken = self.now.entry(host.into()).or_default();
        taken.extend(ports);
    }
}

/// The ports of a range, from somewhere in it around to there again.
fn in_turn(range: PortRange, start: u64) -> impl Iterator<Item = u16> {
    let size = u64::from(range.size());
    let skip = u16::try_from(start % size.max(1)).unwrap_or(0);
    (range.from + skip..=range.to).chain(range.from..range.from + skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, port: Option<u16>) -> PortAsk {
        PortAsk { name: name.into(), port, to: None }
    }

    #[test]
    fn ports_are_offered_in_turn_and_never_twice() {
        let range = Some(PortRange { from: 10, to: 13 });
        let mut ports = Ports::default();
        ports.take("h", [11].into_iter());
        let mut book = PortBook::new(&ports);
        let asks = [ask("a", None), ask("b", Some(13)), ask("c", None)];
        let offered: Vec<_> = book.offer("h", range, &asks, 2).unwrap().into_values().collect();
        assert_eq!(offered, [12, 13, 10]);
        assert_eq!(book.offer("h", range, &[ask("a", Some(11))], 0), None, "taken before");
        book.take("h", offered.into_iter());
        assert_eq!(book.offer("h", range, &[ask("a", None)], 0), None, "all taken");
        assert_eq!(book.offer("i", range, &[ask("a", None)], 5).unwrap()["a"], 11);
        assert_eq!(book.offer("i", None, &[ask("a", None)], 0), None, "nothing to allot");
        ports.give_back("h", [11].into_iter());
        assert_eq!(ports, Ports::default());
    }
}
