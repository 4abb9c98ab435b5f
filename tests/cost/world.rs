//! A switch with three ports over a fake kernel, and the upcalls that its packets make.

use std::sync::Arc;
use std::time::Duration;

use ovs_netlink::RecvRing;
use rovs::bridge::reconcile::Reconciler;
use rovs::bridge::switch::Switch;
use rovs::datapath::fake::FakeKernel;
use rovs::datapath::{Datapath, UpcallPort};
use rovs::netdev::{HostDevices, LinkTable};
use rovs::odp::ufid::UfidHasher;
use rovs::standalone;
use rovs::upcall::worker::Worker;

/// Ports a, b and c of one bridge.
pub struct World {
    pub kernel: FakeKernel,
    pub datapath: Arc<dyn Datapath>,
    pub switch: Switch,
    pub port: Option<Box<dyn UpcallPort>>,
}

/// An IPv4 UDP packet between two addresses of 16 bits, with a tag of VLAN 7 if asked for.
pub fn packet(dst: u16, src: u16, is_tagged: bool) -> Vec<u8> {
    let ([d, e], [s, t]) = (dst.to_be_bytes(), src.to_be_bytes());
    let mut packet = vec![2, 0, 0, 0, d, e, 2, 0, 0, 0, s, t];
    if is_tagged {
        packet.extend([0x81, 0, 0x60, 7]);
    }
    packet.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, s, t, 10, 0, d, e]);
    packet.extend([0, 1, 0, 2, 0, 12, 0, 0, 1, 2, 3, 4]);
    packet.resize(64, 0);
    packet
}

impl World {
    pub fn new() -> Self {
        let kernel = FakeKernel::new();
        let mut toml =
            "[other-config]\nflow-limit = 1000000\n[bridge.br0]\nmac-table-size = 100000\n"
                .to_owned();
        for name in ["a", "b", "c"] {
            kernel.add_device(name);
            toml.push_str(&format!("[bridge.br0.port.{name}]\n"));
        }
        let config = standalone::parse(&toml).unwrap();
        let datapath: Arc<dyn Datapath> = Arc::new(kernel.open("ovs-system", true).unwrap());
        let hasher = UfidHasher::new([7; 16]);
        let switch = Switch::open(datapath.clone(), &config.settings, hasher).unwrap();
        let links = LinkTable::of(kernel.links().unwrap());
        let applied =
            Reconciler::default().apply(&config, &*datapath, &links, &mut Vec::new()).unwrap();
        switch.configure(applied.0, Vec::new());
        switch.udpif.limit.set(1_000_000);
        let port = datapath.open_handlers(1).unwrap().pop();
        Self { kernel, datapath, switch, port }
    }

    /// The upcalls that wait, as datagrams.
    pub fn waiting(&mut self) -> Vec<Vec<u8>> {
        let port = self.port.as_mut().unwrap();
        let mut ring = RecvRing::with_slot(64, 2048);
        let mut all = Vec::new();
        while port.recv(&mut ring, Duration::ZERO).is_ok_and(|n| n > 0) {
            all.extend(ring.iter().map(|datagram| datagram.unwrap().to_vec()));
        }
        all
    }

    /// The upcalls of packets from port a.
    pub fn upcalls(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for packet in packets {
            assert!(self.kernel.inject("a", &packet));
            all.append(&mut self.waiting());
        }
        all
    }

    /// Has a worker decide these in batches of 64, and sends the answers if asked to.
    pub fn decide(&mut self, worker: &mut Worker, upcalls: &[Vec<u8>], send: bool) {
        for batch in upcalls.chunks(64) {
            worker.begin(1_000);
            batch.iter().for_each(|datagram| worker.decide(datagram));
            if send {
                let port = self.port.as_mut().unwrap();
                port.send(worker.finish()).unwrap();
                port.errors(&mut |seq, errno| panic!("message {seq}: error {errno}"));
            } else {
                assert!(!worker.finish().is_empty());
            }
            worker.settle();
        }
    }
}
