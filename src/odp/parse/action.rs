//! Lists of actions from text.
//!
//! What always holds: a set action with a full mask becomes one without, as the peer does it. Plain
//! functions: any thread.

use std::net::IpAddr;

use ovs_netlink::action::{
    Action, MaskedKeyAttr, begin_check_pkt_len, begin_clone, begin_dec_ttl, begin_sample,
};
use ovs_netlink::attr::{Attr, AttrError, AttrWriter, Attrs};
use ovs_netlink::ct::{Commit, Ct, Nat, NatEnd};
use ovs_netlink::key::KeyAttr;
use ovs_netlink::nsh::{MaskedNshAttr, NshAttrs};
use ovs_netlink::uapi::*;

use super::ParseError;
use super::key::{attr, labels128, lse_field};
use super::scan::Scanner;
use super::tunnel;
use crate::flow::VLAN_CFI;
use crate::odp::action::OdpActions;
use crate::odp::cookie::{CookieReason, SampleDirection, SlowPathReason, UserCookie};
use crate::odp::encode::{NshMetadata, write_nsh};
use crate::odp::format::PortNames;

type Result<T> = std::result::Result<T, ParseError>;

/// Reads a list of actions and appends them; `drop` is none.
///
/// # Errors
/// Where the text is not one; `actions` then holds what was read before.
pub fn parse_actions(
    text: &str,
    names: Option<&PortNames>,
    actions: &mut OdpActions,
) -> Result<()> {
    let mut s = Scanner::new(text, names);
    self::actions(&mut s, actions)?;
    s.skip_separators();
    if s.rest().is_empty() { Ok(()) } else { Err(s.expected("an action")) }
}

/// Reads a list of actions to the end of the text.
pub(super) fn actions(s: &mut Scanner<'_>, actions: &mut OdpActions) -> Result<()> {
    let result = actions.with(|w| list(s, w).and_then(|()| fits(s, w.finish())));
    let fits = actions.check(None).is_ok();
    result.and(if fits { Ok(()) } else { Err(s.expected("fewer actions before")) })
}

/// An action too long for its length is the text's fault.
fn fits(s: &Scanner<'_>, result: std::result::Result<(), AttrError>) -> Result<()> {
    result.map_err(|_| s.expected("fewer actions before"))
}

/// Reads actions up to a closing parenthesis or the end.
fn list(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    s.skip_separators();
    if s.peek_until(&[',', ')']) == "drop" {
        s.advance("drop".len());
        return Ok(());
    }
    loop {
        s.skip_separators();
        if s.rest().is_empty() || s.rest().starts_with(')') {
            return Ok(());
        }
        action(s, w)?;
    }
}

fn action(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let token = s.peek_until(&[',', ')', '(', ' ']);
    let simple = match token {
        "pop_vlan" => Some(Action::PopVlan),
        "pop_eth" => Some(Action::PopEth),
        "ct_clear" => Some(Action::CtClear),
        "ct" if !s.rest().starts_with("ct(") => Some(Action::Ct(&[])),
        _ => None,
    };
    if let Some(action) = simple {
        s.advance(token.len());
        action.write(w);
        return Ok(());
    }
    if !s.rest().get(token.len()..).unwrap_or_default().starts_with('(') {
        if s.rest().starts_with("action") && s.names.and_then(|n| n.port(token)).is_none() {
            return unknown(s, w);
        }
        Action::Output(s.port()?).write(w);
        return Ok(());
    }
    let whole = s.rest();
    s.advance(token.len() + 1);
    let action = match token {
        "meter" => Action::Meter(s.nested(Scanner::number)?),
        "trunc" => Action::Trunc { max_len: s.nested(Scanner::number)? },
        "recirc" => Action::Recirc(s.nested(Scanner::number)?),
        "pop_nsh" => s.nested(|_| Ok(Action::PopNsh))?,
        "hash" => hash(s)?,
        "push_eth" => push_eth(s)?,
        "push_vlan" => push_vlan(s)?,
        "push_mpls" => {
            let (lse, ethertype) = push_mpls(s)?;
            Action::PushMpls { lse, ethertype }
        }
        "add_mpls" => {
            let (lse, ethertype) = push_mpls(s)?;
            Action::AddMpls { lse, ethertype, tun_flags: 0 }
        }
        "pop_mpls" => s.nested(|s| {
            s.need("eth_type=")?;
            Ok(Action::PopMpls { ethertype: s.number()? })
        })?,
        "userspace" => return userspace(s, w),
        "set" => return s.nested(|s| set(s, w)),
        "sample" => return sample(s, w),
        "clone" => {
            let open = begin_clone(w);
            s.nested(|s| list(s, w))?;
            return fits(s, open.end(w));
        }
        "dec_ttl" => {
            s.need("le_1(")?;
            let open = begin_dec_ttl(w);
            s.nested(|s| list(s, w))?;
            s.need(")")?;
            return fits(s, open.end(w));
        }
        "check_pkt_len" => return check_pkt_len(s, w),
        "ct" => return ct(s, w),
        "push_nsh" => return push_nsh(s, w),
        "psample" => return psample(s, w),
        _ if token.starts_with("action") => {
            s.advance(0);
            return unknown_value(s, token, w);
        }
        _ => {
            let rest = whole.chars().take(20).collect();
            return Err(ParseError { rest, ..s.expected("an action") });
        }
    };
    action.write(w);
    Ok(())
}

/// Reads `action42`, an action without a value.
fn unknown(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let token = s.peek_until(&[',', ')', '(', ' ']);
    let kind = token.strip_prefix("action").and_then(|kind| kind.parse().ok());
    let kind = kind.ok_or_else(|| s.expected("an action"))?;
    s.advance(token.len());
    w.bytes(kind, &[]);
    Ok(())
}

/// Reads the value of `action42(00 01)`.
fn unknown_value(s: &mut Scanner<'_>, token: &str, w: &mut AttrWriter<'_>) -> Result<()> {
    let kind = token.strip_prefix("action").and_then(|kind| kind.parse().ok());
    let kind = kind.ok_or_else(|| s.expected("an action before"))?;
    let value = s.nested(Scanner::bytes)?;
    w.bytes(kind, &value);
    Ok(())
}

fn hash(s: &mut Scanner<'_>) -> Result<Action<'static>> {
    s.nested(|s| {
        let algorithm = match s.word() {
            "l4" => OVS_HASH_ALG_L4,
            "sym_l4" => OVS_HASH_ALG_SYM_L4,
            _ => return Err(s.expected("l4 or sym_l4 before")),
        };
        s.need("(")?;
        Ok(Action::Hash { algorithm, basis: s.nested(Scanner::number)? })
    })
}

fn push_eth(s: &mut Scanner<'_>) -> Result<Action<'static>> {
    let (mut src, mut dst) = ([0; 6], [0; 6]);
    s.fields(|s, name| {
        match name {
            "src" => src = s.mac()?,
            "dst" => dst = s.mac()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(Action::PushEth { src, dst })
}

fn push_vlan(s: &mut Scanner<'_>) -> Result<Action<'static>> {
    let (mut tpid, mut tci) = (0x8100, VLAN_CFI);
    s.fields(|s, name| {
        let (shift, max) = match name {
            "tpid" => {
                tpid = s.number()?;
                return Ok(true);
            }
            "vid" => (0, 0xfff),
            "pcp" => (13, 7),
            "cfi" => (12, 1),
            _ => return Ok(false),
        };
        let v: u16 = s.number()?;
        if v > max {
            return Err(s.expected("a smaller number before"));
        }
        tci = tci & !(max << shift) | v << shift;
        Ok(true)
    })?;
    Ok(Action::PushVlan { tpid, tci })
}

fn push_mpls(s: &mut Scanner<'_>) -> Result<(u32, u16)> {
    let (mut lse, mut ethertype) = (0, 0);
    s.fields(|s, name| {
        if name == "eth_type" {
            ethertype = s.number()?;
            return Ok(true);
        }
        let Some((shift, max)) = lse_field(name) else { return Ok(false) };
        let v: u32 = s.number()?;
        if v > max {
            return Err(s.expected("a smaller number before"));
        }
        lse |= v << shift;
        Ok(true)
    })?;
    Ok((lse, ethertype))
}

fn set(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    attr(s, &mut AttrWriter::new(&mut key), &mut AttrWriter::new(&mut mask))?;
    let first = |list| match Attrs::new(list).next() {
        Some(Ok(attr)) => Ok(attr),
        _ => Err(s.expected("a header before")),
    };
    let (key, mask) = (first(&key)?, first(&mask)?);
    let exact = match KeyAttr::parse(mask) {
        // The bits that there are.
        Ok(KeyAttr::Ipv6 { src, dst, label, proto, tclass, hlimit, frag }) => {
            let bytes = [proto, tclass, hlimit, frag];
            src == [0xff; 16]
                && dst == [0xff; 16]
                && label & 0xf_ffff == 0xf_ffff
                && bytes == [u8::MAX; 4]
        }
        Ok(KeyAttr::Arp { sip, tip, op, sha, tha }) => {
            (sip, tip, op) == ([0xff; 4], [0xff; 4], u16::MAX)
                && (sha, tha) == ([0xff; 6], [0xff; 6])
        }
        Ok(KeyAttr::Tunnel(_) | KeyAttr::Encap(_)) => true,
        _ => mask.value.iter().all(|&byte| byte == u8::MAX),
    };
    let broken = |_| s.expected("a header that can be set before");
    match (key.kind, exact) {
        (OVS_KEY_ATTR_NSH, _) => return set_nsh(s, key, mask, w),
        (_, true) => Action::Set(KeyAttr::parse(key).map_err(broken)?).write(w),
        (_, false) => {
            let mut value = key.value.to_vec();
            value.iter_mut().zip(mask.value).for_each(|(v, m)| *v &= m);
            let key = KeyAttr::parse(Attr { kind: key.kind, value: &value }).map_err(broken)?;
            let mask = KeyAttr::parse(mask).map_err(broken)?;
            Action::SetMasked(MaskedKeyAttr::new(key, mask).map_err(broken)?).write(w);
        }
    }
    Ok(())
}

/// The attributes of a network service header have value and mask one level further inside.
fn set_nsh(s: &Scanner<'_>, key: Attr<'_>, mask: Attr<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let (set, header) = (w.begin(OVS_ACTION_ATTR_SET_MASKED), w.begin(OVS_KEY_ATTR_NSH));
    let masks: Vec<_> = NshAttrs::new(mask.value).map_while(std::result::Result::ok).collect();
    for key in NshAttrs::new(key.value).map_while(std::result::Result::ok) {
        let mask = masks.iter().find(|mask| mask.kind() == key.kind());
        if let Some(Ok(pair)) = mask.map(|mask| MaskedNshAttr::new(key, *mask)) {
            pair.write(w);
        }
    }
    let (header, set) = (w.end(header), w.end(set));
    fits(s, header.and(set))
}

fn sample(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    s.need("sample=")?;
    let text = s.peek_until(&['%', ',', ')']);
    let percent: f64 = text.parse().map_err(|_| s.expected("a percentage"))?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(s.expected("a percentage"));
    }
    s.advance(text.len());
    s.need("%")?;
    s.need(",actions(")?;
    // In range, as the percentage is.
    let open = begin_sample(w, (percent / 100.0 * f64::from(u32::MAX) + 0.5) as u32);
    s.nested(|s| list(s, w))?;
    s.need(")")?;
    fits(s, open.end(w))
}

fn check_pkt_len(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    s.need("size=")?;
    let open = begin_check_pkt_len(w, s.number()?);
    s.need(",gt(")?;
    s.nested(|s| list(s, w))?;
    let open = open.less_equal(w).map_err(|_| s.expected("fewer actions before"))?;
    s.need(",le(")?;
    s.nested(|s| list(s, w))?;
    s.need(")")?;
    fits(s, open.end(w))
}

fn push_nsh(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let mut md2 = Vec::new();
    let (nsh, _) = tunnel::nsh(s, Some(&mut md2))?;
    let metadata = match nsh.mdtype {
        1 => NshMetadata::Md1,
        2 => NshMetadata::Md2(&md2),
        _ => return Err(s.expected("metadata type 1 or 2 before")),
    };
    let nest = w.begin(OVS_ACTION_ATTR_PUSH_NSH);
    let written = write_nsh(w, &nsh, metadata);
    let end = w.end(nest);
    fits(s, written.and(end))
}

fn psample(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let (mut group, mut cookie) = (None, None);
    s.fields(|s, name| {
        match name {
            "group" if group.is_none() => group = Some(s.number()?),
            "cookie" if cookie.is_none() => {
                let digits = s.peek_until(&[',', ')']).len().saturating_sub(2);
                if digits > 2 * OVS_PSAMPLE_COOKIE_MAX_SIZE {
                    return Err(s.expected("a shorter cookie"));
                }
                let mut bytes = vec![0; digits.div_ceil(2).max(1)];
                s.big_into(&mut bytes)?;
                cookie = Some(bytes);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let group = group.ok_or_else(|| s.expected("a group before"))?;
    Action::Psample { group, cookie: cookie.as_deref() }.write(w);
    Ok(())
}

fn ct(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let mut ct = Ct::default();
    s.fields(|s, name| {
        match name {
            "commit" => ct.commit = Commit::Yes,
            "force_commit" => ct.commit = Commit::Force,
            "zone" => ct.zone = Some(s.number()?),
            "mark" => ct.mark = Some(s.u32s()?),
            "label" => ct.labels = Some(labels128(s)?),
            "helper" => ct.helper = Some(s.name()?),
            "timeout" => ct.timeout = Some(s.name()?),
            "nat" => ct.nat = Some(nat(s)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    ct.write(w);
    Ok(())
}

fn nat(s: &mut Scanner<'_>) -> Result<Nat> {
    let mut nat = Nat::default();
    if !s.eat("(") {
        return Ok(nat);
    }
    s.fields(|s, name| {
        match name {
            "src" | "dst" if nat.end.is_none() => {
                nat.end = Some(if name == "src" { NatEnd::Src } else { NatEnd::Dst });
                if !s.rest().starts_with([',', ')']) {
                    nat_range(s, &mut nat)?;
                }
            }
            "persistent" => nat.persistent = true,
            "hash" => nat.hash = true,
            "random" => nat.random = true,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let options = nat.persistent || nat.hash || nat.random;
    if nat.hash && nat.random || nat.end.is_none() && options {
        return Err(s.expected("options that go together before"));
    }
    Ok(nat)
}

fn nat_range(s: &mut Scanner<'_>, nat: &mut Nat) -> Result<()> {
    let min = nat_address(s)?;
    nat.ip_min = Some(min);
    if s.eat("-") {
        let max = nat_address(s)?;
        if max.is_ipv4() != min.is_ipv4() || max < min {
            return Err(s.expected("a range of addresses before"));
        }
        nat.ip_max = Some(max);
    }
    if s.eat(":") {
        let first = s.number()?;
        nat.proto_min = Some(first);
        if s.eat("-") {
            let last = s.number()?;
            if last < first {
                return Err(s.expected("a range of ports before"));
            }
            nat.proto_max = Some(last);
        }
    }
    Ok(())
}

fn nat_address(s: &mut Scanner<'_>) -> Result<IpAddr> {
    if s.eat("[") {
        let address = IpAddr::from(s.ip6()?);
        s.need("]")?;
        return Ok(address);
    }
    let text = s.peek_until(&['-', ',', ')', '.']);
    Ok(if text.contains(':') { s.ip6()?.into() } else { s.ip4()?.into() })
}

fn userspace(s: &mut Scanner<'_>, w: &mut AttrWriter<'_>) -> Result<()> {
    let (mut pid, mut userdata, mut port, mut with_actions) = (None, None, None, false);
    s.fields(|s, name| {
        match name {
            "pid" => pid = Some(s.number()?),
            "actions" => with_actions = true,
            "tunnel_out_port" => port = Some(s.port()?),
            "userdata" => {
                s.need("(")?;
                userdata = Some(s.nested(Scanner::bytes)?);
            }
            _ => {
                let Some(reason) = reason(s, name)? else { return Ok(false) };
                let cookie = UserCookie { ofp_in_port: 0, ofproto: [0; 16], reason };
                userdata = Some(cookie.encode().to_vec());
            }
        }
        Ok(true)
    })?;
    let pid = pid.ok_or_else(|| s.expected("pid before"))?;
    // Short userdata is padded, as the oldest kernels want it.
    if let Some(data) = userdata.as_mut().filter(|data| data.len() < 8) {
        data.resize(8, 0);
    }
    let userdata = userdata.as_deref();
    Action::Userspace { pid, userdata, egress_tun_port: port, actions: with_actions }.write(w);
    Ok(())
}

/// Reads what a cookie is for; none when the name is not one of those.
fn reason(s: &mut Scanner<'_>, name: &str) -> Result<Option<CookieReason>> {
    let mut numbers = [0u64; 8];
    let (mut direction, mut port) = (SampleDirection::Default, super::super::key::ODPP_NONE);
    let known: &[&str] = match name {
        "sFlow" => &["vid", "pcp", "output"],
        "flow_sample" => &["probability", "collector_set_id", "obs_domain_id", "obs_point_id"],
        "ipfix" => &[],
        "controller" => &[
            "reason",
            "dont_send",
            "continuation",
            "recirc_id",
            "rule_cookie",
            "controller_id",
            "max_len",
        ],
        "slow_path" => {
            s.need("(")?;
            return slow_path(s).map(|reason| Some(CookieReason::SlowPath(reason)));
        }
        _ => return Ok(None),
    };
    s.need("(")?;
    s.fields(|s, field| {
        match field {
            "output_port" => port = s.port()?,
            "ingress" => direction = SampleDirection::Ingress,
            "egress" => direction = SampleDirection::Egress,
            _ => {
                let at = known.iter().position(|known| *known == field);
                let Some(place) = at.and_then(|at| numbers.get_mut(at)) else { return Ok(false) };
                *place = s.u64()?;
            }
        }
        Ok(true)
    })?;
    let [a, b, c, d, e, f, g, _] = numbers;
    // What does not fit is cut, as the peer cuts it.
    let (short, word) = (|v: u64| (v & 0xffff) as u16, |v: u64| (v & 0xffff_ffff) as u32);
    Ok(Some(match name {
        "sFlow" => {
            let tag = if a | b != 0 { VLAN_CFI } else { 0 };
            let vlan_tci = short(a) & 0xfff | (short(b) & 7) << 13 | tag;
            CookieReason::Sflow { vlan_tci, output: word(c) }
        }
        "flow_sample" => CookieReason::FlowSample {
            probability: short(a),
            collector_set_id: word(b),
            obs_domain_id: word(c),
            obs_point_id: word(d),
            output_odp_port: port,
            direction,
        },
        "ipfix" => CookieReason::Ipfix { output_odp_port: port },
        _ => CookieReason::Controller {
            reason: short(a),
            dont_send: b != 0,
            continuation: c != 0,
            recirc_id: word(d),
            rule_cookie: e,
            controller_id: short(f),
            max_len: short(g),
        },
    }))
}

fn slow_path(s: &mut Scanner<'_>) -> Result<SlowPathReason> {
    s.nested(|s| {
        let mut reasons = SlowPathReason::empty();
        loop {
            s.skip_separators();
            if s.rest().is_empty() || s.rest().starts_with(')') {
                return Ok(reasons);
            }
            if s.rest().starts_with(|c: char| c.is_ascii_digit()) {
                reasons |= SlowPathReason::from_bits_retain(s.number()?);
                continue;
            }
            let name = s.word();
            let known = SlowPathReason::NAMES.iter().find(|(_, known)| *known == name);
            reasons |= known.ok_or_else(|| s.expected("a reason before"))?.0;
        }
    })
}
