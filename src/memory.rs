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

/// Time between two looks at the size of the process.
const CHECK_INTERVAL_MS: u64 = 10_000;

/// Notices when the process has grown. Pure.
#[derive(Debug, Default)]
pub struct Watch {
    next_check_ms: u64,
    reported: Option<Reported>,
}

#[derive(Clone, Copy, Debug)]
struct Reported {
    at_ms: u64,
    peak_kb: u64,
}

impl Watch {
    /// At `now_ms` since the start the process has had `peak_kb` in memory at most. Gives a line
    /// to log, in the peer's words, after ten seconds and whenever it has grown by half.
    pub fn check(&mut self, now_ms: u64, peak_kb: u64) -> Option<String> {
        if now_ms < self.next_check_ms.max(CHECK_INTERVAL_MS) {
            return None;
        }
        self.next_check_ms = now_ms + CHECK_INTERVAL_MS;
        let line = match self.reported {
            None => format!(
                "{peak_kb} kB peak resident set size after {:.1} seconds",
                now_ms as f64 / 1000.0
            ),
            Some(last) if peak_kb * 2 >= last.peak_kb * 3 => format!(
                "peak resident set size grew {:.0}% in last {:.1} seconds, from {} kB to {} kB",
                (peak_kb as f64 / last.peak_kb.max(1) as f64 - 1.0) * 100.0,
                now_ms.saturating_sub(last.at_ms) as f64 / 1000.0,
                last.peak_kb,
                peak_kb
            ),
            Some(_) => return None,
        };
        self.reported = Some(Reported { at_ms: now_ms, peak_kb });
        Some(line)
    }
}

/// The most that this process has had in memory so far, in kB (getrusage(2)).
pub fn peak_rss_kb() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.ok().and_then(|usage| u64::try_from(usage.max_rss()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_by_half_is_worth_a_line() {
        let mut watch = Watch::default();
        assert_eq!(watch.check(9_999, 4132), None);
        // A line that ovs-vswitchd 3.1.0 logged.
        let want = "4132 kB peak resident set size after 15.0 seconds";
        assert_eq!(watch.check(15_000, 4132).as_deref(), Some(want));
        assert_eq!(watch.check(24_000, 100_000), None);
        assert_eq!(watch.check(26_000, 6197), None);
        assert_eq!(
            watch.check(37_500, 6198).as_deref(),
            Some("peak resident set size grew 50% in last 22.5 seconds, from 4132 kB to 6198 kB")
        );
    }

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
