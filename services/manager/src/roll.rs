//! Which standbys there are, by what they say of themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_events::id::NodeName;
use muster_events::leadership::{Heard, Standby};
use tokio::time::Instant;

/// How often a standby says that it is there.
pub(crate) const BEAT: Duration = Duration::from_secs(1);
/// How long it is believed to be there without saying so again.
const BELIEVED: Duration = Duration::from_secs(5);
/// The most that are known at a time; of more the leader hears nothing, and they take over all the same.
const ROLL_MAX: usize = 64;

/// The standbys a leader has heard of lately. Nothing is decided from it but whether a planned hand-over has somebody to
/// go to.
#[derive(Default)]
pub(crate) struct Roll {
    heard: BTreeMap<NodeName, Word>,
}

/// What one said, and when. How far it was behind is reckoned then: a second later the leader is further.
struct Word {
    standby: Standby,
    behind: u64,
    at: Instant,
}

impl Roll {
    /// Takes note of what one says to a leader at `position`.
    pub(crate) fn note(&mut self, standby: Standby, position: u64, now: Instant) {
        self.heard.retain(|_, word| now.duration_since(word.at) < BELIEVED);
        if standby.leaving {
            self.heard.remove(&standby.node);
        } else if self.heard.len() < ROLL_MAX || self.heard.contains_key(&standby.node) {
            let behind = position.saturating_sub(standby.position);
            self.heard.insert(standby.node.clone(), Word { standby, behind, at: now });
        }
    }

    /// Those that are there.
    pub(crate) fn present(&self, now: Instant) -> Vec<Heard> {
        let words = self.heard.values().map(|word| (word, now.duration_since(word.at)));
        let present = words.filter(|(_, age)| *age < BELIEVED);
        present
            .map(|(word, age)| Heard {
                standby: word.standby.clone(),
                behind: word.behind,
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            })
            .collect()
    }

    /// Whether one is there that takes the lead when it is free.
    pub(crate) fn has_successor(&self, now: Instant) -> bool {
        self.present(now).iter().any(|heard| heard.standby.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standby(name: &str, ready: bool, leaving: bool) -> Standby {
        Standby { node: NodeName::new(name).unwrap(), seq: 7, position: 3, ready, leaving }
    }

    #[test]
    fn who_is_silent_or_has_left_is_not_there_and_who_still_folds_is_no_successor() {
        let (mut roll, start) = (Roll::default(), Instant::now());
        roll.note(standby("m-2", false, false), 5, start);
        assert_eq!((roll.present(start).len(), roll.present(start)[0].behind), (1, 2));
        assert!(!roll.has_successor(start));
        roll.note(standby("m-3", true, false), 5, start + BEAT);
        assert!(roll.has_successor(start + BEAT));
        assert!(!roll.has_successor(start + BEAT + BELIEVED), "m-3 is silent");
        roll.note(standby("m-3", true, true), 5, start + BEAT);
        assert!(!roll.has_successor(start + BEAT), "m-3 has left");
        assert_eq!(roll.present(start + BEAT)[0].age_ms, 1_000);
    }

    #[test]
    fn more_than_it_holds_are_passed_over() {
        let (mut roll, now) = (Roll::default(), Instant::now());
        for n in 0..=ROLL_MAX {
            roll.note(standby(&format!("m-{n}"), true, false), 5, now);
        }
        roll.note(standby("m-0", true, false), 5, now);
        assert_eq!(roll.present(now).len(), ROLL_MAX);
    }
}
