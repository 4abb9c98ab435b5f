//! What the fuzz targets share with the property tests.

#[path = "../../../netlink/tests/thorough/mod.rs"]
pub mod thorough;

#[path = "../../road_upcalls/walk.rs"]
pub mod walk;
