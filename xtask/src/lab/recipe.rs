//! What the lab is made of.

/// The Debian release the lab is based on.
pub const SUITE: &str = "trixie";

/// Changes whenever the layout of a cache entry does, so that old entries are not used.
const FORMAT: &str = "1";

const PACKAGES: &[&str] = &[
    // Builds the daemon.
    "ca-certificates",
    "g++",
    "gcc",
    "libc6-dev",
    "libvirglrenderer-dev",
    "libvulkan-dev",
    "pkg-config",
    // Runs it.
    "libvulkan1",
    "mesa-vulkan-drivers",
    "virgl-server",
    "vulkan-validationlayers",
    // Runs guests.
    "busybox-static",
    "kmod",
    "linux-image-amd64",
    "qemu-system-data",
    "qemu-system-x86",
    // QEMU's own vhost-user-gpu, to compare with.
    "qemu-system-gui",
    // Looks at what is shipped: units, the libvirt domain, packages.
    "libvirt-clients",
    "rpm",
    "systemd",
    // Looks at either.
    "drm-info",
    "kmscube",
    "libdrm-tests",
    "procps",
    "strace",
    "valgrind",
    "vkmark",
    "vulkan-tools",
];

/// Everything from the release; QEMU and Mesa from its backports, virglrenderer from unstable.
const PREFERENCES: &str = "\
Package: *
Pin: release n=trixie-backports
Pin-Priority: 400

Package: qemu* seabios ipxe-qemu mesa-* libgl1-mesa-dri libglx-mesa0 libegl-mesa0 libgbm1 libgallium* libdrm*
Pin: release n=trixie-backports
Pin-Priority: 700

Package: *
Pin: release n=sid
Pin-Priority: 50

Package: virgl-server libvirglrenderer1 libvirglrenderer-dev
Pin: release n=sid
Pin-Priority: 800
";

/// Mount points for what [`super::entry`] binds and for what a guest mounts; the root is read-only in use.
const MOUNT_POINTS: &[&str] = &["/lab-root", "/opt/cargo", "/opt/rust", "/share", "/src"];

/// Arguments for mmdebstrap, less its mode and target.
#[must_use]
pub fn arguments() -> Vec<String> {
    vec![
        "--variant=minbase".to_owned(),
        "--architectures=amd64".to_owned(),
        format!("--include={}", PACKAGES.join(",")),
        format!(
            "--setup-hook=mkdir -p \"$1/etc/apt/preferences.d\" \
             && cat >\"$1/etc/apt/preferences.d/lab\" <<'END'\n{PREFERENCES}END"
        ),
        format!(
            "--customize-hook=cd \"$1\" && mkdir -p .{}",
            MOUNT_POINTS.join(" .")
        ),
    ]
}

/// The apt sources, all from one mirror.
#[must_use]
pub fn sources(mirror: &str) -> Vec<String> {
    let line = |options: &str, suite: &str| format!("deb {options}{mirror} {suite} main");
    vec![
        line("", SUITE),
        line("", "trixie-updates"),
        line("", "trixie-backports"),
        // A mirror may lag behind in unstable only, whose Release files expire within a week.
        line("[check-valid-until=no] ", "sid"),
    ]
}

/// Name of the cache entry: another for every change of the recipe, the same for every mirror.
#[must_use]
pub fn key() -> String {
    let mut text = format!("{FORMAT}\n");
    for part in arguments().iter().chain(&sources("MIRROR")) {
        text.push_str(part);
        text.push('\n');
    }
    format!("{SUITE}-{:016x}", fnv1a(text.as_bytes()))
}

/// The standard library promises no stable hash; this one is, and nobody attacks it here.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_matches_the_published_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn only_unstable_may_be_expired() {
        let expired: Vec<_> = sources("http://mirror/debian")
            .into_iter()
            .filter(|line| line.contains("check-valid-until=no"))
            .collect();
        assert_eq!(
            expired,
            ["deb [check-valid-until=no] http://mirror/debian sid main"]
        );
    }

    #[test]
    fn the_preferences_survive_the_shell() {
        assert!(!PREFERENCES.lines().any(|line| line == "END"));
    }
}
