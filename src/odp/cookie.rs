//! The cookie of a userspace action: what comes back with a packet that an action sends up.
//!
//! The layout is the peer's, so that its tools can print it: 48 bytes, kind, OpenFlow input port,
//! the bridge's identifier, and a part that depends on the kind. Bytes between fields are zero.
//!
//! What always holds: reading what was written gives the same cookie; a cookie of another size or
//! of unknown kind is no cookie. Plain values: any thread.

use bitflags::bitflags;
use zerocopy::byteorder::native_endian as ne;
use zerocopy::byteorder::network_endian as be;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an encoded cookie.
pub const COOKIE_LEN: usize = 48;

/// What a packet was sent up for, and all that is needed to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserCookie {
    /// OpenFlow number of the input port; 0xffff for none.
    pub ofp_in_port: u32,
    /// Which bridge put the action there.
    pub ofproto: [u8; 16],
    /// What for.
    pub reason: CookieReason,
}

/// What a packet was sent up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieReason {
    /// Sampled for sFlow.
    Sflow {
        /// TCI that the packet leaves with.
        vlan_tci: u16,
        /// Output as sFlow encodes it.
        output: u32,
    },
    /// The flow's packets are all to be looked at.
    SlowPath(SlowPathReason),
    /// Sampled for IPFIX by a sample action.
    FlowSample {
        /// Fraction of 65535.
        probability: u16,
        /// Collector set.
        collector_set_id: u32,
        /// Observation domain.
        obs_domain_id: u32,
        /// Observation point.
        obs_point_id: u32,
        /// Datapath number of the output port; [`ODPP_NONE`](super::key::ODPP_NONE) for none.
        output_odp_port: u32,
        /// Which side of the output port.
        direction: SampleDirection,
    },
    /// Sampled for IPFIX by the bridge.
    Ipfix {
        /// Datapath number of the output port; [`ODPP_NONE`](super::key::ODPP_NONE) for none.
        output_odp_port: u32,
    },
    /// To be sent to a controller.
    Controller {
        /// Count the packet, but do not send it.
        dont_send: bool,
        /// Send it with the state needed to resume.
        continuation: bool,
        /// `OFPR_*`.
        reason: u16,
        /// Frozen state to take the metadata from.
        recirc_id: u32,
        /// Cookie of the rule.
        rule_cookie: u64,
        /// Which controller.
        controller_id: u16,
        /// Bytes of the packet to send.
        max_len: u16,
    },
}

/// Side of a port on which a sample is taken (`NX_ACTION_SAMPLE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum SampleDirection {
    /// Not said.
    #[default]
    Default = 0,
    /// As the packet comes in.
    Ingress = 1,
    /// As it goes out.
    Egress = 2,
}

bitflags! {
    /// Why the packets of a flow cannot be left to the datapath.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SlowPathReason: u32 {
        /// Connectivity fault management packets.
        const CFM = 1;
        /// Bidirectional forwarding detection packets.
        const BFD = 1 << 1;
        /// Link aggregation control packets.
        const LACP = 1 << 2;
        /// Spanning tree packets.
        const STP = 1 << 3;
        /// Link layer discovery packets.
        const LLDP = 1 << 4;
        /// An action that the datapath does not have.
        const ACTION = 1 << 5;
        /// A match that the datapath cannot make.
        const MATCH = 1 << 6;
    }
}

impl SlowPathReason {
    /// The reasons with the names that tools print, in the order of their bits.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::CFM, "cfm"),
        (Self::BFD, "bfd"),
        (Self::LACP, "lacp"),
        (Self::STP, "stp"),
        (Self::LLDP, "lldp"),
        (Self::ACTION, "action"),
        (Self::MATCH, "match"),
    ];
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    kind: ne::U16,
    pad: [u8; 2],
    ofp_in_port: ne::U32,
    ofproto: [u8; 16],
    rest: [u8; 24],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Pair {
    short: ne::U16,
    pad: [u8; 2],
    long: ne::U32,
    unused: [u8; 16],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FlowSample {
    probability: ne::U16,
    pad: [u8; 2],
    collector_set_id: ne::U32,
    obs_domain_id: ne::U32,
    obs_point_id: ne::U32,
    output_odp_port: ne::U32,
    direction: ne::U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Ipfix {
    output_odp_port: ne::U32,
    unused: [u8; 20],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Controller {
    dont_send: u8,
    continuation: u8,
    reason: ne::U16,
    recirc_id: ne::U32,
    rule_cookie: be::U64,
    controller_id: ne::U16,
    max_len: ne::U16,
    unused: [u8; 4],
}

const SFLOW: u16 = 1;
const SLOW_PATH: u16 = 2;
const FLOW_SAMPLE: u16 = 3;
const IPFIX: u16 = 4;
const CONTROLLER: u16 = 5;

impl UserCookie {
    /// Reads a cookie; `None` when these bytes are not one.
    pub fn parse(userdata: &[u8]) -> Option<Self> {
        let head = Head::ref_from_bytes(userdata).ok()?;
        let rest = &head.rest;
        let reason = match head.kind.get() {
            SFLOW => {
                let [t0, t1, ..] = *rest;
                let output = zerocopy::transmute_ref!(rest);
                let Pair { long, .. } = output;
                // The TCI is in network order, unlike the rest.
                let vlan_tci = u16::from_be_bytes([t0, t1]);
                CookieReason::Sflow { vlan_tci, output: long.get() }
            }
            SLOW_PATH => {
                let Pair { long, .. } = zerocopy::transmute_ref!(rest);
                CookieReason::SlowPath(SlowPathReason::from_bits_retain(long.get()))
            }
            FLOW_SAMPLE => {
                let s: &FlowSample = zerocopy::transmute_ref!(rest);
                CookieReason::FlowSample {
                    probability: s.probability.get(),
                    collector_set_id: s.collector_set_id.get(),
                    obs_domain_id: s.obs_domain_id.get(),
                    obs_point_id: s.obs_point_id.get(),
                    output_odp_port: s.output_odp_port.get(),
                    direction: match s.direction.get() {
                        0 => SampleDirection::Default,
                        1 => SampleDirection::Ingress,
                        2 => SampleDirection::Egress,
                        _ => return None,
                    },
                }
            }
            IPFIX => {
                let Ipfix { output_odp_port, .. } = zerocopy::transmute_ref!(rest);
                CookieReason::Ipfix { output_odp_port: output_odp_port.get() }
            }
            CONTROLLER => {
                let c: &Controller = zerocopy::transmute_ref!(rest);
                CookieReason::Controller {
                    dont_send: c.dont_send != 0,
                    continuation: c.continuation != 0,
                    reason: c.reason.get(),
                    recirc_id: c.recirc_id.get(),
                    rule_cookie: c.rule_cookie.get(),
                    controller_id: c.controller_id.get(),
                    max_len: c.max_len.get(),
                }
            }
            _ => return None,
        };
        let (ofp_in_port, ofproto) = (head.ofp_in_port.get(), head.ofproto);
        Some(Self { ofp_in_port, ofproto, reason })
    }

    /// The cookie as userdata.
    pub fn encode(&self) -> [u8; COOKIE_LEN] {
        let (kind, rest): (u16, [u8; 24]) = match self.reason {
            CookieReason::Sflow { vlan_tci, output } => {
                (SFLOW, Pair::bytes(ne::U16::from_bytes(vlan_tci.to_be_bytes()), output))
            }
            CookieReason::SlowPath(reason) => (SLOW_PATH, Pair::bytes(0.into(), reason.bits())),
            CookieReason::FlowSample {
                probability,
                collector_set_id,
                obs_domain_id,
                obs_point_id,
                output_odp_port,
                direction,
            } => {
                let sample = FlowSample {
                    probability: probability.into(),
                    pad: [0; 2],
                    collector_set_id: collector_set_id.into(),
                    obs_domain_id: obs_domain_id.into(),
                    obs_point_id: obs_point_id.into(),
                    output_odp_port: output_odp_port.into(),
                    direction: (direction as u32).into(),
                };
                (FLOW_SAMPLE, zerocopy::transmute!(sample))
            }
            CookieReason::Ipfix { output_odp_port } => {
                let ipfix = Ipfix { output_odp_port: output_odp_port.into(), unused: [0; 20] };
                (IPFIX, zerocopy::transmute!(ipfix))
            }
            CookieReason::Controller {
                dont_send,
                continuation,
                reason,
                recirc_id,
                rule_cookie,
                controller_id,
                max_len,
            } => {
                let controller = Controller {
                    dont_send: dont_send.into(),
                    continuation: continuation.into(),
                    reason: reason.into(),
                    recirc_id: recirc_id.into(),
                    rule_cookie: rule_cookie.into(),
                    controller_id: controller_id.into(),
                    max_len: max_len.into(),
                    unused: [0; 4],
                };
                (CONTROLLER, zerocopy::transmute!(controller))
            }
        };
        zerocopy::transmute!(Head {
            kind: kind.into(),
            pad: [0; 2],
            ofp_in_port: self.ofp_in_port.into(),
            ofproto: self.ofproto,
            rest,
        })
    }
}

impl Pair {
    fn bytes(short: ne::U16, long: u32) -> [u8; 24] {
        zerocopy::transmute!(Self { short, pad: [0; 2], long: long.into(), unused: [0; 16] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reasons() -> impl Strategy<Value = CookieReason> {
        let sample = any::<(u16, u32, u32, u32, u32, u8)>();
        let controller = any::<(bool, bool, u16, u32, u64, u16, u16)>();
        prop_oneof![
            any::<(u16, u32)>()
                .prop_map(|(vlan_tci, output)| CookieReason::Sflow { vlan_tci, output }),
            any::<u32>().prop_map(|v| CookieReason::SlowPath(SlowPathReason::from_bits_retain(v))),
            sample.prop_map(|(probability, set, domain, point, output_odp_port, direction)| {
                CookieReason::FlowSample {
                    probability,
                    collector_set_id: set,
                    obs_domain_id: domain,
                    obs_point_id: point,
                    output_odp_port,
                    direction: match direction % 3 {
                        0 => SampleDirection::Default,
                        1 => SampleDirection::Ingress,
                        _ => SampleDirection::Egress,
                    },
                }
            }),
            any::<u32>().prop_map(|output_odp_port| CookieReason::Ipfix { output_odp_port }),
            controller.prop_map(
                |(dont_send, continuation, reason, recirc_id, rule_cookie, id, max_len)| {
                    CookieReason::Controller {
                        dont_send,
                        continuation,
                        reason,
                        recirc_id,
                        rule_cookie,
                        controller_id: id,
                        max_len,
                    }
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn a_cookie_written_is_that_cookie(ofp_in_port: u32, ofproto: [u8; 16], reason in reasons()) {
            let cookie = UserCookie { ofp_in_port, ofproto, reason };
            prop_assert_eq!(UserCookie::parse(&cookie.encode()), Some(cookie));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if UserCookie::parse(&bytes).is_some() {
                prop_assert_eq!(bytes.len(), COOKIE_LEN);
            }
        }
    }

    // As the peer's `controller(...)` cookie is laid out by a C compiler on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn layout_is_the_peers() {
        let cookie = UserCookie {
            ofp_in_port: 1,
            ofproto: [7; 16],
            reason: CookieReason::Controller {
                dont_send: false,
                continuation: true,
                reason: 1,
                recirc_id: 2,
                rule_cookie: 3,
                controller_id: 4,
                max_len: 0xffff,
            },
        };
        let mut bytes = vec![5, 0, 0, 0, 1, 0, 0, 0];
        bytes.extend([7; 16]);
        bytes
            .extend([0, 1, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(cookie.encode()[..], bytes);
    }
}
