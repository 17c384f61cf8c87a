//! The exporters of the guest's kernel, loaded and looked for.

use std::time::Duration;

use super::DmaBufError;
use crate::vm::Vm;

const COMMAND: Duration = Duration::from_secs(60);

/// Loads what is a module, and prints one line for each exporter and for the probes of the tests;
/// fails for what is absent.
const SCRIPT: &str = r#"
status=0
expect() {
    if [ -n "$2" ] && [ -e "$2" ]; then echo "$1: $2"; else echo "$1: ABSENT"; status=1; fi
}
modprobe vgem
expect udmabuf /dev/udmabuf
expect "system heap" /dev/dma_heap/system
for card in /sys/class/drm/renderD*; do
    case $(busybox readlink "$card/device") in
    */vgem) node=/dev/dri/${card##*/} ;;
    esac
done
expect vgem "$node"
busybox mount -t tracefs tracefs /sys/kernel/tracing
expect probes /sys/kernel/tracing/kprobe_events
exit $status
"#;

/// Makes the guest ready for the tests, and tells what it has.
///
/// # Errors
/// [`DmaBufError::Exporters`] if anything is missing.
pub fn ready(vm: &Vm) -> Result<String, DmaBufError> {
    let output = vm.run(SCRIPT, COMMAND)?;
    let found = output.log.trim();
    if output.status == 0 {
        Ok(found.replace('\n', ", "))
    } else {
        Err(DmaBufError::Exporters(found.to_owned()))
    }
}
