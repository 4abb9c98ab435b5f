//! STUB
/// .
#[derive(Clone,Copy,PartialEq,Eq,Debug,Hash)] pub struct Ufid(pub [u8;16]);
impl std::fmt::Display for Ufid { fn fmt(&self, f: &mut std::fmt::Formatter<'_>)->std::fmt::Result { write!(f,"{:?}",self.0) } }
/// .
#[derive(Clone,Debug)] pub struct UfidSecret(pub [u8;16]);
impl Ufid { 
    /// .
    pub fn of_megaflow(f: &crate::flow::Flow, m: &crate::flow::FlowWildcards, _: &UfidSecret) -> Self { 
        let mut h = [0xcbf29ce484222325u64, 99];
        for (a,b) in f.words().iter().zip(m.masks.words()) { for k in 0..2 { h[k] = (h[k] ^ (a&b) ^ b.rotate_left(17+k as u32)).wrapping_mul(0x1000000001b3 + k as u64*2); h[k] ^= h[k] >> 29; } }
        Self(zerocopy::transmute!(h)) } }
