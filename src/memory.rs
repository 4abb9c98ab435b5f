//! `memory/show`: how many there are of the things that cost memory.
//!
//! Modules offer counts under the peer's names (`handlers`, `ports`, `rules`, ...); counts of the
//! same name add up, and what is zero is left out. Control thread only.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Counts by name, sorted.
pub type Usage = BTreeMap<String, u64>;

type Provider = Box<dyn Fn(&mut Usage)>;

/// Who can say how many there are. Clones share the providers.
#[derive(Clone, Default)]
pub struct Memory {
    providers: Rc<RefCell<Vec<Provider>>>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.usage()).finish()
    }
}

impl Memory {
    /// Adds a provider: it adds its counts to the map with [`add`].
    pub fn provide(&self, provider: impl Fn(&mut Usage) + 'static) {
        self.providers.borrow_mut().push(Box::new(provider));
    }

    /// All counts now.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::new();
        for provider in self.providers.borrow().iter() {
            provider(&mut usage);
        }
        usage
    }

    /// The counts in one line, as the peer logs and shows them: `handlers:1 ports:3`.
    pub fn report(&self) -> String {
        let counts: Vec<String> =
            self.usage().iter().map(|(name, count)| format!("{name}:{count}")).collect();
        counts.join(" ")
    }
}

/// Adds `count` under `name`; nothing for zero.
pub fn add(usage: &mut Usage, name: &str, count: u64) {
    if count > 0 {
        *usage.entry(name.to_owned()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_in_one_line() {
        let memory = Memory::default();
        assert_eq!(memory.report(), "");
        memory.provide(|usage| {
            add(usage, "ports", 2);
            add(usage, "rules", 0);
        });
        memory.provide(|usage| {
            add(usage, "ports", 1);
            add(usage, "handlers", 1);
        });
        assert_eq!(memory.report(), "handlers:1 ports:3");
    }
}
