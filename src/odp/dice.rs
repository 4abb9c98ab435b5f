//! Flows for property tests: any combination of headers that a packet can have, from a seed.
//!
//! Also a part of `tests/kernel_masks_accepted.rs`, so nothing of this crate but `flow` is used here.

use crate::flow::*;

/// A small generator of numbers (splitmix64); the seed comes from proptest.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.u64() % n
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.u64() as u8)
    }

    /// Sets a field to something other than zero, and its mask to ones.
    fn field<const N: usize>(&mut self, value: &mut [u8; N], mask: &mut [u8; N]) {
        *value = self.bytes();
        value[N - 1] |= 1;
        *mask = [0xff; N];
    }
}

/// The lines of a fixture: blank-separated bytes in hexadecimal, comments left out.
#[allow(dead_code, reason = "not for the test that this is a part of too")]
pub(super) fn hex_lines(text: &str) -> impl Iterator<Item = Vec<Vec<u8>>> + '_ {
    let bytes = |hex: &str| {
        let digits = (0..hex.len() / 2).map(|i| &hex[2 * i..2 * i + 2]);
        digits.map(|d| u8::from_str_radix(d, 16).unwrap()).collect()
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(move |line| line.split(' ').map(bytes).collect())
}

/// A flow, and the mask of all the fields that its packet has.
pub(super) fn flow(dice: &mut Dice) -> (Flow, Flow) {
    let (mut f, mut m) = (Flow::ZERO, Flow::ZERO);
    metadata(dice, &mut f, &mut m);
    tunnel(dice, &mut f, &mut m);
    let dl_type = dice.of(&[
        0x0800,
        0x0800,
        0x0800,
        0x86dd,
        0x86dd,
        0x86dd,
        0x0806,
        0x8035,
        0x8847,
        0x8848,
        0x894f,
        0x88cc,
        FLOW_DL_TYPE_NONE,
    ]);
    f.dl_type = dl_type.into();
    m.dl_type = u16::MAX.into();
    m.packet_type = u32::MAX.into();
    if dice.below(5) == 0 && dl_type != FLOW_DL_TYPE_NONE {
        f.packet_type = (1 << 16 | u32::from(dl_type)).into();
    } else {
        dice.field(&mut f.dl_src.0, &mut m.dl_src.0);
        dice.field(&mut f.dl_dst.0, &mut m.dl_dst.0);
        for i in 0..dice.below(3) as usize {
            f.vlans[i].tpid = dice.of(&[0x8100, 0x88a8]).into();
            f.vlans[i].tci = (dice.u64() as u16 | VLAN_CFI).into();
        }
        m.vlans = [VlanHdr { tpid: u16::MAX.into(), tci: u16::MAX.into() }; 2];
    }
    network(dice, dl_type, &mut f, &mut m);
    (f, m)
}

/// Any wildcards whatever.
pub(super) fn wildcards(dice: &mut Dice) -> FlowWildcards {
    let mut wc = FlowWildcards::CATCHALL;
    for word in wc.masks.words_mut() {
        *word = match dice.below(6) {
            0 => u64::MAX,
            1 => dice.u64(),
            2 => dice.u64() & dice.u64() & dice.u64(),
            _ => 0,
        };
    }
    wc
}

fn metadata(dice: &mut Dice, f: &mut Flow, m: &mut Flow) {
    for (v, mask) in [
        (&mut f.recirc_id, &mut m.recirc_id),
        (&mut f.dp_hash, &mut m.dp_hash),
        (&mut f.skb_priority, &mut m.skb_priority),
        (&mut f.pkt_mark, &mut m.pkt_mark),
        (&mut f.ct_mark, &mut m.ct_mark),
    ] {
        *v = if dice.coin() { 0 } else { dice.u64() as u32 };
        *mask = u32::MAX;
    }
    f.in_port = dice.below(100) as u32;
    f.ct_state = dice.u64() as u8;
    f.ct_zone = dice.u64() as u16;
    f.ct_label = dice.bytes();
    (m.in_port, m.ct_state, m.ct_zone, m.ct_label) = (u32::MAX, u8::MAX, u16::MAX, [0xff; 16]);
}

fn tunnel(dice: &mut Dice, f: &mut Flow, m: &mut Flow) {
    let (f, m) = (&mut f.tunnel, &mut m.tunnel);
    match dice.below(3) {
        0 => return,
        1 => {
            dice.field(&mut f.ip_src, &mut m.ip_src);
            dice.field(&mut f.ip_dst, &mut m.ip_dst);
        }
        _ => {
            dice.field(&mut f.ipv6_src, &mut m.ipv6_src);
            dice.field(&mut f.ipv6_dst, &mut m.ipv6_dst);
        }
    }
    f.flags = dice.u64() as u16 & 0xf;
    m.flags = 0xf;
    if f.flags & tnl_flags::KEY != 0 {
        f.tun_id = dice.u64().into();
        m.tun_id = u64::MAX.into();
    }
    (f.ip_tos, f.ip_ttl) = (dice.u64() as u8, dice.u64() as u8);
    (m.ip_tos, m.ip_ttl) = (u8::MAX, u8::MAX);
    (f.tp_src, f.tp_dst) = ((dice.u64() as u16).into(), (dice.u64() as u16).into());
    (m.tp_src, m.tp_dst) = (u16::MAX.into(), u16::MAX.into());
    match dice.below(5) {
        0 => {
            let mut opts = Vec::new();
            for _ in 0..1 + dice.below(3) {
                let words = dice.below(12);
                opts.extend([dice.u64() as u8, dice.u64() as u8, dice.u64() as u8, words as u8]);
                (0..4 * words).for_each(|_| opts.push(dice.u64() as u8));
            }
            f.flags |= tnl_flags::UDPIF;
            f.metadata.len = opts.len() as u8;
            f.metadata.opts[..opts.len()].copy_from_slice(&opts);
            m.metadata.len = u8::MAX;
            m.metadata.opts[..opts.len()].fill(0xff);
        }
        1 => {
            (f.gbp_id, f.gbp_flags) = ((dice.u64() as u16 | 1).into(), dice.u64() as u8);
            (m.gbp_id, m.gbp_flags) = (u16::MAX.into(), u8::MAX);
        }
        2 => {
            (f.erspan_ver, f.erspan_idx) = (1, dice.u64() as u32);
            (m.erspan_ver, m.erspan_idx) = (u8::MAX, u32::MAX);
        }
        3 => {
            (f.erspan_ver, f.erspan_dir, f.erspan_hwid) =
                (2, dice.below(2) as u8, dice.below(64) as u8);
            (m.erspan_ver, m.erspan_dir, m.erspan_hwid) = (u8::MAX, u8::MAX, 0x3f);
        }
        _ => {}
    }
}

fn network(dice: &mut Dice, dl_type: u16, f: &mut Flow, m: &mut Flow) {
    match dl_type {
        0x0800 => {
            dice.field(&mut f.nw_src, &mut m.nw_src);
            dice.field(&mut f.nw_dst, &mut m.nw_dst);
        }
        0x86dd => {
            dice.field(&mut f.ipv6_src, &mut m.ipv6_src);
            dice.field(&mut f.ipv6_dst, &mut m.ipv6_dst);
            f.ipv6_label = (dice.u64() as u32 & 0xfffff).into();
            m.ipv6_label = 0xfffff.into();
        }
        0x0806 | 0x8035 => {
            dice.field(&mut f.nw_src, &mut m.nw_src);
            dice.field(&mut f.nw_dst, &mut m.nw_dst);
            dice.field(&mut f.arp_sha.0, &mut m.arp_sha.0);
            dice.field(&mut f.arp_tha.0, &mut m.arp_tha.0);
            (f.nw_proto, m.nw_proto) = (dice.u64() as u8, u8::MAX);
            return;
        }
        0x8847 | 0x8848 => {
            let n = 1 + dice.below(3) as usize;
            for i in 0..n {
                let bos = i + 1 == n && (n < 3 || dice.coin());
                let lse = dice.u64() as u32 & !0x100 | 0x1000;
                f.mpls_lse[i] = (lse | if bos { 0x100 } else { 0 }).into();
                m.mpls_lse[i] = u32::MAX.into();
            }
            return;
        }
        0x894f => {
            f.nsh.mdtype = dice.of(&[1, 2]);
            (f.nsh.flags, f.nsh.ttl, f.nsh.np) = (1, dice.u64() as u8, dice.u64() as u8);
            f.nsh.path_hdr = (dice.u64() as u32).into();
            (m.nsh.flags, m.nsh.ttl, m.nsh.mdtype, m.nsh.np) = (0xff, 0xff, 0xff, 0xff);
            m.nsh.path_hdr = u32::MAX.into();
            if f.nsh.mdtype == 1 {
                f.nsh.context = std::array::from_fn(|_| (dice.u64() as u32).into());
                m.nsh.context = [u32::MAX.into(); 4];
            }
            return;
        }
        _ => return,
    }
    f.nw_frag = dice.of(&[0, 0, 0, 1, 3]);
    f.nw_proto = dice.of(&[1, 6, 6, 17, 58, 58, 58, 132, 47, 0]);
    (f.nw_tos, f.nw_ttl) = (dice.u64() as u8, dice.u64() as u8);
    (m.nw_frag, m.nw_proto, m.nw_tos, m.nw_ttl) = (3, 0xff, 0xff, 0xff);
    if f.nw_frag != 3 {
        transport(dice, dl_type, f, m);
    }
    if is_nd_type(f) || dice.coin() {
        return;
    }
    f.ct_nw_proto = dice.of(&[1, 6, 17, 58]);
    (f.ct_tp_src, f.ct_tp_dst) = ((dice.u64() as u16).into(), (dice.u64() as u16).into());
    (m.ct_nw_proto, m.ct_tp_src, m.ct_tp_dst) = (u8::MAX, u16::MAX.into(), u16::MAX.into());
    if dl_type == 0x0800 {
        dice.field(&mut f.ct_nw_src, &mut m.ct_nw_src);
        dice.field(&mut f.ct_nw_dst, &mut m.ct_nw_dst);
    } else {
        dice.field(&mut f.ct_ipv6_src, &mut m.ct_ipv6_src);
        dice.field(&mut f.ct_ipv6_dst, &mut m.ct_ipv6_dst);
    }
}

fn transport(dice: &mut Dice, dl_type: u16, f: &mut Flow, m: &mut Flow) {
    match (f.nw_proto, dl_type) {
        (6 | 17 | 132, _) => {
            (f.tp_src, f.tp_dst) = ((dice.u64() as u16).into(), (dice.u64() as u16).into());
            (m.tp_src, m.tp_dst) = (u16::MAX.into(), u16::MAX.into());
            if f.nw_proto == 6 {
                f.tcp_flags = (dice.u64() as u16 & 0xfff).into();
                m.tcp_flags = 0xfff.into();
            }
        }
        (1, 0x0800) | (58, 0x86dd) => {
            f.tp_src = if f.nw_proto == 58 { dice.of(&[135, 136, 128, 1]) } else { 8 }.into();
            f.tp_dst = dice.of(&[0, 0, 3]).into();
            (m.tp_src, m.tp_dst) = (0xff.into(), 0xff.into());
            if is_nd_type(f) && f.tp_dst.get() == 0 {
                dice.field(&mut f.nd_target, &mut m.nd_target);
                dice.field(&mut f.arp_sha.0, &mut m.arp_sha.0);
                dice.field(&mut f.arp_tha.0, &mut m.arp_tha.0);
            }
        }
        _ => {}
    }
}

/// ICMPv6 neighbour solicitation or advertisement, of any code.
fn is_nd_type(f: &Flow) -> bool {
    (f.dl_type.get(), f.nw_proto) == (0x86dd, 58)
        && f.nw_frag != 3
        && matches!(f.tp_src.get(), 135 | 136)
}
