//! Any upcalls through a handler over the fake kernel: no panic, and what is installed is what
//! translation says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rovs_fuzz::walk;

fuzz_target!(|input: &[u8]| walk::walk(input));
