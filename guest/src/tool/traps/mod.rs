//! What in a guest makes Linux map a blob with another type than the host promised.
//!
//! Linux maps what should be write-back as uncached-minus unless the MTRRs say write-back for its
//! addresses too; MTRRs that are absent or disabled do not (`arch/x86/mm/pat/memtype.c`,
//! `pat_x_mtrr_type`). Write-combining is not affected.

mod mtrr;
mod pat;
mod window;

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Serialize, Serializer};

pub use pat::Entry;
pub use window::Window;

const MTRR: &str = "/proc/mtrr";
const PAT: &str = "/sys/kernel/debug/x86/pat_memtype_list";
const MSR: &str = "/dev/cpu/0/msr";

/// The register MTRRdefType, and what it says.
const DEF_TYPE: u64 = 0x2ff;
const DEF_TYPE_ENABLED: u64 = 1 << 11;
const DEF_TYPE_KIND: u64 = 0xff;
const WRITE_BACK: u64 = 6;

/// What was found out about the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the window is.
    pub window: Option<Window>,
    /// The MTRRs; `None` if there is no such file.
    mtrr: Option<Vec<mtrr::Range>>,
    /// MTRRdefType, if it may be read.
    def_type: Option<u64>,
}

/// Something that changes how blobs are mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trap {
    /// There are no MTRRs, or they are disabled.
    NoMtrr,
    /// The type of what no range covers is not write-back.
    DefaultType(u64),
    /// A range in the window is of another type than write-back.
    Range {
        /// The range.
        base: u64,
        /// Bytes.
        size: u64,
        /// The kernel's name of its type.
        kind: String,
    },
}

impl Facts {
    /// Looks at this guest.
    pub fn here(node: Option<&Path>) -> Self {
        Self {
            window: node.and_then(Window::of),
            mtrr: fs::read_to_string(MTRR).ok().map(|text| mtrr::parse(&text)),
            def_type: def_type(),
        }
    }

    /// What changes how blobs are mapped. Only of x86: elsewhere there is nothing of the kind.
    pub fn traps(&self) -> Vec<Trap> {
        if !cfg!(target_arch = "x86_64") {
            return Vec::new();
        }
        let mut traps = Vec::new();
        let disabled = self
            .def_type
            .is_some_and(|word| word & DEF_TYPE_ENABLED == 0);
        let Some(ranges) = self.mtrr.as_ref().filter(|_| !disabled) else {
            return vec![Trap::NoMtrr];
        };
        if let Some(word) = self
            .def_type
            .filter(|word| word & DEF_TYPE_KIND != WRITE_BACK)
        {
            traps.push(Trap::DefaultType(word));
        }
        if let Some(window) = self.window {
            let inside = ranges
                .iter()
                .filter(|range| range.overlaps(window.start, window.end));
            traps.extend(
                inside
                    .filter(|range| range.kind != "write-back")
                    .map(|range| Trap::Range {
                        base: range.base,
                        size: range.size,
                        kind: range.kind.clone(),
                    }),
            );
        }
        traps
    }

    /// What could not be looked at, and what it takes.
    pub fn gaps(&self) -> Vec<&'static str> {
        if !cfg!(target_arch = "x86_64") {
            return vec!["MTRRs and PAT are looked at on x86-64 only"];
        }
        let mut gaps = Vec::new();
        if self.window.is_none() {
            gaps.push(
                "the window's addresses are not known, so that no MTRR can be compared with them",
            );
        }
        if self.def_type.is_none() {
            gaps.push(
                "the default type of the MTRRs cannot be read; it takes root and `modprobe msr`",
            );
        }
        if File::open(PAT).is_err() {
            gaps.push(
                "the kernel's list of types cannot be read; it takes root and a mounted debugfs",
            );
        }
        gaps
    }

    /// What the kernel maps in the window at present, if it may be read.
    pub fn mapped(&self) -> Option<Vec<Entry>> {
        let window = self.window?;
        let entries = pat::parse(&fs::read_to_string(PAT).ok()?);
        let inside = |entry: &Entry| entry.start >= window.start && entry.end <= window.end;
        Some(entries.into_iter().filter(inside).collect())
    }
}

fn def_type() -> Option<u64> {
    let mut word = [0; 8];
    let file = File::open(MSR).ok()?;
    file.read_exact_at(&mut word, DEF_TYPE).ok()?;
    Some(u64::from_le_bytes(word))
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMtrr => f.write_str(
                "MTRRs are absent or disabled, and Linux maps cached memory of the window uncached then; \
                 the VMM or its firmware has to set MTRRdefType to 0xc06",
            ),
            Self::DefaultType(word) => write!(
                f,
                "MTRRdefType is {word:#x}, whose type is not write-back, and Linux maps cached memory of \
                 the window uncached then; the VMM or its firmware has to set it to 0xc06"
            ),
            Self::Range { base, size, kind } => write!(
                f,
                "an MTRR makes {size:#x} bytes at {base:#x} {kind}, and Linux maps cached memory of the \
                 window uncached there; the firmware has to leave the device's BAR out (SeaBIOS does above \
                 4 GiB)"
            ),
        }
    }
}

impl Serialize for Trap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        start: 0x3_8000_0000,
        end: 0x3_c000_0000,
        exact: true,
    };

    fn facts(mtrr: Option<&str>, def_type: Option<u64>) -> Facts {
        Facts {
            window: Some(WINDOW),
            mtrr: mtrr.map(mtrr::parse),
            def_type,
        }
    }

    const SEABIOS: &str = "reg00: base=0x0c0000000 ( 3072MB), size= 1024MB, count=1: uncachable\n";

    #[test]
    fn seabios_and_a_window_above_four_gigabytes_are_no_trap() {
        assert_eq!(facts(Some(SEABIOS), Some(0xc06)).traps(), []);
        assert_eq!(facts(Some(SEABIOS), None).traps(), []);
    }

    #[test]
    fn window_below_four_gigabytes_is_a_trap_with_seabios() {
        let low = Facts {
            window: Some(Window {
                start: 0xd000_0000,
                end: 0xe000_0000,
                exact: true,
            }),
            ..facts(Some(SEABIOS), Some(0xc06))
        };
        let traps = low.traps();
        assert!(matches!(
            &traps[..],
            [Trap::Range {
                base: 0xc000_0000,
                ..
            }]
        ));
        assert!(traps[0].to_string().contains("0xc0000000 uncachable"));
    }

    #[test]
    fn bar_that_the_firmware_made_uncachable_is_a_trap() {
        let ovmf = "reg00: base=0x080000000 ( 2048MB), size= 2048MB, count=1: uncachable\n\
                    reg01: base=0x380000000 (14336MB), size= 4096MB, count=1: uncachable\n";
        assert_eq!(facts(Some(ovmf), Some(0xc06)).traps().len(), 1);
    }

    #[test]
    fn mtrrs_that_are_absent_or_disabled_are_a_trap() {
        assert_eq!(facts(None, None).traps(), [Trap::NoMtrr]);
        assert_eq!(facts(Some(""), Some(0x006)).traps(), [Trap::NoMtrr]);
    }

    #[test]
    fn default_type_other_than_write_back_is_a_trap() {
        assert_eq!(
            facts(Some(""), Some(0xc00)).traps(),
            [Trap::DefaultType(0xc00)]
        );
    }

    #[test]
    fn write_back_and_write_combining_ranges_elsewhere_are_none() {
        let ranges = "reg00: base=0x380000000 (14336MB), size= 4096MB, count=1: write-back\n\
                      reg01: base=0x0d0000000 ( 3328MB), size=   16MB, count=1: write-combining\n";
        assert_eq!(facts(Some(ranges), None).traps(), []);
    }
}
