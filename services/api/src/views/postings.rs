//! Sets of numbers that are mostly of size one: a name that one task bears, a job of one task.

use roaring::RoaringBitmap;

/// A set of task ordinals. The first costs no allocation.
#[derive(Clone, Debug)]
pub(crate) enum Postings {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    pub(crate) fn insert(&mut self, ordinal: u32) {
        match self {
            Self::One(first) if *first == ordinal => {}
            Self::One(first) => *self = Self::Many(Box::new([*first, ordinal].into_iter().collect())),
            Self::Many(set) => {
                set.insert(ordinal);
            }
        }
    }

    /// Takes one out; whether none is left.
    pub(crate) fn remove(&mut self, ordinal: u32) -> bool {
        match self {
            Self::One(only) => *only == ordinal,
            Self::Many(set) => {
                set.remove(ordinal);
                set.is_empty()
            }
        }
    }

    /// Keeps of `set` what is in this one too.
    pub(crate) fn restrict(&self, set: &mut RoaringBitmap) {
        match self {
            Self::One(only) => {
                let kept = set.contains(*only);
                set.clear();
                if kept {
                    set.insert(*only);
                }
            }
            Self::Many(other) => *set &= other.as_ref(),
        }
    }
}
