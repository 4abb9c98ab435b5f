//! The dummy devices of this process, as the control socket moves them: the commands `netdev-dummy/*`
//! of the peer's test suites.
//!
//! What always holds: `netdev-dummy/receive` answers after the switch has dealt with the packets: what it
//! had to ask its handlers is answered and installed.
//!
//! The commands run on the control thread; packets are brought in on a thread of their own, since
//! that waits for handlers. Devices themselves are a [`FakeKernel`]'s.

use std::time::Duration;

use super::HostDevices;
use crate::{
    datapath::{
        dummy,
        fake::{FakeKernel, LinkState},
    },
    flow::{FLOW_NW_FRAG_LATER, Flow, compose::compose},
    odp::{key::OdpKey, parse::parse_key},
    unixctl::{Answer, Call, CommandError, Registry},
};

/// Shortest frame that may be asked for.
const FRAME_MIN: usize = 64;
/// Longest frame that may be asked for.
const FRAME_MAX: usize = 0xffff;
/// Bytes of payload that a frame made from a flow carries.
const PAYLOAD_LEN: u8 = 64;
const ETHERNET_LEN: usize = 14;
/// How long a packet's upcalls are waited for.
const SETTLE: Duration = Duration::from_secs(5);

/// Adds the commands.
pub fn register(registry: &Registry) {
    let usage = "name [--qid queue_id] packet|flow [--len packet_len]";
    registry.register_deferred("netdev-dummy/receive", usage, 2..=usize::MAX, |call, reply| {
        let work = move || reply.send(receive(dummy::kernel(), &call));
        let thread = std::thread::Builder::new().name("netdev_dummy".to_owned()).spawn(work);
        if let Err(error) = thread {
            tracing::warn!(target: "netdev_dummy", "cannot start a thread: {error}");
        }
    });
    registry.register("netdev-dummy/set-admin-state", "[netdev] up|down", 1..=2, |call| {
        set_admin_state(dummy::kernel(), &call)
    });
    registry.register("netdev-dummy/conn-state", "[netdev]", 0..=1, |call| {
        Ok(conn_state(dummy::kernel(), call.arg(0)))
    });
    registry.register("netdev-dummy/ip4addr", "[netdev] ipaddr/mask-prefix-len", 2..=2, |call| {
        ip4addr(dummy::kernel(), &call)
    });
    registry.register("netdev-dummy/ip6addr", "[netdev] ip6addr", 2..=2, |call| {
        ip6addr(dummy::kernel(), &call)
    });
    registry.register("dpif-dummy/change-port-number", "dp port new-number", 3..=3, |call| {
        change_port_number(dummy::kernel(), &call)
    });
}

fn exists(kernel: &FakeKernel, name: &str) -> bool {
    kernel.link(name).is_ok_and(|link| link.is_some())
}

/// Brings packets in, one after the other.
fn receive(kernel: &FakeKernel, call: &Call) -> Answer {
    let name = call.arg(0).unwrap_or_default();
    if !exists(kernel, name) {
        return Err("no such dummy netdev".into());
    }
    let mut args = call.args.get(1..).unwrap_or_default().iter().map(String::as_str).peekable();
    if args.len() > 1 && args.peek() == Some(&"--qid") {
        args.next();
        let queue = args.next().unwrap_or_default();
        if queue.parse::<u32>().is_err() {
            return Err("bad rx queue id.".into());
        }
    }
    while let Some(text) = args.next() {
        let frame = match hex(text) {
            Some(frame) => frame,
            None => {
                let mut len = None;
                if args.peek() == Some(&"--len") {
                    args.next();
                    let wanted = args.next().and_then(|len| len.parse().ok()).unwrap_or(0);
                    if !(FRAME_MIN..=FRAME_MAX).contains(&wanted) {
                        return Err("too small packet len".into());
                    }
                    len = Some(wanted);
                }
                of_flow(text, len)?
            }
        };
        kernel.inject(name, &frame);
        kernel.settle(SETTLE);
    }
    Ok(().into())
}

/// A frame in hexadecimal digits, white space between bytes allowed.
fn hex(text: &str) -> Option<Vec<u8>> {
    let mut digits = text.chars().filter(|c| !c.is_ascii_whitespace());
    let mut frame = Vec::with_capacity(text.len() / 2);
    while let Some(high) = digits.next() {
        let (high, low) = (high.to_digit(16)?, digits.next()?.to_digit(16)?);
        frame.push((high << 4 | low) as u8);
    }
    (frame.len() >= ETHERNET_LEN).then_some(frame)
}

/// A frame that has this datapath flow key, and the length that is asked for.
fn of_flow(text: &str, len: Option<usize>) -> Result<Vec<u8>, CommandError> {
    let (mut key, mut mask) = (Vec::new(), Vec::new());
    parse_key(text, None, &mut key, &mut mask)
        .map_err(|error| CommandError(error.syntax_error(text)))?;
    let mut flow = Flow::ZERO;
    OdpKey(&key).to_flow(crate::flow::FLOW_MAX_VLAN_HEADERS, &mut flow)?;
    let Some(len) = len else {
        // What the peer makes has nothing behind the IP header of a later fragment.
        let is_later = flow.nw_frag & FLOW_NW_FRAG_LATER != 0;
        let payload: Vec<u8> = if is_later { Vec::new() } else { (0..PAYLOAD_LEN).collect() };
        return Ok(compose(&flow, &payload));
    };
    let bare = compose(&flow, &[]).len();
    let room = len.checked_sub(bare).ok_or_else(|| CommandError(String::new()))?;
    let mut frame = compose(&flow, &vec![0; room]);
    frame.resize(len, 0);
    Ok(frame)
}

fn set_admin_state(kernel: &FakeKernel, call: &Call) -> Answer {
    let state = call.args.last().map(String::as_str).unwrap_or_default();
    let up = match state {
        _ if state.eq_ignore_ascii_case("up") => true,
        _ if state.eq_ignore_ascii_case("down") => false,
        _ => return Err("Invalid Admin State".into()),
    };
    match call.args.as_slice() {
        [name, _] => {
            kernel.set_up(name, up).map_err(|_| CommandError::from("Unknown Dummy Interface"))?;
        }
        _ => {
            for device in kernel.devices() {
                let _ = kernel.set_up(&device.name, up);
            }
        }
    }
    Ok("OK".into())
}

fn conn_state(kernel: &FakeKernel, name: Option<&str>) -> String {
    let line = |name: &str, state| {
        let state = match state {
            LinkState::Connected => "connected",
            LinkState::Disconnected => "disconnected",
            LinkState::Unknown => "unknown",
        };
        format!("{name}: {state}\n")
    };
    let state = |name: &str| kernel.link_state(name).unwrap_or(LinkState::Unknown);
    match name {
        Some(name) => line(name, state(name)),
        None => kernel
            .devices()
            .iter()
            .map(|device| (&device.name, state(&device.name)))
            .filter(|(_, state)| *state != LinkState::Unknown)
            .map(|(name, state)| line(name, state))
            .collect(),
    }
}

fn ip4addr(kernel: &FakeKernel, call: &Call) -> Answer {
    let (name, text) = (call.arg(0).unwrap_or_default(), call.arg(1).unwrap_or_default());
    if !exists(kernel, name) {
        return Err("Unknown Dummy Interface".into());
    }
    let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
    let prefix_fits = prefix.parse::<u8>().is_ok_and(|prefix| (1..=32).contains(&prefix));
    match address.parse() {
        Ok(address) if prefix_fits => {
            kernel.set_ipv4(name, address);
            Ok("OK".into())
        }
        _ => Err(format!("{text}: invalid IP address").into()),
    }
}

/// The address is looked at and not kept: nothing asks a dummy for it yet.
fn ip6addr(kernel: &FakeKernel, call: &Call) -> Answer {
    let (name, text) = (call.arg(0).unwrap_or_default(), call.arg(1).unwrap_or_default());
    if !exists(kernel, name) {
        return Err("Unknown Dummy Interface".into());
    }
    let (address, prefix) = text.split_once('/').unwrap_or((text, "128"));
    let prefix = prefix.parse::<u8>().ok();
    match (address.parse::<std::net::Ipv6Addr>(), prefix) {
        (Ok(_), Some(0..=128)) => Ok("OK".into()),
        (Ok(_), Some(_)) => {
            let range = "IPv6 network prefix bits not between 0 and 128, inclusive";
            Err(format!("{text}: {range}").into())
        }
        _ => Err(format!("{text}: invalid IPv6 address").into()),
    }
}

fn change_port_number(kernel: &FakeKernel, call: &Call) -> Answer {
    let [datapath, port, number] = call.args.as_slice() else {
        return Err("unknown datapath or not a dummy".into());
    };
    let number = number.parse().unwrap_or(0);
    kernel.renumber_port(datapath, port, number)?;
    Ok(().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::{Datapath as _, PortKind};
    use crate::unixctl::{Format, Output};

    const ICMP: &str = "in_port(1),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),\
        eth_type(0x0800),ipv4(src=192.168.0.1,dst=192.168.0.2,proto=1,tos=0,ttl=64,frag=no),\
        icmp(type=8,code=0)";

    fn call(args: &[&str]) -> Call {
        Call { args: args.iter().map(|&arg| arg.to_owned()).collect(), format: Format::Text }
    }

    /// Lengths as the peer's `dpctl/dump-flows` counts them (`bytes:106` in ofproto-dpif.at).
    #[test]
    fn frames_are_made_as_the_peer_makes_them() {
        let frame = of_flow(ICMP, None).unwrap();
        assert_eq!(frame.len(), 106);
        assert_eq!(frame[42..46], [0, 1, 2, 3]);
        let tcp =
            ICMP.replace("proto=1", "proto=6").replace("icmp(type=8,code=0)", "tcp(src=1,dst=2)");
        assert_eq!(of_flow(&tcp, None).unwrap().len(), 118);
        let padded = of_flow(ICMP, Some(200)).unwrap();
        assert_eq!(padded.len(), 200);
        // The IP header says how long it is.
        assert_eq!(padded[16..18], 186u16.to_be_bytes());
        let other = "in_port(1),eth(src=50:54:00:00:00:05,dst=50:54:00:00:00:07),eth_type(0x0900)";
        assert_eq!(of_flow(other, None).unwrap().len(), 14);
        assert_eq!(of_flow(other, Some(64)).unwrap().len(), 64);
        let later = ICMP.replace("frag=no", "frag=later").replace(",icmp(type=8,code=0)", "");
        assert_eq!(of_flow(&later, None).unwrap().len(), 34);
        assert_eq!(of_flow("nonsense", None).unwrap_err().0, "syntax error at nonsense");
        assert!(of_flow(&tcp, Some(20)).is_err());
    }

    #[test]
    fn frames_in_hexadecimal() {
        assert_eq!(
            hex("00112233445566778899aabb0800"),
            Some(vec![0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 8, 0])
        );
        assert_eq!(hex("ff ff ff ff ff ff 50 54 00 00 00 09 12 34").map(|f| f.len()), Some(14));
        for wrong in ["0011", "00112233445566778899aabb080", "in_port(1)", ""] {
            assert_eq!(hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn packets_come_in_and_are_counted() {
        let kernel = FakeKernel::of_dummies();
        let datapath = kernel.open("ovs-dummy", true).unwrap();
        kernel.configure_device("p1", "dummy", &Default::default()).unwrap();
        datapath.port_add("p1", PortKind::Netdev, None).unwrap();
        let said = |args: &[&str]| receive(&kernel, &call(args)).map_err(|error| error.0);
        let hex = "ffffffffffff5054000000091234";
        assert_eq!(said(&["p1", ICMP, hex, "--qid"]).unwrap_err(), parse_error("--qid"));
        assert_eq!(said(&["p1", "--qid", "0", ICMP, "--len", "100", hex]), Ok(().into()));
        let stats = kernel.link("p1").unwrap().unwrap().stats;
        assert_eq!((stats.rx_packets, stats.rx_bytes), (4, 106 + 14 + 100 + 14));
        assert_eq!(said(&["p9", hex]), Err("no such dummy netdev".to_owned()));
        assert_eq!(said(&["p1", ICMP, "--len", "10"]), Err("too small packet len".to_owned()));
        assert_eq!(said(&["p1", "--qid", "x", hex]), Err("bad rx queue id.".to_owned()));
        assert_eq!(said(&["p1", "--qid", "0"]), Ok(().into()));
    }

    fn parse_error(text: &str) -> String {
        of_flow(text, None).unwrap_err().0
    }

    #[test]
    fn devices_go_down_and_up() {
        let kernel = FakeKernel::of_dummies();
        kernel.configure_device("p1", "dummy", &Default::default()).unwrap();
        kernel.configure_device("p2", "dummy", &Default::default()).unwrap();
        let up = || kernel.devices().iter().map(|device| device.up).collect::<Vec<_>>();
        let ok: Result<Output, CommandError> = Ok("OK".into());
        assert_eq!(set_admin_state(&kernel, &call(&["p1", "down"])), ok);
        assert_eq!(up(), [false, true]);
        assert_eq!(set_admin_state(&kernel, &call(&["DOWN"])), ok);
        assert_eq!(up(), [false, false]);
        assert_eq!(set_admin_state(&kernel, &call(&["up"])), ok);
        assert_eq!(up(), [true, true]);
        assert!(set_admin_state(&kernel, &call(&["p3", "up"])).is_err());
        assert!(set_admin_state(&kernel, &call(&["p1", "sideways"])).is_err());
        assert_eq!(conn_state(&kernel, Some("p1")), "p1: unknown\n");
        assert_eq!(conn_state(&kernel, None), "");
        assert_eq!(ip4addr(&kernel, &call(&["p1", "1.1.2.88/24"])), ok);
        assert!(ip4addr(&kernel, &call(&["p1", "1.1.2/24"])).is_err());
        assert_eq!(ip6addr(&kernel, &call(&["p1", "2001:cafe::88/24"])), ok);
        let error = ip6addr(&kernel, &call(&["p1", "2001::1/129"])).unwrap_err().0;
        assert_eq!(error, "2001::1/129: IPv6 network prefix bits not between 0 and 128, inclusive");
    }
}
