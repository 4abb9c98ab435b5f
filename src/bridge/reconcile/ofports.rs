//! OpenFlow port numbers of one bridge, given as the peer gives them.
//!
//! What always holds: no two interfaces have the same number; an interface keeps its number for as long
//! as it is configured, unless it asks for another one or somebody else asks for its; a number whose
//! interface is gone is the last to be given again, so that flows of a controller that still name it
//! meet nobody.

use std::collections::BTreeMap;

use crate::bridge::config::InterfaceConfig;
use crate::ofproto::OfPort;

/// Highest number that an interface can ask for (`OFPP_MAX` is 0xff00).
const REQUEST_MAX: u16 = 65_279;

/// Highest number that is given without asking; those above are left to who asks.
const GIVEN_MAX: u16 = 32_767;

/// See the module's page.
#[derive(Default)]
pub(super) struct OfPorts {
    by_name: BTreeMap<String, OfPort>,
    by_number: BTreeMap<OfPort, String>,
    /// Numbers whose interfaces are gone, with the order in which they went.
    retired: BTreeMap<OfPort, u64>,
    retirements: u64,
    last: u16,
}

impl OfPorts {
    /// The number of an interface.
    pub(super) fn get(&self, name: &str) -> Option<OfPort> {
        self.by_name.get(name).copied()
    }

    /// Numbers the interfaces that are there: the number asked for, the one it has, the one it had in
    /// an earlier run, or the next unused. `is_configured` tells which names keep theirs though they are
    /// not there.
    pub(super) fn number<'a>(
        &mut self,
        there: impl Iterator<Item = (&'a str, &'a InterfaceConfig)> + Clone,
        is_configured: impl Fn(&str) -> bool,
        config: impl Fn(&str) -> Option<&'a InterfaceConfig>,
    ) {
        let gone = self.by_name.keys().filter(|name| !is_configured(name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.retire(&name);
        }
        let wish = |interface: &InterfaceConfig| valid(interface.ofport_request);
        for (name, interface) in there.clone() {
            let Some(wanted) = wish(interface).filter(|wanted| self.get(name) != Some(*wanted))
            else {
                continue;
            };
            if let Some(holder) = self.by_number.get(&wanted).cloned() {
                // Who asks for the same and has it keeps it.
                if config(&holder).and_then(wish) == Some(wanted) {
                    continue;
                }
                self.retire(&holder);
            }
            self.retire(name);
            self.give(name, wanted);
        }
        let is_first = self.last == 0;
        for (name, interface) in there.clone() {
            let recorded = valid(interface.ofport_recorded)
                .filter(|ofp| self.get(name).is_none() && !self.by_number.contains_key(ofp));
            if let Some(recorded) = recorded {
                self.give(name, recorded);
                if is_first && recorded.0 <= GIVEN_MAX {
                    self.last = self.last.max(recorded.0);
                }
            }
        }
        for (name, _) in there {
            if self.get(name).is_none()
                && let Some(next) = self.next()
            {
                self.give(name, next);
            }
        }
    }

    /// Takes the number of an interface that is not the same any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.retire(name);
    }

    fn give(&mut self, name: &str, ofp: OfPort) {
        self.retired.remove(&ofp);
        self.by_name.insert(name.to_owned(), ofp);
        self.by_number.insert(ofp, name.to_owned());
    }

    fn retire(&mut self, name: &str) {
        if let Some(ofp) = self.by_name.remove(name) {
            self.by_number.remove(&ofp);
            self.retirements += 1;
            self.retired.insert(ofp, self.retirements);
        }
    }

    /// The next number that nobody has or had; once there is none, the one that has been free for the
    /// longest time.
    fn next(&mut self) -> Option<OfPort> {
        for _ in 0..GIVEN_MAX {
            self.last = if self.last >= GIVEN_MAX { 1 } else { self.last + 1 };
            let next = OfPort(self.last);
            if !self.by_number.contains_key(&next) && !self.retired.contains_key(&next) {
                return Some(next);
            }
        }
        let given = self.retired.iter().filter(|(ofp, _)| ofp.0 <= GIVEN_MAX);
        given.min_by_key(|(_, order)| **order).map(|(ofp, _)| *ofp)
    }
}

/// A number that an interface can have.
fn valid(number: Option<u16>) -> Option<OfPort> {
    number.filter(|number| (1..=REQUEST_MAX).contains(number)).map(OfPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Wish<'a> = (&'a str, Option<u16>, Option<u16>);

    /// Numbers `interfaces` (name, request, recorded) and tells the numbers.
    fn number(ofports: &mut OfPorts, interfaces: &[Wish<'_>]) -> Vec<u16> {
        let configs: BTreeMap<&str, InterfaceConfig> = interfaces
            .iter()
            .map(|(name, ofport_request, ofport_recorded)| {
                let config = InterfaceConfig {
                    ofport_request: *ofport_request,
                    ofport_recorded: *ofport_recorded,
                    ..InterfaceConfig::default()
                };
                (*name, config)
            })
            .collect();
        let there = configs.iter().map(|(name, config)| (*name, config));
        let is_configured = |name: &str| configs.contains_key(name);
        ofports.number(there, is_configured, |name| configs.get(name));
        interfaces.iter().map(|(name, ..)| ofports.get(name).unwrap().0).collect()
    }

    // The expectations are those of the peer's ofproto (alloc_ofp_port) and of its test "ofport_request".
    #[test]
    fn requests_first_then_records_then_the_next() {
        let mut ofports = OfPorts::default();
        let wishes = [("a", None, None), ("b", None, Some(7)), ("c", Some(1), Some(7))];
        assert_eq!(number(&mut ofports, &wishes), [8, 7, 1]);
        let more = [wishes[0], wishes[1], wishes[2], ("d", None, None), ("e", Some(65_279), None)];
        assert_eq!(number(&mut ofports, &more), [8, 7, 1, 9, 65_279]);
    }

    #[test]
    fn what_is_asked_for_is_taken_from_who_did_not_ask() {
        let mut ofports = OfPorts::default();
        assert_eq!(number(&mut ofports, &[("a", None, None), ("b", None, None)]), [1, 2]);
        assert_eq!(number(&mut ofports, &[("a", None, None), ("b", Some(1), None)]), [3, 1]);
        // Two ask for the same: who has it keeps it.
        assert_eq!(number(&mut ofports, &[("a", Some(1), None), ("b", Some(1), None)]), [3, 1]);
        // Two exchange their numbers.
        assert_eq!(number(&mut ofports, &[("a", Some(1), None), ("b", Some(3), None)]), [1, 3]);
    }

    #[test]
    fn numbers_out_of_range_are_no_request() {
        let mut ofports = OfPorts::default();
        let wishes = [("a", Some(0), None), ("b", Some(65_280), Some(65_534))];
        assert_eq!(number(&mut ofports, &wishes), [1, 2]);
    }

    #[test]
    fn numbers_of_the_gone_come_last() {
        let mut ofports = OfPorts::default();
        assert_eq!(number(&mut ofports, &[("a", None, None), ("b", None, None)]), [1, 2]);
        assert_eq!(number(&mut ofports, &[("b", None, None)]), [2]);
        assert_eq!(number(&mut ofports, &[("a", None, None), ("b", None, None)]), [3, 2]);
        ofports.last = GIVEN_MAX - 1;
        let three = [("a", None, None), ("b", None, None), ("c", None, None)];
        assert_eq!(number(&mut ofports, &three), [3, 2, GIVEN_MAX]);
        let four = [three[0], three[1], three[2], ("d", None, None)];
        assert_eq!(number(&mut ofports, &four), [3, 2, GIVEN_MAX, 4]);
    }

    #[test]
    fn when_all_are_used_the_longest_free_is_given() {
        let mut ofports = OfPorts::default();
        for n in 1..=GIVEN_MAX {
            ofports.give(&n.to_string(), OfPort(n));
        }
        assert_eq!(ofports.next(), None);
        ofports.retire("9");
        ofports.retire("5");
        assert_eq!(ofports.next(), Some(OfPort(9)));
    }
}
