//! What the fuzz targets share with the property tests.

#[path = "../../../netlink/tests/thorough/mod.rs"]
pub mod thorough;
