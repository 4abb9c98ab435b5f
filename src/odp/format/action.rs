//! Lists of actions as text.
//!
//! What always holds: any bytes can be shown, nested however deep (lists beyond the kernel's depth
//! are shown as `...`). Plain functions: any thread.

use std::net::IpAddr;

use ovs_netlink::action::{ACTION_DEPTH_MAX, Action};
use ovs_netlink::attr::{Attr, AttrWriter, Attrs};
use ovs_netlink::ct::{CtAttr, CtAttrs, Nat, NatEnd};
use ovs_netlink::key::KeyAttr;
use ovs_netlink::nsh::{MaskedNshAttrs, NshAttr, NshAttrs};
use ovs_netlink::uapi::*;

use super::fields::{Hex, Ip4, Ip6, List, Mac};
use super::key::{format_attr, put_label, put_lse, put_vlan};
use super::tunnel::put_masked_nsh;
use super::{PortNames, Style, put, put_hex, put_hex_number, put_leftover, put_port};
use crate::flow::FlowNsh;
use crate::odp::cookie::{CookieReason, SampleDirection, SlowPathReason, UserCookie};

/// Appends a list of actions; none is `drop`.
pub fn format_actions(actions: &[u8], names: Option<&PortNames>, out: &mut String) {
    put_actions(actions, names, 0, out);
}

fn put_actions(actions: &[u8], names: Option<&PortNames>, depth: usize, out: &mut String) {
    if actions.is_empty() {
        return out.push_str("drop");
    }
    if depth > ACTION_DEPTH_MAX {
        return out.push_str("...");
    }
    let mut list = List::new(out, false);
    let mut walk = Attrs::new(actions);
    let mut rest = actions;
    while let Some(Ok(attr)) = walk.next() {
        rest = walk.rest();
        match Action::parse(attr) {
            Ok(action) => put_action(action, names, depth, list.item()),
            Err(_) => put_broken(attr, list.item()),
        }
    }
    put_leftover(rest, actions, list.out);
}

/// Appends an action that cannot be read.
fn put_broken(attr: Attr<'_>, out: &mut String) {
    match attr.kind {
        OVS_ACTION_ATTR_USERSPACE => out.push_str("userspace(error)"),
        OVS_ACTION_ATTR_SAMPLE => out.push_str("sample(error)"),
        OVS_ACTION_ATTR_CHECK_PKT_LEN => out.push_str("check_pkt_len(error)"),
        _ => {
            put(out, format_args!("bad length {} for: ", attr.value.len()));
            put_unknown(attr.kind, attr.value, out);
        }
    }
}

fn put_unknown(kind: u16, value: &[u8], out: &mut String) {
    put(out, format_args!("action{kind}"));
    if !value.is_empty() {
        out.push('(');
        super::key::put_generic(value, out);
        out.push(')');
    }
}

fn put_action(action: Action<'_>, names: Option<&PortNames>, depth: usize, out: &mut String) {
    let inside = |actions, out: &mut String| put_actions(actions, names, depth + 1, out);
    match action {
        Action::Output(port) => put_port(port, names, out),
        Action::Meter(id) => put(out, format_args!("meter({id})")),
        Action::Trunc { max_len } => put(out, format_args!("trunc({max_len})")),
        Action::Userspace { pid, userdata, egress_tun_port, actions } => {
            put(out, format_args!("userspace(pid={pid}"));
            if let Some(userdata) = userdata {
                out.push(',');
                put_userdata(userdata, names, out);
            }
            if actions {
                out.push_str(",actions");
            }
            if let Some(port) = egress_tun_port {
                out.push_str(",tunnel_out_port=");
                put_port(port, names, out);
            }
            out.push(')');
        }
        Action::Recirc(id) => put(out, format_args!("recirc({})", Hex(id.into()))),
        Action::Hash { algorithm: OVS_HASH_ALG_L4, basis } => {
            put(out, format_args!("hash(l4({basis}))"));
        }
        Action::Hash { algorithm: OVS_HASH_ALG_SYM_L4, basis } => {
            put(out, format_args!("hash(sym_l4({basis}))"));
        }
        Action::Hash { algorithm, .. } => {
            put(out, format_args!("hash(Unknown hash algorithm({algorithm}))"));
        }
        Action::Set(key) => put_set(key, None, out),
        Action::SetMasked(pair) => put_set(pair.key(), Some(pair.mask()), out),
        Action::SetMaskedNsh(value) => {
            out.push_str("set(nsh(");
            put_set_nsh(value, out);
            out.push_str("))");
        }
        Action::PushEth { src, dst } => {
            put(out, format_args!("push_eth(src={},dst={})", Mac(src), Mac(dst)));
        }
        Action::PopEth => out.push_str("pop_eth"),
        Action::PushVlan { tpid, tci } => {
            out.push_str("push_vlan(");
            if tpid != 0x8100 {
                put(out, format_args!("tpid=0x{tpid:04x},"));
            }
            put_vlan(tci, u16::MAX, false, out);
            out.push(')');
        }
        Action::PopVlan => out.push_str("pop_vlan"),
        Action::PushMpls { lse, ethertype } => put_push_mpls("push_mpls", lse, ethertype, out),
        Action::AddMpls { lse, ethertype, .. } => put_push_mpls("add_mpls", lse, ethertype, out),
        Action::PopMpls { ethertype } => {
            put(out, format_args!("pop_mpls(eth_type=0x{ethertype:x})"))
        }
        Action::Sample { probability, actions } => {
            let percent = 100.0 * f64::from(probability) / f64::from(u32::MAX);
            put(out, format_args!("sample(sample={percent:.1}%,actions("));
            inside(actions, out);
            out.push_str("))");
        }
        Action::Ct(value) => put_ct(value, out),
        Action::CtClear => out.push_str("ct_clear"),
        Action::Clone(actions) => {
            out.push_str("clone(");
            inside(actions, out);
            out.push(')');
        }
        Action::PushNsh(value) => put_push_nsh(value, out),
        Action::PopNsh => out.push_str("pop_nsh()"),
        Action::CheckPktLen { pkt_len, greater, less_equal } => {
            put(out, format_args!("check_pkt_len(size={pkt_len},gt("));
            inside(greater, out);
            out.push_str("),le(");
            inside(less_equal, out);
            out.push_str("))");
        }
        Action::DecTtl(actions) => {
            out.push_str("dec_ttl(le_1(");
            inside(actions, out);
            out.push_str("))");
        }
        Action::Drop(_) => out.push_str("drop"),
        Action::Psample { group, cookie } => {
            put(out, format_args!("psample(group={group}"));
            if let Some(cookie) = cookie {
                out.push_str(",cookie=");
                put_hex_number(cookie, out);
            }
            out.push(')');
        }
        Action::Unknown { kind, value } => put_unknown(kind, value, out),
    }
}

fn put_push_mpls(name: &str, lse: u32, ethertype: u16, out: &mut String) {
    put(out, format_args!("{name}("));
    put_lse(lse, out);
    put(out, format_args!(",eth_type=0x{ethertype:x})"));
}

/// Appends a set action; the header stands in it as in a key, and is shown as one.
fn put_set(key: KeyAttr<'_>, mask: Option<KeyAttr<'_>>, out: &mut String) {
    let (mut key_bytes, mut mask_bytes) = (Vec::new(), Vec::new());
    key.write(&mut AttrWriter::new(&mut key_bytes));
    if let Some(mask) = mask {
        mask.write(&mut AttrWriter::new(&mut mask_bytes));
    }
    let first = |bytes| Attrs::new(bytes).next().and_then(Result::ok);
    let Some(attr) = first(&key_bytes) else { return };
    out.push_str("set(");
    let style = Style { names: None, verbose: mask.is_none() };
    format_attr(attr, first(&mask_bytes), style, out);
    out.push(')');
}

fn put_set_nsh(value: &[u8], out: &mut String) {
    let (mut nsh, mut mask) = (FlowNsh::default(), FlowNsh::default());
    for pair in MaskedNshAttrs::new(value).map_while(Result::ok) {
        for (attr, to) in [(pair.key(), &mut nsh), (pair.mask(), &mut mask)] {
            match attr {
                NshAttr::Base { flags, ttl, mdtype, np, path_hdr } => {
                    (to.flags, to.ttl, to.mdtype, to.np) = (flags, ttl, mdtype, np);
                    to.path_hdr = path_hdr.into();
                }
                NshAttr::Md1(context) => to.context = context.map(Into::into),
                _ => {}
            }
        }
    }
    put_masked_nsh(&nsh, &mask, out);
}

fn put_push_nsh(value: &[u8], out: &mut String) {
    out.push_str("push_nsh(");
    let mut mdtype = 0;
    for attr in NshAttrs::new(value).map_while(Result::ok) {
        match attr {
            NshAttr::Base { flags, ttl, mdtype: ty, np, path_hdr } => {
                mdtype = ty;
                let (spi, si) = (path_hdr >> 8, path_hdr & 0xff);
                put(out, format_args!("flags={flags},ttl={ttl},mdtype={ty},np={np}"));
                put(out, format_args!(",spi=0x{spi:x},si={si}"));
            }
            NshAttr::Md1(context) => {
                for (i, c) in context.iter().enumerate() {
                    put(out, format_args!(",c{}=0x{c:x}", i + 1));
                }
            }
            NshAttr::Md2(headers) => {
                out.push_str(",md2=");
                put_hex_number(headers, out);
            }
            NshAttr::Unknown { .. } => {}
        }
    }
    if !matches!(mdtype, 1 | 2) {
        out.push_str(",<error: unknown mdtype>");
    }
    out.push(')');
}

fn put_userdata(userdata: &[u8], names: Option<&PortNames>, out: &mut String) {
    let Some(cookie) = UserCookie::parse(userdata) else {
        out.push_str("userdata(");
        put_hex(userdata, out);
        return out.push(')');
    };
    match cookie.reason {
        CookieReason::Sflow { vlan_tci, output } => {
            let (vid, pcp) = (vlan_tci & 0xfff, vlan_tci >> 13);
            put(out, format_args!("sFlow(vid={vid},pcp={pcp},output={output})"));
        }
        CookieReason::SlowPath(reason) => {
            out.push_str("slow_path(");
            put_reasons(reason, out);
            out.push(')');
        }
        CookieReason::FlowSample {
            probability,
            collector_set_id,
            obs_domain_id,
            obs_point_id,
            output_odp_port,
            direction,
        } => {
            put(out, format_args!("flow_sample(probability={probability}"));
            put(out, format_args!(",collector_set_id={collector_set_id}"));
            put(out, format_args!(",obs_domain_id={obs_domain_id}"));
            put(out, format_args!(",obs_point_id={obs_point_id},output_port="));
            put_port(output_odp_port, names, out);
            out.push_str(match direction {
                SampleDirection::Default => "",
                SampleDirection::Ingress => ",ingress",
                SampleDirection::Egress => ",egress",
            });
            out.push(')');
        }
        CookieReason::Ipfix { output_odp_port } => {
            out.push_str("ipfix(output_port=");
            put_port(output_odp_port, names, out);
            out.push(')');
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
            let (dont_send, continuation) = (u8::from(dont_send), u8::from(continuation));
            put(out, format_args!("controller(reason={reason},dont_send={dont_send}"));
            put(out, format_args!(",continuation={continuation},recirc_id={recirc_id}"));
            put(out, format_args!(",rule_cookie={},", Hex(rule_cookie)));
            put(out, format_args!("controller_id={controller_id},max_len={max_len})"));
        }
    }
}

fn put_reasons(reasons: SlowPathReason, out: &mut String) {
    if reasons.is_empty() {
        return out.push('0');
    }
    let mut list = List::new(out, false);
    for (reason, name) in SlowPathReason::NAMES {
        if reasons.contains(reason) {
            list.item().push_str(name);
        }
    }
    let unnamed = reasons.difference(SlowPathReason::all()).bits();
    if unnamed != 0 {
        put(list.item(), format_args!("0x{unnamed:x}"));
    }
}

fn put_ct(value: &[u8], out: &mut String) {
    let attrs: Result<Vec<_>, _> = CtAttrs::new(value).collect();
    let Ok(mut attrs) = attrs else { return out.push_str("ct(error)") };
    // Shown in one order, whatever order they came in; what is zero or not known is not shown.
    let rank = |attr: &CtAttr<'_>| match attr {
        CtAttr::Commit => 1,
        CtAttr::ForceCommit => 2,
        CtAttr::Zone(1..) => 3,
        CtAttr::Mark { .. } => 4,
        CtAttr::Labels { .. } => 5,
        CtAttr::Helper(_) => 6,
        CtAttr::Timeout(_) => 7,
        CtAttr::Nat(_) => 8,
        CtAttr::Zone(0) | CtAttr::EventMask(_) | CtAttr::Unknown { .. } => 0,
    };
    attrs.retain(|attr| rank(attr) != 0);
    attrs.sort_by_key(rank);
    out.push_str("ct");
    if attrs.is_empty() {
        return;
    }
    out.push('(');
    let mut list = List::new(out, false);
    for attr in attrs {
        let out = list.item();
        match attr {
            CtAttr::Commit => out.push_str("commit"),
            CtAttr::ForceCommit => out.push_str("force_commit"),
            CtAttr::Zone(zone) => put(out, format_args!("zone={zone}")),
            CtAttr::Mark { value, mask } => {
                put(out, format_args!("mark={}/{}", Hex(value.into()), Hex(mask.into())));
            }
            CtAttr::Labels { value, mask } => {
                out.push_str("label=");
                put_label(value, Some(mask), true, out);
            }
            CtAttr::Helper(name) => put(out, format_args!("helper={name}")),
            CtAttr::Timeout(name) => put(out, format_args!("timeout={name}")),
            CtAttr::Nat(value) => put_nat(value, out),
            CtAttr::EventMask(_) | CtAttr::Unknown { .. } => {}
        }
    }
    out.push(')');
}

fn put_nat(value: &[u8], out: &mut String) {
    let Ok(nat) = Nat::parse(value) else {
        return out.push_str("nat(error: nl_parse_nested() failed.)");
    };
    let range_error = nat.ip_max.is_some_and(|max| nat.ip_min.is_some_and(|min| min > max))
        || nat.proto_max.is_some_and(|max| max != 0 && nat.proto_min.is_some_and(|min| min > max));
    let Some(end) = nat.end else {
        let options = nat != Nat::default();
        let error = "(error: options allowed only with \"src\" or \"dst\")";
        return put(out, format_args!("nat{}", if options { error } else { "" }));
    };
    if range_error {
        return out.push_str("nat(range error)");
    }
    out.push_str(match end {
        NatEnd::Src => "nat(src",
        NatEnd::Dst => "nat(dst",
    });
    if let Some(min) = nat.ip_min {
        // Brackets keep an IPv6 address apart from the ports.
        let ports = nat.proto_min.is_some_and(|min| min != 0);
        let address = |ip| match ip {
            IpAddr::V4(ip) => Ip4(ip.octets()).to_string(),
            IpAddr::V6(ip) if ports => format!("[{}]", Ip6(ip.octets())),
            IpAddr::V6(ip) => Ip6(ip.octets()).to_string(),
        };
        put(out, format_args!("={}", address(min)));
        if let Some(max) = nat.ip_max.filter(|max| *max != min && !max.is_unspecified()) {
            put(out, format_args!("-{}", address(max)));
        }
        if let Some(min) = nat.proto_min.filter(|&min| min != 0) {
            put(out, format_args!(":{min}"));
            if let Some(max) = nat.proto_max.filter(|&max| max != 0 && max != min) {
                put(out, format_args!("-{max}"));
            }
        }
    }
    for (is, name) in
        [(nat.persistent, ",persistent"), (nat.hash, ",hash"), (nat.random, ",random")]
    {
        if is {
            out.push_str(name);
        }
    }
    out.push(')');
}

/// Appends TCP flags as `tcpdump` shows them: `S`, `.`, …
pub fn format_tcp_flags(flags: u16, out: &mut String) {
    const LETTERS: [(u16, &str); 12] = [
        (0x002, "S"),
        (0x001, "F"),
        (0x008, "P"),
        (0x004, "R"),
        (0x020, "U"),
        (0x010, "."),
        (0x040, "E"),
        (0x080, "C"),
        (0x100, "N"),
        (0x200, "[200]"),
        (0x400, "[400]"),
        (0x800, "[800]"),
    ];
    if flags == 0 {
        return out.push_str("none");
    }
    LETTERS.iter().filter(|(bit, _)| flags & bit != 0).for_each(|(_, letter)| out.push_str(letter));
}
