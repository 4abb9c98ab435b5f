//! The fake kernel's flow key: read from a packet, read from attributes with its mask, written as
//! attributes.
//!
//! What always holds: the rules are the module's own as they can be observed on its socket (order of
//! attributes in upcalls and dumps, what it accepts and refuses). Written apart from this program's
//! own extraction, so that each checks the other. Tunnels, NSH and conntrack tuples are refused.
//!
//! Plain values: any thread.

use ovs_netlink::{
    attr::{Attr, AttrError, AttrWriter, Attrs},
    uapi,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::Refusal;

pub(super) const ETH_P_IP: u16 = 0x0800;
pub(super) const ETH_P_ARP: u16 = 0x0806;
pub(super) const ETH_P_RARP: u16 = 0x8035;
pub(super) const ETH_P_8021Q: u16 = 0x8100;
pub(super) const ETH_P_8021AD: u16 = 0x88a8;
pub(super) const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_MPLS_UC: u16 = 0x8847;
const ETH_P_MPLS_MC: u16 = 0x8848;
/// What the kernel takes for the type of a frame with an LLC header.
const ETH_P_802_2: u16 = 0x0004;
const ETH_P_802_3_MIN: u16 = 0x0600;
/// Stands for "no port" in a key.
pub(super) const DP_MAX_PORTS: u32 = 0xffff;
/// "Tag present", in the place of the CFI bit.
pub(super) const VLAN_PRESENT: u16 = 0x1000;
pub(super) const IPPROTO_ICMP: u8 = 1;
pub(super) const IPPROTO_TCP: u8 = 6;
pub(super) const IPPROTO_UDP: u8 = 17;
pub(super) const IPPROTO_ICMPV6: u8 = 58;
pub(super) const IPPROTO_SCTP: u8 = 132;

/// A key, or with the same layout the bits of a mask. Numbers in host order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Key {
    pub recirc_id: u32,
    pub dp_hash: u32,
    pub priority: u32,
    pub in_port: u32,
    pub skb_mark: u32,
    pub ct_state: u32,
    pub ct_mark: u32,
    pub ipv6_label: u32,
    pub mpls: [u32; 3],
    pub ct_labels: [u8; 16],
    pub ipv6_src: [u8; 16],
    pub ipv6_dst: [u8; 16],
    pub nd_target: [u8; 16],
    pub ipv4_src: [u8; 4],
    pub ipv4_dst: [u8; 4],
    pub eth_src: [u8; 6],
    pub eth_dst: [u8; 6],
    pub arp_sha: [u8; 6],
    pub arp_tha: [u8; 6],
    pub nd_sll: [u8; 6],
    pub nd_tll: [u8; 6],
    pub ct_zone: u16,
    pub eth_type: u16,
    pub vlan: Vlan,
    pub cvlan: Vlan,
    pub tp_src: u16,
    pub tp_dst: u16,
    pub tcp_flags: u16,
    pub exthdrs: u16,
    /// Protocol, or the lower byte of the ARP operation.
    pub ip_proto: u8,
    pub ip_tos: u8,
    pub ip_ttl: u8,
    pub ip_frag: u8,
}

/// A tag; TCI 0 when there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Vlan {
    pub tpid: u16,
    pub tci: u16,
}

impl Key {
    /// The key's bits under the mask.
    pub fn masked(&self, mask: &Self) -> Self {
        let mut out = *self;
        for (byte, bits) in out.as_mut_bytes().iter_mut().zip(mask.as_bytes()) {
            *byte &= bits;
        }
        out
    }

    /// Reads the headers of a frame; the metadata stay as they are.
    pub fn extract(&mut self, frame: &[u8]) -> Result<(), Refusal> {
        let kept = *self;
        *self = Self {
            recirc_id: kept.recirc_id,
            dp_hash: kept.dp_hash,
            priority: kept.priority,
            in_port: kept.in_port,
            skb_mark: kept.skb_mark,
            ct_state: kept.ct_state,
            ct_mark: kept.ct_mark,
            ct_zone: kept.ct_zone,
            ct_labels: kept.ct_labels,
            ..Self::new_zeroed()
        };
        let Some((macs, rest)) = frame.split_first_chunk::<12>().filter(|_| frame.len() >= 14)
        else {
            return Err(Refusal::invalid("frame is shorter than an Ethernet header"));
        };
        self.eth_dst.copy_from_slice(&macs[..6]);
        self.eth_src.copy_from_slice(&macs[6..]);
        let mut at = rest;
        (self.vlan, at) = tag(at);
        if self.vlan.tci != 0 {
            (self.cvlan, at) = tag(at);
        }
        let l3;
        (self.eth_type, l3) = ether_type(at);
        match self.eth_type {
            ETH_P_IP => self.extract_ipv4(l3),
            ETH_P_IPV6 => self.extract_ipv6(l3),
            ETH_P_ARP | ETH_P_RARP => self.extract_arp(l3),
            ETH_P_MPLS_UC | ETH_P_MPLS_MC => {
                for (lse, bytes) in self.mpls.iter_mut().zip(l3.chunks_exact(4)) {
                    *lse = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    if *lse & 0x100 != 0 {
                        break;
                    }
                }
            }
            _ => (),
        }
        Ok(())
    }

    fn extract_ipv4(&mut self, l3: &[u8]) {
        let Some(head) = l3.first_chunk::<20>() else { return };
        let header_len = usize::from(head[0] & 0x0f) * 4;
        if header_len < 20 || l3.len() < header_len {
            return;
        }
        self.ipv4_src.copy_from_slice(&head[12..16]);
        self.ipv4_dst.copy_from_slice(&head[16..20]);
        (self.ip_proto, self.ip_tos, self.ip_ttl) = (head[9], head[1], head[8]);
        let fragment = u16::from_be_bytes([head[6], head[7]]);
        if fragment & 0x1fff != 0 {
            self.ip_frag = uapi::OVS_FRAG_TYPE_LATER;
            return;
        }
        if fragment & 0x2000 != 0 {
            self.ip_frag = uapi::OVS_FRAG_TYPE_FIRST;
        }
        self.extract_l4(&l3[header_len..], IPPROTO_ICMP);
    }

    fn extract_ipv6(&mut self, l3: &[u8]) {
        let Some((head, mut rest)) = l3.split_first_chunk::<40>() else { return };
        self.ipv6_src.copy_from_slice(&head[8..24]);
        self.ipv6_dst.copy_from_slice(&head[24..40]);
        let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        self.ipv6_label = word & 0xf_ffff;
        self.ip_tos = word.to_be_bytes()[0] << 4 | word.to_be_bytes()[1] >> 4;
        self.ip_ttl = head[7];
        let mut next = head[6];
        loop {
            let (bit, len) = match next {
                0 => (0x40, 0),
                43 => (0x20, 0),
                60 => (0x08, 0),
                44 => (0x10, 8),
                51 => (0x04, 0),
                _ => break,
            };
            self.exthdrs |= bit;
            let Some(ext) = rest.first_chunk::<8>() else {
                // The chain runs out of the packet.
                self.ip_proto = 59;
                if next == 44 {
                    (self.ip_frag, self.ip_proto) = match *rest {
                        [_, _, o0, o1, ..] if o0 != 0 || o1 & 0xf8 != 0 => {
                            (uapi::OVS_FRAG_TYPE_LATER, 44)
                        }
                        [_, _, ..] => (uapi::OVS_FRAG_TYPE_FIRST, 59),
                        _ => (uapi::OVS_FRAG_TYPE_NONE, 59),
                    };
                }
                return;
            };
            let len = match (next, len) {
                (51, _) => (usize::from(ext[1]) + 2) * 4,
                (_, 0) => (usize::from(ext[1]) + 1) * 8,
                (_, fixed) => fixed,
            };
            if next == 44 {
                let offset = u16::from_be_bytes([ext[2], ext[3]]);
                if offset & 0xfff8 != 0 {
                    self.ip_frag = uapi::OVS_FRAG_TYPE_LATER;
                    self.ip_proto = 44;
                    return;
                }
                self.ip_frag = uapi::OVS_FRAG_TYPE_FIRST;
            }
            next = ext[0];
            rest = rest.get(len..).unwrap_or_default();
        }
        self.exthdrs |= match next {
            59 => 0x01,
            50 => 0x02,
            _ => 0,
        };
        self.ip_proto = next;
        self.extract_l4(rest, IPPROTO_ICMPV6);
    }

    fn extract_l4(&mut self, l4: &[u8], icmp: u8) {
        let ports =
            |l4: &[u8]| (u16::from_be_bytes([l4[0], l4[1]]), u16::from_be_bytes([l4[2], l4[3]]));
        match self.ip_proto {
            IPPROTO_TCP if l4.len() >= 20 && usize::from(l4[12] >> 4) * 4 >= 20 => {
                (self.tp_src, self.tp_dst) = ports(l4);
                self.tcp_flags = u16::from_be_bytes([l4[12], l4[13]]) & 0x0fff;
            }
            IPPROTO_UDP if l4.len() >= 8 => (self.tp_src, self.tp_dst) = ports(l4),
            IPPROTO_SCTP if l4.len() >= 12 => (self.tp_src, self.tp_dst) = ports(l4),
            proto if proto == icmp && l4.len() >= 8 => {
                (self.tp_src, self.tp_dst) = (l4[0].into(), l4[1].into());
                if icmp == IPPROTO_ICMPV6 && l4[1] == 0 && matches!(l4[0], 135 | 136) {
                    self.extract_nd(&l4[8..]);
                }
            }
            _ => (),
        }
    }

    fn extract_nd(&mut self, body: &[u8]) {
        let Some((target, mut options)) = body.split_first_chunk::<16>() else { return };
        self.nd_target = *target;
        while options.len() >= 8 {
            let (kind, len) = (options[0], usize::from(options[1]) * 8);
            if len == 0 || len > options.len() {
                return;
            }
            let slot = match kind {
                1 if len == 8 => Some(&mut self.nd_sll),
                2 if len == 8 => Some(&mut self.nd_tll),
                _ => None,
            };
            if let Some(slot) = slot {
                if *slot != [0; 6] {
                    // The same option twice: nothing of it is believed.
                    self.nd_target = [0; 16];
                    (self.nd_sll, self.nd_tll) = ([0; 6], [0; 6]);
                    return;
                }
                slot.copy_from_slice(&options[2..8]);
            }
            options = &options[len..];
        }
    }

    fn extract_arp(&mut self, l3: &[u8]) {
        let Some(arp) = l3.first_chunk::<28>() else { return };
        if arp[..6] != [0, 1, 8, 0, 6, 4] {
            return;
        }
        self.ip_proto = if arp[6] == 0 { arp[7] } else { 0 };
        self.arp_sha.copy_from_slice(&arp[8..14]);
        self.ipv4_src.copy_from_slice(&arp[14..18]);
        self.arp_tha.copy_from_slice(&arp[18..24]);
        self.ipv4_dst.copy_from_slice(&arp[24..28]);
    }

    /// Writes `self` (the key, or a mask when `is_mask`) as the kernel does for a packet whose key
    /// is `of`.
    pub fn write(&self, of: &Self, is_mask: bool, buf: &mut Vec<u8>) -> Result<(), AttrError> {
        let mut w = AttrWriter::new(buf);
        w.u32(uapi::OVS_KEY_ATTR_RECIRC_ID, self.recirc_id);
        w.u32(uapi::OVS_KEY_ATTR_DP_HASH, self.dp_hash);
        w.u32(uapi::OVS_KEY_ATTR_PRIORITY, self.priority);
        if is_mask {
            let nest = w.begin(uapi::OVS_KEY_ATTR_TUNNEL);
            w.u8(uapi::OVS_TUNNEL_KEY_ATTR_TTL, 0);
            w.end(nest)?;
        }
        match (of.in_port, is_mask) {
            (DP_MAX_PORTS, true) if self.in_port == DP_MAX_PORTS => {
                w.u32(uapi::OVS_KEY_ATTR_IN_PORT, u32::MAX);
            }
            (DP_MAX_PORTS, _) => (),
            (_, true) => w.u32(uapi::OVS_KEY_ATTR_IN_PORT, 0xffff_0000 | self.in_port),
            (_, false) => w.u32(uapi::OVS_KEY_ATTR_IN_PORT, self.in_port),
        }
        w.u32(uapi::OVS_KEY_ATTR_SKB_MARK, self.skb_mark);
        w.u32(uapi::OVS_KEY_ATTR_CT_STATE, self.ct_state);
        w.u16(uapi::OVS_KEY_ATTR_CT_ZONE, self.ct_zone);
        w.u32(uapi::OVS_KEY_ATTR_CT_MARK, self.ct_mark);
        w.bytes(uapi::OVS_KEY_ATTR_CT_LABELS, &self.ct_labels);
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&self.eth_src);
        macs[6..].copy_from_slice(&self.eth_dst);
        w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &macs);

        let mut nests = Vec::new();
        let mut tags = [(of.vlan, self.vlan), (of.cvlan, self.cvlan)].into_iter();
        let truncated = loop {
            let Some((of_tag, tag)) = tags.next() else { break false };
            if of_tag.tci == 0 && !is_vlan(of.eth_type) {
                break false;
            }
            w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, tag.tpid);
            w.be16(uapi::OVS_KEY_ATTR_VLAN, tag.tci);
            nests.push(w.begin(uapi::OVS_KEY_ATTR_ENCAP));
            if of_tag.tci == 0 {
                break true;
            }
        };
        if !truncated {
            if of.eth_type != ETH_P_802_2 {
                w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, self.eth_type);
                if !is_vlan(of.eth_type) {
                    self.write_l3(of, &mut w);
                }
            } else if is_mask {
                w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, 0xffff);
            }
        }
        while let Some(nest) = nests.pop() {
            w.end(nest)?;
        }
        w.finish()
    }

    fn write_l3(&self, of: &Self, w: &mut AttrWriter<'_>) {
        match of.eth_type {
            ETH_P_IP => {
                let mut ip = [0; 12];
                ip[..4].copy_from_slice(&self.ipv4_src);
                ip[4..8].copy_from_slice(&self.ipv4_dst);
                ip[8..].copy_from_slice(&[self.ip_proto, self.ip_tos, self.ip_ttl, self.ip_frag]);
                w.bytes(uapi::OVS_KEY_ATTR_IPV4, &ip);
            }
            ETH_P_IPV6 => {
                let mut ip = [0; 40];
                ip[..16].copy_from_slice(&self.ipv6_src);
                ip[16..32].copy_from_slice(&self.ipv6_dst);
                ip[32..36].copy_from_slice(&self.ipv6_label.to_be_bytes());
                ip[36..].copy_from_slice(&[self.ip_proto, self.ip_tos, self.ip_ttl, self.ip_frag]);
                w.bytes(uapi::OVS_KEY_ATTR_IPV6, &ip);
                w.u16(uapi::OVS_KEY_ATTR_IPV6_EXTHDRS, self.exthdrs);
            }
            ETH_P_ARP | ETH_P_RARP => {
                let mut arp = [0; 24];
                arp[..4].copy_from_slice(&self.ipv4_src);
                arp[4..8].copy_from_slice(&self.ipv4_dst);
                arp[8..10].copy_from_slice(&u16::from(self.ip_proto).to_be_bytes());
                arp[10..16].copy_from_slice(&self.arp_sha);
                arp[16..22].copy_from_slice(&self.arp_tha);
                w.bytes(uapi::OVS_KEY_ATTR_ARP, &arp);
            }
            ETH_P_MPLS_UC | ETH_P_MPLS_MC => {
                let depth = of.mpls.iter().position(|l| l & 0x100 != 0).map_or(3, |n| n + 1);
                let labels: Vec<u8> =
                    self.mpls.iter().take(depth).flat_map(|l| l.to_be_bytes()).collect();
                w.bytes(uapi::OVS_KEY_ATTR_MPLS, &labels);
            }
            _ => (),
        }
        if of.is_ip() && of.ip_frag != uapi::OVS_FRAG_TYPE_LATER {
            self.write_l4(of, w);
        }
    }

    fn write_l4(&self, of: &Self, w: &mut AttrWriter<'_>) {
        let mut ports = [0; 4];
        ports[..2].copy_from_slice(&self.tp_src.to_be_bytes());
        ports[2..].copy_from_slice(&self.tp_dst.to_be_bytes());
        // ICMP type and code sit in the lower bytes of the ports.
        let icmp = [ports[1], ports[3]];
        match (of.ip_proto, of.eth_type) {
            (IPPROTO_TCP, _) => {
                w.bytes(uapi::OVS_KEY_ATTR_TCP, &ports);
                w.be16(uapi::OVS_KEY_ATTR_TCP_FLAGS, self.tcp_flags);
            }
            (IPPROTO_UDP, _) => w.bytes(uapi::OVS_KEY_ATTR_UDP, &ports),
            (IPPROTO_SCTP, _) => w.bytes(uapi::OVS_KEY_ATTR_SCTP, &ports),
            (IPPROTO_ICMP, ETH_P_IP) => w.bytes(uapi::OVS_KEY_ATTR_ICMP, &icmp),
            (IPPROTO_ICMPV6, ETH_P_IPV6) => {
                w.bytes(uapi::OVS_KEY_ATTR_ICMPV6, &icmp);
                if of.is_nd() {
                    let mut nd = [0; 28];
                    nd[..16].copy_from_slice(&self.nd_target);
                    nd[16..22].copy_from_slice(&self.nd_sll);
                    nd[22..].copy_from_slice(&self.nd_tll);
                    w.bytes(uapi::OVS_KEY_ATTR_ND, &nd);
                }
            }
            _ => (),
        }
    }

    pub const fn is_ip(&self) -> bool {
        matches!(self.eth_type, ETH_P_IP | ETH_P_IPV6)
    }

    const fn is_nd(&self) -> bool {
        matches!(self.tp_src, 135 | 136)
    }
}

/// A key and its mask, as the kernel takes them from a flow's attributes. The key is not masked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    pub key: Key,
    pub mask: Key,
}

impl Match {
    /// Reads key and mask; without a mask every field that the key names is exact.
    pub fn parse(key: &[u8], mask: Option<&[u8]>) -> Result<Self, Refusal> {
        let mut attrs = Table::read(key, false)?;
        let mut out = Self { key: Key::new_zeroed(), mask: Key::new_zeroed() };
        let tags = out.key.read_tags(&mut attrs)?;
        out.key.read(&attrs, false)?;
        let exact;
        let mask = match mask {
            Some(mask) => mask,
            None => {
                exact = ones(key);
                &exact
            }
        };
        let mut mask_attrs = Table::read(mask, true)?;
        (out.mask.vlan.tci, out.mask.cvlan.tci) = (0xffff, 0xffff);
        out.mask.read_tag_masks(&mut mask_attrs, tags)?;
        out.mask.read(&mask_attrs, true)?;
        out.validate(attrs.present, mask_attrs.present)?;
        Ok(out)
    }

    /// Metadata only, as an execute brings them.
    pub fn parse_metadata(key: &[u8]) -> Result<Key, Refusal> {
        let mut out = Key::new_zeroed();
        out.read_metadata(&Table::read(key, false)?, false)?;
        Ok(out)
    }

    fn validate(&self, key_attrs: u64, mask_attrs: u64) -> Result<(), Refusal> {
        const GUARDED: &[u16] = &[
            uapi::OVS_KEY_ATTR_IPV4,
            uapi::OVS_KEY_ATTR_IPV6,
            uapi::OVS_KEY_ATTR_TCP,
            uapi::OVS_KEY_ATTR_TCP_FLAGS,
            uapi::OVS_KEY_ATTR_UDP,
            uapi::OVS_KEY_ATTR_SCTP,
            uapi::OVS_KEY_ATTR_ICMP,
            uapi::OVS_KEY_ATTR_ICMPV6,
            uapi::OVS_KEY_ATTR_ARP,
            uapi::OVS_KEY_ATTR_ND,
            uapi::OVS_KEY_ATTR_MPLS,
        ];
        let mut expected = 0;
        let mut allowed = key_attrs & !bits(GUARDED);
        allowed |= bits(&[uapi::OVS_KEY_ATTR_IN_PORT, uapi::OVS_KEY_ATTR_ETHERTYPE]);
        let mut expect = |kinds: &[u16], when_masked: bool| {
            expected |= bits(kinds);
            if when_masked {
                allowed |= bits(kinds);
            }
        };
        let typed = self.mask.eth_type == 0xffff;
        match self.key.eth_type {
            ETH_P_ARP | ETH_P_RARP => expect(&[uapi::OVS_KEY_ATTR_ARP], typed),
            ETH_P_MPLS_UC | ETH_P_MPLS_MC => expect(&[uapi::OVS_KEY_ATTR_MPLS], typed),
            ETH_P_IP => expect(&[uapi::OVS_KEY_ATTR_IPV4], typed),
            ETH_P_IPV6 => expect(&[uapi::OVS_KEY_ATTR_IPV6], typed),
            _ => (),
        }
        if self.key.is_ip() && self.key.ip_frag != uapi::OVS_FRAG_TYPE_LATER {
            let exact = self.mask.ip_proto == 0xff;
            match (self.key.ip_proto, self.key.eth_type) {
                (IPPROTO_TCP, _) => {
                    expect(&[uapi::OVS_KEY_ATTR_TCP, uapi::OVS_KEY_ATTR_TCP_FLAGS], exact);
                }
                (IPPROTO_UDP, _) => expect(&[uapi::OVS_KEY_ATTR_UDP], exact),
                (IPPROTO_SCTP, _) => expect(&[uapi::OVS_KEY_ATTR_SCTP], exact),
                (IPPROTO_ICMP, ETH_P_IP) => expect(&[uapi::OVS_KEY_ATTR_ICMP], exact),
                (IPPROTO_ICMPV6, ETH_P_IPV6) => {
                    expect(&[uapi::OVS_KEY_ATTR_ICMPV6], exact);
                    if self.key.is_nd() {
                        expect(&[uapi::OVS_KEY_ATTR_ND], self.mask.tp_src == 0xff);
                    }
                }
                _ => (),
            }
        }
        if key_attrs & expected != expected {
            return Err(Refusal::invalid("key attributes are missing"));
        }
        if mask_attrs & allowed != mask_attrs {
            return Err(Refusal::invalid("unexpected mask attributes"));
        }
        Ok(())
    }
}

/// The last attribute of each kind, and which kinds were there.
struct Table<'a> {
    slots: [Option<Attr<'a>>; uapi::OVS_KEY_ATTR_MAX as usize + 1],
    present: u64,
}

impl<'a> Table<'a> {
    /// `lax`: attributes that are all zero count as absent (masks).
    fn read(list: &'a [u8], lax: bool) -> Result<Self, Refusal> {
        let mut table = Self { slots: [None; uapi::OVS_KEY_ATTR_MAX as usize + 1], present: 0 };
        table.merge(list, lax)?;
        Ok(table)
    }

    fn merge(&mut self, list: &'a [u8], lax: bool) -> Result<(), Refusal> {
        for attr in Attrs::new(list) {
            let attr = attr.map_err(|_| Refusal::invalid("malformed attribute"))?;
            let Some(slot) = self.slots.get_mut(usize::from(attr.kind)) else {
                return Err(Refusal::invalid("unknown key attribute"));
            };
            if self.present & bits(&[attr.kind]) != 0 {
                return Err(Refusal::invalid("duplicate key attribute"));
            }
            // Shown in the mask of every flow, and so taken as well.
            if lax && attr.kind == uapi::OVS_KEY_ATTR_TUNNEL && attr.value == NO_TUNNEL_MASK {
                continue;
            }
            if !length_fits(attr.kind, attr.value.len()) {
                return Err(Refusal::invalid("key attribute has an unexpected length"));
            }
            if lax && attr.value.iter().all(|&b| b == 0) && attr.kind != uapi::OVS_KEY_ATTR_ENCAP {
                continue;
            }
            *slot = Some(attr);
            self.present |= bits(&[attr.kind]);
        }
        Ok(())
    }

    fn value(&self, kind: u16) -> Option<&'a [u8]> {
        self.slots.get(usize::from(kind)).copied().flatten().map(|a| a.value)
    }

    fn array<const N: usize>(&self, kind: u16) -> Option<[u8; N]> {
        self.value(kind)?.try_into().ok()
    }

    fn u32(&self, kind: u16) -> Option<u32> {
        self.array(kind).map(u32::from_ne_bytes)
    }

    fn be16(&self, kind: u16) -> Option<u16> {
        self.array(kind).map(u16::from_be_bytes)
    }

    fn take(&mut self, kind: u16) -> Option<&'a [u8]> {
        self.present &= !bits(&[kind]);
        self.slots.get_mut(usize::from(kind))?.take().map(|a| a.value)
    }
}

impl Key {
    /// Takes the tags off a key's attributes; returns how many there are.
    fn read_tags(&mut self, attrs: &mut Table<'_>) -> Result<usize, Refusal> {
        for n in 0..2 {
            let tpid = attrs.be16(uapi::OVS_KEY_ATTR_ETHERTYPE).unwrap_or(0);
            if !is_vlan(tpid) {
                return Ok(n);
            }
            let (Some(tci), Some(encap)) =
                (attrs.be16(uapi::OVS_KEY_ATTR_VLAN), attrs.take(uapi::OVS_KEY_ATTR_ENCAP))
            else {
                // A third tag is but a type.
                return if n == 2 { Ok(n) } else { Err(Refusal::invalid("invalid VLAN frame")) };
            };
            attrs.take(uapi::OVS_KEY_ATTR_VLAN);
            if tci & VLAN_PRESENT == 0 && (tci != 0 || !encap.is_empty()) {
                return Err(Refusal::invalid("VLAN TCI lacks the tag-present bit"));
            }
            attrs.take(uapi::OVS_KEY_ATTR_ETHERTYPE);
            *(if n == 0 { &mut self.vlan } else { &mut self.cvlan }) = Vlan { tpid, tci };
            attrs.merge(encap, false)?;
            if tci == 0 {
                // A truncated tag: the frame's type is the tag's.
                self.eth_type = tpid;
                return Ok(n + 1);
            }
        }
        Ok(2)
    }

    fn read_tag_masks(&mut self, attrs: &mut Table<'_>, tags: usize) -> Result<(), Refusal> {
        for n in 0..2 {
            let Some(encap) = attrs.take(uapi::OVS_KEY_ATTR_ENCAP) else { return Ok(()) };
            if n >= tags {
                return Err(Refusal::invalid("mask has a tag that the key has not"));
            }
            let tci = attrs.be16(uapi::OVS_KEY_ATTR_VLAN).unwrap_or(0);
            let tpid = attrs.be16(uapi::OVS_KEY_ATTR_ETHERTYPE).unwrap_or(0);
            if tpid != 0xffff {
                return Err(Refusal::invalid("TPID mask must be exact"));
            }
            if tci & VLAN_PRESENT == 0 {
                return Err(Refusal::invalid("VLAN tag-present bit must have an exact match"));
            }
            attrs.take(uapi::OVS_KEY_ATTR_VLAN);
            attrs.take(uapi::OVS_KEY_ATTR_ETHERTYPE);
            *(if n == 0 { &mut self.vlan } else { &mut self.cvlan }) = Vlan { tpid, tci };
            attrs.merge(encap, true)?;
        }
        Ok(())
    }

    fn read_metadata(&mut self, a: &Table<'_>, is_mask: bool) -> Result<(), Refusal> {
        let number = |kind| a.u32(kind).unwrap_or(0);
        self.recirc_id = number(uapi::OVS_KEY_ATTR_RECIRC_ID);
        self.dp_hash = number(uapi::OVS_KEY_ATTR_DP_HASH);
        self.priority = number(uapi::OVS_KEY_ATTR_PRIORITY);
        self.skb_mark = number(uapi::OVS_KEY_ATTR_SKB_MARK);
        self.ct_state = number(uapi::OVS_KEY_ATTR_CT_STATE);
        self.ct_mark = number(uapi::OVS_KEY_ATTR_CT_MARK);
        self.ct_zone = a.array(uapi::OVS_KEY_ATTR_CT_ZONE).map_or(0, u16::from_ne_bytes);
        self.ct_labels = a.array(uapi::OVS_KEY_ATTR_CT_LABELS).unwrap_or_default();
        self.in_port = match (a.u32(uapi::OVS_KEY_ATTR_IN_PORT), is_mask) {
            (Some(_), true) => 0xffff,
            (None, true) => 0,
            (Some(port), false) if port >= DP_MAX_PORTS => {
                return Err(Refusal::invalid("input port exceeds the largest number"));
            }
            (Some(port), false) => port,
            (None, false) => DP_MAX_PORTS,
        };
        Ok(())
    }

    fn read(&mut self, a: &Table<'_>, is_mask: bool) -> Result<(), Refusal> {
        self.read_metadata(a, is_mask)?;
        if let Some(macs) = a.array::<12>(uapi::OVS_KEY_ATTR_ETHERNET) {
            self.eth_src.copy_from_slice(&macs[..6]);
            self.eth_dst.copy_from_slice(&macs[6..]);
        } else if !is_mask {
            return Err(Refusal::invalid("frames without an Ethernet header are not there yet"));
        }
        if let Some(ty) = a.be16(uapi::OVS_KEY_ATTR_ETHERTYPE) {
            self.eth_type = if is_mask { 0xffff } else { ty };
            if !is_mask && ty < ETH_P_802_3_MIN {
                return Err(Refusal::invalid("EtherType is less than the smallest"));
            }
        } else if !is_mask && self.eth_type == 0 {
            self.eth_type = ETH_P_802_2;
        }
        if let Some(ip) = a.array::<12>(uapi::OVS_KEY_ATTR_IPV4) {
            self.ipv4_src.copy_from_slice(&ip[..4]);
            self.ipv4_dst.copy_from_slice(&ip[4..8]);
            [self.ip_proto, self.ip_tos, self.ip_ttl, self.ip_frag] =
                [ip[8], ip[9], ip[10], ip[11]];
        }
        if let Some(ip) = a.array::<40>(uapi::OVS_KEY_ATTR_IPV6) {
            self.ipv6_src.copy_from_slice(&ip[..16]);
            self.ipv6_dst.copy_from_slice(&ip[16..32]);
            self.ipv6_label = u32::from_be_bytes([ip[32], ip[33], ip[34], ip[35]]);
            [self.ip_proto, self.ip_tos, self.ip_ttl, self.ip_frag] =
                [ip[36], ip[37], ip[38], ip[39]];
            if !is_mask && self.ipv6_label > 0xf_ffff {
                return Err(Refusal::invalid("IPv6 flow label is out of range"));
            }
        }
        if !is_mask && self.ip_frag > uapi::OVS_FRAG_TYPE_MAX {
            return Err(Refusal::invalid("fragment type is out of range"));
        }
        self.exthdrs = a.array(uapi::OVS_KEY_ATTR_IPV6_EXTHDRS).map_or(0, u16::from_ne_bytes);
        if let Some(arp) = a.array::<24>(uapi::OVS_KEY_ATTR_ARP) {
            self.ipv4_src.copy_from_slice(&arp[..4]);
            self.ipv4_dst.copy_from_slice(&arp[4..8]);
            if !is_mask && arp[8] != 0 {
                return Err(Refusal::invalid("unknown ARP operation"));
            }
            self.ip_proto = arp[9];
            self.arp_sha.copy_from_slice(&arp[10..16]);
            self.arp_tha.copy_from_slice(&arp[16..22]);
        }
        if let Some(labels) = a.value(uapi::OVS_KEY_ATTR_MPLS) {
            for (lse, b) in self.mpls.iter_mut().zip(labels.chunks_exact(4)) {
                *lse = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        self.read_l4(a);
        Ok(())
    }

    fn read_l4(&mut self, a: &Table<'_>) {
        for kind in [uapi::OVS_KEY_ATTR_TCP, uapi::OVS_KEY_ATTR_UDP, uapi::OVS_KEY_ATTR_SCTP] {
            if let Some([s0, s1, d0, d1]) = a.array(kind) {
                self.tp_src = u16::from_be_bytes([s0, s1]);
                self.tp_dst = u16::from_be_bytes([d0, d1]);
            }
        }
        for kind in [uapi::OVS_KEY_ATTR_ICMP, uapi::OVS_KEY_ATTR_ICMPV6] {
            if let Some([ty, code]) = a.array(kind) {
                (self.tp_src, self.tp_dst) = (ty.into(), code.into());
            }
        }
        self.tcp_flags = a.be16(uapi::OVS_KEY_ATTR_TCP_FLAGS).unwrap_or(0);
        if let Some(nd) = a.array::<28>(uapi::OVS_KEY_ATTR_ND) {
            self.nd_target.copy_from_slice(&nd[..16]);
            self.nd_sll.copy_from_slice(&nd[16..22]);
            self.nd_tll.copy_from_slice(&nd[22..]);
        }
    }
}

const fn is_vlan(ty: u16) -> bool {
    matches!(ty, ETH_P_8021Q | ETH_P_8021AD)
}

/// Splits a tag off, if one is there in full with a type behind it.
fn tag(at: &[u8]) -> (Vlan, &[u8]) {
    match *at {
        [t0, t1, c0, c1, _, _, ..] if is_vlan(u16::from_be_bytes([t0, t1])) => {
            let tci = u16::from_be_bytes([c0, c1]) | VLAN_PRESENT;
            (Vlan { tpid: u16::from_be_bytes([t0, t1]), tci }, &at[4..])
        }
        _ => (Vlan { tpid: 0, tci: 0 }, at),
    }
}

fn ether_type(at: &[u8]) -> (u16, &[u8]) {
    let [t0, t1, rest @ ..] = at else { return (ETH_P_802_2, &[]) };
    let ty = u16::from_be_bytes([*t0, *t1]);
    if ty >= ETH_P_802_3_MIN {
        return (ty, rest);
    }
    match rest {
        [0xaa, 0xaa, 3, 0, 0, 0, s0, s1, inner @ ..] => match u16::from_be_bytes([*s0, *s1]) {
            snap if snap >= ETH_P_802_3_MIN => (snap, inner),
            _ => (ETH_P_802_2, inner),
        },
        _ => (ETH_P_802_2, rest),
    }
}

fn bits(kinds: &[u16]) -> u64 {
    kinds.iter().fold(0, |set, &kind| set | 1u64.wrapping_shl(kind.into()))
}

/// A TTL attribute of value 0, padded.
const NO_TUNNEL_MASK: [u8; 8] = [5, 0, uapi::OVS_TUNNEL_KEY_ATTR_TTL as u8, 0, 0, 0, 0, 0];

fn length_fits(kind: u16, len: usize) -> bool {
    let expected = match kind {
        uapi::OVS_KEY_ATTR_ENCAP => return true,
        uapi::OVS_KEY_ATTR_MPLS => return matches!(len, 4 | 8 | 12),
        uapi::OVS_KEY_ATTR_PRIORITY
        | uapi::OVS_KEY_ATTR_IN_PORT
        | uapi::OVS_KEY_ATTR_SKB_MARK
        | uapi::OVS_KEY_ATTR_DP_HASH
        | uapi::OVS_KEY_ATTR_RECIRC_ID
        | uapi::OVS_KEY_ATTR_CT_STATE
        | uapi::OVS_KEY_ATTR_CT_MARK
        | uapi::OVS_KEY_ATTR_TCP
        | uapi::OVS_KEY_ATTR_UDP
        | uapi::OVS_KEY_ATTR_SCTP => 4,
        uapi::OVS_KEY_ATTR_ETHERNET | uapi::OVS_KEY_ATTR_IPV4 => 12,
        uapi::OVS_KEY_ATTR_VLAN
        | uapi::OVS_KEY_ATTR_ETHERTYPE
        | uapi::OVS_KEY_ATTR_ICMP
        | uapi::OVS_KEY_ATTR_ICMPV6
        | uapi::OVS_KEY_ATTR_TCP_FLAGS
        | uapi::OVS_KEY_ATTR_CT_ZONE
        | uapi::OVS_KEY_ATTR_IPV6_EXTHDRS => 2,
        uapi::OVS_KEY_ATTR_IPV6 => 40,
        uapi::OVS_KEY_ATTR_ARP => 24,
        uapi::OVS_KEY_ATTR_ND => 28,
        uapi::OVS_KEY_ATTR_CT_LABELS => 16,
        _ => return false,
    };
    len == expected
}

/// Conntrack states that there are: `CT_SUPPORTED_MASK`.
const CT_STATES: u32 = 0xff;

/// The same attributes with every bit of every value set that means something.
fn ones(list: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(list.len());
    let mut w = AttrWriter::new(&mut out);
    for attr in Attrs::new(list).map_while(Result::ok) {
        if attr.kind == uapi::OVS_KEY_ATTR_ENCAP {
            w.bytes(attr.kind, &ones(attr.value));
        } else if attr.kind == uapi::OVS_KEY_ATTR_CT_STATE {
            w.u32(attr.kind, CT_STATES);
        } else {
            w.bytes(attr.kind, &vec![0xff; attr.value.len()]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;
    use crate::odp::key::OdpKey;
    use crate::odp::mask::exact_mask;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("seeds"))),
            ..ProptestConfig::default()
        })]

        #[test]
        fn no_attributes_make_the_reader_panic(key: Vec<u8>, mask: Option<Vec<u8>>) {
            let _ = Match::parse(&key, mask.as_deref());
            let _ = Match::parse_metadata(&key);
        }

        // What it writes for a frame it takes for a flow, exactly and under the mask it shows.
        #[test]
        fn the_key_of_any_frame_is_a_flows_key(
            macs in proptest::collection::vec(any::<u8>(), 12),
            tags in proptest::collection::vec((prop_oneof![Just(ETH_P_8021Q), Just(ETH_P_8021AD)],
                                               any::<u16>()), 0..3),
            ty in prop_oneof![Just(ETH_P_IP), Just(ETH_P_IPV6), Just(ETH_P_ARP),
                              Just(ETH_P_MPLS_UC), any::<u16>()],
            first in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
            rest in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut frame = macs;
            for (tpid, tci) in tags {
                frame.extend_from_slice(&tpid.to_be_bytes());
                frame.extend_from_slice(&tci.to_be_bytes());
            }
            frame.extend_from_slice(&ty.to_be_bytes());
            frame.push(first);
            frame.extend_from_slice(&rest);
            let mut key = Key { in_port: 3, ..Key::new_zeroed() };
            prop_assert_eq!(key.extract(&frame), Ok(()));
            let mut attrs = Vec::new();
            key.write(&key, false, &mut attrs).unwrap();
            let flow = Match::parse(&attrs, None);
            let flow = match flow {
                Ok(flow) => flow,
                Err(refusal) => return Err(TestCaseError::fail(format!("{refusal:?}: {key:?}"))),
            };
            prop_assert_eq!(flow.key, key);
            // The mask that a put may have for it is the same.
            let mut ones = Vec::new();
            let support = crate::odp::Support::default();
            prop_assert_eq!(exact_mask(OdpKey(&attrs), &support, &mut ones), Ok(true));
            let masked = Match::parse(&attrs, Some(&ones)).map(|flow| (flow.key, flow.mask));
            prop_assert_eq!(masked.ok(), Some((flow.key, flow.mask)));
            let mut mask = Vec::new();
            flow.mask.write(&flow.key, true, &mut mask).unwrap();
            // Without a mask a frame with an LLC header is not held to its type: so it is in the
            // module, too, where the type has no attribute that a mask could be made from.
            let mut exact = flow.key.masked(&flow.mask);
            if key.eth_type == ETH_P_802_2 {
                exact.eth_type = key.eth_type;
            }
            prop_assert_eq!(exact, key);
        }
    }
}
