//! What breaks.

use std::time::Duration;

use futures_util::FutureExt;
use muster_events::id::NodeName;
use muster_log::bus::SnapshotStore;
use muster_log::memory::Weather;

use crate::agenda::Later;
use crate::nodes::{LEASE, Part};
use crate::world::World;

/// Orders, heartbeats and pieces of output that a server without power may lose of each.
const TAIL_MAX: u64 = 8;

impl World {
    fn seconds(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.chance.between(from_ms, to_ms))
    }

    fn any_node(&mut self, which: impl Fn(&Part) -> bool) -> Option<usize> {
        let fit: Vec<_> = (0..self.nodes.len()).filter(|n| which(&self.nodes[*n].part)).collect();
        self.chance.pick(&fit).copied()
    }

    /// Breaks one thing; what mends it goes onto the agenda.
    pub(crate) fn break_something(&mut self) {
        let Some(node) = self.any_node(|_| true) else { return };
        let Some(manager) = self.any_node(|p| matches!(p, Part::Manager(_))) else { return };
        let Some(worker) = self.any_node(|p| matches!(p, Part::Worker(..))) else { return };
        match self.chance.below(100) {
            0..=13 => self.crash(manager),
            14..=26 => self.crash(worker),
            27..=30 => {
                self.count("power");
                if let Part::Worker(_, host) = &self.nodes[worker].part {
                    self.trace.say(format_args!("{} loses its power", self.nodes[worker].name));
                    host.lose_power();
                }
                self.crash(worker);
            }
            31..=36 => {
                self.count("shut down");
                self.nodes[node].shut_down();
                let after = self.seconds(100, 14_000);
                self.agenda.put(after, Later::Start(node));
            }
            37..=51 => self.cut(node),
            52..=59 => self.pause(manager),
            60..=64 => self.pause(worker),
            65..=71 => {
                self.count("lead");
                self.trace.say("the lead is taken away");
                let stranger = (NodeName::new("m-x").unwrap(), LEASE);
                self.bus.take_lead_away(Some(stranger).filter(|_| self.chance.per_mille(300)));
            }
            72..=80 => self.server_dies(),
            81..=86 => self.set_clock(node),
            87..=90 => self.damage_snapshot(),
            91..=92 => {
                if let Some(api) = self.any_node(|p| matches!(p, Part::Api)) {
                    self.crash(api);
                }
            }
            _ => self.bad_weather(),
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    fn crash(&mut self, node: usize) {
        self.count("crash");
        let points = self.chance.between(1, 16);
        match self.nodes[node].line().filter(|_| self.chance.per_mille(500)) {
            Some(line) => {
                self.trace.say(format_args!("{} dies {points} points from here", self.nodes[node].name));
                line.kill_after(Some(points));
            }
            None => self.nodes[node].crash(),
        }
        let after =
            if self.chance.per_mille(100) { self.seconds(15_000, 40_000) } else { self.seconds(0, 6_000) };
        self.agenda.put(after, Later::Start(node));
    }

    fn cut(&mut self, node: usize) {
        self.count("cut");
        let Some(line) = self.nodes[node].line() else { return };
        self.trace.say(format_args!("the line of {} is cut", self.nodes[node].name));
        line.set_cut(true);
        let after =
            if self.chance.per_mille(150) { self.seconds(10_000, 40_000) } else { self.seconds(50, 6_000) };
        self.agenda.put(after, Later::Mend(node));
    }

    fn pause(&mut self, node: usize) {
        self.count("pause");
        let Some(line) = self.nodes[node].line() else { return };
        self.trace.say(format_args!("{} stands still", self.nodes[node].name));
        line.set_paused(true);
        let after =
            if self.chance.per_mille(150) { self.seconds(10_000, 40_000) } else { self.seconds(100, 8_000) };
        self.agenda.put(after, Later::Resume(node));
    }

    fn server_dies(&mut self) {
        self.count("server");
        self.trace.say("the server loses its power");
        for node in &self.nodes {
            if let Some(line) = node.line() {
                line.set_cut(true);
            }
        }
        self.clients.line().set_cut(true);
        self.bus.lose_tails(TAIL_MAX, &mut self.chance);
        let after = self.seconds(50, 4_000);
        self.agenda.put(after, Later::MendAll);
    }

    fn set_clock(&mut self, node: usize) {
        self.count("clock");
        let by_ms = i64::try_from(self.chance.between(500, 90_000)).unwrap();
        let by_ms = if self.chance.per_mille(500) { -by_ms } else { by_ms };
        self.trace.say(format_args!("the clock of {} is set by {by_ms} ms", self.nodes[node].name));
        self.nodes[node].machine.set_clock(by_ms * 1_000);
    }

    fn damage_snapshot(&mut self) {
        self.count("snapshot");
        let Some(Ok(kept)) = self.bus.snapshots().now_or_never() else { return };
        let Some(snapshot) = self.chance.pick(&kept).copied() else { return };
        let (at, cut) = (self.chance.below(snapshot.bytes), self.chance.per_mille(300));
        self.trace.say(format_args!("the snapshot of {} is damaged at byte {at}", snapshot.position));
        self.bus.damage_snapshot(snapshot.position, |bytes| {
            let at = usize::try_from(at).unwrap();
            if cut {
                bytes.truncate(at);
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x10;
            }
        });
        self.damaged.insert(snapshot.position);
    }

    fn bad_weather(&mut self) {
        self.count("weather");
        let mut times = |max| if self.chance.per_mille(500) { self.chance.below(max) } else { 0 };
        self.weather = Weather {
            slow: times(300),
            unsent: times(150),
            unheard: times(150),
            twice: times(300),
            broken: times(20),
        };
        self.trace.say(format_args!("{:?}", self.weather));
        self.set_weather();
        let after = self.seconds(1_000, 10_000);
        self.agenda.put(after, Later::FineWeather);
    }

    pub(crate) fn set_weather(&self) {
        for node in &self.nodes {
            if let Some(line) = node.line() {
                line.set_weather(self.weather);
            }
        }
        self.clients.line().set_weather(self.weather);
    }

    /// What was put down for this moment.
    pub(crate) fn do_later(&mut self, what: Later) {
        match what {
            Later::Start(node) => {
                self.nodes[node].look();
                if self.nodes[node].lives() {
                    // It was told to end and takes its time; whoever runs it has waited long enough.
                    self.nodes[node].crash();
                }
                let weather = self.weather;
                self.nodes[node].start(&self.bus, weather);
            }
            Later::Mend(node) => self.mend(node, |line| line.set_cut(false), "line is mended"),
            Later::Resume(node) => self.mend(node, |line| line.set_paused(false), "goes on"),
            Later::MendAll => {
                self.trace.say("the server is back");
                self.nodes.iter().filter_map(|node| node.line()).for_each(|line| line.set_cut(false));
                self.clients.line().set_cut(false);
            }
            Later::FineWeather => {
                self.trace.say("fine weather");
                self.weather = Weather::default();
                self.set_weather();
            }
        }
    }

    fn mend(&self, node: usize, mend: impl Fn(&muster_log::memory::FaultyBus), words: &str) {
        if let Some(line) = self.nodes[node].line() {
            self.trace.say(format_args!("{}: {words}", self.nodes[node].name));
            mend(line);
        }
    }
}
