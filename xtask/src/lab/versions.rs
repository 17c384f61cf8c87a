//! Which versions the lab ended up with.

use std::collections::HashMap;
use std::fmt::Write;

/// What is shown, and the package whose version it is.
const SHOWN: &[(&str, &str)] = &[
    ("QEMU", "qemu-system-x86"),
    ("Mesa Vulkan drivers", "mesa-vulkan-drivers"),
    ("virglrenderer", "libvirglrenderer1"),
    ("virgl-server", "virgl-server"),
    ("Vulkan loader", "libvulkan1"),
    ("validation layers", "vulkan-validationlayers"),
    ("vkmark", "vkmark"),
    ("kernel", "linux-image-amd64"),
    ("gcc", "gcc"),
    ("glibc", "libc6"),
];

/// One line for each part worth knowing, from the text of dpkg's status file.
#[must_use]
pub fn summary(status: &str) -> String {
    let installed = installed(status);
    let mut text = String::new();
    for (name, package) in SHOWN {
        let version = installed.get(package).copied().unwrap_or("missing");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:20} {version}");
    }
    text
}

/// The version of a part in what [`summary`] returned.
#[must_use]
pub fn find<'a>(summary: &'a str, part: &str) -> Option<&'a str> {
    let rest = |line: &'a str| line.trim_start().strip_prefix(part);
    summary
        .lines()
        .filter_map(rest)
        .find(|rest| rest.starts_with(' '))
        .map(str::trim)
}

fn installed(status: &str) -> HashMap<&str, &str> {
    status
        .split("\n\n")
        .filter_map(|stanza| Some((field(stanza, "Package: ")?, field(stanza, "Version: ")?)))
        .collect()
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| line.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_per_package() {
        let status = "Package: gcc\nStatus: install ok installed\nVersion: 4:14.2\n\n\
                      Package: libc6\nVersion: 2.41-12\n";
        let summary = summary(status);
        assert!(summary.contains("  gcc                  4:14.2\n"));
        assert!(summary.contains("  glibc                2.41-12\n"));
        assert!(summary.contains("  vkmark               missing\n"));
        assert_eq!(find(&summary, "glibc"), Some("2.41-12"));
        assert_eq!(find(&summary, "gl"), None);
    }
}
