//! What stock kernels and the stock daemon said to each other: `tests/data/linux-*.pcap`.
//!
//! One netlink message a frame, of the OVS families only, behind the announcements of the families
//! by the controller; the format is pcap with LINKTYPE_NETLINK, which tshark reads. How they were
//! made is in `tests/data/README.md`.

use ovs_netlink::attr::Attrs;
use ovs_netlink::msg::{Genl, Messages, MsgFlags};

const PCAP_MAGIC: u32 = 0xa1b2_c3d4;
const LINKTYPE_NETLINK: u32 = 253;
const FILE_HEADER_LEN: usize = 24;
const FRAME_HEADER_LEN: usize = 16;
const COOKED_HEADER_LEN: usize = 16;
const GENL_ID_CTRL: u16 = 16;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// A message of one of the OVS families.
#[derive(Clone, Copy)]
pub struct Recorded<'a> {
    /// The family's name.
    pub family: &'a str,
    /// Whether the kernel sent it.
    pub from_kernel: bool,
    /// Its payload.
    pub genl: Genl<'a>,
    /// Number of the frame, for `tshark -r FILE -Y frame.number==N`.
    pub frame: usize,
}

/// All recordings: file name and contents.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "pcap"))
        .filter_map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("linux-").then(|| (name, std::fs::read(path).unwrap()))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The messages of the OVS families in a recording.
pub fn messages(file: &[u8]) -> Vec<Recorded<'_>> {
    assert_eq!((u32_at(file, 0), u32_at(file, 20)), (PCAP_MAGIC, LINKTYPE_NETLINK));
    let (mut families, mut all) = (Vec::new(), Vec::new());
    let (mut at, mut frame) = (FILE_HEADER_LEN, 0);
    while at < file.len() {
        let len = u32_at(file, at + 8) as usize;
        at += FRAME_HEADER_LEN;
        frame += 1;
        for message in Messages::new(&file[at + COOKED_HEADER_LEN..at + len]) {
            let message = message.unwrap();
            let genl = message.genl().unwrap();
            if message.kind == GENL_ID_CTRL {
                let find = |kind| Attrs::new(genl.body).find_kind(kind).unwrap().unwrap();
                let name = find(CTRL_ATTR_FAMILY_NAME).str().unwrap();
                families.push((find(CTRL_ATTR_FAMILY_ID).u16().unwrap(), name));
                continue;
            }
            let (_, family) = families.iter().find(|(id, _)| *id == message.kind).unwrap();
            let from_kernel = !message.flags.contains(MsgFlags::REQUEST);
            all.push(Recorded { family, from_kernel, genl, frame });
        }
        at += len;
    }
    all
}
