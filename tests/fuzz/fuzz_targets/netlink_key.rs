//! Any bytes as a flow key.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs_fuzz::thorough;

fuzz_target!(|list: &[u8]| thorough::key(list, 8));
