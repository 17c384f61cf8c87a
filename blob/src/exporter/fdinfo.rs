//! What `/proc/self/fdinfo` says of a dma-buf.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The text about a file of this process.
pub(super) fn read(fd: BorrowedFd<'_>) -> io::Result<String> {
    let text = std::fs::read(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The exporter's name in the fdinfo of a dma-buf. It is the first line of its kind: a name that
/// somebody gave the buffer comes later and may contain line breaks.
pub(super) fn exporter_name(fdinfo: &str) -> Option<&str> {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("exp_name:"))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn exporter_is_found_in_fdinfo() {
        let fdinfo = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1036\n\
                      size:\t4096\ncount:\t1\nexp_name:\tudmabuf\nname:\tvideo\n";
        assert_eq!(exporter_name(fdinfo), Some("udmabuf"));
    }

    #[test]
    fn name_of_a_buffer_cannot_pass_for_its_exporter() {
        let fdinfo = "size:\t4096\ncount:\t1\nexp_name:\tdrm\nname:\tx\nexp_name:\tsystem\n";
        assert_eq!(exporter_name(fdinfo), Some("drm"));
    }

    #[test]
    fn fdinfo_without_an_exporter_has_none() {
        for fdinfo in ["", "exp_name:", "exp_name:\t\n", "name:\texp_name:\n"] {
            assert_eq!(exporter_name(fdinfo), None, "{fdinfo:?}");
        }
    }

    #[test]
    fn fdinfo_of_any_file_can_be_read() {
        let fdinfo = read(io::stdin().as_fd()).unwrap();
        assert!(fdinfo.starts_with("pos:"), "{fdinfo:?}");
    }
}
