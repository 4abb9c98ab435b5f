//! What came of a configuration, for whoever asked for it. Plain values.

use std::collections::BTreeMap;

use crate::datapath::OdpPort;
use crate::ofproto::OfPort;

/// What came of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Why there is no datapath at the moment.
    pub failure: Option<String>,
    /// Bridges by name.
    pub bridges: BTreeMap<String, BridgeOutcome>,
}

/// What came of a bridge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BridgeOutcome {
    /// Why it does not forward.
    pub error: Option<String>,
    /// Its datapath id.
    pub datapath_id: u64,
    /// `datapath_version`.
    pub datapath_version: String,
    /// Its interfaces by name, the local one among them; a text is that of `Interface.error`.
    pub interfaces: BTreeMap<String, Result<InterfaceOutcome, String>>,
}

/// An interface that could be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterfaceOutcome {
    /// OpenFlow number.
    pub ofport: OfPort,
    /// Datapath number; patch ports have none.
    pub odp: Option<OdpPort>,
}
