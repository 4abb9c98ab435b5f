//! Revalidator threads, over a fake kernel: what changes while a round is being made, who has a flow in
//! hand, and other numbers of threads while they work.

#[path = "cost/world.rs"]
#[allow(dead_code, reason = "the parts for what is counted")]
mod world;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rovs::datapath::{DumpDetail, FlowOp};
use rovs::flow::EthAddr;
use rovs::l2::fdb::FdbKey;
use rovs::revalidate::Revalidator;
use rovs::revalidate::crew::Crew;
use rovs::revalidate::decide::{Scratch, Verdict, retranslate};
use rovs::snapshot::Dep;
use rovs::upcall::now_ms;
use rovs::upcall::ukey::UkeyState;
use rovs::upcall::worker::Worker;

use world::{World, packet};

/// No test waits longer for something that will come.
const LONG: Duration = Duration::from_secs(60);

/// Host 1 is behind port b; host 2 sends nothing, so that packets to it go everywhere.
struct Site {
    world: World,
    worker: Worker,
}

impl Site {
    fn new() -> Self {
        let mut world = World::new();
        let worker = Worker::new(world.switch.udpif.clone());
        world.kernel.inject("b", &packet(9, 1, false));
        let first = world.waiting();
        let mut site = Self { world, worker };
        site.answer(&first);
        site
    }

    fn answer(&mut self, upcalls: &[Vec<u8>]) {
        let Self { world, worker } = self;
        for batch in upcalls.chunks(64) {
            worker.begin(now_ms());
            batch.iter().for_each(|datagram| worker.decide(datagram));
            let port = world.port.as_mut().unwrap();
            port.send(worker.finish()).unwrap();
            port.errors(&mut |seq, errno| worker.refused(seq, errno));
            worker.settle();
        }
    }

    /// Packets from port a to this host have flows.
    fn install(&mut self, to: u16, from: std::ops::Range<u16>) {
        let upcalls = self.world.upcalls(from.map(|src| packet(to, src, false)));
        self.answer(&upcalls);
    }

    fn modified(&self) -> u64 {
        self.world.switch.udpif.counters.modified.load(Ordering::Relaxed)
    }

    /// Moves a host behind a port, as its packets would.
    fn move_host(&self, host: u8, port: &str) -> impl Fn() + Send + Sync + 'static {
        let udpif = self.world.switch.udpif.clone();
        let bridge = udpif.snapshot.load().bridges()[0].clone();
        let key = FdbKey { vlan: 0, mac: EthAddr([2, 0, 0, 0, 0, host]) };
        let bundle = bridge.ports.iter().find(|p| p.name == port).unwrap().bundle;
        move || {
            bridge.fdb.learn(key, bundle, false, false, now_ms());
            udpif.changes.add([Dep::Fdb(bridge.id, key)]);
        }
    }

    fn crew(&self, threads: usize) -> Crew {
        let switch = &self.world.switch;
        let datapath = self.world.datapath.clone();
        Crew::start(switch.udpif.clone(), datapath, switch.rounds.clone(), threads)
    }

    /// Waits for a round, and what it gives rise to.
    fn round(&self) {
        let changes = &self.world.switch.udpif.changes;
        let ticket = changes.request_round();
        assert!(changes.await_done(ticket, LONG), "the round has no end");
    }

    /// Whether kernel, ukeys and translation tell the same.
    fn agrees(&self) -> Result<(), String> {
        let udpif = &self.world.switch.udpif;
        let snapshot = udpif.snapshot.load_full();
        let mut scratch = Scratch::default();
        let mut there = BTreeMap::new();
        let mut wrong = None;
        let dumped = self.world.datapath.flow_dump(DumpDetail::Full, &mut |flow| {
            let (key, mask, actions) =
                (flow.key.unwrap(), flow.mask.unwrap(), flow.actions.unwrap());
            let support = &udpif.target.support;
            let verdict =
                retranslate(key, Some(mask), actions, &snapshot, support, now_ms(), &mut scratch);
            if verdict != Verdict::Keep {
                wrong = Some(format!("{:02x?}: {verdict:?}", flow.ufid));
            }
            there.insert(flow.ufid.unwrap(), actions.to_vec());
        });
        dumped.unwrap();
        wrong.map_or(Ok(()), Err)?;
        let mut ukeys = 0;
        for shard in udpif.ukeys.shards() {
            for ukey in shard.iter() {
                ukeys += 1;
                let is_free = ukey.state == UkeyState::Operational;
                if !is_free || there.get(&ukey.ufid.0).is_none_or(|a| a != ukey.actions()) {
                    return Err(format!("{:?} is {:?}", ukey.ufid, ukey.state));
                }
            }
        }
        if ukeys == there.len() { Ok(()) } else { Err(format!("{} and {ukeys}", there.len())) }
    }
}

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < LONG, "{what} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Tests that look at the threads of the process, or need the processor, run one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn one_thread_sees_to_a_change_between_two_pieces_of_its_dump() {
    let mut site = Site::new();
    site.install(1, 100..300);
    site.install(2, 100..103);
    let switch = &site.world.switch;
    let datapath = site.world.datapath.clone();
    let mut revalidator = Revalidator::new(switch.udpif.clone(), datapath, switch.rounds.clone());
    revalidator.apply_changes(now_ms());
    revalidator.make_round(now_ms()).unwrap();
    let udpif = switch.udpif.clone();
    let (appears, before) = (site.move_host(2, "c"), site.modified());
    let after_piece = Arc::new(Mutex::new(Vec::new()));
    let noted = after_piece.clone();
    site.world.kernel.set_dump_hook(move |piece| {
        if piece == 2 {
            appears();
        }
        noted.lock().unwrap().push(udpif.counters.modified.load(Ordering::Relaxed));
    });
    revalidator.make_round(now_ms()).unwrap();
    let modified = after_piece.lock().unwrap().clone();
    assert!(modified.len() > 10, "{} pieces", modified.len());
    assert_eq!(modified[..4], [before, before, before, before + 3], "{modified:?}");
    site.agrees().unwrap();
}

#[test]
fn a_change_does_not_wait_for_a_thread_that_is_stuck_in_a_dump() {
    let mut site = Site::new();
    site.install(1, 100..200);
    site.install(2, 100..103);
    let _crew = site.crew(2);
    site.round();
    let before = site.modified();
    let (reached, is_reached) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let (reached, may_go_on) = (Mutex::new(reached), Mutex::new(may_go_on));
    site.world.kernel.set_dump_hook(move |piece| {
        if piece == 2 {
            let _ = reached.lock().unwrap().send(());
            let _ = may_go_on.lock().unwrap().recv();
        }
    });
    let ticket = site.world.switch.udpif.changes.request_round();
    is_reached.recv_timeout(LONG).expect("a round");
    let rounds = site.world.switch.rounds.rounds.load(Ordering::Relaxed);
    site.move_host(2, "c")();
    wait_for("the flows' change", || site.modified() == before + 3);
    assert_eq!(site.world.switch.rounds.rounds.load(Ordering::Relaxed), rounds);
    drop(go_on);
    assert!(site.world.switch.udpif.changes.await_done(ticket, LONG));
    site.agrees().unwrap();
}

#[test]
fn a_flow_that_came_under_a_dump_is_not_credited_with_another_ones_packets() {
    let mut site = Site::new();
    site.install(1, 100..200);
    for _ in 0..7 {
        assert!(site.world.kernel.inject("a", &packet(1, 199, false)));
    }
    assert!(site.world.waiting().is_empty());
    let switch = &site.world.switch;
    let (udpif, datapath) = (switch.udpif.clone(), site.world.datapath.clone());
    let rounds = switch.rounds.clone();
    let mut revalidator = Revalidator::new(udpif.clone(), datapath.clone(), rounds);
    revalidator.apply_changes(now_ms());
    // The youngest flow is in the last piece. It goes and comes again while that one is on its way.
    let kernel = site.world.kernel.clone();
    let site = Arc::new(Mutex::new(site));
    let shared = site.clone();
    kernel.set_dump_hook(move |piece| {
        if piece != 6 {
            return;
        }
        let mut site = shared.lock().unwrap();
        let udpif = site.world.switch.udpif.clone();
        let (ufid, key) = youngest(&site);
        let del = FlowOp::Del { ufid: Some(&ufid.0), key: &key };
        site.world.datapath.flow_ops(&[del], &mut |_, result| assert!(result.is_ok()));
        udpif.ukeys.shard(&ufid).remove(&ufid).unwrap();
        site.install(1, 199..200);
        assert!(udpif.ukeys.shard(&ufid).get(&ufid).is_some(), "the same name");
    });
    revalidator.make_round(now_ms()).unwrap();
    let site = site.lock().unwrap();
    let (ufid, _) = youngest(&site);
    assert_eq!(udpif.ukeys.shard(&ufid).get(&ufid).unwrap().stats.packets, 0);
    // It is not taken for gone either, and the next round reads its own counters.
    kernel.set_dump_hook(|_| ());
    assert!(kernel.inject("a", &packet(1, 199, false)));
    revalidator.make_round(now_ms()).unwrap();
    assert_eq!(udpif.ukeys.shard(&ufid).get(&ufid).unwrap().stats.packets, 1);
    site.agrees().unwrap();
}

/// Name and key of the flow of packets from host 199.
fn youngest(site: &Site) -> (rovs::odp::ufid::Ufid, Vec<u8>) {
    let mac = [2, 0, 0, 0, 0, 199];
    let shards = site.world.switch.udpif.ukeys.shards();
    let found = shards.filter_map(|shard| {
        let is_it = |key: &[u8]| key.windows(6).any(|part| part == mac);
        let ukey = shard.iter().find(|ukey| is_it(ukey.key()))?;
        Some((ukey.ufid, ukey.key().to_vec()))
    });
    found.last().expect("a flow")
}

#[test]
fn two_threads_never_have_one_flow_in_hand() {
    let _alone = alone();
    let mut site = Site::new();
    let in_hand = Mutex::new(HashSet::new());
    let clashes = Arc::new(AtomicU64::new(0));
    let (noted, crossings) = (clashes.clone(), Arc::new(AtomicU64::new(0)));
    let crossed = crossings.clone();
    site.world.kernel.set_flow_hook(move |ufid, begins| {
        let mut in_hand = in_hand.lock().unwrap();
        if !begins {
            in_hand.remove(ufid);
        } else if !in_hand.insert(*ufid) {
            noted.fetch_add(1, Ordering::Relaxed);
        } else {
            crossed.fetch_add(u64::from(in_hand.len() > 64), Ordering::Relaxed);
        }
        drop(in_hand);
        if begins {
            std::thread::yield_now();
        }
    });
    site.install(1, 100..700);
    site.install(2, 100..700);
    let crew = site.crew(4);
    let moves: Vec<_> =
        [(1, "b"), (2, "c"), (1, "c"), (2, "b")].map(|(h, p)| site.move_host(h, p)).into();
    let changes = &site.world.switch.udpif.clone().changes;
    for step in 0..200u16 {
        moves[usize::from(step) % moves.len()]();
        match step % 8 {
            1 => changes.add_everything(),
            3 => site.round(),
            5 if step % 40 == 5 => changes.flush(),
            // Somebody takes flows away.
            6 if step % 48 == 6 => site.world.datapath.flow_flush().unwrap(),
            _ => {}
        }
        let some = 100 + step * 3;
        site.install(1 + step % 2, some..some + 20);
    }
    for _ in 0..3 {
        site.round();
    }
    assert_eq!(clashes.load(Ordering::Relaxed), 0);
    assert!(crossings.load(Ordering::Relaxed) > 0, "no two threads were at work at once");
    drop(crew);
    site.agrees().unwrap();
}

#[test]
fn what_is_large_is_shared() {
    let _alone = alone();
    let mut site = Site::new();
    let [fetching, changing]: [Arc<Mutex<HashSet<_>>>; 2] = Default::default();
    let note = |names: &Arc<Mutex<HashSet<String>>>| {
        let names = names.clone();
        move || {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            names.lock().unwrap().insert(name);
        }
    };
    let (fetches, changes_flow) = (note(&fetching), note(&changing));
    site.install(1, 100..6_100);
    site.world.kernel.set_dump_hook(move |_| fetches());
    site.world.kernel.set_flow_hook(move |_, _| changes_flow());
    let _crew = site.crew(2);
    wait_for("a round made by two threads", || {
        site.round();
        fetching.lock().unwrap().len() == 2
    });
    let moves = [site.move_host(1, "c"), site.move_host(1, "b")];
    let mut n = 0;
    wait_for("a change carried out by two threads", || {
        n += 1;
        moves[n % 2]();
        site.world.switch.udpif.changes.add_everything();
        site.round();
        changing.lock().unwrap().len() == 2
    });
    site.agrees().unwrap();
}

#[test]
fn other_numbers_of_threads_while_they_work() {
    let _alone = alone();
    let mut site = Site::new();
    site.install(1, 100..400);
    let crew = site.crew(1);
    let changes = site.world.switch.udpif.clone();
    for threads in [3, 2, 7, 1, 5, 1, 2] {
        changes.changes.add_everything();
        crew.resize(threads);
        site.round();
        wait_for("another number of threads", || revalidators() == (1..=threads).collect());
    }
    drop(crew);
    assert_eq!(revalidators(), HashSet::new());
    site.agrees().unwrap();
}

/// Numbers of this process's revalidator threads.
fn revalidators() -> HashSet<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.filter_map(|name| name.trim().strip_prefix("revalidator")?.parse().ok()).collect()
}
