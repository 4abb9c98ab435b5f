//! The fields of OpenFlow, each once.
//!
//! A row is: name in Rust, name in text and its old alias, bytes on the wire and how many of the low
//! bits can be set, whether any bit or only the whole can be matched, text form, prerequisite, whether
//! actions may write it, whether it can be looked up by prefix, where it stands in a [`Flow`], and its
//! numbers on the wire from the oldest OpenFlow version to the newest. Source: ovs-fields(7) and
//! include/openvswitch/meta-flow.h of Open vSwitch 3.1. Constant data: any thread.

use std::mem::offset_of;

use super::place::{Place, be, mpls, ne, part, regs, vlan};
use super::{Access, FieldInfo, Format, Header, Maskable, Prereq, Wire};
use crate::flow::{Flow, VLAN_CFI as CFI, VLAN_PCP_MASK as PCP, VLAN_VID_MASK as VID};

/// Byte offset in [`Flow`].
macro_rules! at {
    ($($path:tt)+) => {
        offset_of!(Flow, $($path)+)
    };
}

/// The control information of the outer VLAN tag.
const TCI: usize = at!(vlans) + 2;

macro_rules! fields {
    ($(
        $variant:ident $name:literal $(aka $alias:literal)? $bytes:literal : $bits:literal
        $maskable:ident $format:ident $prereq:ident $access:ident $($prefix:ident)?
        { $place:expr } [ $($wire:expr),* ];
    )*) => {
        /// A field that OpenFlow can match on. [`info`](Field::info) tells its properties.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Field {
            /// All fields.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }

        pub(super) static FIELDS: [FieldInfo; Field::ALL.len()] = [$(FieldInfo {
            name: $name,
            alias: &[$($alias)?],
            bytes: $bytes,
            bits: $bits,
            maskable: Maskable::$maskable,
            format: Format::$format,
            prereq: Prereq::$prereq,
            access: Access::$access,
            prefix: {
                let given: &[&str] = &[$(stringify!($prefix))?];
                !given.is_empty()
            },
            place: $place,
            wire: &[$($wire),*],
        }),*];
    };
}

const fn nxm_of(field: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0x0000, field, experimenter: 0 }, since: 0, name }
}

const fn nxm_nx(field: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0x0001, field, experimenter: 0 }, since: 0, name }
}

const fn oxm(field: u8, since: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0x8000, field, experimenter: 0 }, since, name }
}

const fn pkt_reg(field: u8, since: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0x8001, field, experimenter: 0 }, since, name }
}

const fn ericsson(field: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0x1000, field, experimenter: 0 }, since: 0, name }
}

const fn onf(field: u8, since: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0xffff, field, experimenter: 0x4f4e_4600 }, since, name }
}

const fn nicira(field: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0xffff, field, experimenter: 0x0000_2320 }, since: 0, name }
}

const fn nsh(field: u8, name: &'static str) -> Wire {
    Wire { header: Header { class: 0xffff, field, experimenter: 0x005a_d650 }, since: 0, name }
}

fields! {
    DpHash "dp_hash" 4:32 Any Hex Nothing Ro
        {ne(at!(dp_hash), 4)} [nicira(0, "NXOXM_ET_DP_HASH"), nxm_nx(35, "NXM_NX_DP_HASH")];
    RecircId "recirc_id" 4:32 Whole Decimal Nothing Ro
        {ne(at!(recirc_id), 4)} [nxm_nx(36, "NXM_NX_RECIRC_ID")];
    PacketType "packet_type" 4:32 Whole PacketType Nothing Ro
        {be(at!(packet_type), 4)} [oxm(44, 6, "OXM_OF_PACKET_TYPE")];
    ConjId "conj_id" 4:32 Whole Decimal Nothing Ro
        {ne(at!(conj_id), 4)} [nxm_nx(37, "NXM_NX_CONJ_ID")];
    TunId "tun_id" aka "tunnel_id" 8:64 Any Hex Nothing Rw prefix
        {be(at!(tunnel.tun_id), 8)} [nxm_nx(16, "NXM_NX_TUN_ID"), oxm(38, 4, "OXM_OF_TUNNEL_ID")];
    TunSrc "tun_src" 4:32 Any Ipv4 Nothing Rw prefix
        {be(at!(tunnel.ip_src), 4)} [nxm_nx(31, "NXM_NX_TUN_IPV4_SRC")];
    TunDst "tun_dst" 4:32 Any Ipv4 Nothing Rw prefix
        {be(at!(tunnel.ip_dst), 4)} [nxm_nx(32, "NXM_NX_TUN_IPV4_DST")];
    TunIpv6Src "tun_ipv6_src" 16:128 Any Ipv6 Nothing Rw prefix
        {be(at!(tunnel.ipv6_src), 16)} [nxm_nx(109, "NXM_NX_TUN_IPV6_SRC")];
    TunIpv6Dst "tun_ipv6_dst" 16:128 Any Ipv6 Nothing Rw prefix
        {be(at!(tunnel.ipv6_dst), 16)} [nxm_nx(110, "NXM_NX_TUN_IPV6_DST")];
    TunFlags "tun_flags" 2:1 Any TunnelFlags Nothing Rw
        {part(ne(at!(tunnel.flags), 2), 1, 0)} [nxm_nx(104, "NXM_NX_TUN_FLAGS")];
    TunTtl "tun_ttl" 1:8 Whole Decimal Nothing Ro {be(at!(tunnel.ip_ttl), 1)} [];
    TunTos "tun_tos" 1:8 Whole Decimal Nothing Ro {be(at!(tunnel.ip_tos), 1)} [];
    TunGbpId "tun_gbp_id" 2:16 Any Decimal Nothing Rw
        {be(at!(tunnel.gbp_id), 2)} [nxm_nx(38, "NXM_NX_TUN_GBP_ID")];
    TunGbpFlags "tun_gbp_flags" 1:8 Any Hex Nothing Rw
        {be(at!(tunnel.gbp_flags), 1)} [nxm_nx(39, "NXM_NX_TUN_GBP_FLAGS")];
    TunErspanIdx "tun_erspan_idx" 4:20 Any Hex Nothing Rw
        {ne(at!(tunnel.erspan_idx), 4)} [nicira(11, "NXOXM_ET_ERSPAN_IDX")];
    TunErspanVer "tun_erspan_ver" 1:4 Any Decimal Nothing Rw
        {be(at!(tunnel.erspan_ver), 1)} [nicira(12, "NXOXM_ET_ERSPAN_VER")];
    TunErspanDir "tun_erspan_dir" 1:1 Any Decimal Nothing Rw
        {be(at!(tunnel.erspan_dir), 1)} [nicira(13, "NXOXM_ET_ERSPAN_DIR")];
    TunErspanHwid "tun_erspan_hwid" 1:6 Any Hex Nothing Rw
        {be(at!(tunnel.erspan_hwid), 1)} [nicira(14, "NXOXM_ET_ERSPAN_HWID")];
    TunGtpuFlags "tun_gtpu_flags" 1:8 Any Hex Nothing Ro
        {be(at!(tunnel.gtpu_flags), 1)} [nicira(15, "NXOXM_ET_GTPU_FLAGS")];
    TunGtpuMsgtype "tun_gtpu_msgtype" 1:8 Any Decimal Nothing Ro
        {be(at!(tunnel.gtpu_msgtype), 1)} [nicira(16, "NXOXM_ET_GTPU_MSGTYPE")];
    TunMetadata0 "tun_metadata0" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(40, "NXM_NX_TUN_METADATA0")];
    TunMetadata1 "tun_metadata1" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(41, "NXM_NX_TUN_METADATA1")];
    TunMetadata2 "tun_metadata2" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(42, "NXM_NX_TUN_METADATA2")];
    TunMetadata3 "tun_metadata3" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(43, "NXM_NX_TUN_METADATA3")];
    TunMetadata4 "tun_metadata4" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(44, "NXM_NX_TUN_METADATA4")];
    TunMetadata5 "tun_metadata5" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(45, "NXM_NX_TUN_METADATA5")];
    TunMetadata6 "tun_metadata6" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(46, "NXM_NX_TUN_METADATA6")];
    TunMetadata7 "tun_metadata7" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(47, "NXM_NX_TUN_METADATA7")];
    TunMetadata8 "tun_metadata8" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(48, "NXM_NX_TUN_METADATA8")];
    TunMetadata9 "tun_metadata9" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(49, "NXM_NX_TUN_METADATA9")];
    TunMetadata10 "tun_metadata10" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(50, "NXM_NX_TUN_METADATA10")];
    TunMetadata11 "tun_metadata11" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(51, "NXM_NX_TUN_METADATA11")];
    TunMetadata12 "tun_metadata12" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(52, "NXM_NX_TUN_METADATA12")];
    TunMetadata13 "tun_metadata13" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(53, "NXM_NX_TUN_METADATA13")];
    TunMetadata14 "tun_metadata14" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(54, "NXM_NX_TUN_METADATA14")];
    TunMetadata15 "tun_metadata15" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(55, "NXM_NX_TUN_METADATA15")];
    TunMetadata16 "tun_metadata16" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(56, "NXM_NX_TUN_METADATA16")];
    TunMetadata17 "tun_metadata17" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(57, "NXM_NX_TUN_METADATA17")];
    TunMetadata18 "tun_metadata18" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(58, "NXM_NX_TUN_METADATA18")];
    TunMetadata19 "tun_metadata19" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(59, "NXM_NX_TUN_METADATA19")];
    TunMetadata20 "tun_metadata20" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(60, "NXM_NX_TUN_METADATA20")];
    TunMetadata21 "tun_metadata21" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(61, "NXM_NX_TUN_METADATA21")];
    TunMetadata22 "tun_metadata22" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(62, "NXM_NX_TUN_METADATA22")];
    TunMetadata23 "tun_metadata23" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(63, "NXM_NX_TUN_METADATA23")];
    TunMetadata24 "tun_metadata24" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(64, "NXM_NX_TUN_METADATA24")];
    TunMetadata25 "tun_metadata25" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(65, "NXM_NX_TUN_METADATA25")];
    TunMetadata26 "tun_metadata26" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(66, "NXM_NX_TUN_METADATA26")];
    TunMetadata27 "tun_metadata27" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(67, "NXM_NX_TUN_METADATA27")];
    TunMetadata28 "tun_metadata28" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(68, "NXM_NX_TUN_METADATA28")];
    TunMetadata29 "tun_metadata29" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(69, "NXM_NX_TUN_METADATA29")];
    TunMetadata30 "tun_metadata30" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(70, "NXM_NX_TUN_METADATA30")];
    TunMetadata31 "tun_metadata31" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(71, "NXM_NX_TUN_METADATA31")];
    TunMetadata32 "tun_metadata32" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(72, "NXM_NX_TUN_METADATA32")];
    TunMetadata33 "tun_metadata33" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(73, "NXM_NX_TUN_METADATA33")];
    TunMetadata34 "tun_metadata34" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(74, "NXM_NX_TUN_METADATA34")];
    TunMetadata35 "tun_metadata35" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(75, "NXM_NX_TUN_METADATA35")];
    TunMetadata36 "tun_metadata36" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(76, "NXM_NX_TUN_METADATA36")];
    TunMetadata37 "tun_metadata37" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(77, "NXM_NX_TUN_METADATA37")];
    TunMetadata38 "tun_metadata38" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(78, "NXM_NX_TUN_METADATA38")];
    TunMetadata39 "tun_metadata39" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(79, "NXM_NX_TUN_METADATA39")];
    TunMetadata40 "tun_metadata40" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(80, "NXM_NX_TUN_METADATA40")];
    TunMetadata41 "tun_metadata41" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(81, "NXM_NX_TUN_METADATA41")];
    TunMetadata42 "tun_metadata42" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(82, "NXM_NX_TUN_METADATA42")];
    TunMetadata43 "tun_metadata43" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(83, "NXM_NX_TUN_METADATA43")];
    TunMetadata44 "tun_metadata44" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(84, "NXM_NX_TUN_METADATA44")];
    TunMetadata45 "tun_metadata45" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(85, "NXM_NX_TUN_METADATA45")];
    TunMetadata46 "tun_metadata46" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(86, "NXM_NX_TUN_METADATA46")];
    TunMetadata47 "tun_metadata47" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(87, "NXM_NX_TUN_METADATA47")];
    TunMetadata48 "tun_metadata48" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(88, "NXM_NX_TUN_METADATA48")];
    TunMetadata49 "tun_metadata49" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(89, "NXM_NX_TUN_METADATA49")];
    TunMetadata50 "tun_metadata50" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(90, "NXM_NX_TUN_METADATA50")];
    TunMetadata51 "tun_metadata51" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(91, "NXM_NX_TUN_METADATA51")];
    TunMetadata52 "tun_metadata52" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(92, "NXM_NX_TUN_METADATA52")];
    TunMetadata53 "tun_metadata53" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(93, "NXM_NX_TUN_METADATA53")];
    TunMetadata54 "tun_metadata54" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(94, "NXM_NX_TUN_METADATA54")];
    TunMetadata55 "tun_metadata55" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(95, "NXM_NX_TUN_METADATA55")];
    TunMetadata56 "tun_metadata56" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(96, "NXM_NX_TUN_METADATA56")];
    TunMetadata57 "tun_metadata57" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(97, "NXM_NX_TUN_METADATA57")];
    TunMetadata58 "tun_metadata58" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(98, "NXM_NX_TUN_METADATA58")];
    TunMetadata59 "tun_metadata59" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(99, "NXM_NX_TUN_METADATA59")];
    TunMetadata60 "tun_metadata60" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(100, "NXM_NX_TUN_METADATA60")];
    TunMetadata61 "tun_metadata61" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(101, "NXM_NX_TUN_METADATA61")];
    TunMetadata62 "tun_metadata62" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(102, "NXM_NX_TUN_METADATA62")];
    TunMetadata63 "tun_metadata63" 124:992 Any Hex Nothing Rw
        {Place::TunMetadata} [nxm_nx(103, "NXM_NX_TUN_METADATA63")];
    Metadata "metadata" 8:64 Any Hex Nothing Rw
        {be(at!(metadata), 8)} [oxm(2, 3, "OXM_OF_METADATA")];
    InPort "in_port" 2:16 Whole Port16 Nothing Rw {Place::Port16} [nxm_of(0, "NXM_OF_IN_PORT")];
    InPortOxm "in_port_oxm" 4:32 Whole Port32 Nothing Rw
        {Place::Port32(at!(in_port))} [oxm(0, 3, "OXM_OF_IN_PORT")];
    ActsetOutput "actset_output" 4:32 Whole Port32 Nothing Ro
        {Place::Port32(at!(actset_output))} [onf(43, 4, "ONFOXM_ET_ACTSET_OUTPUT"),
            oxm(43, 6, "OXM_OF_ACTSET_OUTPUT")];
    SkbPriority "skb_priority" 4:32 Whole Hex Nothing Ro {ne(at!(skb_priority), 4)} [];
    PktMark "pkt_mark" 4:32 Any Hex Nothing Rw
        {ne(at!(pkt_mark), 4)} [nxm_nx(33, "NXM_NX_PKT_MARK")];
    CtState "ct_state" 4:32 Any CtState Nothing Ro
        {be(at!(ct_state), 1)} [nxm_nx(105, "NXM_NX_CT_STATE")];
    CtZone "ct_zone" 2:16 Whole Hex Nothing Ro
        {ne(at!(ct_zone), 2)} [nxm_nx(106, "NXM_NX_CT_ZONE")];
    CtMark "ct_mark" 4:32 Any Hex Nothing Rw {ne(at!(ct_mark), 4)} [nxm_nx(107, "NXM_NX_CT_MARK")];
    CtLabel "ct_label" 16:128 Any Hex Nothing Rw
        {be(at!(ct_label), 16)} [nxm_nx(108, "NXM_NX_CT_LABEL")];
    CtNwProto "ct_nw_proto" 1:8 Whole Decimal Ct Ro
        {be(at!(ct_nw_proto), 1)} [nxm_nx(119, "NXM_NX_CT_NW_PROTO")];
    CtNwSrc "ct_nw_src" 4:32 Any Ipv4 Ct Ro prefix
        {be(at!(ct_nw_src), 4)} [nxm_nx(120, "NXM_NX_CT_NW_SRC")];
    CtNwDst "ct_nw_dst" 4:32 Any Ipv4 Ct Ro prefix
        {be(at!(ct_nw_dst), 4)} [nxm_nx(121, "NXM_NX_CT_NW_DST")];
    CtIpv6Src "ct_ipv6_src" 16:128 Any Ipv6 Ct Ro prefix
        {be(at!(ct_ipv6_src), 16)} [nxm_nx(122, "NXM_NX_CT_IPV6_SRC")];
    CtIpv6Dst "ct_ipv6_dst" 16:128 Any Ipv6 Ct Ro prefix
        {be(at!(ct_ipv6_dst), 16)} [nxm_nx(123, "NXM_NX_CT_IPV6_DST")];
    CtTpSrc "ct_tp_src" 2:16 Any Decimal Ct Ro
        {be(at!(ct_tp_src), 2)} [nxm_nx(124, "NXM_NX_CT_TP_SRC")];
    CtTpDst "ct_tp_dst" 2:16 Any Decimal Ct Ro
        {be(at!(ct_tp_dst), 2)} [nxm_nx(125, "NXM_NX_CT_TP_DST")];
    Reg0 "reg0" 4:32 Any Hex Nothing Rw {regs(0, 1)} [nxm_nx(0, "NXM_NX_REG0")];
    Reg1 "reg1" 4:32 Any Hex Nothing Rw {regs(1, 1)} [nxm_nx(1, "NXM_NX_REG1")];
    Reg2 "reg2" 4:32 Any Hex Nothing Rw {regs(2, 1)} [nxm_nx(2, "NXM_NX_REG2")];
    Reg3 "reg3" 4:32 Any Hex Nothing Rw {regs(3, 1)} [nxm_nx(3, "NXM_NX_REG3")];
    Reg4 "reg4" 4:32 Any Hex Nothing Rw {regs(4, 1)} [nxm_nx(4, "NXM_NX_REG4")];
    Reg5 "reg5" 4:32 Any Hex Nothing Rw {regs(5, 1)} [nxm_nx(5, "NXM_NX_REG5")];
    Reg6 "reg6" 4:32 Any Hex Nothing Rw {regs(6, 1)} [nxm_nx(6, "NXM_NX_REG6")];
    Reg7 "reg7" 4:32 Any Hex Nothing Rw {regs(7, 1)} [nxm_nx(7, "NXM_NX_REG7")];
    Reg8 "reg8" 4:32 Any Hex Nothing Rw {regs(8, 1)} [nxm_nx(8, "NXM_NX_REG8")];
    Reg9 "reg9" 4:32 Any Hex Nothing Rw {regs(9, 1)} [nxm_nx(9, "NXM_NX_REG9")];
    Reg10 "reg10" 4:32 Any Hex Nothing Rw {regs(10, 1)} [nxm_nx(10, "NXM_NX_REG10")];
    Reg11 "reg11" 4:32 Any Hex Nothing Rw {regs(11, 1)} [nxm_nx(11, "NXM_NX_REG11")];
    Reg12 "reg12" 4:32 Any Hex Nothing Rw {regs(12, 1)} [nxm_nx(12, "NXM_NX_REG12")];
    Reg13 "reg13" 4:32 Any Hex Nothing Rw {regs(13, 1)} [nxm_nx(13, "NXM_NX_REG13")];
    Reg14 "reg14" 4:32 Any Hex Nothing Rw {regs(14, 1)} [nxm_nx(14, "NXM_NX_REG14")];
    Reg15 "reg15" 4:32 Any Hex Nothing Rw {regs(15, 1)} [nxm_nx(15, "NXM_NX_REG15")];
    Xreg0 "xreg0" 8:64 Any Hex Nothing Rw {regs(0, 2)} [pkt_reg(0, 4, "OXM_OF_PKT_REG0")];
    Xreg1 "xreg1" 8:64 Any Hex Nothing Rw {regs(2, 2)} [pkt_reg(1, 4, "OXM_OF_PKT_REG1")];
    Xreg2 "xreg2" 8:64 Any Hex Nothing Rw {regs(4, 2)} [pkt_reg(2, 4, "OXM_OF_PKT_REG2")];
    Xreg3 "xreg3" 8:64 Any Hex Nothing Rw {regs(6, 2)} [pkt_reg(3, 4, "OXM_OF_PKT_REG3")];
    Xreg4 "xreg4" 8:64 Any Hex Nothing Rw {regs(8, 2)} [pkt_reg(4, 4, "OXM_OF_PKT_REG4")];
    Xreg5 "xreg5" 8:64 Any Hex Nothing Rw {regs(10, 2)} [pkt_reg(5, 4, "OXM_OF_PKT_REG5")];
    Xreg6 "xreg6" 8:64 Any Hex Nothing Rw {regs(12, 2)} [pkt_reg(6, 4, "OXM_OF_PKT_REG6")];
    Xreg7 "xreg7" 8:64 Any Hex Nothing Rw {regs(14, 2)} [pkt_reg(7, 4, "OXM_OF_PKT_REG7")];
    Xxreg0 "xxreg0" 16:128 Any Hex Nothing Rw {regs(0, 4)} [nxm_nx(111, "NXM_NX_XXREG0")];
    Xxreg1 "xxreg1" 16:128 Any Hex Nothing Rw {regs(4, 4)} [nxm_nx(112, "NXM_NX_XXREG1")];
    Xxreg2 "xxreg2" 16:128 Any Hex Nothing Rw {regs(8, 4)} [nxm_nx(113, "NXM_NX_XXREG2")];
    Xxreg3 "xxreg3" 16:128 Any Hex Nothing Rw {regs(12, 4)} [nxm_nx(114, "NXM_NX_XXREG3")];
    EthSrc "eth_src" aka "dl_src" 6:48 Any Ethernet Ethernet Rw
        {be(at!(dl_src), 6)} [nxm_of(2, "NXM_OF_ETH_SRC"), oxm(4, 3, "OXM_OF_ETH_SRC")];
    EthDst "eth_dst" aka "dl_dst" 6:48 Any Ethernet Ethernet Rw
        {be(at!(dl_dst), 6)} [nxm_of(1, "NXM_OF_ETH_DST"), oxm(3, 3, "OXM_OF_ETH_DST")];
    EthType "eth_type" aka "dl_type" 2:16 Whole Hex Ethernet Ro
        {be(at!(dl_type), 2)} [nxm_of(3, "NXM_OF_ETH_TYPE"), oxm(5, 3, "OXM_OF_ETH_TYPE")];
    VlanTci "vlan_tci" 2:16 Any Hex Ethernet Rw {be(TCI, 2)} [nxm_of(4, "NXM_OF_VLAN_TCI")];
    DlVlan "dl_vlan" 2:12 Whole Decimal Ethernet Rw {vlan(VID, 0, CFI)} [];
    VlanVid "vlan_vid" 2:12 Any Decimal Ethernet Rw
        {vlan(VID | CFI, 0, 0)} [oxm(6, 3, "OXM_OF_VLAN_VID")];
    DlVlanPcp "dl_vlan_pcp" 1:3 Whole Decimal Ethernet Rw {vlan(PCP, 13, CFI)} [];
    VlanPcp "vlan_pcp" 1:3 Whole Decimal VlanVid Rw
        {vlan(PCP, 13, CFI)} [oxm(7, 3, "OXM_OF_VLAN_PCP")];
    MplsLabel "mpls_label" 4:20 Whole Decimal Mpls Rw
        {mpls(0xffff_f000, 12)} [oxm(34, 3, "OXM_OF_MPLS_LABEL")];
    MplsTc "mpls_tc" 1:3 Whole Decimal Mpls Rw {mpls(0xe00, 9)} [oxm(35, 3, "OXM_OF_MPLS_TC")];
    MplsBos "mpls_bos" 1:1 Whole Decimal Mpls Ro {mpls(0x100, 8)} [oxm(36, 4, "OXM_OF_MPLS_BOS")];
    MplsTtl "mpls_ttl" 1:8 Whole Decimal Mpls Rw {mpls(0xff, 0)} [nxm_nx(30, "NXM_NX_MPLS_TTL")];
    Ipv4Src "ip_src" aka "nw_src" 4:32 Any Ipv4 Ipv4 Rw prefix
        {be(at!(nw_src), 4)} [nxm_of(7, "NXM_OF_IP_SRC"), oxm(11, 3, "OXM_OF_IPV4_SRC")];
    Ipv4Dst "ip_dst" aka "nw_dst" 4:32 Any Ipv4 Ipv4 Rw prefix
        {be(at!(nw_dst), 4)} [nxm_of(8, "NXM_OF_IP_DST"), oxm(12, 3, "OXM_OF_IPV4_DST")];
    Ipv6Src "ipv6_src" 16:128 Any Ipv6 Ipv6 Rw prefix
        {be(at!(ipv6_src), 16)} [nxm_nx(19, "NXM_NX_IPV6_SRC"), oxm(26, 3, "OXM_OF_IPV6_SRC")];
    Ipv6Dst "ipv6_dst" 16:128 Any Ipv6 Ipv6 Rw prefix
        {be(at!(ipv6_dst), 16)} [nxm_nx(20, "NXM_NX_IPV6_DST"), oxm(27, 3, "OXM_OF_IPV6_DST")];
    Ipv6Label "ipv6_label" 4:20 Any Hex Ipv6 Rw
        {be(at!(ipv6_label), 4)} [nxm_nx(27, "NXM_NX_IPV6_LABEL"),
            oxm(28, 3, "OXM_OF_IPV6_FLABEL")];
    IpProto "nw_proto" aka "ip_proto" 1:8 Whole Decimal IpAny Ro
        {be(at!(nw_proto), 1)} [nxm_of(6, "NXM_OF_IP_PROTO"), oxm(10, 3, "OXM_OF_IP_PROTO")];
    IpDscp "nw_tos" 1:8 Whole Decimal IpAny Rw
        {part(be(at!(nw_tos), 1), 0xfc, 0)} [nxm_of(5, "NXM_OF_IP_TOS")];
    IpDscpShifted "ip_dscp" 1:6 Whole Decimal IpAny Rw
        {part(be(at!(nw_tos), 1), 0xfc, 2)} [oxm(8, 3, "OXM_OF_IP_DSCP")];
    IpEcn "nw_ecn" aka "ip_ecn" 1:2 Whole Decimal IpAny Rw
        {part(be(at!(nw_tos), 1), 3, 0)} [nxm_nx(28, "NXM_NX_IP_ECN"), oxm(9, 3, "OXM_OF_IP_ECN")];
    IpTtl "nw_ttl" 1:8 Whole Decimal IpAny Rw {be(at!(nw_ttl), 1)} [nxm_nx(29, "NXM_NX_IP_TTL")];
    IpFrag "ip_frag" aka "nw_frag" 1:2 Any Frag IpAny Ro
        {part(be(at!(nw_frag), 1), 3, 0)} [nxm_nx(26, "NXM_NX_IP_FRAG")];
    ArpOp "arp_op" 2:16 Whole Decimal Arp Rw
        {be(at!(nw_proto), 1)} [nxm_of(15, "NXM_OF_ARP_OP"), oxm(21, 3, "OXM_OF_ARP_OP")];
    ArpSpa "arp_spa" 4:32 Any Ipv4 Arp Rw
        {be(at!(nw_src), 4)} [nxm_of(16, "NXM_OF_ARP_SPA"), oxm(22, 3, "OXM_OF_ARP_SPA")];
    ArpTpa "arp_tpa" 4:32 Any Ipv4 Arp Rw
        {be(at!(nw_dst), 4)} [nxm_of(17, "NXM_OF_ARP_TPA"), oxm(23, 3, "OXM_OF_ARP_TPA")];
    ArpSha "arp_sha" 6:48 Any Ethernet Arp Rw
        {be(at!(arp_sha), 6)} [nxm_nx(17, "NXM_NX_ARP_SHA"), oxm(24, 3, "OXM_OF_ARP_SHA")];
    ArpTha "arp_tha" 6:48 Any Ethernet Arp Rw
        {be(at!(arp_tha), 6)} [nxm_nx(18, "NXM_NX_ARP_THA"), oxm(25, 3, "OXM_OF_ARP_THA")];
    TcpSrc "tcp_src" aka "tp_src" 2:16 Any Decimal Tcp Rw
        {be(at!(tp_src), 2)} [nxm_of(9, "NXM_OF_TCP_SRC"), oxm(13, 3, "OXM_OF_TCP_SRC")];
    TcpDst "tcp_dst" aka "tp_dst" 2:16 Any Decimal Tcp Rw
        {be(at!(tp_dst), 2)} [nxm_of(10, "NXM_OF_TCP_DST"), oxm(14, 3, "OXM_OF_TCP_DST")];
    TcpFlags "tcp_flags" 2:12 Any TcpFlags Tcp Ro
        {be(at!(tcp_flags), 2)} [nxm_nx(34, "NXM_NX_TCP_FLAGS"),
            onf(42, 4, "ONFOXM_ET_TCP_FLAGS"),
            oxm(42, 6, "OXM_OF_TCP_FLAGS")];
    UdpSrc "udp_src" 2:16 Any Decimal Udp Rw
        {be(at!(tp_src), 2)} [nxm_of(11, "NXM_OF_UDP_SRC"), oxm(15, 3, "OXM_OF_UDP_SRC")];
    UdpDst "udp_dst" 2:16 Any Decimal Udp Rw
        {be(at!(tp_dst), 2)} [nxm_of(12, "NXM_OF_UDP_DST"), oxm(16, 3, "OXM_OF_UDP_DST")];
    SctpSrc "sctp_src" 2:16 Any Decimal Sctp Rw
        {be(at!(tp_src), 2)} [oxm(17, 3, "OXM_OF_SCTP_SRC")];
    SctpDst "sctp_dst" 2:16 Any Decimal Sctp Rw
        {be(at!(tp_dst), 2)} [oxm(18, 3, "OXM_OF_SCTP_DST")];
    Icmpv4Type "icmp_type" 1:8 Whole Decimal Icmpv4 Rw
        {be(at!(tp_src), 2)} [nxm_of(13, "NXM_OF_ICMP_TYPE"), oxm(19, 3, "OXM_OF_ICMPV4_TYPE")];
    Icmpv4Code "icmp_code" 1:8 Whole Decimal Icmpv4 Rw
        {be(at!(tp_dst), 2)} [nxm_of(14, "NXM_OF_ICMP_CODE"), oxm(20, 3, "OXM_OF_ICMPV4_CODE")];
    Icmpv6Type "icmpv6_type" 1:8 Whole Decimal Icmpv6 Rw
        {be(at!(tp_src), 2)} [nxm_nx(21, "NXM_NX_ICMPV6_TYPE"), oxm(29, 3, "OXM_OF_ICMPV6_TYPE")];
    Icmpv6Code "icmpv6_code" 1:8 Whole Decimal Icmpv6 Rw
        {be(at!(tp_dst), 2)} [nxm_nx(22, "NXM_NX_ICMPV6_CODE"), oxm(30, 3, "OXM_OF_ICMPV6_CODE")];
    NdTarget "nd_target" 16:128 Any Ipv6 Nd Rw
        {be(at!(nd_target), 16)} [nxm_nx(23, "NXM_NX_ND_TARGET"),
            oxm(31, 3, "OXM_OF_IPV6_ND_TARGET")];
    NdSll "nd_sll" 6:48 Any Ethernet NdSolicit Rw
        {be(at!(arp_sha), 6)} [nxm_nx(24, "NXM_NX_ND_SLL"), oxm(32, 3, "OXM_OF_IPV6_ND_SLL")];
    NdTll "nd_tll" 6:48 Any Ethernet NdAdvert Rw
        {be(at!(arp_tha), 6)} [nxm_nx(25, "NXM_NX_ND_TLL"), oxm(33, 3, "OXM_OF_IPV6_ND_TLL")];
    NdReserved "nd_reserved" 4:32 Whole Decimal Nd Rw
        {be(at!(igmp_group_ip4), 4)} [ericsson(1, "ERICOXM_OF_ICMPV6_ND_RESERVED")];
    NdOptionsType "nd_options_type" 1:8 Whole Decimal Nd Rw
        {be(at!(tcp_flags), 2)} [ericsson(2, "ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE")];
    NshFlags "nsh_flags" 1:8 Any Decimal Nsh Rw {be(at!(nsh.flags), 1)} [nsh(1, "NXOXM_NSH_FLAGS")];
    NshMdtype "nsh_mdtype" 1:8 Whole Decimal Nsh Ro
        {be(at!(nsh.mdtype), 1)} [nsh(2, "NXOXM_NSH_MDTYPE")];
    NshNp "nsh_np" 1:8 Whole Decimal Nsh Ro {be(at!(nsh.np), 1)} [nsh(3, "NXOXM_NSH_NP")];
    NshSpi "nsh_spi" aka "nsp" 4:24 Whole Hex Nsh Rw
        {part(be(at!(nsh.path_hdr), 4), 0xffff_ff00, 8)} [nsh(4, "NXOXM_NSH_SPI")];
    NshSi "nsh_si" aka "nsi" 1:8 Whole Decimal Nsh Rw
        {part(be(at!(nsh.path_hdr), 4), 0xff, 0)} [nsh(5, "NXOXM_NSH_SI")];
    NshC1 "nsh_c1" aka "nshc1" 4:32 Any Hex Nsh Rw
        {be(at!(nsh.context), 4)} [nsh(6, "NXOXM_NSH_C1")];
    NshC2 "nsh_c2" aka "nshc2" 4:32 Any Hex Nsh Rw
        {be(at!(nsh.context) + 4, 4)} [nsh(7, "NXOXM_NSH_C2")];
    NshC3 "nsh_c3" aka "nshc3" 4:32 Any Hex Nsh Rw
        {be(at!(nsh.context) + 8, 4)} [nsh(8, "NXOXM_NSH_C3")];
    NshC4 "nsh_c4" aka "nshc4" 4:32 Any Hex Nsh Rw
        {be(at!(nsh.context) + 12, 4)} [nsh(9, "NXOXM_NSH_C4")];
    NshTtl "nsh_ttl" 1:8 Whole Decimal Nsh Rw {be(at!(nsh.ttl), 1)} [nsh(10, "NXOXM_NSH_TTL")];
}
