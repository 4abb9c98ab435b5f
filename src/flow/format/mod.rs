//! Matches and flows as text, the way `ovs-ofctl dump-flows` and packet-in dumps show them.
//!
//! Tunnel options through a TLV map are not shown here: which name has which bytes only the map knows.
//! Plain values: any thread.

use std::fmt::{self, Write};

use super::field::{
    Field, Format, flag_names, format_eth, format_flags, format_flags_masked, format_ipv4,
    format_ipv6, format_packet_type,
};
use super::matching::Match;
use super::port::{OfPort, PortNames};
use super::{EthAddr, Flow, VLAN_CFI, VLAN_PCP_MASK, VLAN_VID_MASK};
use crate::packet::mpls::{MPLS_BOS_MASK, MPLS_LABEL_MASK, MPLS_TC_MASK, MPLS_TTL_MASK, MplsLse};
use crate::packet::{ether_type, ip_proto, nsh, vlan};

/// Priority that text leaves out.
pub const DEFAULT_PRIORITY: u16 = 0x8000;

/// Bits of `nw_tos` that are the DSCP.
const DSCP: u8 = 0xfc;
/// Bits of `nw_tos` that are the ECN.
const ECN: u8 = 0x03;

impl Match {
    /// Writes the match. `priority` comes first, unless it is the default one; `ports` gives ports
    /// their names.
    pub fn format(
        &self,
        out: &mut String,
        ports: Option<&PortNames>,
        priority: u16,
    ) -> fmt::Result {
        let start = out.len();
        Writer {
            flow: &self.flow,
            masks: &self.wildcards.masks,
            dl_type: self.flow.dl_type.get(),
            ports,
            out,
        }
        .write(priority)?;
        // Each part ended with a comma.
        if out.len() > start && out.ends_with(',') {
            out.pop();
        }
        Ok(())
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.format(&mut text, None, DEFAULT_PRIORITY)?;
        f.write_str(&text)
    }
}

impl Flow {
    /// Writes the packet's fields; of the metadata only what is not zero.
    pub fn format(&self, out: &mut String, ports: Option<&PortNames>) -> fmt::Result {
        let mut shown = Match::of_packet(self);
        let masks = &mut shown.wildcards.masks;
        for field in METADATA.iter().filter(|field| field.get(self) == 0) {
            field.hide(masks);
        }
        if !self.has_valid_ct() || self.ct_nw_proto == 0 {
            masks.ct_nw_proto = 0;
            masks.ct_tp_src = 0.into();
            masks.ct_tp_dst = 0.into();
            masks.ct_nw_src = [0; 4];
            masks.ct_nw_dst = [0; 4];
            masks.ct_ipv6_src = [0; 16];
            masks.ct_ipv6_dst = [0; 16];
        }
        for (mask, reg) in masks.regs.iter_mut().zip(self.regs) {
            if reg == 0 {
                *mask = 0;
            }
        }
        shown.format(out, ports, DEFAULT_PRIORITY)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.format(&mut text, None)?;
        f.write_str(&text)
    }
}

/// Metadata that is not shown when zero.
const METADATA: [Field; 10] = [
    Field::InPort,
    Field::SkbPriority,
    Field::PktMark,
    Field::RecircId,
    Field::DpHash,
    Field::CtState,
    Field::CtZone,
    Field::CtMark,
    Field::CtLabel,
    Field::Metadata,
];

impl Field {
    fn hide(self, masks: &mut Flow) {
        // A port of 0 would be stored as the port that OpenFlow 1.1 calls 0, which is 0.
        self.set(masks, 0);
    }
}

/// Writes one match, part after part, each with a comma behind.
struct Writer<'a> {
    flow: &'a Flow,
    masks: &'a Flow,
    /// The Ethernet type, or what stands for it.
    dl_type: u16,
    ports: Option<&'a PortNames>,
    out: &'a mut String,
}

impl Writer<'_> {
    fn write(&mut self, priority: u16) -> fmt::Result {
        let (flow, masks) = (self.flow, self.masks);
        if priority != DEFAULT_PRIORITY {
            write!(self.out, "priority={priority},")?;
        }
        self.hex("pkt_mark", flow.pkt_mark, masks.pkt_mark)?;
        self.hex("recirc_id", flow.recirc_id, masks.recirc_id)?;
        self.hex("dp_hash", flow.dp_hash, masks.dp_hash)?;
        if masks.conj_id != 0 {
            write!(self.out, "conj_id={},", flow.conj_id)?;
        }
        if masks.skb_priority != 0 {
            write!(self.out, "skb_priority={},", Alternate(flow.skb_priority.into()))?;
        }
        if masks.actset_output != 0 {
            self.port("actset_output", flow.actset_output)?;
        }
        self.connection()?;
        self.packet_type()?;
        let shown = self.protocol()?;
        for (i, (reg, mask)) in flow.regs.into_iter().zip(masks.regs).enumerate() {
            if mask != 0 {
                self.hex(&format!("reg{i}"), reg, mask)?;
            }
        }
        self.tunnel()?;
        self.hex("metadata", flow.metadata.get(), masks.metadata.get())?;
        if masks.in_port != 0 {
            self.port("in_port", flow.in_port)?;
        }
        self.vlans()?;
        self.eth("dl_src", flow.dl_src, masks.dl_src)?;
        self.eth("dl_dst", flow.dl_dst, masks.dl_dst)?;
        if !shown.dl_type && masks.dl_type.get() != 0 {
            write!(self.out, "dl_type={:#06x},", self.dl_type)?;
        }
        self.network(shown.proto)?;
        self.mpls()?;
        self.fragment()?;
        self.transport()
    }

    fn connection(&mut self) -> fmt::Result {
        let (flow, masks) = (self.flow, self.masks);
        if masks.ct_state != 0 {
            let names = flag_names(Format::CtState);
            self.out.write_str("ct_state=")?;
            let (state, mask) = (flow.ct_state.into(), masks.ct_state.into());
            format_flags_masked(self.out, names, state, mask, 0xff)?;
            self.out.write_char(',')?;
        }
        self.decimal("ct_zone", flow.ct_zone, masks.ct_zone)?;
        self.hex("ct_mark", flow.ct_mark, masks.ct_mark)?;
        let label = u128::from_be_bytes(flow.ct_label);
        self.hex("ct_label", label, u128::from_be_bytes(masks.ct_label))?;
        self.ipv4("ct_nw_src", flow.ct_nw_src, masks.ct_nw_src)?;
        self.ipv6("ct_ipv6_src", flow.ct_ipv6_src, masks.ct_ipv6_src)?;
        self.ipv4("ct_nw_dst", flow.ct_nw_dst, masks.ct_nw_dst)?;
        self.ipv6("ct_ipv6_dst", flow.ct_ipv6_dst, masks.ct_ipv6_dst)?;
        if masks.ct_nw_proto != 0 {
            write!(self.out, "ct_nw_proto={},", flow.ct_nw_proto)?;
            self.decimal("ct_tp_src", flow.ct_tp_src.get(), masks.ct_tp_src.get())?;
            self.decimal("ct_tp_dst", flow.ct_tp_dst.get(), masks.ct_tp_dst.get())?;
        }
        Ok(())
    }

    fn packet_type(&mut self) -> fmt::Result {
        let (value, mask) = (self.flow.packet_type.get(), self.masks.packet_type.get());
        let is_default = value == 0 && mask == u32::MAX;
        // In a megaflow, which has a recirculation id, the packet type is always shown.
        if mask == 0 || is_default && self.masks.recirc_id == 0 {
            return Ok(());
        }
        if is_default {
            self.out.write_str("eth,")?;
        } else {
            self.out.write_str("packet_type=")?;
            format_packet_type(self.out, value, mask)?;
            self.out.write_char(',')?;
        }
        if value >> 16 == 1 {
            self.dl_type = value as u16;
        }
        Ok(())
    }

    /// Writes a protocol name, if there is one, and says what that told already.
    fn protocol(&mut self) -> Result<Shown, fmt::Error> {
        if self.masks.dl_type.get() == 0 {
            return Ok(Shown { dl_type: false, proto: false });
        }
        let proto = (self.masks.nw_proto != 0).then_some(self.flow.nw_proto);
        let (name, with_proto) = match (self.dl_type, proto) {
            (ether_type::IPV4, Some(ip_proto::ICMP)) => ("icmp", true),
            (ether_type::IPV4, Some(ip_proto::TCP)) => ("tcp", true),
            (ether_type::IPV4, Some(ip_proto::UDP)) => ("udp", true),
            (ether_type::IPV4, Some(ip_proto::SCTP)) => ("sctp", true),
            (ether_type::IPV4, _) => ("ip", false),
            (ether_type::IPV6, Some(ip_proto::ICMPV6)) => ("icmp6", true),
            (ether_type::IPV6, Some(ip_proto::TCP)) => ("tcp6", true),
            (ether_type::IPV6, Some(ip_proto::UDP)) => ("udp6", true),
            (ether_type::IPV6, Some(ip_proto::SCTP)) => ("sctp6", true),
            (ether_type::IPV6, _) => ("ipv6", false),
            (ether_type::ARP, _) => ("arp", false),
            (ether_type::RARP, _) => ("rarp", false),
            (ether_type::MPLS, _) => ("mpls", false),
            (ether_type::MPLS_MCAST, _) => ("mplsm", false),
            _ => return Ok(Shown { dl_type: false, proto: false }),
        };
        write!(self.out, "{name},")?;
        Ok(Shown { dl_type: true, proto: with_proto })
    }

    fn tunnel(&mut self) -> fmt::Result {
        let (tnl, masks) = (&self.flow.tunnel, &self.masks.tunnel);
        self.hex("tun_id", tnl.tun_id.get(), masks.tun_id.get())?;
        self.ipv4("tun_src", tnl.ip_src, masks.ip_src)?;
        self.ipv4("tun_dst", tnl.ip_dst, masks.ip_dst)?;
        self.ipv6("tun_ipv6_src", tnl.ipv6_src, masks.ipv6_src)?;
        self.ipv6("tun_ipv6_dst", tnl.ipv6_dst, masks.ipv6_dst)?;
        self.decimal("tun_gbp_id", tnl.gbp_id.get(), masks.gbp_id.get())?;
        if masks.gbp_flags != 0 {
            write!(self.out, "tun_gbp_flags={},", Alternate(tnl.gbp_flags.into()))?;
        }
        if masks.ip_tos != 0 {
            // Hexadecimal without a prefix, as the peer has it.
            write!(self.out, "tun_tos={:x},", tnl.ip_tos)?;
        }
        if masks.ip_ttl != 0 {
            write!(self.out, "tun_ttl={},", tnl.ip_ttl)?;
        }
        if masks.erspan_ver != 0 {
            write!(self.out, "tun_erspan_ver={},", tnl.erspan_ver)?;
        }
        if masks.erspan_idx != 0 && tnl.erspan_ver == 1 {
            write!(self.out, "tun_erspan_idx={},", Alternate(tnl.erspan_idx.into()))?;
        }
        if masks.erspan_dir != 0 && tnl.erspan_ver == 2 {
            write!(self.out, "tun_erspan_dir={},", tnl.erspan_dir)?;
        }
        if masks.erspan_hwid != 0 && tnl.erspan_ver == 2 {
            write!(self.out, "tun_erspan_hwid={},", Alternate(tnl.erspan_hwid.into()))?;
        }
        if masks.gtpu_flags != 0 {
            write!(self.out, "gtpu_flags={},", Alternate(tnl.gtpu_flags.into()))?;
        }
        if masks.gtpu_msgtype != 0 {
            write!(self.out, "gtpu_msgtype={},", tnl.gtpu_msgtype)?;
        }
        let (flags, mask) = (u32::from(tnl.flags & 0xf), u32::from(masks.flags & 0xf));
        if mask != 0 {
            self.out.write_str("tun_flags=")?;
            format_flags_masked(self.out, flag_names(Format::TunnelFlags), flags, mask, 0xf)?;
            self.out.write_char(',')?;
        }
        Ok(())
    }

    fn vlans(&mut self) -> fmt::Result {
        for (i, (value, mask)) in self.flow.vlans.iter().zip(&self.masks.vlans).enumerate() {
            let (tci, mask) = (value.tci.get(), mask.tci.get());
            if mask == 0 {
                break;
            }
            let n = if i == 0 { String::new() } else { i.to_string() };
            let whole = |bits: u16| mask & bits == 0 || mask & bits == bits;
            let tagged = tci & mask & VLAN_CFI != 0;
            if tagged
                && whole(VLAN_VID_MASK)
                && whole(VLAN_PCP_MASK)
                && mask & (VLAN_VID_MASK | VLAN_PCP_MASK) != 0
            {
                if mask & VLAN_VID_MASK != 0 {
                    write!(self.out, "dl_vlan{n}={},", tci & VLAN_VID_MASK)?;
                }
                if mask & VLAN_PCP_MASK != 0 {
                    write!(self.out, "dl_vlan_pcp{n}={},", tci >> vlan::VLAN_PCP_SHIFT)?;
                }
            } else if mask == u16::MAX {
                write!(self.out, "vlan_tci{n}={tci:#06x},")?;
            } else {
                write!(self.out, "vlan_tci{n}={tci:#06x}/{mask:#06x},")?;
            }
        }
        Ok(())
    }

    fn network(&mut self, proto_shown: bool) -> fmt::Result {
        let (flow, masks) = (self.flow, self.masks);
        let arp = matches!(self.dl_type, ether_type::ARP | ether_type::RARP);
        match self.dl_type {
            ether_type::IPV6 => {
                self.ipv6("ipv6_src", flow.ipv6_src, masks.ipv6_src)?;
                self.ipv6("ipv6_dst", flow.ipv6_dst, masks.ipv6_dst)?;
                match (flow.ipv6_label.get(), masks.ipv6_label.get()) {
                    (_, 0) => {}
                    (label, u32::MAX) => write!(self.out, "ipv6_label={label:#07x},")?,
                    (label, mask) => {
                        write!(self.out, "ipv6_label={label:#07x}/{mask:#07x},")?;
                    }
                }
            }
            ether_type::NSH => self.nsh()?,
            _ => {
                let (src, dst) = if arp { ("arp_spa", "arp_tpa") } else { ("nw_src", "nw_dst") };
                self.ipv4(src, flow.nw_src, masks.nw_src)?;
                self.ipv4(dst, flow.nw_dst, masks.nw_dst)?;
            }
        }
        if !proto_shown && masks.nw_proto != 0 {
            let name = if arp { "arp_op" } else { "nw_proto" };
            write!(self.out, "{name}={},", flow.nw_proto)?;
        }
        if arp {
            self.eth("arp_sha", flow.arp_sha, masks.arp_sha)?;
            self.eth("arp_tha", flow.arp_tha, masks.arp_tha)?;
        }
        if masks.nw_tos & DSCP != 0 {
            write!(self.out, "nw_tos={},", flow.nw_tos & DSCP)?;
        }
        if masks.nw_tos & ECN != 0 {
            write!(self.out, "nw_ecn={},", flow.nw_tos & ECN)?;
        }
        if masks.nw_ttl != 0 {
            write!(self.out, "nw_ttl={},", flow.nw_ttl)?;
        }
        Ok(())
    }

    fn nsh(&mut self) -> fmt::Result {
        let (nsh, masks) = (&self.flow.nsh, &self.masks.nsh);
        self.byte("nsh_flags", nsh.flags, masks.flags)?;
        self.byte("nsh_ttl", nsh.ttl, masks.ttl)?;
        self.byte("nsh_mdtype", nsh.mdtype, masks.mdtype)?;
        self.byte("nsh_np", nsh.np, masks.np)?;
        let spi_mask = masks.path_hdr.get() >> 8;
        let spi_mask = if spi_mask == 0x00ff_ffff { u32::MAX } else { spi_mask };
        self.plain_hex("nsh_spi", nsh.path_hdr.get() >> 8, spi_mask)?;
        self.byte("nsh_si", nsh.path_hdr.get() as u8, masks.path_hdr.get() as u8)?;
        if masks.mdtype == u8::MAX && nsh.mdtype == nsh::MD_TYPE1 {
            let names = ["nsh_c1", "nsh_c2", "nsh_c3", "nsh_c4"];
            for (name, (value, mask)) in
                names.into_iter().zip(nsh.context.iter().zip(masks.context))
            {
                self.plain_hex(name, value.get(), mask.get())?;
            }
        }
        Ok(())
    }

    fn mpls(&mut self) -> fmt::Result {
        let (lse, mask) = (MplsLse(self.flow.mpls_lse[0]), self.masks.mpls_lse[0].get());
        if mask & MPLS_LABEL_MASK != 0 {
            write!(self.out, "mpls_label={},", lse.label())?;
        }
        if mask & MPLS_TC_MASK != 0 {
            write!(self.out, "mpls_tc={},", lse.tc())?;
        }
        if mask & MPLS_TTL_MASK != 0 {
            write!(self.out, "mpls_ttl={},", lse.ttl())?;
        }
        if mask & MPLS_BOS_MASK != 0 {
            write!(self.out, "mpls_bos={},", u8::from(lse.bos()))?;
        }
        for (name, i) in [("mpls_lse1", 1), ("mpls_lse2", 2)] {
            match (self.flow.mpls_lse[i].get(), self.masks.mpls_lse[i].get()) {
                (_, 0) => {}
                (lse, u32::MAX) => write!(self.out, "{name}={lse},")?,
                (lse, mask) => write!(self.out, "{name}={lse:#010x}/{mask:#010x},")?,
            }
        }
        Ok(())
    }

    fn fragment(&mut self) -> fmt::Result {
        let mask = u128::from(self.masks.nw_frag & 3);
        if mask == 0 {
            return Ok(());
        }
        self.out.write_str("nw_frag=")?;
        Field::IpFrag.format(self.out, self.flow.nw_frag.into(), mask, None)?;
        self.out.write_char(',')
    }

    fn transport(&mut self) -> fmt::Result {
        let (flow, masks) = (self.flow, self.masks);
        let icmpv6 = self.dl_type == ether_type::IPV6 && flow.nw_proto == ip_proto::ICMPV6;
        let icmp = self.dl_type == ether_type::IPV4 && flow.nw_proto == ip_proto::ICMP || icmpv6;
        let (src, dst) = if icmp { ("icmp_type", "icmp_code") } else { ("tp_src", "tp_dst") };
        self.decimal(src, flow.tp_src.get(), masks.tp_src.get())?;
        self.decimal(dst, flow.tp_dst.get(), masks.tp_dst.get())?;
        if icmpv6 {
            self.ipv6("nd_target", flow.nd_target, masks.nd_target)?;
            self.eth("nd_sll", flow.arp_sha, masks.arp_sha)?;
            self.eth("nd_tll", flow.arp_tha, masks.arp_tha)?;
            let reserved = u32::from_be_bytes(flow.igmp_group_ip4);
            match u32::from_be_bytes(masks.igmp_group_ip4) {
                0 => {}
                u32::MAX => write!(self.out, "nd_reserved={reserved},")?,
                mask => write!(self.out, "nd_reserved={reserved:#010x}/{mask:#010x},")?,
            }
            self.decimal("nd_options_type", flow.tcp_flags.get(), masks.tcp_flags.get())?;
        }
        let mask = masks.tcp_flags.get();
        if flow.is_ip_any() && flow.nw_proto == ip_proto::TCP && mask != 0 {
            let names = flag_names(Format::TcpFlags);
            let (flags, mask) = (flow.tcp_flags.get().into(), u32::from(mask & 0xfff));
            self.out.write_str("tcp_flags=")?;
            if mask == 0xfff {
                format_flags(self.out, names, flags, '|')?;
            } else {
                format_flags_masked(self.out, names, flags, mask, 0xfff)?;
            }
        }
        Ok(())
    }

    fn port(&mut self, name: &str, port: u32) -> fmt::Result {
        let port = OfPort(port as u16);
        write!(self.out, "{name}=")?;
        match self.ports {
            Some(ports) => ports.format(port, self.out)?,
            None => write!(self.out, "{port}")?,
        }
        self.out.write_char(',')
    }

    fn eth(&mut self, name: &str, value: EthAddr, mask: EthAddr) -> fmt::Result {
        if mask.is_zero() {
            return Ok(());
        }
        write!(self.out, "{name}=")?;
        format_eth(self.out, value, mask)?;
        self.out.write_char(',')
    }

    fn ipv4(&mut self, name: &str, value: [u8; 4], mask: [u8; 4]) -> fmt::Result {
        if mask == [0; 4] {
            return Ok(());
        }
        write!(self.out, "{name}=")?;
        format_ipv4(self.out, u32::from_be_bytes(value), u32::from_be_bytes(mask))?;
        self.out.write_char(',')
    }

    fn ipv6(&mut self, name: &str, value: [u8; 16], mask: [u8; 16]) -> fmt::Result {
        if mask == [0; 16] {
            return Ok(());
        }
        write!(self.out, "{name}=")?;
        format_ipv6(self.out, u128::from_be_bytes(value), u128::from_be_bytes(mask))?;
        self.out.write_char(',')
    }

    /// Hexadecimal, zero without a prefix.
    fn hex<T>(&mut self, name: &str, value: T, mask: T) -> fmt::Result
    where
        T: Into<u128> + Copy,
    {
        let mask: u128 = mask.into();
        if mask == 0 {
            return Ok(());
        }
        write!(self.out, "{name}={}", Alternate(value.into()))?;
        if mask.count_ones() as usize != 8 * size_of::<T>() {
            write!(self.out, "/{}", Alternate(mask))?;
        }
        self.out.write_char(',')
    }

    /// Hexadecimal, zero with a prefix.
    fn plain_hex(&mut self, name: &str, value: u32, mask: u32) -> fmt::Result {
        match mask {
            0 => Ok(()),
            u32::MAX => write!(self.out, "{name}={value:#x},"),
            mask => write!(self.out, "{name}={value:#x}/{mask:#x},"),
        }
    }

    /// Decimal when exact, hexadecimal when masked.
    fn decimal(&mut self, name: &str, value: u16, mask: u16) -> fmt::Result {
        match mask {
            0 => Ok(()),
            u16::MAX => write!(self.out, "{name}={value},"),
            mask => write!(self.out, "{name}={value:#x}/{mask:#x},"),
        }
    }

    /// Decimal when exact, two hexadecimal digits when masked.
    fn byte(&mut self, name: &str, value: u8, mask: u8) -> fmt::Result {
        match mask {
            0 => Ok(()),
            u8::MAX => write!(self.out, "{name}={value},"),
            mask => write!(self.out, "{name}={value:#04x}/{mask:#04x},"),
        }
    }
}

/// What a protocol name told already.
struct Shown {
    dl_type: bool,
    proto: bool,
}

/// A number like C's `%#x`: hexadecimal, zero without a prefix.
struct Alternate(u128);

impl fmt::Display for Alternate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_char('0') } else { write!(f, "{:#x}", self.0) }
    }
}

#[cfg(test)]
mod tests;
