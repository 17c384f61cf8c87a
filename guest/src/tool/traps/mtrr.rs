//! `/proc/mtrr` (`arch/x86/kernel/cpu/mtrr/if.c`, `mtrr_seq_show`).

/// A variable range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// The kernel's name of its type: `uncachable`, `write-combining`, `write-back`, ...
    pub kind: String,
}

impl Range {
    /// Whether it has a byte of another range.
    pub fn overlaps(&self, start: u64, end: u64) -> bool {
        self.base < end && start < self.base.saturating_add(self.size)
    }

    /// One line: `reg00: base=0x0c0000000 ( 3072MB), size= 1024MB, count=1: uncachable`.
    fn parse(line: &str) -> Option<Self> {
        let (head, kind) = line.rsplit_once(": ")?;
        let base = field(head, "base=0x")?;
        let base = u64::from_str_radix(&base, 16).ok()?;
        let size = field(head, "size=")?;
        let unit = head.split_once("size=")?.1.trim_start();
        let unit = unit.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let shift = match unit.get(..2)? {
            "KB" => 10,
            "MB" => 20,
            "GB" => 30,
            _ => return None,
        };
        Some(Self {
            base,
            size: size.parse::<u64>().ok()?.checked_mul(1 << shift)?,
            kind: kind.trim().to_owned(),
        })
    }
}

/// The number behind a name, up to what is no digit.
fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(name)?;
    let digits = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_hexdigit);
    Some(digits.collect()).filter(|digits: &String| !digits.is_empty())
}

/// All ranges; lines that are none are left out.
pub fn parse(text: &str) -> Vec<Range> {
    text.lines().filter_map(Range::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SeaBIOS on q35, as its guest's kernel tells it.
    const Q35: &str = "reg00: base=0x0c0000000 ( 3072MB), size= 1024MB, count=1: uncachable\n";

    #[test]
    fn range_of_seabios_is_below_four_gigabytes() {
        let ranges = parse(Q35);
        assert_eq!(
            ranges,
            [Range {
                base: 0xc000_0000,
                size: 1 << 30,
                kind: "uncachable".into()
            }]
        );
        assert!(ranges[0].overlaps(0xfe00_0000, 0xff00_0000));
        assert!(!ranges[0].overlaps(1 << 32, 1 << 33));
    }

    #[test]
    fn other_units_and_types_are_understood() {
        let text = "reg01: base=0xfeda00000 (65242MB), size=  256KB, count=1: write-combining\n\
                    reg02: base=0x000000000 (    0MB), size=   32GB, count=1: write-back\n";
        let ranges = parse(text);
        assert_eq!(
            (ranges[0].size, ranges[0].kind.as_str()),
            (256 << 10, "write-combining")
        );
        assert_eq!((ranges[1].size, ranges[1].base), (32 << 30, 0));
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "reg00:",
            "reg00: base=0x, size= 1MB: x",
            "base=0x1 size=99999999999999999999MB: x",
        ] {
            assert_eq!(parse(line), [], "{line}");
        }
    }
}
