//! `/sys/kernel/debug/x86/pat_memtype_list` (`arch/x86/mm/pat/memtype.c`, `memtype_seq_show`).

/// A range that the kernel maps with a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first address.
    pub start: u64,
    /// The address behind the last.
    pub end: u64,
    /// The kernel's name of the type: `write-back`, `write-combining`, `uncached-minus`, ...
    pub kind: String,
}

impl Entry {
    /// One line, `PAT: [mem 0xc0000000-0xc0001000] write-back` since Linux 5.7,
    /// `write-back @ 0xc0000000-0xc0001000` before.
    fn parse(line: &str) -> Option<Self> {
        let (range, kind) = match line.strip_prefix("PAT: [mem ") {
            Some(rest) => rest.split_once("] ")?,
            None => {
                let (kind, range) = line.split_once(" @ ")?;
                (range, kind)
            }
        };
        let (start, end) = range.split_once('-')?;
        Some(Self {
            start: hex(start)?,
            end: hex(end)?,
            kind: kind.trim().to_owned(),
        })
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// All ranges; lines that are none are left out.
pub fn parse(text: &str) -> Vec<Entry> {
    text.lines().filter_map(Entry::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood() {
        let text = "PAT memtype list:\n\
                    PAT: [mem 0x0000000380000000-0x0000000380010000] uncached-minus\n\
                    write-back @ 0xbffe0000-0xbffe2000\n\
                    PAT: [mem zz-0x1] write-back\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].start, entries[0].end),
            (0x3_8000_0000, 0x3_8001_0000)
        );
        assert_eq!(entries[0].kind, "uncached-minus");
        assert_eq!(
            (entries[1].start, entries[1].kind.as_str()),
            (0xbffe_0000, "write-back")
        );
    }
}
