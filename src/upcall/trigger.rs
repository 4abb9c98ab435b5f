//! The packet that made a flow, in few bytes: enough to tell an operator who it was.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::flow::{Flow, VLAN_CFI, VLAN_VID_MASK};

/// See the module's page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trigger {
    src: [u8; 16],
    dst: [u8; 16],
    dl_type: u16,
    tci: u16,
    tp_src: u16,
    tp_dst: u16,
    nw_proto: u8,
    tcp_flags: u8,
}

impl Trigger {
    /// Of the packet with this flow.
    pub fn of(flow: &Flow) -> Self {
        let v4 = |addr: [u8; 4]| {
            let mut out = [0; 16];
            out[..4].copy_from_slice(&addr);
            out
        };
        let v6 = flow.dl_type.get() == 0x86dd;
        Self {
            src: if v6 { flow.ipv6_src } else { v4(flow.nw_src) },
            dst: if v6 { flow.ipv6_dst } else { v4(flow.nw_dst) },
            dl_type: flow.dl_type.get(),
            tci: flow.vlans[0].tci.get(),
            tp_src: flow.tp_src.get(),
            tp_dst: flow.tp_dst.get(),
            nw_proto: flow.nw_proto,
            tcp_flags: flow.tcp_flags.get() as u8,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tci & VLAN_CFI != 0 {
            write!(f, "vlan {} ", self.tci & VLAN_VID_MASK)?;
        }
        let [a, b, c, d, ..] = self.src;
        let [p, q, r, s, ..] = self.dst;
        let (v4_src, v4_dst) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(p, q, r, s));
        match (self.dl_type, self.nw_proto) {
            (0x0806, 1) => return write!(f, "arp who-has {v4_dst} tell {v4_src}"),
            (0x0806, 2) => return write!(f, "arp {v4_src} is-at, to {v4_dst}"),
            (0x0806, op) => return write!(f, "arp op {op} {v4_src} > {v4_dst}"),
            (0x0800 | 0x86dd, _) => {}
            (dl_type, _) => return write!(f, "ethertype {dl_type:#06x}"),
        }
        match self.nw_proto {
            1 => write!(f, "icmp ")?,
            6 => write!(f, "tcp ")?,
            17 => write!(f, "udp ")?,
            58 => write!(f, "icmp6 ")?,
            132 => write!(f, "sctp ")?,
            proto => write!(f, "ip proto {proto} ")?,
        }
        let ports = matches!(self.nw_proto, 6 | 17 | 132);
        let end = |f: &mut fmt::Formatter<'_>, addr: [u8; 16], v4: Ipv4Addr, port: u16| match (
            self.dl_type == 0x86dd,
            ports,
        ) {
            (true, true) => write!(f, "[{}]:{port}", Ipv6Addr::from(addr)),
            (true, false) => write!(f, "{}", Ipv6Addr::from(addr)),
            (false, true) => write!(f, "{v4}:{port}"),
            (false, false) => write!(f, "{v4}"),
        };
        end(f, self.src, v4_src, self.tp_src)?;
        f.write_str(" > ")?;
        end(f, self.dst, v4_dst, self.tp_dst)?;
        match self.nw_proto {
            1 | 58 => write!(f, " type {} code {}", self.tp_src, self.tp_dst),
            6 => write!(f, " flags {:#04x}", self.tcp_flags),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Be16, VlanHdr};

    #[test]
    fn tells_who_it_was() {
        let mut flow = Flow {
            dl_type: Be16::new(0x0800),
            nw_src: [10, 0, 0, 1],
            nw_dst: [10, 0, 0, 2],
            nw_proto: 6,
            tp_src: Be16::new(4000),
            tp_dst: Be16::new(80),
            tcp_flags: Be16::new(2),
            ..Flow::ZERO
        };
        assert_eq!(Trigger::of(&flow).to_string(), "tcp 10.0.0.1:4000 > 10.0.0.2:80 flags 0x02");
        flow.vlans[0] = VlanHdr { tpid: Be16::new(0x8100), tci: Be16::new(0x100a) };
        flow.dl_type = Be16::new(0x0806);
        flow.nw_proto = 1;
        assert_eq!(Trigger::of(&flow).to_string(), "vlan 10 arp who-has 10.0.0.2 tell 10.0.0.1");
    }
}
