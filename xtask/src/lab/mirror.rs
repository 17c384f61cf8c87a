//! Where Debian packages come from.

use std::env;
use std::process::Command;

use super::LabError;

/// What apt is asked to print for each index: address, origin, label.
const FORMAT: &str = "$(REPO_URI)|$(ORIGIN)|$(LABEL)";

/// The mirror named by `COHERD_MIRROR`, else the one this machine's apt uses.
pub fn find() -> Result<String, LabError> {
    if let Ok(mirror) = env::var("COHERD_MIRROR")
        && !mirror.is_empty()
    {
        return Ok(mirror);
    }
    let listing = Command::new("apt-get")
        .args(["indextargets", "--format", FORMAT, "Created-By: Packages"])
        .output();
    listing
        .ok()
        .and_then(|output| choose(&String::from_utf8_lossy(&output.stdout)))
        .ok_or(LabError::NoMirror)
}

/// The first main Debian archive of a listing in [`FORMAT`].
fn choose(listing: &str) -> Option<String> {
    listing.lines().find_map(|line| {
        let mut fields = line.split('|');
        let (uri, origin, label) = (fields.next()?, fields.next()?, fields.next()?);
        // Origin and label come from downloaded lists, which images often leave out.
        let debian = if origin.is_empty() {
            uri.trim_end_matches('/').ends_with("/debian")
        } else {
            origin == "Debian" && label == "Debian"
        };
        let reachable = uri.starts_with("http://") || uri.starts_with("https://");
        (debian && reachable).then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_and_other_archives_are_passed_over() {
        let listing = "http://a/debian-security/|Debian|Debian-Security\n\
                       http://b/tool|Tool Makers|stable\n\
                       http://c/debian/|Debian|Debian\n";
        assert_eq!(choose(listing).as_deref(), Some("http://c/debian/"));
    }

    #[test]
    fn without_lists_the_path_decides() {
        assert_eq!(
            choose("http://a/debian-security||\nhttp://a/debian||\n").as_deref(),
            Some("http://a/debian")
        );
    }

    #[test]
    fn only_plain_web_addresses_count() {
        assert_eq!(choose("mirror+file:/etc/mirrors|Debian|Debian\n"), None);
        assert_eq!(choose(""), None);
    }
}
