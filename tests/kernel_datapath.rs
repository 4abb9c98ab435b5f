//! The datapath layer on the stock openvswitch module.

mod datapath_checks;
mod kernel;

use std::{
    cell::RefCell,
    collections::HashMap,
    io::Read,
    os::fd::{AsRawFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use datapath_checks::{CHECKS, NAME, World, attrs, frames, upcalls};
use kernel::{attempt, run};
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket,
    },
};
use ovs_netlink::{ring::RecvRing, uapi};
use rovs::datapath::{
    Datapath, Dispatch, DpErrorKind, DumpDetail, FlowOp, OdpPort, PortKind, RecvError,
    kernel::{KernelDatapath, KernelOptions},
    record::Tap,
    recording::{Head, RecordedPort, Recording},
    replay::{Replay, Step},
};
use rovs::netdev::{HostDevices, KernelDevices};

/// The guest: ports are one end of a veth pair each, the test sits at the other.
struct Lab {
    options: KernelOptions,
    wires: RefCell<HashMap<String, Wire>>,
}

/// The far end of a port's veth pair.
struct Wire {
    socket: OwnedFd,
    tcpdump: Child,
    arrived: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

impl Wire {
    fn open(device: &str) -> Self {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .unwrap();
        let address: LinkAddr = getifaddrs()
            .unwrap()
            .filter(|i| i.interface_name == device)
            .find_map(|i| i.address.and_then(|a| a.as_link_addr().copied()))
            .unwrap();
        bind(socket.as_raw_fd(), &address).unwrap();
        // It puts tags back that the kernel takes off.
        let mut tcpdump = Command::new("tcpdump")
            .args(["-i", device, "-Q", "in", "-s0", "-U", "--immediate-mode", "-n", "-w", "-"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = tcpdump.stdout.take().unwrap();
        // The file header comes when it listens.
        out.read_exact(&mut [0; 24]).unwrap();
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let frames = arrived.clone();
        std::thread::spawn(move || {
            let mut head = [0; 16];
            while out.read_exact(&mut head).is_ok() {
                let len = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
                let mut frame = vec![0; len as usize];
                if out.read_exact(&mut frame).is_err() {
                    break;
                }
                frames.lock().unwrap().push(frame);
            }
        });
        Self { socket, tcpdump, arrived }
    }
}

impl Lab {
    fn new(options: KernelOptions) -> Self {
        kernel::enter();
        // Left over by a test that failed half-way.
        let _ = attempt(&["ovs-dpctl", "del-dp", NAME]);
        for device in ["p1", "p2"] {
            let _ = attempt(&["ip", "link", "del", device]);
        }
        Self { options, wires: RefCell::default() }
    }

    fn datapath(&self) -> KernelDatapath {
        KernelDatapath::open_with(NAME, true, self.options).unwrap()
    }
}

impl World for Lab {
    fn open(&self, create: bool) -> Box<dyn Datapath> {
        Box::new(KernelDatapath::open_with(NAME, create, self.options).unwrap())
    }

    fn add_device(&self, name: &str) {
        let peer = format!("x{name}");
        run(&["ip", "link", "add", name, "type", "veth", "peer", "name", &peer]);
        for device in [name, &peer] {
            run(&["ip", "link", "set", device, "up"]);
        }
        self.wires.borrow_mut().insert(name.to_owned(), Wire::open(&peer));
    }

    fn remove_device(&self, name: &str) {
        self.wires.borrow_mut().remove(name);
        let _ = attempt(&["ip", "link", "del", name]);
    }

    fn rename_device(&self, old: &str, new: &str) {
        run(&["ip", "link", "set", old, "down"]);
        run(&["ip", "link", "set", old, "name", new]);
        run(&["ip", "link", "set", new, "up"]);
    }

    fn set_up(&self, name: &str) {
        run(&["ip", "link", "set", name, "up"]);
    }

    fn inject(&self, name: &str, packet: &[u8]) {
        let wires = self.wires.borrow();
        let sent = send(wires[name].socket.as_raw_fd(), packet, MsgFlags::empty()).unwrap();
        assert_eq!(sent, packet.len());
    }

    fn sent(&self, name: &str, n: usize) -> Vec<Vec<u8>> {
        let wires = self.wires.borrow();
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let mut arrived = wires[name].arrived.lock().unwrap();
            if (n > 0 && arrived.len() >= n) || Instant::now() > end {
                return std::mem::take(&mut *arrived);
            }
            drop(arrived);
            std::thread::sleep(Duration::from_millis(20));
            if n == 0 {
                std::thread::sleep(Duration::from_millis(200));
                return std::mem::take(&mut *wires[name].arrived.lock().unwrap());
            }
        }
    }

    fn host(&self) -> Box<dyn HostDevices> {
        Box::new(KernelDevices)
    }

    fn delete_datapath(&self) {
        run(&["ovs-dpctl", "del-dp", NAME]);
    }
}

fn pass_checks(options: KernelOptions) {
    for (name, check) in CHECKS {
        let start = Instant::now();
        check(&Lab::new(options));
        println!("{name}: {:?}", start.elapsed());
    }
}

#[test]
#[ignore = "needs the lab"]
fn the_stock_module_passes_the_checks() {
    let options = KernelOptions::default();
    let lab = Lab::new(options);
    let dp = lab.datapath();
    println!("{:#?}", dp.support());
    assert_eq!(dp.support().dispatch, Dispatch::PerCpu);
    dp.destroy().unwrap();
    pass_checks(options);
}

#[test]
#[ignore = "needs the lab"]
fn the_stock_module_passes_the_checks_with_a_socket_per_port() {
    let options = KernelOptions { dispatch: Some(Dispatch::PerVport), ..KernelOptions::default() };
    let lab = Lab::new(options);
    let dp = lab.datapath();
    assert_eq!(dp.support().dispatch, Dispatch::PerVport);
    dp.destroy().unwrap();
    pass_checks(options);
}

#[test]
#[ignore = "needs the lab"]
fn probes_leave_nothing_behind_and_log_nothing() {
    let lab = Lab::new(KernelOptions::default());
    let before = run(&["dmesg"]);
    let dp = lab.datapath();
    assert_eq!(dp.stats().unwrap().flows, 0);
    // The kernel keeps so many lines and no more: what is new stands behind the last of before.
    let logged = run(&["dmesg"]);
    let last = before.lines().last();
    let new = logged.lines().rev().take_while(|line| Some(*line) != last);
    let of_the_module: Vec<&str> = new.filter(|line| line.contains("openvswitch")).collect();
    assert!(of_the_module.is_empty(), "{of_the_module:?}");
    let s = dp.support();
    assert!(s.refuses_unknown_features && s.ufid.value && s.recirc.value && s.masked_set.value);
    assert!(s.check_pkt_len.value && s.clone.value && s.trunc.value && s.ct_clear.value);
    let depths = (s.max_vlan_headers.value, s.max_mpls_depth.value, s.sample_nesting.value);
    assert_eq!(depths, (2, 3, 10));
    if s.kernel.starts_with("6.1.") {
        // As the stock daemon finds on this kernel.
        assert_eq!((s.drop_action.value, s.drop_action.errno), (false, libc::EINVAL));
        assert_eq!((s.psample.value, s.max_hash_alg.value), (false, 0));
    }
    dp.destroy().unwrap();
}

#[test]
#[ignore = "needs the lab"]
fn stock_tools_see_what_we_did() {
    let lab = Lab::new(KernelOptions::default());
    let dp = lab.datapath();
    lab.add_device("p1");
    let p1 = dp.port_add("p1", PortKind::Netdev, None).unwrap();
    dp.port_add("i1", PortKind::Internal, Some(OdpPort(5))).unwrap();
    let key = attrs(|w| {
        w.u32(uapi::OVS_KEY_ATTR_IN_PORT, p1.0);
        w.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[frames::SRC, frames::DST].concat());
        w.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, 0x88cc);
    });
    let actions = attrs(|w| w.u32(uapi::OVS_ACTION_ATTR_OUTPUT, 5));
    let ufid = [0x11; 16];
    let put = FlowOp::Put { ufid: Some(&ufid), key: &key, mask: None, actions: &actions };
    dp.flow_ops(&[put], &mut |_, r| assert!(r.is_ok()));
    let show = run(&["ovs-dpctl", "show", NAME]);
    for line in ["port 0: dpc (internal)", "port 1: p1", "port 5: i1 (internal)", "flows: 1"] {
        assert!(show.contains(line), "{line} in\n{show}");
    }
    let flows = run(&["ovs-dpctl", "-m", "dump-flows", NAME]);
    let head = "ufid:11111111-1111-1111-1111-111111111111";
    assert!(flows.contains(head) && flows.contains("in_port(p1)"), "{flows}");
    assert!(flows.contains("actions:i1"), "{flows}");
    // And the other way round.
    run(&["ovs-dpctl", "add-flow", NAME, "in_port(5),eth(),eth_type(0x88cc)", "1"]);
    let mut seen = 0;
    dp.flow_dump(DumpDetail::Full, &mut |f| {
        seen += 1;
        assert!(f.key.is_some() && f.actions.is_some());
    })
    .unwrap();
    assert_eq!(seen, 2);
    run(&["ovs-dpctl", "add-if", NAME, "i2,type=internal"]);
    assert_eq!(dp.port("i2").unwrap().unwrap().kind, PortKind::Internal);
    dp.destroy().unwrap();
    lab.remove_device("p1");
}

#[test]
#[ignore = "needs the lab"]
fn a_small_buffer_overruns_and_goes_on() {
    let options = KernelOptions { upcall_rcvbuf_bytes: 4096, ..KernelOptions::default() };
    let lab = Lab::new(options);
    let dp = lab.datapath();
    lab.add_device("p1");
    dp.port_add("p1", PortKind::Netdev, None).unwrap();
    let mut handlers = dp.open_handlers(dp.handlers_wanted(None)).unwrap();
    let before = dp.stats().unwrap();
    for _ in 0..200 {
        lab.inject("p1", &frames::udp_frame(53));
    }
    let mut ring = RecvRing::new(8);
    let (mut overruns, mut read) = (0, 0);
    for handler in &mut handlers {
        loop {
            match handler.recv(&mut ring, Duration::from_millis(100)) {
                Ok(0) => break,
                Ok(n) => read += n as u64,
                Err(RecvError::Overrun) => overruns += 1,
                Err(e) => panic!("{e}"),
            }
        }
    }
    let after = dp.stats().unwrap();
    assert!(overruns >= 1 && read < 200, "{overruns} overruns, {read} read");
    assert_eq!(after.missed - before.missed, 200);
    assert_eq!(
        after.lost - before.lost + read,
        200,
        "what was not read, the kernel counts as lost"
    );
    // Drained, it takes upcalls again.
    lab.inject("p1", &frames::udp_frame(54));
    let got: usize =
        handlers.iter_mut().map(|h| h.recv(&mut ring, Duration::from_millis(500)).unwrap()).sum();
    assert_eq!(got, 1);
    dp.destroy().unwrap();
    lab.remove_device("p1");
}

#[test]
#[ignore = "needs the lab"]
fn a_port_deleted_in_the_middle() {
    let lab = Lab::new(KernelOptions::default());
    let dp = lab.datapath();
    for name in ["p1", "p2"] {
        lab.add_device(name);
        dp.port_add(name, PortKind::Netdev, None).unwrap();
    }
    let mut handler = dp.open_handlers(1).unwrap().remove(0);
    lab.inject("p1", &frames::udp_frame(53));
    let up = upcalls(&mut *handler, 1).remove(0);
    lab.remove_device("p2");
    // The kernel installs a flow to a port that is gone, and drops what hits it.
    let actions = attrs(|w| w.u32(uapi::OVS_ACTION_ATTR_OUTPUT, 2));
    let put = FlowOp::Put { ufid: Some(&[1; 16]), key: &up.key, mask: None, actions: &actions };
    dp.flow_ops(&[put], &mut |_, r| assert_eq!(r, Ok(None)));
    dp.execute(&up.packet, &up.key, &actions).unwrap();
    lab.remove_device("p1");
    dp.execute(&up.packet, &up.key, &actions).unwrap();
    assert_eq!(dp.ports().unwrap().len(), 1);
    dp.destroy().unwrap();
}

#[test]
#[ignore = "needs the lab"]
fn the_module_is_removed_and_comes_back() {
    let lab = Lab::new(KernelOptions::default());
    let dp = lab.datapath();
    let mut handler = dp.open_handlers(1).unwrap().remove(0);
    let old = dp.families();
    dp.destroy().unwrap();
    let modules = run(&["lsmod"]);
    for module in ["vport_vxlan", "vport_geneve", "vport_gre", "openvswitch"] {
        if modules.contains(module) {
            run(&["rmmod", module]);
        }
    }
    let kind = |e: rovs::datapath::DpError| e.kind;
    assert_eq!(dp.stats().map_err(kind), Err(DpErrorKind::FamiliesGone));
    assert_eq!(dp.ports().map_err(kind), Err(DpErrorKind::FamiliesGone));
    assert_eq!(dp.flow_flush().map_err(kind), Err(DpErrorKind::FamiliesGone));
    dp.flow_ops(&[FlowOp::Del { ufid: Some(&[1; 16]), key: &[] }], &mut |_, r| {
        assert_eq!(r.map_err(kind), Err(DpErrorKind::FamiliesGone));
    });
    let mut ring = RecvRing::new(1);
    assert_eq!(handler.recv(&mut ring, Duration::from_millis(10)), Ok(0));
    run(&["modprobe", "openvswitch"]);
    let again = lab.datapath();
    assert_ne!(again.families(), old, "the module's families have new ids");
    again.destroy().unwrap();
}

#[test]
#[ignore = "needs the lab"]
fn a_linux_bridge_keeps_its_ports() {
    let lab = Lab::new(KernelOptions::default());
    let dp = lab.datapath();
    lab.add_device("p1");
    run(&["ip", "link", "add", "lb0", "type", "bridge"]);
    run(&["ip", "link", "set", "p1", "master", "lb0"]);
    let refused = dp.port_add("p1", PortKind::Netdev, None).unwrap_err();
    assert_eq!((refused.kind, refused.errno), (DpErrorKind::Busy, libc::EBUSY));
    assert!(refused.remedy().contains("nomaster"), "{}", refused.remedy());
    run(&["ip", "link", "set", "p1", "nomaster"]);
    dp.port_add("p1", PortKind::Netdev, None).unwrap();
    run(&["ip", "link", "del", "lb0"]);
    dp.destroy().unwrap();
    lab.remove_device("p1");
}

#[test]
#[ignore = "needs the lab"]
fn a_recording_holds_what_the_kernel_said() {
    let lab = Lab::new(KernelOptions::default());
    let dp = lab.datapath();
    lab.add_device("p1");
    dp.port_add("p1", PortKind::Netdev, None).unwrap();
    let tap = Tap::default();
    let mut handlers = tap.wrap(dp.open_handlers(dp.handlers_wanted(None)).unwrap());
    let path = std::path::Path::new("/run/recording.pcap");
    let ports: Vec<_> = dp.ports().unwrap().iter().map(RecordedPort::from).collect();
    let head = Head::now(&dp, "rovs", &[1, 2]);
    tap.start(path, &head, "[bridges]", &ports, 1 << 20).unwrap();
    let mut heard = Vec::new();
    let mut ring = RecvRing::new(64);
    for (_, frame) in frames::shapes() {
        lab.inject("p1", &frame);
        let got: usize = handlers
            .iter_mut()
            .map(|h| {
                let n = h.recv(&mut ring, Duration::from_millis(300)).unwrap();
                heard.extend(ring.iter().map(|d| d.unwrap().to_vec()));
                n
            })
            .sum();
        assert_eq!(got, 1);
    }
    tap.stop().unwrap();
    let recording = Recording::parse(std::fs::read(path).unwrap()).unwrap();
    assert_eq!(recording.head, head);
    let mut replay = Replay::new(recording);
    let mut replayed = Vec::new();
    loop {
        match replay.step(&mut ring) {
            Step::Batch { .. } => replayed.extend(ring.iter().map(|d| d.unwrap().to_vec())),
            Step::Config(text) => assert_eq!(text, "[bridges]"),
            Step::Ports(then) => assert_eq!(then, ports),
            Step::End(reason) => {
                assert_eq!(reason.as_deref(), Some("asked to"));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(replayed == heard, "byte for byte");
    dp.destroy().unwrap();
    lab.remove_device("p1");
}
