//! The answers of then beside the answers of now.
//!
//! What always holds: a message is counted once, as equal, as equal in another batch (a handler with
//! a backlog answers in another order than it reads), or as different.

use std::collections::HashMap;

use super::said::{Said, plain, split};
use crate::datapath::FamilyIds;
use crate::odp::format::PortNames;

/// A message that has no equal on the other side, with the one that stands in its place if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Handler that had the batch.
    pub handler: u16,
    /// Number of the batch, counted by handler.
    pub batch: u32,
    /// What was sent then.
    pub recorded: Option<String>,
    /// What is sent now.
    pub replayed: Option<String>,
}

/// The sums, and what does not agree.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Upcalls decided.
    pub upcalls: u64,
    /// Flow puts of now.
    pub puts: u64,
    /// Packets sent now.
    pub executes: u64,
    /// Messages that are byte for byte those of then.
    pub equal: u64,
    /// Those of them that were sent with another batch.
    pub elsewhere: u64,
    only_then: Vec<Lone>,
    only_now: Vec<Lone>,
}

#[derive(Clone, Debug)]
struct Lone {
    handler: u16,
    batch: u32,
    message: Vec<u8>,
}

impl Comparison {
    /// Takes the answers to a batch, of then and of now.
    pub fn batch(
        &mut self,
        (handler, batch): (u16, u32),
        recorded: &[Vec<u8>],
        replayed: &[u8],
        families: FamilyIds,
    ) {
        let mut then: Vec<Option<Vec<u8>>> =
            recorded.iter().map(|message| Some(plain(message))).collect();
        for (at, message) in split(replayed).into_iter().enumerate() {
            match Said::parse(message, families) {
                Said::Put { .. } => self.puts += 1,
                Said::Execute { .. } => self.executes += 1,
                Said::Other(_) => {}
            }
            let message = plain(message);
            let same = |other: &Option<Vec<u8>>| other.as_ref() == Some(&message);
            let found = then.get(at).filter(|other| same(other)).map(|_| at);
            match found.or_else(|| then.iter().position(same)) {
                Some(found) => {
                    self.equal += 1;
                    if let Some(slot) = then.get_mut(found) {
                        *slot = None;
                    }
                }
                None => self.only_now.push(Lone { handler, batch, message }),
            }
        }
        let left = then.into_iter().flatten();
        self.only_then.extend(left.map(|message| Lone { handler, batch, message }));
    }

    /// Ends the comparison: what stands in another batch on the other side is taken for equal, the
    /// rest is told, in order of the file.
    pub fn finish(&mut self, names: &PortNames, families: FamilyIds) -> Vec<Difference> {
        let mut then: HashMap<Vec<u8>, u64> = HashMap::new();
        for lone in &self.only_then {
            *then.entry(lone.message.clone()).or_default() += 1;
        }
        let mut matched: HashMap<Vec<u8>, u64> = HashMap::new();
        self.only_now.retain(|lone| match then.get_mut(&lone.message).filter(|n| **n > 0) {
            Some(n) => {
                *n -= 1;
                *matched.entry(lone.message.clone()).or_default() += 1;
                false
            }
            None => true,
        });
        self.only_then.retain(|lone| match matched.get_mut(&lone.message).filter(|n| **n > 0) {
            Some(n) => {
                *n -= 1;
                self.equal += 1;
                self.elsewhere += 1;
                false
            }
            None => true,
        });
        self.pair(names, families)
    }

    fn pair(&mut self, names: &PortNames, families: FamilyIds) -> Vec<Difference> {
        let kind = |lone: &Lone| match Said::parse(&lone.message, families) {
            Said::Put { .. } => 0,
            Said::Execute { .. } => 1,
            Said::Other(_) => 2,
        };
        let text = |lone: &Lone| Some(Said::parse(&lone.message, families).text(names));
        // Those of one batch and kind are paired in the order in which they were sent.
        let mut now: HashMap<(u16, u32, i32), std::collections::VecDeque<Lone>> = HashMap::new();
        for lone in std::mem::take(&mut self.only_now) {
            now.entry((lone.handler, lone.batch, kind(&lone))).or_default().push_back(lone);
        }
        let mut differences = Vec::new();
        for lone in std::mem::take(&mut self.only_then) {
            let (handler, batch) = (lone.handler, lone.batch);
            let twin = now.get_mut(&(handler, batch, kind(&lone))).and_then(|l| l.pop_front());
            let replayed = twin.as_ref().and_then(text);
            differences.push(Difference { handler, batch, recorded: text(&lone), replayed });
        }
        let rest = now.into_values().flatten().map(|lone| Difference {
            handler: lone.handler,
            batch: lone.batch,
            recorded: None,
            replayed: text(&lone),
        });
        differences.extend(rest);
        differences.sort_by_key(|difference| (difference.batch, difference.handler));
        differences
    }
}
