//! The switch as a database describes it: rows in, status out.
//!
//! What always holds: bridges are there as long as the database says so, also while it is away;
//! `cur_cfg` follows `next_cfg` when the kernel has what is wanted, in the one transaction that tells
//! the ports' numbers and errors as well. Control thread, and threads that work for it.
//!
//! [`desired`] reads the rows, [`status`] writes them with what [`system_stats`] tells of the machine, [`run`] is the
//! loop around them, `books` what it knows besides.

mod books;
pub mod desired;
pub mod run;
pub mod status;
pub mod system_stats;
