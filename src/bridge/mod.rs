//! Bridges: what an operator wants, made true in the datapath.
//!
//! [`config`] is what is wanted, whoever says so. [`reconcile`] compares it with the datapath and
//! changes what differs, and only that, [`ct_zones`] with conntrack's timeouts. [`switch`] runs the threads that forward by it; [`current`] is the one of the moment. [`engine`] keeps all of it true as
//! devices and datapaths come and go.
//! [`commands`] shows it all on the control socket; [`recorded`] tells a recording of it. Control thread only, the snapshots that come
//! out of it excepted.

pub mod commands;
pub mod config;
pub mod ct_zones;
pub mod current;
pub mod engine;
mod features;
pub mod reconcile;
pub mod recorded;
pub mod switch;
pub mod text;
