//! `dpctl/parse-actions` and `normalize-actions`: actions as text, without a datapath.

use std::collections::BTreeMap;

use ovs_netlink::action::Action;
use ovs_netlink::attr::Attrs;
use ovs_netlink::uapi::OVS_ACTION_ATTR_OUTPUT;

use super::{Asked, Datapaths, Failed, Said};
use crate::bridge::commands::leading_number;
use crate::flow::{FLOW_MAX_VLAN_HEADERS, Flow, VLAN_VID_MASK};
use crate::odp::action::OdpActions;
use crate::odp::format::{PortNames, Style, format_actions, format_key};
use crate::odp::key::{Fitness, OdpKey};
use crate::odp::parse::{parse_actions as parse, parse_key};
use crate::packet::ether_type;

pub(super) fn parse_actions(_: &Datapaths, asked: &Asked, said: &mut Said) -> Result<(), Failed> {
    for text in &asked.args {
        let mut actions = OdpActions::new();
        if parse(text, None, &mut actions).is_err() {
            return Err(said.complain_errno(libc::EINVAL, "odp_actions_from_string"));
        }
        said.line(text_of(actions.as_bytes()));
    }
    Ok(())
}

fn text_of(actions: &[u8]) -> String {
    let mut text = String::new();
    format_actions(actions, None, &mut text);
    text
}

/// What is done to a packet in each of the shapes that its VLAN tags take on the way, however the
/// actions are ordered: two lists that do the same have the same text.
pub(super) fn normalize_actions(
    _: &Datapaths,
    asked: &Asked,
    said: &mut Said,
) -> Result<(), Failed> {
    let mut names = PortNames::default();
    for arg in asked.args.iter().skip(2) {
        match arg.split_once('=') {
            Some((name, number)) if !name.is_empty() && name.len() < 16 && !number.is_empty() => {
                names.insert(leading_number(number) as u32, name);
            }
            _ => return Err(said.complain(format_args!("{arg}: expected NAME=NUMBER"))),
        }
    }
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    if let Err(error) = parse_key(asked.arg(0), Some(&names), &mut key, &mut mask) {
        let what = format!("odp_flow_key_from_string ({})", error.syntax_error(asked.arg(0)));
        return Err(said.complain_errno(libc::EINVAL, what));
    }
    let mut shown = String::new();
    format_key(&key, None, Style { names: None, verbose: asked.verbose }, &mut shown);
    said.line(format_args!("input flow: {shown}"));
    let mut flow = Flow::ZERO;
    // The peer takes its verdict on the key for an error number, and says that in words.
    let verdict = match OdpKey(&key).to_flow(FLOW_MAX_VLAN_HEADERS, &mut flow) {
        Ok(Fitness::Perfect) => 0,
        Ok(Fitness::TooMuch) => libc::EPERM,
        Ok(Fitness::TooLittle) => libc::ENOENT,
        Err(_) => libc::ESRCH,
    };
    if verdict != 0 {
        let what = "odp_flow_key_to_flow failed (reason unknown)";
        return Err(said.complain_errno(verdict, what));
    }
    let mut actions = OdpActions::new();
    if parse(asked.arg(1), Some(&names), &mut actions).is_err() {
        return Err(said.complain_errno(libc::EINVAL, "odp_actions_from_string"));
    }
    if asked.verbose {
        said.line(format_args!("input actions: {}", text_of(actions.as_bytes())));
    }
    said.text.push_str(&normalized(&flow, &actions));
    Ok(())
}

/// Tags that a packet has, outermost first; the order of the map is that of their bytes.
type Tags = [[u8; 4]; FLOW_MAX_VLAN_HEADERS];

fn normalized(flow: &Flow, actions: &OdpActions) -> String {
    let mut tags: Tags = flow.vlans.map(|tag| bytes_of(tag.tpid.get(), tag.tci.get()));
    let mut by_tags: BTreeMap<Tags, OdpActions> = BTreeMap::new();
    for attr in Attrs::new(actions.as_bytes()).map_while(Result::ok) {
        match Action::parse(attr) {
            Ok(Action::PopVlan) => {
                tags.rotate_left(1);
                if let Some(last) = tags.last_mut() {
                    *last = [0; 4];
                }
            }
            Ok(Action::PushVlan { tpid, tci }) => {
                tags.rotate_right(1);
                if let Some(first) = tags.first_mut() {
                    *first = bytes_of(tpid, tci);
                }
            }
            _ => by_tags.entry(tags).or_default().with(|w| w.bytes(attr.kind, attr.value)),
        }
    }
    let mut text = String::new();
    for (tags, actions) in by_tags {
        text.push_str(&tags_text(&tags));
        text.push_str(&mpls_text(flow));
        text.push_str(&text_of(&outputs_sorted(actions.as_bytes())));
    }
    text
}

fn bytes_of(tpid: u16, tci: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
    [a, b, c, d]
}

fn tags_text(tags: &Tags) -> String {
    let mut text = String::new();
    for &[a, b, c, d] in tags {
        let (tpid, tci) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if tci == 0 {
            break;
        }
        text.push_str("vlan(");
        if tpid != ether_type::VLAN_8021Q {
            text.push_str(&format!("tpid=0x{tpid:04x},"));
        }
        text.push_str(&format!("vid={},pcp={}): ", tci & VLAN_VID_MASK, tci >> 13));
    }
    if text.is_empty() { "no vlan: ".to_owned() } else { text }
}

fn mpls_text(flow: &Flow) -> String {
    let is_mpls = ether_type::is_mpls(flow.dl_type.get());
    match flow.mpls_lse.first().filter(|_| is_mpls) {
        Some(lse) => {
            let lse = lse.get();
            let (label, tc, ttl) = (lse >> 12, lse >> 9 & 7, lse & 0xff);
            format!("mpls(label={label},tc={tc},ttl={ttl}): ")
        }
        None => "no mpls: ".to_owned(),
    }
}

/// Outputs that follow each other, by port.
fn outputs_sorted(actions: &[u8]) -> Vec<u8> {
    let mut list: Vec<_> = Attrs::new(actions).map_while(Result::ok).collect();
    let is_output = |kind: u16| kind == OVS_ACTION_ATTR_OUTPUT;
    for run in list.chunk_by_mut(|a, b| is_output(a.kind) && is_output(b.kind)) {
        if run.first().is_some_and(|attr| is_output(attr.kind)) {
            run.sort_by_key(|attr| attr.u32().unwrap_or(0));
        }
    }
    let mut out = OdpActions::new();
    out.with(|w| list.iter().for_each(|attr| w.bytes(attr.kind, attr.value)));
    out.as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unixctl::{Call, Format};

    fn say(run: super::super::Run, args: &[&str]) -> Result<String, String> {
        let args = args.iter().map(ToString::to_string).collect();
        let asked = Asked::parse(Call { args, format: Format::Text }).expect("options");
        let mut said = Said::default();
        let result = run(&Datapaths { ours: Vec::new(), dummies: &[] }, &asked, &mut said);
        if result.is_ok() { Ok(said.text) } else { Err(said.text) }
    }

    // Answers of ovs-appctl 3.1.0.
    #[test]
    fn actions_are_read_and_shown() {
        assert_eq!(say(parse_actions, &["1,2", "drop"]), Ok("1,2\ndrop\n".to_owned()));
        assert_eq!(
            say(parse_actions, &["foo"]),
            Err("ovs-vswitchd: odp_actions_from_string (Invalid argument)\n".to_owned())
        );
    }

    #[test]
    fn actions_are_ordered_by_what_they_do() {
        assert_eq!(
            say(
                normalize_actions,
                &["in_port(1),eth()", "set(eth(dst=00:00:00:00:00:01)),1,pop_vlan,2"]
            ),
            Ok("input flow: in_port(1),eth(src=00:00:00:00:00:00,dst=00:00:00:00:00:00)\n\
                no vlan: no mpls: set(eth(dst=00:00:00:00:00:01)),1,2"
                .to_owned())
        );
        assert_eq!(
            say(normalize_actions, &["in_port(1),eth(),eth_type(0x800)", "1,2"]),
            Err("input flow: in_port(1),eth(src=00:00:00:00:00:00,dst=00:00:00:00:00:00),eth_type(0x0800)\n\
                 ovs-vswitchd: odp_flow_key_to_flow failed (reason unknown) (No such file or directory)\n"
                .to_owned())
        );
        let out = |actions| say(normalize_actions, &["in_port(1),eth()", actions]);
        assert_eq!(
            out("push_vlan(vid=5,pcp=0),3,2,pop_vlan,1"),
            out("1,push_vlan(vid=5,pcp=0),2,3")
        );
    }
}
