//! Which CPUs there are, and how upcalls of each find a handler.
//!
//! What always holds: at least one handler; every CPU that may ever come up has an entry in the
//! table. Where the machine tells nothing, the CPUs that this process may use stand for all.
//!
//! Plain values: any thread.

use std::fs;

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

/// The machine's CPUs at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cpus {
    /// CPUs that this process may run on.
    pub ours: usize,
    /// CPUs that run.
    pub online: usize,
    /// Highest number that a CPU can have, plus one.
    pub possible: usize,
}

impl Cpus {
    /// As they are now.
    pub fn now() -> Self {
        let ours = sched_getaffinity(Pid::from_raw(0)).map_or(0, |set| {
            (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).count()
        });
        let read = |name| {
            let text = fs::read_to_string(format!("/sys/devices/system/cpu/{name}"));
            text.map_or((0, 0), |text| parse_list(text.trim()))
        };
        Self { ours, online: read("online").0, possible: read("possible").1 }.completed()
    }

    fn completed(self) -> Self {
        let ours = self.ours.max(1);
        let online = self.online.max(ours);
        Self { ours, online, possible: self.possible.max(online) }
    }

    /// How many handlers serve these CPUs: one for each of ours. When the process has not all of
    /// them, upcalls of the others are spread over some more handlers, a prime number, so that
    /// regular patterns of CPU numbers do not meet at one handler (the peer's rule).
    pub fn handlers(&self) -> usize {
        if self.ours >= self.online || self.online <= 2 {
            return self.ours;
        }
        let prime = (self.ours + 1..).find(|&n| is_prime(n)).unwrap_or(self.online);
        prime.min(self.online)
    }

    /// The port ids among which the kernel spreads a port's packets: it takes as many as there can be
    /// CPUs. Of more handlers each port has others.
    pub fn handlers_of(&self, port: u32, handlers: &[u32]) -> Vec<u32> {
        let first = (port as usize).checked_rem(handlers.len()).unwrap_or(0);
        let from_first = handlers.iter().copied().cycle().skip(first);
        from_first.take(handlers.len().min(self.possible)).collect()
    }

    /// The kernel's table: for each CPU number the port id of its handler.
    pub fn table(&self, handlers: &[u32]) -> Vec<u32> {
        handlers.iter().copied().cycle().take(self.possible.max(handlers.len())).collect()
    }
}

fn is_prime(n: usize) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

/// Reads "0-3,8": how many numbers, and the highest plus one.
fn parse_list(text: &str) -> (usize, usize) {
    let (mut count, mut end) = (0, 0);
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>())
            && first <= last
            && last < CpuSet::count() * 64
        {
            count += last - first + 1;
            end = end.max(last + 1);
        }
    }
    (count, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_list("0-3,8"), (5, 9));
        assert_eq!(parse_list("0"), (1, 1));
        for nonsense in ["", "x", "3-1", "0-99999999999", "-"] {
            assert_eq!(parse_list(nonsense), (0, 0), "{nonsense}");
        }
    }

    // As the peer's rule gives them (3.1.0), but for the first row: there it ends with no handler.
    #[test]
    fn handlers_are_never_none_and_prime_when_cpus_are_missing() {
        let handlers =
            |ours, online| Cpus { ours, online, possible: online }.completed().handlers();
        let cases = [(0, 0, 1), (0, 1, 1), (1, 2, 1), (2, 2, 2), (2, 4, 3), (3, 4, 4), (8, 16, 11)];
        for (ours, online, expected) in cases {
            assert_eq!(handlers(ours, online), expected, "{ours} of {online}");
        }
        assert_eq!(handlers(15, 16), 16);
    }

    #[test]
    fn ports_have_as_many_handlers_as_the_kernel_takes() {
        let cpus = Cpus { ours: 1, online: 1, possible: 2 };
        assert_eq!(cpus.handlers_of(0, &[7, 8, 9]), [7, 8]);
        assert_eq!(cpus.handlers_of(5, &[7, 8, 9]), [9, 7]);
        assert_eq!(cpus.handlers_of(1, &[7, 8]), [8, 7]);
        assert_eq!(cpus.handlers_of(1, &[7]), [7]);
        assert_eq!(cpus.handlers_of(1, &[]), [0; 0]);
    }

    #[test]
    fn every_cpu_has_a_handler() {
        let cpus = Cpus { ours: 2, online: 4, possible: 10 };
        assert_eq!(cpus.table(&[7, 8, 9]), [7, 8, 9, 7, 8, 9, 7, 8, 9, 7]);
        assert_eq!(Cpus { ours: 1, online: 1, possible: 1 }.table(&[7, 8]), [7, 8]);
        assert!(Cpus::now().handlers() >= 1);
    }
}
