//! The fake kernel against the checks that the stock module passes too.

mod datapath_checks;

use std::time::Duration;

use datapath_checks::{CHECKS, NAME, World, frames, upcalls};
use ovs_netlink::ring::RecvRing;
use rovs::{
    datapath::{Datapath, DpErrorKind, FlowOp, PortKind, RecvError, fake::FakeKernel},
    netdev::HostDevices,
};

impl World for FakeKernel {
    fn open(&self, create: bool) -> Box<dyn Datapath> {
        Box::new(self.open(NAME, create).unwrap())
    }

    fn add_device(&self, name: &str) {
        self.add_device(name).unwrap();
    }

    fn remove_device(&self, name: &str) {
        self.remove_device(name);
    }

    fn rename_device(&self, old: &str, new: &str) {
        assert!(self.rename_device(old, new));
    }

    fn set_up(&self, name: &str) {
        assert!(self.change_device(name, |d| d.up = true));
    }

    fn inject(&self, name: &str, packet: &[u8]) {
        assert!(self.inject(name, packet), "{name} is a port");
    }

    fn sent(&self, name: &str, _n: usize) -> Vec<Vec<u8>> {
        self.sent(name)
    }

    fn host(&self) -> Box<dyn HostDevices> {
        Box::new(self.clone())
    }

    fn delete_datapath(&self) {
        assert!(self.delete_datapath(NAME));
    }
}

#[test]
fn the_fake_kernel_passes_the_checks() {
    for (name, check) in CHECKS {
        println!("{name}");
        check(&FakeKernel::new());
    }
}

/// A fake kernel with a datapath and these ports.
fn kernel_with(ports: &[&str]) -> (FakeKernel, rovs::datapath::fake::FakeDatapath) {
    let kernel = FakeKernel::new();
    let dp = kernel.open(NAME, true).unwrap();
    for name in ports {
        kernel.add_device(name).unwrap();
        dp.port_add(name, PortKind::Netdev, None).unwrap();
    }
    (kernel, dp)
}

#[test]
fn the_module_can_be_removed_and_comes_back() {
    let (kernel, dp) = kernel_with(&["p1"]);
    let mut handler = dp.open_handlers(1).unwrap().remove(0);
    kernel.unload();
    assert_eq!(dp.stats().map_err(|e| e.kind), Err(DpErrorKind::FamiliesGone));
    assert!(kernel.open(NAME, true).is_err());
    assert!(!FakeKernel::inject(&kernel, "p1", &frames::udp_frame(53)));
    let mut ring = RecvRing::new(1);
    assert_eq!(handler.recv(&mut ring, Duration::ZERO), Ok(0));
    kernel.load();
    // The old one does not work on what is new.
    assert_eq!(dp.stats().map_err(|e| e.kind), Err(DpErrorKind::FamiliesGone));
    let again = kernel.open(NAME, true).unwrap();
    assert_ne!(again.families(), dp.families());
    again.port_add("p1", PortKind::Netdev, None).unwrap();
}

#[test]
fn a_full_flow_table_refuses() {
    let (kernel, dp) = kernel_with(&["p1"]);
    kernel.set_flow_capacity(Some(1));
    let mut handler = dp.open_handlers(1).unwrap().remove(0);
    let mut keys = Vec::new();
    for dst in [1, 2] {
        FakeKernel::inject(&kernel, "p1", &frames::udp_frame(dst));
        keys.push(upcalls(&mut *handler, 1).remove(0).key);
    }
    let put = |ufid, key| FlowOp::Put { ufid: Some(ufid), key, mask: None, actions: &[] };
    let mut results = Vec::new();
    dp.flow_ops(&[put(&[1; 16], &keys[0]), put(&[2; 16], &keys[1])], &mut |_, r| {
        results.push(r.map_err(|e| (e.kind, e.errno)));
    });
    assert_eq!(results, [Ok(None), Err((DpErrorKind::NoSpace, libc::ENOSPC))]);
}

#[test]
fn a_full_socket_loses_until_it_is_empty() {
    let (kernel, dp) = kernel_with(&["p1"]);
    kernel.set_handler_bytes(1000);
    let mut handler = dp.open_handlers(1).unwrap().remove(0);
    for dst in 1..=20 {
        FakeKernel::inject(&kernel, "p1", &frames::udp_frame(dst));
    }
    let stats = dp.stats().unwrap();
    let mut ring = RecvRing::new(64);
    assert_eq!(handler.recv(&mut ring, Duration::ZERO), Err(RecvError::Overrun));
    let read = handler.recv(&mut ring, Duration::ZERO).unwrap() as u64;
    assert!(read > 0 && read < 20);
    assert_eq!((stats.missed, stats.lost), (20, 20 - read));
    let port = dp.port("p1").unwrap().unwrap().upcall_stats.unwrap();
    assert_eq!((port.success, port.fail), (read, 20 - read));
    FakeKernel::inject(&kernel, "p1", &frames::udp_frame(99));
    assert_eq!(handler.recv(&mut ring, Duration::ZERO), Ok(1));
}

#[test]
fn upcalls_go_by_cpu() {
    let (kernel, dp) = kernel_with(&["p1"]);
    kernel.set_cpus(3);
    assert_eq!(dp.handlers_wanted(Some(1)), 3);
    let mut handlers = dp.open_handlers(3).unwrap();
    let mut ring = RecvRing::new(4);
    for cpu in 0..5 {
        kernel.set_cpu(cpu);
        FakeKernel::inject(&kernel, "p1", &frames::udp_frame(53));
        let got: Vec<_> =
            handlers.iter_mut().map(|h| h.recv(&mut ring, Duration::ZERO).unwrap()).collect();
        let expected: Vec<_> = (0..3).map(|h| usize::from(h == cpu % 3)).collect();
        assert_eq!(got, expected);
    }
    kernel.set_cpus(2);
    assert_eq!(dp.refresh_cpus(), Ok(true));
}

#[test]
fn a_device_is_in_one_datapath() {
    let (kernel, dp) = kernel_with(&["p1"]);
    let other = kernel.open("other", true).unwrap();
    let refused = other.port_add("p1", PortKind::Netdev, None).map_err(|e| (e.kind, e.errno));
    assert_eq!(refused, Err((DpErrorKind::Busy, libc::EBUSY)));
    let refused = other.port_add(NAME, PortKind::Netdev, None).map_err(|e| e.kind);
    assert_eq!(refused, Err(DpErrorKind::Invalid));
    assert_eq!((dp.ports().unwrap().len(), other.ports().unwrap().len()), (2, 1));
}
