//! The libvirt domain of `docs/libvirt.md`, and what the hook of `docs/kubevirt.md` makes of others.

use std::fs;
use std::path::Path;

use super::{ShippedError, count, io};
use crate::lab::{Lab, SOURCE};
use crate::tally::Tally;

/// The domain and the hook in the checkout.
const DOMAIN: &str = "docs/examples/libvirt-domain.xml";
const HOOK: &str = "docs/examples/kubevirt-hook";

/// What the hook adds to every domain.
const ADDED: [&str; 2] = ["mode='shared'", "vhost-user-test-device-pci"];

/// Domains that the hook meets, by what is special about their memory.
const BACKINGS: [(&str, &str); 3] = [
    ("usual memory", ""),
    ("huge pages", "<memoryBacking><hugepages/></memoryBacking>"),
    (
        "shared memory",
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
    ),
];

/// Holds the domains against libvirt's schema.
pub fn validate(lab: &Lab, tally: &mut Tally) -> Result<(), ShippedError> {
    let ours = Path::new(SOURCE).join(DOMAIN);
    against_schema("the libvirt domain", lab, &ours, tally)?;
    for (name, backing) in BACKINGS {
        let before = format!(
            "<domain type='kvm'><name>vm</name><memory>1048576</memory>{backing}\
             <os><type>hvm</type></os><devices><emulator>/bin/qemu</emulator></devices></domain>"
        );
        let output = lab
            .command(Path::new(SOURCE).join(HOOK))
            .args(["--vmi", "{}", "--domain", &before])
            // Not started: there is no VM.
            .env("COHERD", "")
            .output()
            .map_err(io("start the hook"))?;
        let name = format!("a KubeVirt domain with {name}");
        count(&format!("the hook on {name}"), &output, tally);
        let after = String::from_utf8_lossy(&output.stdout);
        if !ADDED.iter().all(|part| after.contains(part)) {
            println!("FAILED: the hook does not add all of {ADDED:?}");
            tally.failed += 1;
        }
        let file = lab.run_dir().join("domain.xml");
        fs::write(&file, &output.stdout).map_err(io("write the domain"))?;
        against_schema(&name, lab, &file, tally)?;
    }
    Ok(())
}

fn against_schema(
    name: &str,
    lab: &Lab,
    file: &Path,
    tally: &mut Tally,
) -> Result<(), ShippedError> {
    let mut output = lab
        .command("virt-xml-validate")
        .arg(file)
        .arg("domain")
        .output()
        .map_err(io("start virt-xml-validate"))?;
    // xmllint says there that the file validates.
    if output.status.success() {
        output.stderr.clear();
    }
    count(&format!("virt-xml-validate of {name}"), &output, tally);
    Ok(())
}
