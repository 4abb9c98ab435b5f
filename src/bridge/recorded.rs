//! What a recording tells of the switch beside the packets: the configuration, and the state that
//! decisions rest on and that the configuration does not show.
//!
//! The state rides behind the configuration's text as lines that begin with `#:`, which to TOML are
//! comments: OpenFlow numbers and carriers of ports, learned addresses, installed flows, settings
//! made by command. What always holds: a line that does not make sense is passed over, for it may
//! come from a damaged file or a later version.
//!
//! Written by the control thread, read by a replay.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::config::Config;
use crate::flow::EthAddr;
use crate::l2::fdb::FdbKey;
use crate::netdev::{Link, LinkTable};
use crate::odp::ufid::Ufid;
use crate::snapshot::Snapshot;
use crate::upcall::Udpif;
use crate::upcall::ukey::NewUkey;

/// Flows named in one state: those beyond can only make a replay put a flow once more.
const FLOWS_MAX: usize = 100_000;

/// Text for a recording: `config` with the state of the switch.
pub fn describe(config: &str, snapshot: &Snapshot, udpif: &Udpif, now_ms: u64) -> String {
    let mut text = config.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // Writing to a String cannot fail.
    let (megaflows, limit) = (udpif.settings.megaflows.load(Ordering::Relaxed), udpif.flow_limit());
    let kind = if megaflows { "mega" } else { "micro" };
    let vlans = udpif.target.support.max_vlan_headers;
    let _ = writeln!(text, "#: settings {kind} {limit} {vlans}");
    for bridge in snapshot.bridges() {
        let name = &bridge.name;
        for port in &bridge.ports {
            let carrier = if port.may_enable { "up" } else { "down" };
            let _ = writeln!(text, "#: port {name} {} {} {carrier}", port.name, port.ofp.0);
        }
        for entry in bridge.fdb.entries(now_ms) {
            if let Some(bundle) = bridge.bundle(entry.bundle) {
                let (vlan, mac) = (entry.key.vlan, entry.key.mac);
                let _ = writeln!(text, "#: fdb {name} {} {vlan} {mac}", bundle.name);
            }
        }
    }
    let mut left = FLOWS_MAX;
    for shard in udpif.ukeys.shards() {
        for ukey in shard.iter().take(left) {
            let _ = writeln!(text, "#: flow {}", ukey.ufid.to_string().trim_start_matches("ufid:"));
            left -= 1;
        }
    }
    text
}

/// State read back from a recording.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    settings: Option<(bool, usize)>,
    vlans: Option<usize>,
    ports: Vec<PortState>,
    addresses: Vec<Address>,
    flows: Vec<Ufid>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct PortState {
    bridge: String,
    name: String,
    ofp: u16,
    up: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Address {
    bridge: String,
    port: String,
    key: FdbKey,
}

impl State {
    /// Reads the lines that [`describe`] wrote.
    pub fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("#: ")) {
            let _ = state.line(line);
        }
        state
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "settings" => {
                let is_mega = words.next()? == "mega";
                self.settings = Some((is_mega, words.next()?.parse().ok()?));
                self.vlans = Some(words.next()?.parse().ok()?);
            }
            "port" => self.ports.push(PortState {
                bridge: words.next()?.to_owned(),
                name: words.next()?.to_owned(),
                ofp: words.next()?.parse().ok()?,
                up: words.next()? == "up",
            }),
            "fdb" => self.addresses.push(Address {
                bridge: words.next()?.to_owned(),
                port: words.next()?.to_owned(),
                key: FdbKey { vlan: words.next()?.parse().ok()?, mac: address(words.next()?)? },
            }),
            "flow" => self.flows.push(Ufid::parse(words.next()?)?),
            _ => {}
        }
        Some(())
    }

    /// Gives the interfaces of `config` the OpenFlow numbers that they had, unless it wants others.
    pub fn number_ports(&self, config: &mut Config) {
        for (bridge_name, bridge) in &mut config.bridges {
            let ports = bridge.ports.values_mut();
            for (name, interface) in ports.flat_map(|port| &mut port.interfaces) {
                let had = self.ports.iter().find(|p| p.bridge == *bridge_name && p.name == *name);
                let had = had.map(|had| had.ofp);
                interface.ofport_request = interface.ofport_request.or(had);
            }
        }
    }

    /// VLAN headers that a flow may match.
    pub fn vlans(&self) -> Option<usize> {
        self.vlans
    }

    /// The devices as far as their carriers are known.
    pub fn devices(&self) -> LinkTable {
        let link = |(n, port): (usize, &PortState)| Link {
            ifindex: n as u32 + 1,
            name: port.name.clone(),
            up: port.up,
            running: port.up,
            ..Link::default()
        };
        LinkTable::of(self.ports.iter().enumerate().map(link).collect())
    }

    /// Makes the settings those of the state.
    pub fn set(&self, udpif: &Udpif) {
        if let Some((is_mega, limit)) = self.settings {
            udpif.settings.megaflows.store(is_mega, Ordering::Relaxed);
            udpif.settings.flow_limit.store(limit, Ordering::Relaxed);
            udpif.limit.set(limit);
        }
    }

    /// Makes the forwarding databases those of the state: what it lacks is forgotten if `forget`,
    /// what it has is learned where the port still carries the VLAN.
    pub fn learn(&self, snapshot: &Snapshot, forget: bool, now_ms: u64) {
        for bridge in snapshot.bridges() {
            let known: Vec<(FdbKey, &str)> = self
                .addresses
                .iter()
                .filter(|address| address.bridge == bridge.name)
                .map(|address| (address.key, address.port.as_str()))
                .collect();
            if forget {
                bridge.fdb.flush(|key, _| !known.iter().any(|(other, _)| *other == key), |_| ());
            }
            for (key, port) in known {
                let bundle = bridge.bundles.iter().find(|bundle| bundle.name == port);
                if let Some(bundle) = bundle.filter(|bundle| bundle.includes_vlan(key.vlan)) {
                    bridge.fdb.learn(key, bundle.id, false, false, now_ms);
                }
            }
        }
    }

    /// Makes the flows known that were installed, with nothing but their names.
    pub fn install(&self, udpif: &Udpif, now_ms: u64) {
        for ufid in &self.flows {
            udpif.ukeys.shard(ufid).insert(&NewUkey {
                ufid: *ufid,
                key: &[],
                mask: None,
                actions: &[],
                bridge: None,
                deps: &[],
                effects: &[],
                drop: None,
                adopted: true,
                now_ms,
            });
        }
    }
}

fn address(text: &str) -> Option<EthAddr> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(EthAddr(bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::datapath::{FamilyIds, OdpPort};
    use crate::l2::fdb::{BundleId, Fdb, FdbConfig};
    use crate::odp;
    use crate::odp::ufid::UfidHasher;
    use crate::ofproto::{OfPort, Tables};
    use crate::snapshot::{
        Attachment, Bridge, BridgeId, Bundle, Port, PriorityTags, VlanMode, VlanSet,
    };
    use crate::upcall::Target;

    fn switch() -> (Arc<Udpif>, Snapshot) {
        let udpif = Udpif::new(Target {
            families: FamilyIds {
                datapath: 1,
                vport: 2,
                flow: 3,
                packet: 4,
                meter: None,
                ct_limit: None,
            },
            dp_ifindex: 1,
            support: odp::Support::default(),
            ufids: UfidHasher::new([0; 16]),
        });
        let bundle = |n: u16| Bundle {
            id: BundleId(n.into()),
            name: format!("p{n}"),
            vlan_mode: VlanMode::Access,
            vlan: 10,
            trunks: VlanSet::EMPTY,
            priority_tags: PriorityTags::Never,
            ports: vec![OfPort(n)],
        };
        let port = |n: u16| Port {
            ofp: OfPort(n),
            at: Attachment::Datapath(OdpPort(n.into())),
            name: format!("p{n}"),
            bundle: BundleId(n.into()),
            may_enable: n != 2,
        };
        let bridge = Bridge {
            id: BridgeId(1),
            name: "br0".to_owned(),
            forward_bpdu: false,
            bundles: vec![bundle(1), bundle(2)].into(),
            ports: vec![port(1), port(2)],
            fdb: Arc::new(Fdb::new(FdbConfig::default())),
            tables: Arc::new(Tables::standalone()),
        };
        (udpif, Snapshot::new(vec![Arc::new(bridge)]))
    }

    #[test]
    fn what_was_told_is_taken_over() {
        let (udpif, snapshot) = switch();
        let fdb = |snapshot: &Snapshot| snapshot.bridges()[0].fdb.clone();
        let key = |n| FdbKey { vlan: 10, mac: EthAddr([2, 0, 0, 0, 0, n]) };
        fdb(&snapshot).learn(key(7), BundleId(2), false, false, 0);
        udpif.settings.megaflows.store(false, Ordering::Relaxed);
        udpif.settings.flow_limit.store(77, Ordering::Relaxed);
        let told = "#: flow 01020304-0506-4708-890a-0b0c0d0e0f10\n";
        State::parse(told).install(&udpif, 0);
        let text = describe("# a comment\n[bridge.br0]", &snapshot, &udpif, 0);
        assert!(text.starts_with("# a comment\n[bridge.br0]\n#: settings micro 77 "), "{text}");
        assert!(text.ends_with(told), "{text}");

        let (other_udpif, other) = switch();
        fdb(&other).learn(key(8), BundleId(1), false, false, 0);
        let state = State::parse(&text);
        state.set(&other_udpif);
        state.install(&other_udpif, 0);
        state.learn(&other, true, 0);
        assert_eq!(describe("# a comment\n[bridge.br0]", &other, &other_udpif, 0), text);
        let devices = state.devices();
        let running: Vec<_> =
            devices.iter().map(|link| (link.name.as_str(), link.running)).collect();
        assert_eq!(running, [("p1", true), ("p2", false)]);
        let mut config = crate::standalone::parse(
            "[bridge.br0.port.p1]\nofport = 9\n[bridge.br0.port.p2]\n[bridge.br0.port.p3]\n",
        )
        .expect("a configuration");
        state.number_ports(&mut config);
        let ports = config.bridges["br0"].ports.values().flat_map(|port| port.interfaces.values());
        let ofports: Vec<_> = ports.map(|interface| interface.ofport_request).collect();
        assert_eq!(ofports, [Some(9), Some(2), None]);
    }

    proptest! {
        #[test]
        fn any_lines_are_taken_or_passed_over(
            lines in proptest::collection::vec(
                ("(settings|port|fdb|flow|x)", "( [a-z0-9:-]{0,20}){0,6}"), 0..10)
        ) {
            let text: String = lines.iter().map(|(a, b)| format!("#: {a}{b}\n")).collect();
            let (udpif, snapshot) = switch();
            let state = State::parse(&text);
            state.install(&udpif, 0);
            state.learn(&snapshot, true, 0);
        }
    }
}
