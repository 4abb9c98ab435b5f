//! Over the fake kernel. Numbers are those that the stock daemon 3.1.0 gave its policies when it was told
//! the same.

use proptest::prelude::*;

use super::*;
use crate::datapath::CtTimeout;
use crate::datapath::fake::{FakeDatapath, FakeKernel};

struct World {
    kernel: FakeKernel,
    datapath: FakeDatapath,
    zones: CtZones,
    wanted: WantedZones,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let kernel = FakeKernel::new();
        let datapath = kernel.open("ovs-system", true).unwrap();
        let zones = CtZones::default();
        Self { kernel, datapath, zones, wanted: WantedZones::new(), now_ms: 1_000_000 }
    }

    fn apply(&mut self) {
        self.zones.apply(&self.wanted, &self.datapath, self.now_ms);
    }

    /// The zone wants this, or nothing any more.
    fn want(&mut self, zone: u16, timeouts: Option<CtTimeouts>) {
        match timeouts {
            Some(timeouts) => drop(self.wanted.insert(zone, timeouts)),
            None => drop(self.wanted.remove(&zone)),
        }
        self.apply();
    }

    /// Time passes, and what is due is done; returns whether anything was.
    fn later(&mut self, ms: u64) -> bool {
        self.now_ms += ms;
        let is_due = self.zones.is_due(self.now_ms);
        if is_due {
            self.apply();
        }
        is_due
    }

    /// Number and `udp_single` of each policy that the kernel has.
    fn policies(&self) -> Vec<(u32, Option<u32>)> {
        let policies = self.kernel.ct_policies();
        policies
            .into_iter()
            .map(|(id, timeouts)| (id.0, timeouts.get(&CtTimeout::UdpSingle).copied()))
            .collect()
    }
}

fn udp(seconds: u32) -> CtTimeouts {
    [(CtTimeout::UdpSingle, seconds)].into()
}

#[test]
fn zones_that_want_the_same_share_a_policy() {
    let mut world = World::new();
    world.want(5, Some(udp(1)));
    world.want(6, Some(udp(1)));
    world.want(7, Some(udp(2)));
    world.want(8, Some(CtTimeouts::new()));
    let all = [(1, Some(1)), (2, Some(2)), (3, None)];
    assert_eq!(world.policies(), all);
    world.want(5, None);
    assert_eq!(world.policies(), all, "another zone wants it");
    world.want(6, None);
    assert_eq!(world.policies(), all[1..]);
}

#[test]
fn other_timeouts_are_another_policy() {
    let mut world = World::new();
    world.want(5, Some(udp(1)));
    world.want(5, Some(udp(9)));
    assert_eq!(world.policies(), [(2, Some(9))]);
    // What has no effect in the kernel counts as well.
    let timeouts = [(CtTimeout::UdpSingle, 9), (CtTimeout::UdpFirst, 9)].into();
    world.want(6, Some(timeouts));
    assert_eq!(world.policies(), [(1, Some(9)), (2, Some(9))]);
}

#[test]
fn policies_go_at_once_and_then_every_twenty_seconds() {
    let mut world = World::new();
    for zone in 1..=3 {
        world.want(zone, Some(udp(zone.into())));
    }
    world.want(1, None);
    assert_eq!(world.policies().len(), 2);
    world.want(2, None);
    assert_eq!(world.policies().len(), 2, "not before its time");
    assert!(!world.later(RETRY_MS - 1));
    assert!(world.later(1));
    assert_eq!(world.policies(), [(3, Some(3))]);
    assert!(!world.later(10 * RETRY_MS), "nothing is left to do");
    world.want(4, Some(udp(4)));
    assert_eq!(world.policies(), [(1, Some(4)), (3, Some(3))]);
}

#[test]
fn a_policy_in_use_goes_when_it_can_and_keeps_its_number_until_then() {
    let mut world = World::new();
    world.want(5, Some(udp(1)));
    world.kernel.use_ct_policy(CtPolicyId(1), true);
    world.want(5, None);
    world.want(5, Some(udp(1)));
    assert_eq!(world.policies(), [(1, Some(1)), (2, Some(1))], "not the one that is leaving");
    assert!(world.later(RETRY_MS));
    assert_eq!(world.policies().len(), 2);
    world.kernel.use_ct_policy(CtPolicyId(1), false);
    assert!(world.later(RETRY_MS));
    assert_eq!(world.policies(), [(2, Some(1))]);
    assert_eq!(world.zones.said.len(), 0);
}

#[test]
fn policies_of_an_earlier_run_go_and_their_numbers_are_not_taken() {
    let mut world = World::new();
    for id in [1, 2, 4] {
        world.datapath.set_ct_policy(CtPolicyId(id), &udp(id)).unwrap();
    }
    world.want(5, Some(udp(1)));
    assert_eq!(world.policies(), [(3, Some(1))]);
    let mut none = World::new();
    none.datapath.set_ct_policy(CtPolicyId(7), &udp(7)).unwrap();
    none.apply();
    assert_eq!(none.policies(), [], "even if nobody wants any");
}

#[test]
fn what_others_did_meanwhile_is_put_right() {
    let mut world = World::new();
    world.want(5, Some(udp(1)));
    world.datapath.set_ct_policy(CtPolicyId(1), &udp(77)).unwrap();
    world.datapath.set_ct_policy(CtPolicyId(2), &udp(78)).unwrap();
    world.zones.forget();
    world.apply();
    assert_eq!(world.policies(), [(1, Some(1))]);
}

#[test]
fn without_the_module_it_is_tried_again_if_anybody_wants_it() {
    let mut world = World::new();
    world.kernel.set_ct_policies_absent(true);
    world.apply();
    assert!(!world.later(10 * RETRY_MS), "nobody wants it");
    world.want(5, Some(udp(1)));
    assert_eq!(world.zones.said.len(), 1, "said at once");
    world.want(6, Some(udp(2)));
    assert!(!world.later(RETRY_MS - 1));
    assert!(world.later(1));
    assert_eq!(world.zones.said.len(), 1, "and once");
    world.kernel.set_ct_policies_absent(false);
    assert!(world.later(RETRY_MS));
    assert_eq!(world.policies(), [(1, Some(1)), (2, Some(2))]);
    assert_eq!(world.zones.said.len(), 0);
    // It goes while there are policies.
    world.kernel.set_ct_policies_absent(true);
    world.want(7, Some(udp(3)));
    world.kernel.set_ct_policies_absent(false);
    assert!(!world.later(RETRY_MS - 1));
    assert!(world.later(1));
    assert_eq!(world.policies(), [(3, Some(3))], "those that were there are not looked after");
}

#[derive(Clone, Debug)]
enum Step {
    Want(u16, Option<u32>),
    Use(u32, bool),
    Absent(bool),
    Later,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u16, proptest::option::of(0..4_u32)).prop_map(|(z, t)| Step::Want(z, t)),
        2 => (1..8_u32, any::<bool>()).prop_map(|(id, is_used)| Step::Use(id, is_used)),
        1 => any::<bool>().prop_map(Step::Absent),
        2 => Just(Step::Later),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    #[test]
    fn any_order_of_events_ends_well(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Want(zone, seconds) => world.want(zone, seconds.map(udp)),
                Step::Use(id, is_used) => world.kernel.use_ct_policy(CtPolicyId(id), is_used),
                Step::Absent(is_absent) => world.kernel.set_ct_policies_absent(is_absent),
                Step::Later => drop(world.later(RETRY_MS)),
                Step::Forget => world.zones.forget(),
            }
            let ids: BTreeSet<CtPolicyId> =
                world.zones.policies.values().map(|policy| policy.id).collect();
            prop_assert_eq!(ids.len(), world.zones.policies.len(), "a number of two policies");
            prop_assert!(ids.is_disjoint(&world.zones.leaving));
        }
        world.kernel.set_ct_policies_absent(false);
        (0..8).for_each(|id| world.kernel.use_ct_policy(CtPolicyId(id), false));
        world.zones.forget();
        world.apply();
        world.later(RETRY_MS);
        let mut there: Vec<CtTimeouts> = world.kernel.ct_policies().into_values().collect();
        there.sort();
        let wanted: BTreeSet<CtTimeouts> = world.wanted.values().cloned().collect();
        prop_assert_eq!(there, wanted.into_iter().collect::<Vec<_>>());
        prop_assert!(!world.later(10 * RETRY_MS), "nothing is left to do");
    }
}
