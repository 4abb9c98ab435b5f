//! What a kernel's datapath can do, as found by trying it.
//!
//! What always holds: every feature was tried with a request that the kernel does not log, its
//! answer is kept with the error number, and nothing that the trial made is left behind.
//!
//! Plain values: any thread.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the kernel chooses the handler of an upcall.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Dispatch {
    /// By the CPU that the packet came in on (Linux 5.15 and later).
    #[default]
    PerCpu,
    /// By a hash over the packet, among the handlers of its port.
    PerVport,
}

impl fmt::Display for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerCpu => "per-cpu",
            Self::PerVport => "per-vport",
        })
    }
}

/// Result of one probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Feature<T> {
    /// What was found.
    pub value: T,
    /// The error number that said no (or said where the limit is), 0 for none.
    pub errno: i32,
}

impl<T> Feature<T> {
    /// A feature that was found without an error.
    pub const fn found(value: T) -> Self {
        Self { value, errno: 0 }
    }
}

/// What the kernel can do. The default is nothing; so are features that an older recording does not
/// name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Support {
    /// How upcalls are dispatched.
    pub dispatch: Dispatch,
    /// Release of the running kernel, as `uname -r`.
    pub kernel: String,
    /// Whether the kernel refuses user features that it does not know, so that those it accepted
    /// mean something.
    pub refuses_unknown_features: bool,
    /// Flows can be named by a 128-bit id.
    pub ufid: Feature<bool>,
    /// Recirculation.
    pub recirc: Feature<bool>,
    /// How many VLAN tags a key can match.
    pub max_vlan_headers: Feature<u32>,
    /// How many MPLS labels a key can match.
    pub max_mpls_depth: Feature<u32>,
    /// Set actions with a mask.
    pub masked_set: Feature<bool>,
    /// The truncate action.
    pub trunc: Feature<bool>,
    /// The clone action.
    pub clone: Feature<bool>,
    /// How deep sample actions may be nested.
    pub sample_nesting: Feature<u32>,
    /// Matching conntrack state.
    pub ct_state: Feature<bool>,
    /// Matching the conntrack zone.
    pub ct_zone: Feature<bool>,
    /// Matching the conntrack mark.
    pub ct_mark: Feature<bool>,
    /// Matching conntrack labels.
    pub ct_label: Feature<bool>,
    /// Matching the NAT bits of the conntrack state.
    pub ct_state_nat: Feature<bool>,
    /// Matching the conntrack original IPv4 tuple.
    pub ct_orig_tuple: Feature<bool>,
    /// Matching the conntrack original IPv6 tuple.
    pub ct_orig_tuple6: Feature<bool>,
    /// The ct action's event mask.
    pub ct_eventmask: Feature<bool>,
    /// The ct_clear action.
    pub ct_clear: Feature<bool>,
    /// Source translation to 0.0.0.0 in the ct action: the port may change, the address stays.
    pub ct_zero_snat: Feature<bool>,
    /// The ct action's timeout policy.
    pub ct_timeout: Feature<bool>,
    /// Highest algorithm of the hash action.
    pub max_hash_alg: Feature<u32>,
    /// The check_pkt_len action.
    pub check_pkt_len: Feature<bool>,
    /// The drop action with a reason.
    pub drop_action: Feature<bool>,
    /// The add_mpls action.
    pub add_mpls: Feature<bool>,
    /// The psample action.
    pub psample: Feature<bool>,
}
