//! The road under any input: a handler's worker over the fake kernel is given datagrams that no kernel
//! would send, and at the end what is installed is what translation says. The fuzz target `road` and
//! the property test walk here.

use std::sync::Arc;
use std::time::Duration;

use ovs_netlink::RecvRing;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::uapi;
use rovs::bridge::reconcile::Reconciler;
use rovs::bridge::switch::Switch;
use rovs::datapath::fake::FakeKernel;
use rovs::datapath::{Datapath, DumpDetail, UpcallPort};
use rovs::flow::{Flow, FlowWildcards};
use rovs::netdev::{HostDevices, LinkTable};
use rovs::odp::key::OdpKey;
use rovs::odp::mask::mask_to_wildcards;
use rovs::odp::ufid::UfidHasher;
use rovs::revalidate::Revalidator;
use rovs::revalidate::decide::{Scratch, Verdict, retranslate};
use rovs::snapshot::Dep;
use rovs::standalone;
use rovs::upcall::ukey::UkeyState;
use rovs::upcall::worker::Worker;

const DEVICES: [&str; 4] = ["a", "b", "c", "d"];

const CONFIGS: [&str; 4] = [
    "[bridge.br0.port.a]\n[bridge.br0.port.b]\n[bridge.br0.port.c]\n",
    "[other-config]\nvlan-limit = 2\n[bridge.br0]\nforward-bpdu = true\n\
     [bridge.br0.port.a]\ntrunks = [0, 10]\n[bridge.br0.port.b]\ntag = 10\n\
     [bridge.br0.port.c]\n[bridge.br0.port.d]\ntag = 20\n",
    "[bridge.br0.port.a]\nvlan-mode = \"native-untagged\"\ntag = 10\ntrunks = [20]\n\
     [bridge.br0.port.b]\nvlan-mode = \"native-tagged\"\ntag = 10\n\
     [bridge.br0.port.c]\ntag = 10\npriority-tags = \"always\"\n[bridge.br0.port.d]\n",
    "[other-config]\nvlan-limit = 0\n[bridge.br0.port.a]\ntag = 10\n[bridge.br1.port.b]\n\
     [bridge.br1.port.c]\ntag = 10\npriority-tags = \"if-nonzero\"\n[bridge.br1.port.d]\n",
];

/// Bytes that are taken from the front; missing ones are 0.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// Up to 255 bytes, their number in front.
    fn some(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte()).min(self.0.len());
        let (some, rest) = self.0.split_at(n);
        self.0 = rest;
        some
    }
}

struct Road {
    kernel: FakeKernel,
    datapath: Arc<dyn Datapath>,
    switch: Switch,
    worker: Worker,
    port: Box<dyn UpcallPort>,
    revalidator: Revalidator,
    now_ms: u64,
}

/// Walks the road with what `input` says: the first byte chooses a configuration, then come steps.
///
/// # Panics
/// When the road does, and when at the end the kernel holds a flow that translation contradicts.
pub fn walk(input: &[u8]) {
    let mut input = Bytes(input);
    let config = CONFIGS[usize::from(input.byte()) % CONFIGS.len()];
    let mut road = Road::new(config);
    for _ in 0..64 {
        if input.0.is_empty() {
            break;
        }
        road.step(&mut input);
    }
    road.rest();
}

impl Road {
    fn new(toml: &str) -> Self {
        let kernel = FakeKernel::new();
        for name in DEVICES {
            kernel.add_device(name);
        }
        let now_ms = 1_000_000;
        kernel.set_now_ms(now_ms);
        let datapath: Arc<dyn Datapath> = Arc::new(kernel.open("ovs-system", true).unwrap());
        let config = standalone::parse(toml).unwrap();
        let ufids = UfidHasher::new([7; 16]);
        let switch = Switch::open(datapath.clone(), &config.settings, ufids).unwrap();
        let links = LinkTable::of(kernel.links().unwrap());
        let mut changes = Vec::new();
        let (snapshot, _) =
            Reconciler::default().apply(&config, &*datapath, &links, &mut changes).unwrap();
        switch.configure(snapshot, changes);
        let port = datapath.open_handlers(1).unwrap().remove(0);
        let worker = Worker::new(switch.udpif.clone());
        let revalidator =
            Revalidator::new(switch.udpif.clone(), datapath.clone(), switch.rounds.clone());
        Self { kernel, datapath, switch, worker, port, revalidator, now_ms }
    }

    fn step(&mut self, input: &mut Bytes<'_>) {
        let choice = input.byte();
        let device = DEVICES[usize::from(choice >> 3) % DEVICES.len()];
        match choice % 8 {
            0 => self.decide(&[input.some().to_vec()]),
            1 => {
                let attrs = input.some().to_vec();
                self.decide(&[self.upcall(choice >> 3, &attrs)]);
            }
            2 | 3 => {
                let (key, packet) = (input.some(), input.some());
                let mut attrs = Vec::new();
                let mut w = AttrWriter::new(&mut attrs);
                w.bytes(uapi::OVS_PACKET_ATTR_PACKET, packet);
                w.bytes(uapi::OVS_PACKET_ATTR_KEY, key);
                self.decide(&[self.upcall(0, &attrs)]);
            }
            4 | 5 => {
                self.kernel.inject(device, input.some());
                let upcalls = self.receive();
                self.decide(&upcalls);
            }
            6 => {
                // A true upcall, some bytes of it changed.
                self.kernel.inject(device, input.some());
                let mut upcalls = self.receive();
                let changes = input.some();
                for upcall in &mut upcalls {
                    for change in changes.chunks_exact(3) {
                        let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
                        let at = at % upcall.len();
                        upcall[at] ^= change[2];
                    }
                }
                self.decide(&upcalls);
            }
            _ => {
                self.now_ms += 100 * u64::from(choice >> 3);
                self.kernel.set_now_ms(self.now_ms);
                if choice & 0x80 != 0 {
                    self.forget_addresses();
                }
                self.revalidator.make_round(self.now_ms).unwrap();
            }
        }
    }

    /// A datagram with one upcall of these attributes.
    fn upcall(&self, cmd: u8, attrs: &[u8]) -> Vec<u8> {
        let cmd = if cmd == 0 { uapi::OVS_PACKET_CMD_MISS } else { cmd };
        let length = (16 + 4 + 4 + attrs.len()) as u32;
        let mut datagram = length.to_ne_bytes().to_vec();
        datagram.extend(self.datapath.families().packet.to_ne_bytes());
        datagram.extend([0; 10]);
        datagram.extend([cmd, 1, 0, 0]);
        datagram.extend(self.datapath.dp_ifindex().to_ne_bytes());
        datagram.extend(attrs);
        datagram
    }

    fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut ring = RecvRing::with_slot(8, 4096);
        self.port.recv(&mut ring, Duration::ZERO).unwrap();
        ring.iter().map(|datagram| datagram.unwrap().to_vec()).collect()
    }

    /// What a handler does with a batch.
    fn decide(&mut self, datagrams: &[Vec<u8>]) {
        let Self { worker, port, .. } = self;
        worker.begin(self.now_ms);
        for datagram in datagrams {
            let _ = worker.port_of(datagram);
            worker.decide(datagram);
        }
        if !worker.finish().is_empty() {
            port.send(worker.finish()).unwrap();
            port.errors(&mut |seq, errno| worker.refused(seq, errno));
        }
        worker.settle();
    }

    fn forget_addresses(&self) {
        let mut changes = Vec::new();
        for bridge in self.switch.udpif.snapshot.load().bridges() {
            bridge.fdb.flush(|_, _| true, |key| changes.push(Dep::Fdb(bridge.id, key)));
        }
        self.switch.udpif.changes.add(changes);
    }

    /// Lets the revalidator finish, and checks.
    fn rest(&mut self) {
        for _ in 0..20 {
            self.revalidator.apply_changes(self.now_ms);
            self.revalidator.make_round(self.now_ms).unwrap();
            if self.agrees().is_ok() {
                return;
            }
        }
        if let Err(difference) = self.agrees() {
            panic!("{difference}");
        }
    }

    /// Whether kernel, ukeys and translation tell the same.
    fn agrees(&self) -> Result<(), String> {
        let udpif = &self.switch.udpif;
        let support = &udpif.target.support;
        let snapshot = udpif.snapshot.load_full();
        let mut scratch = Scratch::default();
        let mut there: Vec<(Flow, FlowWildcards, Vec<u8>)> = Vec::new();
        let mut problem = None;
        let mut dump = |flow: &ovs_netlink::flow::FlowMsg<'_>| {
            let (key, mask) = (flow.key.unwrap(), flow.mask.unwrap());
            let actions = flow.actions.unwrap();
            let verdict = retranslate(
                key,
                Some(mask),
                actions,
                &snapshot,
                support,
                self.now_ms,
                &mut scratch,
            );
            let ufid = rovs::odp::ufid::Ufid(flow.ufid.unwrap());
            let state = udpif.ukeys.shard(&ufid).get(&ufid).map(|ukey| ukey.state);
            if verdict != Verdict::Keep || state != Some(UkeyState::Operational) {
                problem = Some(format!(
                    "translation says {verdict:?}, its ukey is {state:?}\nkey {key:02x?}\n\
                     mask {mask:02x?}\nactions {actions:02x?}\nbut {:02x?}\nread {:x?}",
                    scratch.out.actions.as_bytes(),
                    scratch.out.wc.masks.words(),
                ));
            }
            let mut flow = Flow::ZERO;
            let mut wc = FlowWildcards::CATCHALL;
            let vlans = support.max_vlan_headers;
            let read = OdpKey(key).to_flow(vlans, &mut flow);
            let read = read.and_then(|_| mask_to_wildcards(mask, &flow, vlans, &mut wc));
            match read {
                Ok(_) => there.push((flow, wc, actions.to_vec())),
                Err(error) => problem = Some(format!("{error}: {key:02x?}, {mask:02x?}")),
            }
        };
        self.datapath.flow_dump(DumpDetail::Full, &mut dump).unwrap();
        if let Some(problem) = problem {
            return Err(problem);
        }
        if there.len() != udpif.ukeys.len() {
            return Err(format!("{} flows, {} ukeys", there.len(), udpif.ukeys.len()));
        }
        for (n, a) in there.iter().enumerate() {
            for b in &there[..n] {
                let words = a.0.words().iter().zip(b.0.words());
                let masks = a.1.masks.words().iter().zip(b.1.masks.words());
                let meet = words.zip(masks).all(|((a, b), (m, n))| (a ^ b) & m & n == 0);
                if meet && a.2 != b.2 {
                    return Err(format!("overlap and differ: {:?}\n{:?}", a.0, b.0));
                }
            }
        }
        Ok(())
    }
}
