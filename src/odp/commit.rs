//! STUB
/// .
pub fn commit(
    base: &mut crate::flow::Flow,
    flow: &crate::flow::Flow,
    _: &mut crate::flow::FlowWildcards,
    _: &mut super::action::OdpActions,
) {
    *base = *flow
}
