//! How long small writes take until they are on the disk.

use std::{
    fs::OpenOptions,
    io::{self, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;

/// One after the other, into a file that has no name and goes with this program; no more are begun after `within`, but there is always one.
pub fn sync_latency(folder: &Path, writes: u32, within: Duration) -> io::Result<Vec<Duration>> {
    let block = [0x5A_u8; 4096];
    let mut file = OpenOptions::new().write(true).custom_flags(OFlag::O_TMPFILE.bits()).open(folder)?;
    let (begun, mut taken) = (Instant::now(), Vec::new());
    while taken.len() < writes as usize && (taken.is_empty() || begun.elapsed() < within) {
        let start = Instant::now();
        file.seek(io::SeekFrom::Start(0))?;
        file.write_all(&block)?;
        file.sync_data()?;
        taken.push(start.elapsed());
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_timed_until_the_limit_and_leave_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        // Some file systems know no files without a name.
        let Ok(taken) = sync_latency(dir.path(), 5, Duration::from_secs(60)) else { return };
        assert_eq!(taken.len(), 5);
        assert_eq!(sync_latency(dir.path(), 5, Duration::ZERO).expect("again").len(), 1);
        assert_eq!(std::fs::read_dir(dir.path()).expect("the folder").count(), 0);
    }
}
