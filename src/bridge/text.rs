//! STUB
use crate::datapath::*;
use std::collections::BTreeMap;
/// x
pub type Names = BTreeMap<u32, String>;
/// x
#[derive(Default)]
pub struct FlowText {
    /// x
    pub key: String,
    /// x
    pub actions: String,
    /// x
    pub line: String,
}
impl FlowText {
    /// x
    pub fn of(_k: &[u8], _m: &[u8], _a: &[u8], _n: &Names) -> Self {
        Self::default()
    }
    /// x
    pub fn of_dump(_f: &ovs_netlink::flow::FlowMsg<'_>, _n: &Names, _v: bool, _now: u64) -> Self {
        Self::default()
    }
    /// x
    pub fn to_json(&self, _f: &ovs_netlink::flow::FlowMsg<'_>, _now: u64) -> serde_json::Value {
        serde_json::Value::Null
    }
}
/// x
pub fn port_names(_: &dyn Datapath) -> Result<Names, DpError> {
    Ok(Names::new())
}
/// x
pub fn in_port(_: &[u8]) -> Option<OdpPort> {
    None
}
