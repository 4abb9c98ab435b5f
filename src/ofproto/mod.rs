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

use std::fmt;

/// An OpenFlow port number, in its OpenFlow 1.0 form (16 bits) as the peer uses it inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OfPort(pub u16);

impl OfPort {
    /// The bridge's own internal device.
    pub const LOCAL: Self = Self(0xfffe);
    /// No port: the packet was made by a controller.
    pub const NONE: Self = Self(0xffff);
    /// A controller.
    pub const CONTROLLER: Self = Self(0xfffd);
    /// First number that is not free for a port.
    pub const MAX: Self = Self(0xff00);

    /// The port in the form that a flow's `in_port` has.
    pub fn in_port(self) -> u32 {
        u32::from(self.0)
    }
}

impl fmt::Debug for OfPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for OfPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LOCAL => f.write_str("LOCAL"),
            Self::NONE => f.write_str("NONE"),
            Self::CONTROLLER => f.write_str("CONTROLLER"),
            Self(n) => write!(f, "{n}"),
        }
    }
}
