//! Any bytes as a list of actions.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs_fuzz::thorough;

fuzz_target!(|list: &[u8]| thorough::actions(list));
