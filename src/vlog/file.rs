//! The log file: opened for appending, written a whole line at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
}

impl LogFile {
    /// Opens or creates `path` with the peer's mode (0660 less the umask).
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        let file = OpenOptions::new().append(true).create(true).mode(0o660).open(path)?;
        Ok(LogFile { file })
    }

    pub(super) fn is_same_file(&self, other: &LogFile) -> bool {
        match (self.file.metadata(), other.file.metadata()) {
            (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
            _ => false,
        }
    }

    /// Writes one line. A full disk loses lines; the switch goes on.
    pub(super) fn write(&mut self, line: &[u8]) {
        let _ = self.file.write(line);
    }
}
