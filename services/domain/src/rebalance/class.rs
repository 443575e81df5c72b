//! What a plan knows of a class of tasks: on which workers it could ever run, and what it wishes of them.

use std::collections::BTreeMap;

use muster_events::id::WorkerId;

use crate::groups::Group;
use crate::placement::{Wishes, suited};
use crate::state::{Class, State};

/// The most classes that are kept in mind; then all are forgotten, and looked at anew where one comes again.
const CLASSES_MAX: usize = 256;

/// A class.
pub(super) struct View {
    /// The rows it could ever run on, in order.
    pub(super) suited: Vec<u32>,
    /// The same, row by row.
    pub(super) suits: Vec<bool>,
    pub(super) wishes: Option<Wishes>,
}

/// Every class that was looked at.
#[derive(Default)]
pub(super) struct Views {
    views: BTreeMap<Class, View>,
    /// By group, which tasks are about to leave which workers, and which come.
    shifts: BTreeMap<Group, Vec<(WorkerId, bool)>>,
}

impl Views {
    /// A task of a group comes to a worker, or leaves it.
    pub(super) fn shift(&mut self, state: &State, group: Option<Group>, worker: &WorkerId, comes: bool) {
        let Some(group) = group else { return };
        let alike = self.views.iter_mut().filter(|(class, _)| class.group.as_ref() == Some(&group));
        for wishes in alike.filter_map(|(_, view)| view.wishes.as_mut()) {
            wishes.count(state, worker, comes);
        }
        self.shifts.entry(group).or_default().push((worker.clone(), comes));
    }

    pub(super) fn of(&mut self, state: &State, class: &Class) -> &mut View {
        if self.views.len() >= CLASSES_MAX && !self.views.contains_key(class) {
            self.views.clear();
        }
        // A class is only copied where it is new.
        if !self.views.contains_key(class) {
            let view = View::new(state, class, &self.shifts);
            self.views.insert(class.clone(), view);
        }
        self.views.entry(class.clone()).or_insert_with(|| View::new(state, class, &self.shifts))
    }
}

impl View {
    fn new(state: &State, class: &Class, shifts: &BTreeMap<Group, Vec<(WorkerId, bool)>>) -> Self {
        let suited = suited(&state.fleet, class);
        let mut suits = vec![false; state.fleet.active() as usize];
        suited.iter().for_each(|row| suits[*row as usize] = true);
        let mut wishes = Wishes::new(class, state, &suited);
        if let Some(wishes) = &mut wishes {
            let shifts = class.group.iter().filter_map(|group| shifts.get(group)).flatten();
            shifts.for_each(|(worker, comes)| wishes.count(state, worker, *comes));
        }
        Self { suited, suits, wishes }
    }
}
