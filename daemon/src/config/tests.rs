//! Files and flags together.

use std::io::Write;

use clap::Parser;
use tempfile::NamedTempFile;

use super::*;
use crate::cli::Cli;
use crate::device::quota::Quota;

/// The settings of a configuration file and arguments.
fn load(file: &str, arguments: &[&str]) -> Result<Settings, ConfigError> {
    let mut named = NamedTempFile::new().unwrap();
    named.write_all(file.as_bytes()).unwrap();
    let cli = Cli::parse_from([&["coherd"], arguments].concat());
    Settings::load(&cli.given, Some(named.path()))
}

/// What is wrong with a file, without its name.
fn complaint(file: &str) -> String {
    let error = load(file, &[]).unwrap_err();
    let text = crate::explain::one_line(&error);
    text.split_once(", ").unwrap().1.to_owned()
}

#[test]
fn nothing_given_means_the_defaults() {
    let settings = Settings::load(&Given::default(), None).unwrap();
    let default = Options::default();
    assert_eq!(settings.window_size, default.window_size);
    assert_eq!(settings.quotas, default.quotas);
    assert_eq!(settings.device_outputs(), Ok(default.outputs));
    assert_eq!((settings.socket, settings.render_node), (None, None));
}

#[test]
fn file_has_every_option_under_the_name_of_its_flag() {
    let file = r#"
        fd = 7
        sync-fd = 8
        sync-allow = ["uid=1000", "gid=44:ro"]
        control-socket = "/run/coherd/control"
        renderer = "2d"
        render-node = "/dev/dri/renderD129"
        window-size = "1G"
        display = ["1920x1080", "800x600"]
        outputs = 4
        mem-slots = true
        dirty-log = true
        on-type-mismatch = "refuse"
        sandbox = "chroot"
        seccomp = "log"
        shader-cache = "/var/cache/coherd"
        log-level = "warn"
        [quota]
        mappings = 100
        blob-bytes = "2G"
        [context-quota]
        attachments = "1K"
    "#;
    let flags = [
        "--fd=7",
        "--sync-fd=8",
        "--control-socket=/run/coherd/control",
        "--sync-allow=uid=1000",
        "--sync-allow=gid=44:ro",
        "--renderer=2d",
        "--render-node=/dev/dri/renderD129",
        "--window-size=1G",
        "--display=1920x1080",
        "--display=800x600",
        "--outputs=4",
        "--mem-slots",
        "--dirty-log",
        "--on-type-mismatch=refuse",
        "--sandbox=chroot",
        "--seccomp=log",
        "--shader-cache=/var/cache/coherd",
        "--log-level=warn",
        "--quota=mappings=100",
        "--quota=blob-bytes=2G",
        "--context-quota=attachments=1K",
    ];
    let settings = load(file, &[]).unwrap();
    assert_eq!(settings, load("", &flags).unwrap());
    assert_eq!(settings.socket, Some(SocketSource::Fd(7)));
    assert_eq!(settings.sync, Some(SocketSource::Fd(8)));
    assert!(settings.dirty_log);
    assert_eq!(settings.device_outputs().unwrap().count(), 4);
    assert_eq!(settings.quotas.get(Scope::Vm, Quota::BlobBytes), 2 << 30);
    assert_eq!(
        settings.quotas.get(Scope::Context, Quota::Attachments),
        1024
    );
}

#[test]
fn flags_win_over_the_file() {
    let file = r#"
        fd = 7
        display = ["1920x1080"]
        mem-slots = true
        window-size = 1073741824
        quota = { mappings = 100, contexts = 5 }
    "#;
    let flags = [
        "--socket-path=/s",
        "--display=640x480",
        "--mem-slots=false",
        "--quota=mappings=200",
    ];
    let settings = load(file, &flags).unwrap();
    assert_eq!(settings.socket, Some(SocketSource::Path("/s".into())));
    assert_eq!(settings.displays, [Mode::new(640, 480).unwrap()]);
    assert!(!settings.mem_slots);
    assert_eq!(settings.window_size, 1 << 30);
    assert_eq!(settings.quotas.get(Scope::Vm, Quota::Mappings), 200);
    assert_eq!(settings.quotas.get(Scope::Vm, Quota::Contexts), 5);
}

#[test]
fn outputs_are_as_many_as_displays_and_at_least_one() {
    for (file, count) in [
        ("display = []", 1),
        ("display = ['640x480', '640x480']", 2),
        ("outputs = 3", 3),
    ] {
        let outputs = load(file, &[]).unwrap().device_outputs().unwrap();
        assert_eq!(outputs.count(), count, "{file}");
    }
    for file in [
        "outputs = 0",
        "outputs = 17",
        "display = ['640x480', '640x480']\noutputs = 1",
    ] {
        let error = load(file, &[]).unwrap_err();
        assert!(matches!(error, ConfigError::Displays(_)), "{file}");
    }
}

#[test]
fn unknown_key_is_refused_with_its_line_and_the_known_ones() {
    let text = complaint("# displays\n\nresolution = '1920x1080'\n");
    assert!(
        text.starts_with("line 3: unknown field `resolution`"),
        "{text}"
    );
    assert!(text.contains("`display`") && text.contains("`context-quota`"));
}

#[test]
fn unknown_quota_is_refused_with_its_line_and_the_known_ones() {
    let text = complaint("fd = 3\n[quota]\nblob-bytes = '1G'\nthreads = 5\n");
    assert!(text.starts_with("line 4: threads: no quota"), "{text}");
    assert!(text.contains("blob-bytes, image-bytes"), "{text}");
    let text = complaint("[context-quota]\ncontexts = 5\n");
    assert!(text.starts_with("line 2: contexts: no quota"), "{text}");
    assert!(!text.contains(", contexts"), "{text}");
}

#[test]
fn value_that_does_not_work_is_refused_with_its_line_and_what_does() {
    for (file, line, allowed) in [
        (
            "fd = 3\nwindow-size = '3G'",
            2,
            "a power of two from 1M to 1T",
        ),
        ("\n\ndisplay = ['1920']", 3, "WIDTHxHEIGHT"),
        (
            "display = [\n'800x600',\n'9999x600']",
            3,
            "from 400 to 8192",
        ),
        ("renderer = 'gl'", 1, "one of `venus`, `blob`, `2d`"),
        ("log-level = 'loud'", 1, "`trace`"),
        ("mem-slots = 'yes'", 1, "a boolean"),
        ("on-type-mismatch = 'no'", 1, "refuse or prefer-cached"),
        ("[quota]\nfences = 2000", 2, "from 1 to 1024"),
        ("[quota]\nfences = 'many'", 2, "K, M, G or T"),
        ("sync-allow = ['root']", 1, "uid=N or gid=N"),
        ("quota = 5", 1, "a table"),
        ("fd = ", 1, ""),
    ] {
        let text = complaint(file);
        assert!(text.starts_with(&format!("line {line}: ")), "{text}");
        assert!(text.contains(allowed), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn two_sockets_in_a_file_are_refused() {
    let error = load("fd = 3\nsocket-path = '/s'", &[]).unwrap_err();
    assert!(matches!(error, ConfigError::TwoSockets));
}

#[test]
fn sync_socket_of_the_command_line_wins_and_nobody_is_let_in_without_one() {
    let settings = load("sync-fd = 8", &["--sync-socket=/s"]).unwrap();
    assert_eq!(settings.sync, Some(SocketSource::Path("/s".into())));
    assert_eq!(settings.sync_allow, AllowList::default());
    let error = load("sync-fd = 3\nsync-socket = '/s'", &[]).unwrap_err();
    assert!(matches!(error, ConfigError::TwoSyncSockets));
    let error = load("sync-allow = ['uid=7']", &[]).unwrap_err();
    assert!(matches!(error, ConfigError::NoSyncSocket));
}
