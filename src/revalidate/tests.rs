use super::crew::Crew;
use super::*;
use crate::datapath::FlowOp;
use crate::datapath::fake::FakeKernel;
use crate::odp;
use crate::odp::ufid::UfidHasher;
use crate::upcall::Target;
use crate::upcall::ukey::UkeyState;
use ovs_netlink::attr::AttrWriter;
use ovs_netlink::uapi;

const LONG: Duration = Duration::from_secs(60);

fn world() -> (Arc<dyn Datapath>, Arc<Udpif>) {
    let kernel = FakeKernel::new();
    let datapath: Arc<dyn Datapath> = Arc::new(kernel.open("ovs-system", true).unwrap());
    let udpif = Udpif::new(Target {
        families: datapath.families(),
        dp_ifindex: datapath.dp_ifindex(),
        support: odp::Support::default(),
        ufids: UfidHasher::new([7; 16]),
    });
    (datapath, udpif)
}

/// A flow that nobody here would install: packets of a port of no bridge go to the local port.
fn install_foreign(datapath: &dyn Datapath) {
    let (mut key, mut mask, mut actions) = (Vec::new(), Vec::new(), Vec::new());
    for (out, bits) in [(&mut key, 0), (&mut mask, u32::MAX)] {
        let mut attrs = AttrWriter::new(out);
        attrs.u32(uapi::OVS_KEY_ATTR_IN_PORT, 7 | bits);
        attrs.bytes(uapi::OVS_KEY_ATTR_ETHERNET, &[(bits as u8) | 2; 12]);
        attrs.be16(uapi::OVS_KEY_ATTR_ETHERTYPE, 0x88b5 | bits as u16);
    }
    AttrWriter::new(&mut actions).u32(uapi::OVS_ACTION_ATTR_OUTPUT, 0);
    let put = FlowOp::Put { ufid: Some(&[3; 16]), key: &key, mask: Some(&mask), actions: &actions };
    datapath.flow_ops(&[put], &mut |_, result| assert!(result.is_ok(), "{result:?}"));
}

/// The flow as it is now: whether it still has its actions.
fn is_untouched(datapath: &dyn Datapath) -> bool {
    let mut has_actions = false;
    let is_there = datapath.flow_get(&[3; 16], &mut |flow| {
        has_actions = flow.actions.is_some_and(|actions| !actions.is_empty());
    });
    is_there.unwrap() && has_actions
}

#[test]
fn no_flow_is_touched_before_the_operator_lets_go() {
    let (datapath, udpif) = world();
    install_foreign(&*datapath);
    udpif.set_restore_wait(true);
    assert_eq!(adopt::adopt_all(&udpif, &*datapath, 0).unwrap(), adopt::Adopted::default());
    {
        let _crew = Crew::start(udpif.clone(), datapath.clone(), Arc::default(), 2);
        let round = udpif.changes.request_round();
        assert!(udpif.changes.await_done(round, LONG), "who waits for a round must not hang");
        udpif.changes.add_everything();
        let round = udpif.changes.request_round();
        assert!(udpif.changes.await_done(round, LONG));
        assert!(is_untouched(&*datapath) && udpif.ukeys.is_empty());
        assert!(!udpif.gate.await_open(Duration::ZERO), "handlers may not read");

        udpif.set_restore_wait(false);
        assert!(udpif.gate.await_open(LONG));
        // It was judged before the first upcall can be read.
        assert!(!is_untouched(&*datapath));
    }
}

#[test]
fn a_purge_is_carried_out_while_paused() {
    let (datapath, udpif) = world();
    install_foreign(&*datapath);
    adopt::adopt_all(&udpif, &*datapath, 0).unwrap();
    install_foreign_again_as_ours(&udpif, &*datapath);
    {
        let _crew = Crew::start(udpif.clone(), datapath.clone(), Arc::default(), 2);
        udpif.changes.pause();
        assert!(udpif.changes.await_paused(LONG));
        let purge = udpif.changes.request_purge();
        assert!(udpif.changes.await_done(purge, LONG));
        assert_eq!(datapath.stats().unwrap().flows, 0);
        assert!(udpif.ukeys.is_empty());
        udpif.changes.resume();
    }
}

/// Whatever became of it, the kernel has the flow and a ukey stands for it.
fn install_foreign_again_as_ours(udpif: &Udpif, datapath: &dyn Datapath) {
    if datapath.stats().unwrap().flows == 0 {
        install_foreign(datapath);
    }
    let ufid = Ufid([3; 16]);
    let mut found = Vec::new();
    datapath.flow_get(&ufid.0, &mut |flow| found.extend(flow.key.map(<[u8]>::to_vec))).unwrap();
    let mut shard = udpif.ukeys.shard(&ufid);
    if shard.get(&ufid).is_none() {
        shard.insert(&crate::upcall::ukey::NewUkey {
            ufid,
            key: &found[0],
            mask: None,
            actions: &[],
            bridge: None,
            deps: &[],
            effects: &[],
            drop: None,
            adopted: true,
            now_ms: 0,
        });
    }
    shard.get_mut(&ufid).unwrap().state = UkeyState::Operational;
}

/// The calling thread's scheduling policy: field 41 of `proc_pid_stat(5)`.
fn policy() -> i32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    fields.split_whitespace().nth(41 - 3).unwrap().parse().unwrap()
}

#[test]
fn a_revalidator_goes_before_others_with_a_handler_and_rests() {
    let (_, udpif) = world();
    let is_allowed = {
        let mut class = ovs_netlink::sched::Class::of_this_thread();
        let raised = class.raise(true).is_ok();
        class.raise(false).unwrap();
        raised
    };
    let normal = policy();
    let mut pace = pace::Pace::new(&udpif);
    assert_eq!(policy(), normal, "nobody is behind");
    udpif.behind.store(1, Ordering::Relaxed);
    udpif.raised.store(1, Ordering::Relaxed);
    pace.rest();
    assert_eq!(policy() == libc::SCHED_FIFO, is_allowed);
    assert!(!pace.slept().is_zero());
    pace.stand_back();
    assert_eq!(policy(), normal, "a change is walked through among others");
    pace.rest();
    assert_eq!(policy() == libc::SCHED_FIFO, is_allowed);
    // What it may sleep in a round is bounded, and without sleep it does not go before anybody.
    udpif.awaiting.store(1, Ordering::Relaxed);
    pace.rest();
    assert_eq!(policy(), normal);
    let slept = pace.slept();
    pace.rest();
    assert_eq!(pace.slept(), slept);
    drop(pace);

    udpif.awaiting.store(0, Ordering::Relaxed);
    let pace = pace::Pace::new(&udpif);
    assert_eq!(policy() == libc::SCHED_FIFO, is_allowed);
    drop(pace);
    assert_eq!(policy(), normal);
    let mut pace = pace::Pace::new(&udpif);
    udpif.raised.store(0, Ordering::Relaxed);
    pace.rest();
    assert_eq!(policy(), normal, "no handler does any more");
}
