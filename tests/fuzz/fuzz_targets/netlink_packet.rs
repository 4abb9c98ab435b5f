//! Any bytes as a datagram with messages of the packet family.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_netlink::msg::Messages;
use rovs_fuzz::thorough;

fuzz_target!(|datagram: &[u8]| {
    for message in Messages::new(datagram).map_while(Result::ok) {
        if let Ok(genl) = message.genl() {
            thorough::packet(genl);
        }
    }
});
