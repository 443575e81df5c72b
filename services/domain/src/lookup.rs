//! A map that is asked by key and never walked, but in the order of its keys: the one place in the core where there are
//! hashes.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize, Serializer};

/// A map for what is looked for often among very many, by ids that are random. In a tree of a million each look
/// fetches a dozen places of memory, here one or two.
///
/// The order of its hashes shows nowhere: it is walked in the order of the keys, sorted for it. So their keys may be
/// random as the standard library makes them, against ids that are chosen to collide, and all who read a log still have
/// the same state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent, bound(deserialize = "K: Deserialize<'de> + Eq + Hash, V: Deserialize<'de>"))]
pub(crate) struct Lookup<K: Eq + Hash, V>(HashMap<K, V>);

impl<K: Eq + Hash, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Ord, V> Lookup<K, V> {
    /// What stands under `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// Whether something stands under `key`.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `value` under `key`; gives what stood there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Takes what stands under `key`.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        self.0.remove(key)
    }

    /// All of them in the order of their keys. Sorts them: not for what is done often.
    pub(crate) fn sorted(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    /// The same, to change them.
    pub(crate) fn sorted_mut(&mut self) -> impl ExactSizeIterator<Item = (&K, &mut V)> {
        let mut all: Vec<_> = self.0.iter_mut().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }
}

impl<K: Eq + Hash + Ord, V> FromIterator<(K, V)> for Lookup<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl<K: Eq + Hash + Ord + Serialize, V: Serialize> Serialize for Lookup<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.sorted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_walked_and_written_in_the_order_of_its_keys() {
        let mut lookup: Lookup<u32, u32> = (0..1000).rev().map(|n| (n, n)).collect();
        lookup.sorted_mut().zip(1..).for_each(|((_, value), place)| *value += place);
        assert!(lookup.sorted().map(|(key, value)| (*key, *value)).eq((0..1000).map(|n| (n, 2 * n + 1))));
        let written = serde_json::to_string(&lookup).unwrap();
        assert!(written.starts_with(r#"{"0":1,"1":3,"2":5,"#), "{written}");
        assert_eq!(serde_json::from_str::<Lookup<u32, u32>>(&written).unwrap(), lookup);
    }
}
