//! The rule tables of one bridge.

use std::sync::Arc;

use super::{OfpAction, Rule, RuleId};
use crate::flow::{Flow, FlowWildcards};

/// Number of a table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TableId(pub u8);

/// See the module's page.
pub struct Tables {
    default_rule: Arc<Rule>,
}

impl Tables {
    /// What a bridge without a controller has: one rule of priority 0 that says NORMAL.
    pub fn standalone() -> Self {
        Self { default_rule: Arc::new(Rule::new(RuleId(1), 0, 0, vec![OfpAction::Normal])) }
    }

    /// The rule of `table` that decides `flow`; the bits that the search read are added to `wc`.
    pub fn lookup(&self, _: TableId, _: &Flow, _: &mut FlowWildcards) -> Option<Arc<Rule>> {
        Some(self.default_rule.clone())
    }
}
