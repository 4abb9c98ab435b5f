//! The OpenFlow switch's state: port numbers, rules and tables.
//!
//! Today a bridge has what a bridge without a controller has: table 0 with one rule of priority 0
//! whose action is NORMAL. The tables are real classifiers, so that the rules a controller adds
//! find their place.
//!
//! Tables are read by handler and revalidator threads and written by the control thread, each
//! under [`Tables`]' lock, never across a system call.

mod rule;
mod tables;

pub use rule::{OfpAction, Rule, RuleId};
pub use tables::{TableId, Tables};

pub use crate::flow::port::OfPort;
