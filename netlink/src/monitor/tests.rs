//! Announcements from a made-up kernel, and the real one's for what needs no privilege.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::msg::{MsgBuf, MsgFlags, MsgHead};
use crate::socket::Socket;
use crate::uapi::*;
use crate::vport::VportType;

const DATAPATH: u16 = 0x20;
const VPORT: u16 = 0x21;

fn listener() -> (Listener, UnixDatagram) {
    let (near, far) = UnixDatagram::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let socket = Socket::adopt(OwnedFd::from(near), 1).unwrap();
    (Listener::fake(socket, DATAPATH, VPORT), far)
}

fn head(family: u16, cmd: u8) -> MsgHead {
    MsgHead { family, cmd, version: 1, flags: MsgFlags::empty(), seq: 0, dp_ifindex: 9 }
}

fn port(port_no: u32) -> Vport {
    Vport {
        dp_ifindex: 9,
        port_no,
        ty: VportType::Netdev,
        name: format!("v{port_no}"),
        options: None,
        upcall_pids: vec![1, 2],
        stats: None,
        upcall_stats: None,
        ifindex: Some(33),
        netnsid: None,
        unknown: Vec::new(),
    }
}

fn announce(buf: &mut MsgBuf, cmd: u8, port_no: u32) {
    let mut w = buf.begin(head(VPORT, cmd));
    port(port_no).write(w.attrs());
    w.finish().unwrap();
}

#[test]
fn announcements_come_one_by_one() {
    let (mut listener, far) = listener();
    assert_eq!(listener.try_next().unwrap(), None);
    let mut buf = MsgBuf::new();
    announce(&mut buf, OVS_VPORT_CMD_NEW, 1);
    announce(&mut buf, OVS_VPORT_CMD_GET, 2);
    announce(&mut buf, OVS_VPORT_CMD_SET, 3);
    far.send(buf.as_bytes()).unwrap();
    let mut buf = MsgBuf::new();
    announce(&mut buf, OVS_VPORT_CMD_DEL, 4);
    let mut w = buf.begin(head(DATAPATH, OVS_DP_CMD_DEL));
    w.attrs().str(OVS_DP_ATTR_NAME, "ovs-system");
    w.finish().unwrap();
    buf.begin(head(0x55, 1)).finish().unwrap();
    far.send(buf.as_bytes()).unwrap();
    let dp = Datapath { ifindex: 9, name: "ovs-system".to_owned(), ..Datapath::default() };
    for event in [
        Event::Vport(Change::New, port(1)),
        Event::Vport(Change::Set, port(3)),
        Event::Vport(Change::Gone, port(4)),
        Event::Datapath(Change::Gone, dp),
    ] {
        assert_eq!(listener.try_next().unwrap(), Some(event));
    }
    assert_eq!(listener.try_next().unwrap(), None);
}

#[test]
fn families_come_and_go() {
    let (mut listener, far) = listener();
    let mut buf = MsgBuf::new();
    // CTRL_CMD_DELFAMILY is 2, CTRL_ATTR_FAMILY_ID 1, CTRL_ATTR_FAMILY_NAME 2.
    let mut w = buf.begin_genl(0x10, 2, 2, MsgFlags::empty(), 0);
    w.attrs().str(2, "ovs_flow");
    w.attrs().u16(1, 0x22);
    w.finish().unwrap();
    far.send(buf.as_bytes()).unwrap();
    let gone = Event::Family(Change::Gone, "ovs_flow".to_owned(), 0x22);
    assert_eq!(listener.try_next().unwrap(), Some(gone));
}

#[test]
fn what_cannot_be_read_counts_as_lost() {
    let (mut listener, far) = listener();
    let mut buf = MsgBuf::new();
    buf.begin(head(VPORT, OVS_VPORT_CMD_NEW)).finish().unwrap();
    far.send(buf.as_bytes()).unwrap();
    far.send(&[1, 2, 3]).unwrap();
    far.send(&vec![0; 200 << 10]).unwrap();
    for _ in 0..3 {
        assert_eq!(listener.try_next().unwrap(), Some(Event::Lost));
    }
    assert_eq!(listener.try_next().unwrap(), None);
}

#[tokio::test]
async fn a_monitor_waits_for_either_source_and_empties_datagrams() {
    let ((ovs, far), (other, far_other)) = (listener(), listener());
    let watch = |l| Some(sys::watch(l).unwrap());
    let mut monitor = Monitor { sources: [watch(ovs), watch(other)], next: 0 };
    let sender = tokio::spawn(async move {
        let mut buf = MsgBuf::new();
        (1..=2).for_each(|n| announce(&mut buf, OVS_VPORT_CMD_NEW, n));
        far.send(buf.as_bytes()).unwrap();
        far_other.send(buf.as_bytes()).unwrap();
        (far, far_other)
    });
    let mut numbers = Vec::new();
    for _ in 0..4 {
        match monitor.next().await.unwrap() {
            Event::Vport(Change::New, port) => numbers.push(port.port_no),
            other => panic!("{other:?}"),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 1, 2, 2]);
    drop(sender);
}

#[test]
fn the_real_kernels_groups_can_be_joined() {
    let mut listener = Listener::ovs(None, OvsGroups::all()).unwrap();
    assert_eq!(listener.try_next().unwrap(), None);
    let all = RouteGroups::LINK | RouteGroups::ADDR | RouteGroups::ROUTE | RouteGroups::NEIGHBOUR;
    Listener::route(all).unwrap();
}
