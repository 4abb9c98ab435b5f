//! Any bytes as a datagram with messages of the rarer families, and with answers to requests: read or
//! refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_netlink::ack::Ack;
use ovs_netlink::ct_limit;
use ovs_netlink::ct_timeout::Policy;
use ovs_netlink::datapath::Datapath;
use ovs_netlink::family::Family;
use ovs_netlink::meter::{Meter, MeterConfig, MeterFeatures};
use ovs_netlink::msg::Messages;
use ovs_netlink::vport::Vport;

fuzz_target!(|datagram: &[u8]| {
    for message in Messages::new(datagram).map_while(Result::ok) {
        let _ = Ack::parse(&message);
        if let Ok(policy) = Policy::parse(message.payload) {
            policy.timeouts().for_each(drop);
        }
        let Ok(genl) = message.genl() else { continue };
        let _ = Family::parse(genl);
        let _ = Datapath::parse(genl.body);
        let _ = Vport::parse(genl.body);
        let _ = Meter::parse(genl.body);
        let _ = MeterConfig::parse(genl.body);
        let _ = MeterFeatures::parse(genl.body);
        let _ = ct_limit::parse(genl.body);
    }
});
