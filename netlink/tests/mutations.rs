//! Recorded messages with bytes changed, cut out, doubled and cut off: nothing panics, and what is
//! still understood holds together.

mod recording;
mod thorough;

use ovs_netlink::msg::Genl;
use ovs_netlink::uapi::{OVS_FLOW_FAMILY, OVS_PACKET_FAMILY};
use proptest::prelude::*;
use proptest::sample::Index;
use recording::{files, messages};

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index, u8),
    Double(Index, u8),
    End(Index),
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len == 0 {
            return;
        }
        let span = |at: &Index, len: u8, bytes: &[u8]| {
            let start = at.index(bytes.len());
            start..(start + usize::from(len)).min(bytes.len())
        };
        match self {
            Self::Set(at, value) => bytes[at.index(len)] = *value,
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << (bit % 8),
            Self::Cut(at, len) => drop(bytes.drain(span(at, *len, bytes))),
            Self::Double(at, len) => {
                let span = span(at, *len, bytes);
                let copy = bytes[span.clone()].to_vec();
                bytes.splice(span.start..span.start, copy);
            }
            Self::End(at) => bytes.truncate(at.index(len)),
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, v)| Mutation::Set(at, v)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, v)| Mutation::Flip(at, v)),
        (any::<Index>(), 1..16u8).prop_map(|(at, v)| Mutation::Cut(at, v)),
        (any::<Index>(), 1..16u8).prop_map(|(at, v)| Mutation::Double(at, v)),
        any::<Index>().prop_map(Mutation::End),
    ]
}

#[test]
fn mutated_messages_hold_together_or_are_refused() {
    let files = files();
    let all: Vec<_> = files.iter().flat_map(|(_, file)| messages(file)).collect();
    let some: Vec<_> = all
        .iter()
        .filter(|r| [OVS_FLOW_FAMILY, OVS_PACKET_FAMILY].contains(&r.family))
        .map(|r| (r.family == OVS_FLOW_FAMILY, r.from_kernel, r.genl, r.frame))
        .collect();
    let mutations = proptest::collection::vec(mutation(), 0..6);
    let config = ProptestConfig { cases: 4096, ..ProptestConfig::default() };
    proptest!(config, |(which: Index, mutations in mutations)| {
        let (is_flow, _from_kernel, genl, _frame) = some[which.index(some.len())];
        let mut body = genl.body.to_vec();
        mutations.iter().for_each(|m| m.apply(&mut body));
        if is_flow {
            thorough::flow(&body);
        } else {
            thorough::packet(Genl { body: &body, ..genl });
        }
    });
}
