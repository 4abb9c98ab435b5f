//! STUB
/// .
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Ufid(pub [u8; 16]);
/// .
#[derive(Clone, Debug)]
pub struct UfidSecret(pub [u8; 16]);
impl Ufid {
    /// .
    pub fn of_megaflow(
        _: &crate::flow::Flow,
        _: &crate::flow::FlowWildcards,
        _: &UfidSecret,
    ) -> Self {
        Self([0; 16])
    }
}
