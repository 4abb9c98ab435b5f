//! The rule tables of one bridge.
//!
//! Each table is a classifier behind a reader-writer lock; a lookup takes the reader side for the
//! time it needs and clones the handle of the rule that won.

use std::sync::{Arc, RwLock};

use super::{OfpAction, Rule, RuleId};
use crate::classifier::{Classifier, Version};
use crate::flow::mini::MiniMatch;
use crate::flow::{Flow, FlowWildcards};

/// Number of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TableId(pub u8);

/// See the module's page.
pub struct Tables {
    /// Table 0; others come with the messages that fill them.
    first: RwLock<Classifier<Arc<Rule>>>,
}

/// The version in which rules are made and looked up, as long as nobody changes them in bundles.
const VERSION: Version = Version::MIN;

impl Tables {
    /// What a bridge without a controller has: one rule of priority 0 that says NORMAL.
    pub fn standalone() -> Self {
        let mut first = Classifier::default();
        let everything = MiniMatch::new(&Flow::ZERO, &FlowWildcards::CATCHALL);
        let rule = Arc::new(Rule::new(RuleId(1), 0, 0, vec![OfpAction::Normal]));
        // An empty classifier has no rule in the way.
        let _ = first.insert(&everything, 0, VERSION, rule);
        Self { first: RwLock::new(first) }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.first.read().unwrap_or_else(|e| e.into_inner()).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a bridge has that forwards by a controller's rules only, before it has any.
    pub fn secure() -> Self {
        Self { first: RwLock::new(Classifier::default()) }
    }

    /// The rule of `table` that decides `flow`; the bits that the search read are added to `wc`.
    pub fn lookup(&self, table: TableId, flow: &Flow, wc: &mut FlowWildcards) -> Option<Arc<Rule>> {
        if table != TableId(0) {
            return None;
        }
        let first = self.first.read().unwrap_or_else(|e| e.into_inner());
        first.lookup(VERSION, flow, Some(wc)).map(|rule| rule.handle().clone())
    }
}
