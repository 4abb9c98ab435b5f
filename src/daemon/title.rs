//! What ps(1) shows for the monitor: `ovs-vswitchd: monitoring pid 123 (healthy)`.
//!
//! The kernel shows the bytes where a process's arguments were put at its start. They are written
//! over through `/proc/self/mem`. Only the monitor does this, after it has read its arguments for
//! the last time; the text is cut to their length, so that the environment behind them stays.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

/// Shows `title` for this process from now on; does nothing where that is impossible.
pub fn set(title: &str) {
    let Some((start, end)) = arguments_at() else { return };
    let Ok(room) = usize::try_from(end.saturating_sub(start)) else { return };
    let mut bytes = title.as_bytes().to_vec();
    // The last byte stays NUL: the kernel would read on behind the arguments otherwise.
    bytes.truncate(room.saturating_sub(1));
    bytes.resize(room, 0);
    if let Ok(memory) = OpenOptions::new().write(true).open("/proc/self/mem") {
        let _ = memory.write_all_at(&bytes, start);
    }
}

/// Where the arguments lie: fields 48 and 49 of `/proc/self/stat` (proc(5)).
fn arguments_at() -> Option<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Field 2 is the name, in parentheses, and may itself hold blanks.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(45);
    let start = fields.next()?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (start < end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_arguments_is_found() {
        let (start, end) = arguments_at().expect("a place");
        let memory = std::fs::File::open("/proc/self/mem").expect("our memory");
        let mut bytes = vec![0; (end - start) as usize];
        memory.read_exact_at(&mut bytes, start).expect("our arguments");
        assert_eq!(bytes, std::fs::read("/proc/self/cmdline").expect("our arguments"));
    }
}
