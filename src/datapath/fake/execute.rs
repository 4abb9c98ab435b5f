//! Carrying out datapath actions on a packet, in the fake kernel.
//!
//! What always holds: actions were validated before they are carried out, so that an unknown one
//! ends the walk and nothing else; recirculation is bounded. Supported: output, userspace, set and
//! masked set of Ethernet, IPv4, IPv6, TCP, UDP, SCTP, priority and mark, VLAN push and pop, sample,
//! clone, recirculation, hash, truncation, check_pkt_len, drop. All others are refused, as by a
//! kernel without them.
//!
//! Used under the fake kernel's lock.

use ovs_netlink::{
    attr::{Attr, Attrs},
    uapi,
};

use super::{
    Refusal,
    key::{DP_MAX_PORTS, ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, Key, VLAN_PRESENT},
    key::{IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP},
};

/// Nested sample and clone actions that the kernel follows.
const DEPTH_MAX: u32 = 3;

/// What carrying out actions brings about.
#[derive(Debug)]
pub(super) enum Effect {
    /// A packet leaves by a port.
    Output { port: u32, packet: Vec<u8> },
    /// A packet goes up to user space.
    Upcall { key: Key, packet: Vec<u8>, userdata: Option<Vec<u8>>, actions: Option<Vec<u8>> },
    /// A packet is looked up again.
    Recirculate { key: Key, packet: Vec<u8> },
}

/// Refuses actions that the kernel would refuse for a flow with this key.
pub(super) fn validate(actions: &[u8], key: &Key, depth: u32) -> Result<(), Refusal> {
    if depth > DEPTH_MAX {
        return Err(Refusal::new(libc::EOVERFLOW, "actions are nested too deep"));
    }
    for attr in Attrs::new(actions) {
        let attr = attr.map_err(|_| Refusal::invalid("malformed action"))?;
        validate_one(&attr, key, depth)?;
    }
    Ok(())
}

fn validate_one(attr: &Attr<'_>, key: &Key, depth: u32) -> Result<(), Refusal> {
    let bad = || Refusal::invalid("action has a wrong argument");
    match attr.kind {
        uapi::OVS_ACTION_ATTR_OUTPUT => match attr.u32() {
            Ok(port) if port < DP_MAX_PORTS => Ok(()),
            _ => Err(bad()),
        },
        uapi::OVS_ACTION_ATTR_USERSPACE => {
            match attr.attrs().find_kind(uapi::OVS_USERSPACE_ATTR_PID) {
                Ok(Some(pid)) if pid.u32().is_ok_and(|pid| pid != 0) => Ok(()),
                _ => Err(bad()),
            }
        }
        uapi::OVS_ACTION_ATTR_SET => validate_set(attr, key, false),
        uapi::OVS_ACTION_ATTR_SET_MASKED => validate_set(attr, key, true),
        uapi::OVS_ACTION_ATTR_PUSH_VLAN => match push_vlan(attr) {
            Some((tpid, tci))
                if matches!(tpid, ETH_P_8021Q | ETH_P_8021AD) && tci & VLAN_PRESENT != 0 =>
            {
                Ok(())
            }
            _ => Err(bad()),
        },
        uapi::OVS_ACTION_ATTR_POP_VLAN
        | uapi::OVS_ACTION_ATTR_RECIRC
        | uapi::OVS_ACTION_ATTR_DROP => Ok(()),
        uapi::OVS_ACTION_ATTR_HASH => match attr.array::<8>() {
            Ok([0, 0, 0, 0, ..]) => Ok(()),
            _ => Err(bad()),
        },
        uapi::OVS_ACTION_ATTR_TRUNC => match attr.u32() {
            Ok(len) if len >= 14 => Ok(()),
            _ => Err(bad()),
        },
        uapi::OVS_ACTION_ATTR_SAMPLE => {
            let inner = attr.attrs().find_kind(uapi::OVS_SAMPLE_ATTR_ACTIONS).ok().flatten();
            validate(inner.ok_or_else(bad)?.value, key, depth + 1)
        }
        uapi::OVS_ACTION_ATTR_CLONE => validate(attr.value, key, depth + 1),
        uapi::OVS_ACTION_ATTR_CHECK_PKT_LEN => {
            for kind in [
                uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER,
                uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL,
            ] {
                if let Some(inner) = attr.attrs().find_kind(kind).map_err(|_| bad())? {
                    validate(inner.value, key, depth + 1)?;
                }
            }
            Ok(())
        }
        _ => Err(Refusal::invalid("unknown action")),
    }
}

fn validate_set(attr: &Attr<'_>, key: &Key, masked: bool) -> Result<(), Refusal> {
    let Some(Ok(field)) = attr.attrs().next() else {
        return Err(Refusal::invalid("set action without a field"));
    };
    let len = if masked { field.value.len() / 2 } else { field.value.len() };
    let (proto, expected) = match field.kind {
        uapi::OVS_KEY_ATTR_PRIORITY | uapi::OVS_KEY_ATTR_SKB_MARK => (None, 4),
        uapi::OVS_KEY_ATTR_ETHERNET => (None, 12),
        uapi::OVS_KEY_ATTR_IPV4 if key.eth_type == ETH_P_IP => (None, 12),
        uapi::OVS_KEY_ATTR_IPV6 if key.eth_type == ETH_P_IPV6 => (None, 40),
        uapi::OVS_KEY_ATTR_TCP => (Some(IPPROTO_TCP), 4),
        uapi::OVS_KEY_ATTR_UDP => (Some(IPPROTO_UDP), 4),
        uapi::OVS_KEY_ATTR_SCTP => (Some(IPPROTO_SCTP), 4),
        _ => return Err(Refusal::invalid("field cannot be set")),
    };
    let fits = proto.is_none_or(|p| key.is_ip() && key.ip_proto == p);
    if len == expected && fits {
        Ok(())
    } else {
        Err(Refusal::invalid("field cannot be set in such packets"))
    }
}

fn push_vlan(attr: &Attr<'_>) -> Option<(u16, u16)> {
    let [t0, t1, c0, c1] = *attr.array::<4>().ok()?;
    Some((u16::from_be_bytes([t0, t1]), u16::from_be_bytes([c0, c1])))
}

/// A packet on its way through a list of actions.
pub(super) struct Walk<'e> {
    pub packet: Vec<u8>,
    pub key: Key,
    /// Largest number of bytes that the next output sends.
    pub cut: Option<usize>,
    pub effects: &'e mut Vec<Effect>,
}

impl Walk<'_> {
    /// Carries `actions` out.
    pub fn run(&mut self, actions: &[u8]) {
        for attr in Attrs::new(actions).map_while(Result::ok) {
            match attr.kind {
                uapi::OVS_ACTION_ATTR_OUTPUT => self.output(&attr),
                uapi::OVS_ACTION_ATTR_USERSPACE => self.userspace(&attr, actions),
                uapi::OVS_ACTION_ATTR_SET => self.set(&attr, false),
                uapi::OVS_ACTION_ATTR_SET_MASKED => self.set(&attr, true),
                uapi::OVS_ACTION_ATTR_PUSH_VLAN => self.push_vlan(&attr),
                uapi::OVS_ACTION_ATTR_POP_VLAN => self.pop_vlan(),
                uapi::OVS_ACTION_ATTR_TRUNC => self.cut = attr.u32().ok().map(|n| n as usize),
                uapi::OVS_ACTION_ATTR_HASH => self.key.dp_hash = self.hash(),
                uapi::OVS_ACTION_ATTR_RECIRC => {
                    self.key.recirc_id = attr.u32().unwrap_or(0);
                    let (key, packet) = (self.key, self.packet.clone());
                    self.effects.push(Effect::Recirculate { key, packet });
                }
                uapi::OVS_ACTION_ATTR_SAMPLE => self.sample(&attr),
                uapi::OVS_ACTION_ATTR_CLONE => self.branch(attr.value),
                uapi::OVS_ACTION_ATTR_CHECK_PKT_LEN => self.check_len(&attr),
                _ => return,
            }
        }
    }

    fn branch(&mut self, actions: &[u8]) {
        let packet = self.packet.clone();
        Walk { packet, key: self.key, cut: None, effects: self.effects }.run(actions);
    }

    fn output(&mut self, attr: &Attr<'_>) {
        let mut packet = self.packet.clone();
        if let Some(cut) = self.cut.take() {
            packet.truncate(cut);
        }
        self.effects.push(Effect::Output { port: attr.u32().unwrap_or(DP_MAX_PORTS), packet });
    }

    fn userspace(&mut self, attr: &Attr<'_>, list: &[u8]) {
        let find = |kind| attr.attrs().find_kind(kind).ok().flatten();
        let mut packet = self.packet.clone();
        if let Some(cut) = self.cut.take() {
            packet.truncate(cut);
        }
        self.effects.push(Effect::Upcall {
            key: self.key,
            packet,
            userdata: find(uapi::OVS_USERSPACE_ATTR_USERDATA).map(|a| a.value.to_vec()),
            actions: find(uapi::OVS_USERSPACE_ATTR_ACTIONS).map(|_| list.to_vec()),
        });
    }

    fn sample(&mut self, attr: &Attr<'_>) {
        let find = |kind| attr.attrs().find_kind(kind).ok().flatten();
        let odds = find(uapi::OVS_SAMPLE_ATTR_PROBABILITY).and_then(|a| a.u32().ok()).unwrap_or(0);
        // Without chance, so that tests repeat: half and above is always, below is never.
        if let (true, Some(inner)) = (odds >= 1 << 31, find(uapi::OVS_SAMPLE_ATTR_ACTIONS)) {
            self.branch(inner.value);
        }
    }

    fn check_len(&mut self, attr: &Attr<'_>) {
        let find = |kind| attr.attrs().find_kind(kind).ok().flatten();
        let limit = find(uapi::OVS_CHECK_PKT_LEN_ATTR_PKT_LEN).and_then(|a| a.u16().ok());
        let longer = self.packet.len() > usize::from(limit.unwrap_or(0));
        let kind = if longer {
            uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_GREATER
        } else {
            uapi::OVS_CHECK_PKT_LEN_ATTR_ACTIONS_IF_LESS_EQUAL
        };
        if let Some(inner) = find(kind) {
            self.run(inner.value);
        }
    }

    fn hash(&self) -> u32 {
        let words = [
            u32::from_ne_bytes(self.key.ipv4_src) ^ u32::from_ne_bytes(self.key.ipv4_dst),
            u32::from(self.key.tp_src) << 16 | u32::from(self.key.tp_dst),
            self.key.ip_proto.into(),
        ];
        let mixed = words.iter().fold(0x9e37_79b9_u32, |h, w| (h ^ w).wrapping_mul(0x85eb_ca6b));
        // As in the kernel, 0 is for "no hash".
        mixed.max(1)
    }

    fn push_vlan(&mut self, attr: &Attr<'_>) {
        if let (Some((tpid, tci)), true) = (push_vlan(attr), self.packet.len() >= 12) {
            let [t0, t1] = tpid.to_be_bytes();
            let [c0, c1] = (tci & !VLAN_PRESENT).to_be_bytes();
            self.packet.splice(12..12, [t0, t1, c0, c1]);
            self.extract();
        }
    }

    fn pop_vlan(&mut self) {
        if self.key.vlan.tci != 0 && self.packet.len() >= 16 {
            self.packet.drain(12..16);
            self.extract();
        }
    }

    fn set(&mut self, attr: &Attr<'_>, masked: bool) {
        let Some(Ok(field)) = attr.attrs().next() else { return };
        let half = if masked { field.value.len() / 2 } else { field.value.len() };
        let (value, mask) = field.value.split_at(half);
        let exact = vec![0xff; half];
        let mask = if masked { mask } else { &exact };
        let set = Assign { value, mask };
        let l3 =
            14 + 4 * usize::from(self.key.vlan.tci != 0) + 4 * usize::from(self.key.cvlan.tci != 0);
        match field.kind {
            uapi::OVS_KEY_ATTR_PRIORITY => self.key.priority = set.u32(self.key.priority),
            uapi::OVS_KEY_ATTR_SKB_MARK => self.key.skb_mark = set.u32(self.key.skb_mark),
            uapi::OVS_KEY_ATTR_ETHERNET => {
                // The attribute has the source first, the frame the destination.
                set.bytes(0..6, self.packet.get_mut(6..12));
                set.bytes(6..12, self.packet.get_mut(..6));
            }
            uapi::OVS_KEY_ATTR_IPV4 => self.set_ipv4(l3, &set),
            uapi::OVS_KEY_ATTR_IPV6 => self.set_ipv6(l3, &set),
            _ => {
                if let Some(l4) = self.l4_offset(l3) {
                    set.bytes(0..4, self.packet.get_mut(l4..l4 + 4));
                    self.fix_l4_checksum(l3, l4);
                }
            }
        }
        self.extract();
    }

    fn set_ipv4(&mut self, l3: usize, set: &Assign<'_>) {
        let Some(ip) = self.packet.get_mut(l3..) else { return };
        if ip.len() < 20 {
            return;
        }
        set.bytes(0..4, ip.get_mut(12..16));
        set.bytes(4..8, ip.get_mut(16..20));
        set.bytes(9..10, ip.get_mut(1..2));
        set.bytes(10..11, ip.get_mut(8..9));
        let header_len = usize::from(ip[0] & 0x0f) * 4;
        ip[10..12].fill(0);
        let sum = checksum(&[ip.get(..header_len).unwrap_or_default()]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        if let Some(l4) = self.l4_offset(l3) {
            self.fix_l4_checksum(l3, l4);
        }
    }

    fn set_ipv6(&mut self, l3: usize, set: &Assign<'_>) {
        let Some(ip) = self.packet.get_mut(l3..) else { return };
        let Some(head) = ip.first_chunk_mut::<40>() else { return };
        set.bytes(0..16, head.get_mut(8..24));
        set.bytes(16..32, head.get_mut(24..40));
        set.bytes(38..39, head.get_mut(7..8));
        let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut label = (word & 0xf_ffff).to_be_bytes();
        set.bytes(32..36, Some(&mut label));
        let mut class = [u8::try_from(word >> 20 & 0xff).unwrap_or(0)];
        set.bytes(37..38, Some(&mut class));
        let word = 6 << 28 | u32::from(class[0]) << 20 | u32::from_be_bytes(label) & 0xf_ffff;
        head[..4].copy_from_slice(&word.to_be_bytes());
        if let Some(l4) = self.l4_offset(l3) {
            self.fix_l4_checksum(l3, l4);
        }
    }

    fn l4_offset(&self, l3: usize) -> Option<usize> {
        match self.key.eth_type {
            _ if self.key.ip_frag == uapi::OVS_FRAG_TYPE_LATER => None,
            ETH_P_IP => Some(l3 + usize::from(self.packet.get(l3)? & 0x0f) * 4),
            ETH_P_IPV6 if self.key.exthdrs == 0 => Some(l3 + 40),
            _ => None,
        }
    }

    /// Computes the checksum of TCP, UDP or ICMPv6 anew; left alone in fragments.
    fn fix_l4_checksum(&mut self, l3: usize, l4: usize) {
        let at = match self.key.ip_proto {
            _ if self.key.ip_frag != uapi::OVS_FRAG_TYPE_NONE => return,
            IPPROTO_TCP => l4 + 16,
            IPPROTO_UDP if self.packet.get(l4 + 6..l4 + 8) == Some(&[0, 0]) => return,
            IPPROTO_UDP => l4 + 6,
            IPPROTO_ICMPV6 if self.key.eth_type == ETH_P_IPV6 => l4 + 2,
            _ => return,
        };
        let addresses = if self.key.eth_type == ETH_P_IP { 12..20 } else { 8..40 };
        let (start, end) = (l3 + addresses.start, l3 + addresses.end);
        if let Some(field) = self.packet.get_mut(at..at + 2) {
            field.fill(0);
        }
        let (Some(addresses), Some(body)) = (self.packet.get(start..end), self.packet.get(l4..))
        else {
            return;
        };
        let len = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
        let sum = checksum(&[addresses, &len, &[0, self.key.ip_proto], body]);
        if let Some(field) = self.packet.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }

    fn extract(&mut self) {
        // It has an Ethernet header: it was looked at before, and nothing shortens it below that.
        let _ = self.key.extract(&self.packet);
    }
}

/// Value and mask of a set action.
struct Assign<'a> {
    value: &'a [u8],
    mask: &'a [u8],
}

impl Assign<'_> {
    /// Writes the argument's bytes `from` over the packet's `to`, where the mask says so.
    fn bytes(&self, from: std::ops::Range<usize>, to: Option<&mut [u8]>) {
        let (Some(value), Some(mask), Some(to)) =
            (self.value.get(from.clone()), self.mask.get(from), to)
        else {
            return;
        };
        for ((byte, v), m) in to.iter_mut().zip(value).zip(mask) {
            *byte = *byte & !m | v & m;
        }
    }

    fn u32(&self, old: u32) -> u32 {
        let mut bytes = old.to_ne_bytes();
        self.bytes(0..4, Some(&mut bytes));
        u32::from_ne_bytes(bytes)
    }
}

/// The Internet checksum (RFC 1071) over the parts; all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
