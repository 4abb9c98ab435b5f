//! The classifier against a linear scan, over random rules, flows and histories.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::classifier::{Classifier, LookupStats, NEVER, PrefixField, RuleId, Version};
use crate::flow::mini::MiniMatch;
use crate::flow::{EthAddr, FLOW_WORDS, Flow, FlowWildcards};

/// Values and masks from small sets, so that rules and flows meet.
fn address() -> impl Strategy<Value = [u8; 4]> {
    prop_oneof![
        4 => (select(vec![10u8, 11, 192]), 0u8..2, select(vec![0u8, 2, 3, 128]), 0u8..3)
            .prop_map(|(a, b, c, d)| [a, b, c, d]),
        1 => any::<[u8; 4]>(),
    ]
}

fn address6() -> impl Strategy<Value = [u8; 16]> {
    (address(), select(vec![0u8, 1, 0x80]), address()).prop_map(|(a, b, c)| {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&a);
        address[7] = b;
        address[12..].copy_from_slice(&c);
        address
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![3 => select(vec![0u16, 1, 53, 79, 80, 81, 443, 8080]), 1 => any::<u16>()]
}

fn flow() -> impl Strategy<Value = Flow> {
    let metadata = (1u32..4, 0u32..3, 0u64..3, select(vec![0u8, 0x20, 0x2a]), 0u16..2);
    let link = (0u8..3, 0u8..2, select(vec![0x0800u16, 0x0806, 0x86dd]));
    let network = (address(), address(), address6(), address6(), select(vec![1u8, 6, 17]), 0u8..4);
    let transport = (port(), port(), 0u16..8, address6(), 0u16..2);
    (metadata, link, network, transport).prop_map(|(m, l, n, t)| {
        let mut flow = Flow::ZERO;
        (flow.in_port, flow.regs[3], flow.ct_state, flow.ct_zone) = (m.0, m.1, m.3, m.4);
        flow.tunnel.tun_id = (m.2 << 62 | m.2).into();
        flow.dl_dst = EthAddr([2, 0, 0, 0, 0, l.0]);
        flow.dl_src = EthAddr([2, 0, 0, 0, l.1, 0]);
        flow.dl_type = l.2.into();
        (flow.nw_src, flow.nw_dst, flow.ipv6_src, flow.ipv6_dst) = (n.0, n.1, n.2, n.3);
        (flow.nw_proto, flow.nw_tos) = (n.4, n.5);
        (flow.tp_src, flow.tp_dst, flow.tcp_flags) = (t.0.into(), t.1.into(), t.2.into());
        (flow.nd_target, flow.ct_tp_src) = (t.3, t.4.into());
        flow
    })
}

fn prefix<const N: usize>(len: u32) -> [u8; N] {
    let bytes = u128::MAX.checked_shl(128 - len).unwrap_or(0).to_be_bytes();
    std::array::from_fn(|i| bytes[i])
}

fn mask4() -> impl Strategy<Value = [u8; 4]> {
    prop_oneof![
        5 => Just([0; 4]),
        6 => select(vec![1u32, 7, 8, 15, 16, 23, 24, 31, 32]).prop_map(prefix::<4>),
        1 => Just([255, 0, 255, 0]),
        1 => Just([0, 0, 0, 3]),
    ]
}

fn mask6() -> impl Strategy<Value = [u8; 16]> {
    prop_oneof![
        6 => Just([0; 16]),
        3 => select(vec![8u32, 32, 63, 64, 65, 95, 96, 127, 128]).prop_map(prefix::<16>),
        1 => Just({ let mut m = [0; 16]; m[15] = 1; m }),
    ]
}

fn mask16() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(0), 3 => Just(0xffff), 2 => Just(0xfff0), 1 => Just(1), 1 => Just(0x8001)]
}

fn wildcards() -> impl Strategy<Value = FlowWildcards> {
    let some = |weight, mask: u64| prop_oneof![weight => Just(0u64), 1 => Just(mask)];
    let metadata =
        (some(1, u64::MAX), some(6, 1), some(6, u64::MAX << 32), some(6, 0x20), some(9, 1));
    let link = (some(6, 0xff), some(6, u64::MAX), some(1, u64::MAX));
    let network = (mask4(), mask4(), mask6(), mask6(), some(1, 0xff), some(5, 1));
    let transport = (mask16(), mask16(), some(5, 2), mask6(), some(9, 1));
    (metadata, link, network, transport).prop_map(|(m, l, n, t)| {
        let mut wildcards = FlowWildcards::CATCHALL;
        let mask = &mut wildcards.masks;
        (mask.in_port, mask.regs[3], mask.ct_state) = (m.0 as u32, m.1 as u32, m.3 as u8);
        (mask.ct_zone, mask.tunnel.tun_id) = (m.4 as u16, m.2.into());
        mask.dl_dst.0[5] = l.0 as u8;
        mask.dl_src = EthAddr([l.1 as u8; 6]);
        mask.dl_type = (l.2 as u16).into();
        (mask.nw_src, mask.nw_dst, mask.ipv6_src, mask.ipv6_dst) = (n.0, n.1, n.2, n.3);
        (mask.nw_proto, mask.nw_tos) = (n.4 as u8, n.5 as u8);
        (mask.tp_src, mask.tp_dst, mask.tcp_flags) = (t.0.into(), t.1.into(), (t.2 as u16).into());
        (mask.nd_target, mask.ct_tp_src) = (t.3, (t.4 as u16).into());
        wildcards
    })
}

/// What the linear scan knows of a rule.
#[derive(Clone, Debug)]
struct Model {
    id: RuleId,
    number: usize,
    matching: MiniMatch,
    priority: i32,
    added: Version,
    removed: Version,
}

impl Model {
    fn sees(&self, version: Version) -> bool {
        self.added <= version && version < self.removed
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Box<(Flow, FlowWildcards)>, i32),
    /// Inserts a rule with the match of an existing one.
    Again(usize, i32),
    Replace(usize),
    Remove(usize),
    RemoveIn(usize, u64),
    Restore(usize),
    NextVersion,
    Purge,
    Defer,
    Publish,
    Fields(Vec<PrefixField>),
}

/// Few masks, so that a subtable gets many rules, and a new one now and then.
fn masks() -> impl Strategy<Value = BoxedStrategy<FlowWildcards>> {
    vec(wildcards(), 2..5).prop_map(|pool| prop_oneof![5 => select(pool), 1 => wildcards()].boxed())
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    masks().prop_flat_map(move |masks| vec(step(flow().boxed(), masks), 1..most))
}

/// Flows of so few values that each matches many rules of [`dense_mask`].
fn dense_flow() -> impl Strategy<Value = Flow> {
    (1u32..3, 10u8..12, 0u8..2, 0u8..2, 80u16..82, 0u16..2).prop_map(
        |(port, a, b, c, tp, flags)| {
            let mut flow = Flow::ZERO;
            flow.in_port = port;
            (flow.nw_src, flow.nw_dst) = ([10, 0, 0, b], [a, 0, b, c]);
            (flow.tp_dst, flow.tcp_flags) = (tp.into(), flags.into());
            flow
        },
    )
}

fn dense_mask() -> impl Strategy<Value = FlowWildcards> {
    let address = || select(vec![0u32, 8, 24, 32]).prop_map(prefix::<4>);
    let parts = (any::<bool>(), address(), address(), any::<bool>(), any::<bool>());
    parts.prop_map(|(port, src, dst, tp, flags)| {
        let mut wildcards = FlowWildcards::CATCHALL;
        let mask = &mut wildcards.masks;
        mask.in_port = u32::from(port) * u32::MAX;
        (mask.nw_src, mask.nw_dst) = (src, dst);
        mask.tp_dst = (u16::from(tp) * 0xffff).into();
        mask.tcp_flags = (u16::from(flags) * 0xffff).into();
        wildcards
    })
}

fn step(
    flows: BoxedStrategy<Flow>,
    masks: BoxedStrategy<FlowWildcards>,
) -> impl Strategy<Value = Step> {
    let fields = vec![
        PrefixField::NwDst,
        PrefixField::NwSrc,
        PrefixField::Ipv6Dst,
        PrefixField::Ipv6Src,
        PrefixField::TunId,
    ];
    prop_oneof![
        24 => (flows, masks, 0i32..20)
            .prop_map(|(f, w, p)| Step::Insert(Box::new((f, w)), p)),
        3 => (any::<usize>(), 0i32..20).prop_map(|(n, p)| Step::Again(n, p)),
        1 => any::<usize>().prop_map(Step::Replace),
        3 => any::<usize>().prop_map(Step::Remove),
        6 => (any::<usize>(), 0u64..3).prop_map(|(n, v)| Step::RemoveIn(n, v)),
        1 => any::<usize>().prop_map(Step::Restore),
        3 => Just(Step::NextVersion),
        2 => Just(Step::Purge),
        1 => Just(Step::Defer),
        2 => Just(Step::Publish),
        1 => vec(select(fields), 0..6).prop_map(Step::Fields),
    ]
}

/// A classifier with its history, and the same rules in a plain list.
struct Twin {
    classifier: Classifier<usize>,
    model: Vec<Model>,
    version: Version,
    oldest: Version,
    deferred: bool,
    number: usize,
}

impl Twin {
    fn new() -> Self {
        let classifier = Classifier::default();
        Self { classifier, model: Vec::new(), version: 1, oldest: 1, deferred: false, number: 0 }
    }

    fn insert(&mut self, matching: MiniMatch, priority: i32) {
        self.number += 1;
        // As in a bundle: not visible in the present version.
        let added = self.version + 1;
        let clash = self
            .model
            .iter()
            .find(|m| m.priority == priority && m.matching == matching && m.removed > added);
        let number = self.number;
        match (self.classifier.insert(&matching, priority, added, number), clash) {
            (Ok(id), None) => {
                let removed = NEVER;
                self.model.push(Model { id, number, matching, priority, added, removed });
            }
            (Err(occupied), Some(clash)) => {
                assert_eq!(occupied.existing, clash.id);
                assert_eq!(occupied.handle, number);
            }
            (result, clash) => panic!("{result:?} but the model has {clash:?}"),
        }
    }

    fn apply(&mut self, step: Step) {
        let pick = |n: usize| (!self.model.is_empty()).then(|| n % self.model.len());
        match step {
            Step::Insert(rule, priority) => self.insert(MiniMatch::new(&rule.0, &rule.1), priority),
            Step::Again(n, priority) => {
                if let Some(n) = pick(n) {
                    self.insert(self.model[n].matching.clone(), priority);
                }
            }
            Step::Replace(n) => {
                let Some(n) = pick(n) else { return };
                let old = self.model[n].clone();
                let twins = self
                    .model
                    .iter()
                    .filter(|m| m.priority == old.priority && m.matching == old.matching);
                // Immediate replacement mixes with neither versions nor putting off.
                if self.deferred || twins.count() > 1 || old.removed != NEVER {
                    return;
                }
                self.number += 1;
                let (id, was) =
                    self.classifier.replace(&old.matching, old.priority, self.version, self.number);
                assert_eq!(was, Some(old.number));
                assert!(self.classifier.rule(old.id).is_none());
                self.model[n] = Model { id, number: self.number, added: self.version, ..old };
            }
            Step::Remove(n) => {
                let Some(n) = pick(n) else { return };
                let gone = self.model.swap_remove(n);
                assert_eq!(self.classifier.remove(gone.id), Some(gone.number));
                assert_eq!(self.classifier.remove(gone.id), None);
            }
            Step::RemoveIn(n, later) => {
                let Some(n) = pick(n) else { return };
                let version = self.version + 1 + later;
                let rule = &mut self.model[n];
                assert_eq!(self.classifier.remove_in(rule.id, version), version < rule.removed);
                rule.removed = rule.removed.min(version);
            }
            Step::Restore(n) => {
                let Some(n) = pick(n) else { return };
                let rule = self.model[n].clone();
                let replaced = self.model.iter().any(|m| {
                    m.id != rule.id
                        && m.priority == rule.priority
                        && m.matching == rule.matching
                        && m.removed > rule.removed
                });
                let expected = rule.removed != NEVER && !replaced;
                assert_eq!(self.classifier.restore(rule.id), expected);
                if expected {
                    self.model[n].removed = NEVER;
                }
            }
            Step::NextVersion => {
                self.apply(Step::Publish);
                self.version += 1;
            }
            Step::Purge => {
                self.oldest = self.version;
                let mut gone = Vec::new();
                while self.classifier.purge(self.oldest, 2, &mut gone) {}
                let mut expected = Vec::new();
                self.model.retain(|m| {
                    if m.removed <= self.oldest {
                        expected.push(m.number);
                    }
                    m.removed > self.oldest
                });
                expected.sort_unstable();
                gone.sort_unstable();
                assert_eq!(gone, expected);
            }
            Step::Defer => {
                self.classifier.defer();
                self.deferred = true;
            }
            Step::Publish => {
                self.classifier.publish();
                self.deferred = false;
            }
            Step::Fields(fields) => {
                self.classifier.set_prefix_fields(&fields);
            }
        }
    }

    fn winner(&self, version: Version, flow: &Flow) -> Option<&Model> {
        self.model
            .iter()
            .filter(|m| m.sees(version) && m.matching.matches(flow))
            .max_by_key(|m| m.priority)
    }

    fn number(
        &self,
        version: Version,
        flow: &Flow,
        wc: Option<&mut FlowWildcards>,
    ) -> Option<usize> {
        self.classifier.lookup(version, flow, wc).map(|rule| *rule.handle())
    }

    /// Looks `flow` up in every version that may be looked up, and compares with the scan; then changes
    /// bits that were said not to matter.
    fn check(&self, flow: &Flow, others: &[Flow], known: &FlowWildcards, flips: &[(usize, u32)]) {
        let newest = self.version + if self.deferred { 0 } else { 3 };
        for version in self.oldest..=newest {
            let mut wc = *known;
            let found = self.classifier.lookup(version, flow, Some(&mut wc));
            let expected = self.winner(version, flow);
            assert_eq!(found.map(|r| r.priority()), expected.map(|m| m.priority));
            let number = found.map(|rule| {
                let model = self.model.iter().find(|m| m.number == *rule.handle()).unwrap();
                assert!(model.sees(version) && model.matching.matches(flow));
                assert!(wc.covers(&model.matching.mask.expand()));
                assert_eq!(rule.versions(), (model.added, model.removed));
                model.number
            });
            assert_eq!(self.number(version, flow, None), number);
            assert!(wc.covers(known));

            let same = |changed: Flow| {
                let mut changed_wc = *known;
                let found = self.number(version, &changed, Some(&mut changed_wc));
                assert_eq!(found, number, "wildcards are too wide");
                assert_eq!(self.number(version, &changed, None), number);
            };
            for other in others {
                let mut changed = *flow;
                let words = changed.words_mut().iter_mut().zip(other.words());
                for ((word, other), mask) in words.zip(wc.masks.words()) {
                    *word = *word & mask | other & !mask;
                }
                same(changed);
            }
            let mut changed = *flow;
            for &(word, bit) in flips {
                changed.words_mut()[word] ^= 1 << bit & !wc.masks.words()[word];
                same(changed);
            }
        }
    }
}

/// Words that some rule of this file may match.
fn live_words() -> Vec<usize> {
    let mut all = Flow::ZERO;
    (all.in_port, all.regs[3], all.ct_state) = (1, 1, 1);
    (all.ct_zone, all.tunnel.tun_id) = (1, 1.into());
    (all.dl_dst.0, all.dl_src.0, all.dl_type) = ([1; 6], [1; 6], 1.into());
    (all.nw_src, all.nw_dst, all.ipv6_src, all.ipv6_dst) = ([1; 4], [1; 4], [1; 16], [1; 16]);
    (all.nw_proto, all.nw_tos) = (1, 1);
    (all.tp_src, all.tp_dst, all.tcp_flags, all.nd_target) =
        (1.into(), 1.into(), 1.into(), [1; 16]);
    all.ct_tp_src = 1.into();
    (0..FLOW_WORDS).filter(|&i| all.words()[i] != 0).collect()
}

fn known() -> impl Strategy<Value = FlowWildcards> {
    prop_oneof![3 => Just(FlowWildcards::CATCHALL), 1 => wildcards()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_a_linear_scan_through_any_history(
        steps in steps(70),
        flows in vec(flow(), 4..8),
        known in known(),
        flips in vec((select(live_words()), 0u32..64), 24),
    ) {
        let mut twin = Twin::new();
        let half = steps.len() / 2;
        for (i, step) in steps.into_iter().enumerate() {
            twin.apply(step);
            if i == half {
                twin.check(&flows[0], &flows[1..], &known, &flips);
            }
        }
        for (i, flow) in flows.iter().enumerate() {
            let others: Vec<Flow> = flows.iter().copied().skip(i + 1).collect();
            twin.check(flow, &others, &known, &flips);
        }
    }

    #[test]
    fn agrees_with_a_linear_scan_where_most_rules_match(
        steps in vec(dense_mask(), 1..4).prop_flat_map(|pool| {
            vec(step(dense_flow().boxed(), select(pool).boxed()), 1..60)
        }),
        flows in vec(dense_flow(), 8),
        flips in vec((select(live_words()), 0u32..64), 8),
    ) {
        let mut twin = Twin::new();
        for step in steps {
            twin.apply(step);
            twin.check(&flows[0], &flows[1..2], &FlowWildcards::CATCHALL, &[]);
        }
        for flow in &flows {
            twin.check(flow, &flows, &FlowWildcards::CATCHALL, &flips);
        }
    }

    #[test]
    fn wildcards_of_a_full_table_are_never_too_wide(
        rules in masks().prop_flat_map(|masks| vec((flow(), masks, 0i32..1000), 60..120)),
        flows in vec(flow(), 6),
        picks in vec(any::<usize>(), 6),
        flips in vec((select(live_words()), 0u32..64), 48),
    ) {
        let mut twin = Twin::new();
        for (flow, wildcards, priority) in &rules {
            twin.insert(MiniMatch::new(flow, wildcards), *priority);
        }
        twin.apply(Step::NextVersion);
        twin.oldest = twin.version;
        for (flow, pick) in flows.iter().zip(&picks) {
            // Near a rule, so that lookups go deep.
            let (rule, wildcards, _) = &rules[pick % rules.len()];
            let mut near = *flow;
            for ((word, value), mask) in
                near.words_mut().iter_mut().zip(rule.words()).zip(wildcards.masks.words())
            {
                *word = *word & !mask | value & mask;
            }
            twin.check(&near, &flows, &FlowWildcards::CATCHALL, &flips);
            twin.check(flow, &flows, &FlowWildcards::CATCHALL, &flips);
        }
    }

    #[test]
    fn with_one_trie_equal_significant_bits_make_equal_megaflows(
        rules in masks().prop_flat_map(|masks| vec((flow(), masks, 0i32..1000), 20..60)),
        field in select(PrefixField::DEFAULT.to_vec()),
        flows in vec(flow(), 6),
        flips in vec((select(live_words()), 0u32..64), 48),
    ) {
        let mut classifier = Classifier::new(&[field]);
        for (number, (flow, wildcards, priority)) in rules.iter().enumerate() {
            let _ = classifier.insert(&MiniMatch::new(flow, wildcards), *priority, 1, number);
        }
        for flow in &flows {
            let mut wc = FlowWildcards::CATCHALL;
            classifier.lookup(1, flow, Some(&mut wc));
            let mut changed = *flow;
            for &(word, bit) in &flips {
                changed.words_mut()[word] ^= 1 << bit & !wc.masks.words()[word];
                let mut again = FlowWildcards::CATCHALL;
                classifier.lookup(1, &changed, Some(&mut again));
                prop_assert!(wc == again, "two megaflows overlap");
            }
        }
    }

    #[test]
    fn queries_agree_with_a_linear_scan(
        steps in steps(60),
        targets in vec((flow(), wildcards(), 0i32..20), 8),
        picks in vec(any::<usize>(), 4),
    ) {
        let mut twin = Twin::new();
        for step in steps {
            twin.apply(step);
        }
        let (classifier, model) = (&twin.classifier, &twin.model);
        prop_assert_eq!(classifier.len(), model.len());
        prop_assert_eq!(classifier.iter().count(), model.len());
        let mut targets: Vec<(MiniMatch, i32)> =
            targets.iter().map(|(f, w, p)| (MiniMatch::new(f, w), *p)).collect();
        targets.extend(picks.iter().filter_map(|n| {
            let rule = model.get(n % model.len().max(1))?;
            Some((rule.matching.clone(), rule.priority))
        }));
        for version in [twin.version, twin.version + 1, twin.version + 3] {
            for (target, priority) in &targets {
                let exact = model.iter().find(|m| {
                    m.priority == *priority && m.matching == *target && m.sees(version)
                });
                prop_assert_eq!(
                    classifier.find_exactly(target, *priority, version).map(|r| r.id()),
                    exact.map(|m| m.id)
                );
                let overlaps = model.iter().any(|m| {
                    let (a, b) = (target.mask.expand(), m.matching.mask.expand());
                    let both = std::array::from_fn::<u64, FLOW_WORDS, _>(|i| {
                        a.masks.words()[i] & b.masks.words()[i]
                    });
                    let (a, b) = (target.flow.expand(), m.matching.flow.expand());
                    m.priority == *priority
                        && m.sees(version)
                        && (0..FLOW_WORDS).all(|i| (a.words()[i] ^ b.words()[i]) & both[i] == 0)
                });
                prop_assert_eq!(classifier.rule_overlaps(target, *priority, version), overlaps);
                let mut loose: Vec<usize> =
                    classifier.iter_loosely(target, version).map(|r| *r.handle()).collect();
                let mut expected: Vec<usize> = model
                    .iter()
                    .filter(|m| {
                        m.sees(version)
                            && m.matching.mask.covers(&target.mask)
                            && target.matches(&m.matching.flow.expand())
                    })
                    .map(|m| m.number)
                    .collect();
                loose.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(loose, expected);
            }
        }
        for rule in model {
            let found = classifier.rule(rule.id).unwrap();
            let matching = classifier.match_of(found);
            prop_assert_eq!(matching.as_ref(), Some(&rule.matching));
        }
        let mut paged = Vec::new();
        let mut next = Some(0);
        while let Some(skip) = next {
            let (page, then) = classifier.page(skip, 3);
            paged.extend(page.iter().map(|r| *r.handle()));
            next = then;
        }
        paged.sort_unstable();
        let mut numbers: Vec<usize> = model.iter().map(|m| m.number).collect();
        numbers.sort_unstable();
        prop_assert_eq!(paged, numbers);
    }

    #[test]
    fn nothing_is_left_behind(steps in steps(60)) {
        let mut twin = Twin::new();
        for step in steps {
            twin.apply(step);
        }
        twin.apply(Step::Publish);
        for rule in twin.model.drain(..) {
            prop_assert_eq!(twin.classifier.remove(rule.id), Some(rule.number));
        }
        prop_assert!(twin.classifier.is_empty());
        prop_assert_eq!(twin.classifier.subtable_count(), 0);
        let mut stats = LookupStats::default();
        let mut wc = FlowWildcards::CATCHALL;
        let found = twin.classifier.lookup_counted(9, &Flow::ZERO, Some(&mut wc), &mut stats);
        prop_assert!(found.is_none());
        prop_assert_eq!(stats, LookupStats::default());
        prop_assert!(wc == FlowWildcards::CATCHALL);
        prop_assert!(twin.classifier.tries_are_empty());
    }
}
