//! Names of a fixed length: UTF-8, the rest nuls.

use super::limits::NAME_LEN;

/// `name` as it is sent: cut where it would leave no room for a nul, between characters.
pub fn encode(name: &str) -> [u8; NAME_LEN] {
    let mut bytes = [0; NAME_LEN];
    let mut end = name.len().min(NAME_LEN - 1);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(end)) {
        *to = from;
    }
    bytes
}

/// The name in `bytes`, fit to be printed: what is not UTF-8 or controls a terminal is replaced.
pub fn decode(bytes: &[u8; NAME_LEN]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name)
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_comes_back() {
        for name in ["", "qemu", "überwacht"] {
            assert_eq!(decode(&encode(name)), name);
        }
    }

    #[test]
    fn long_name_is_cut_between_characters_and_ends_with_a_nul() {
        let bytes = encode(&"ü".repeat(20));
        assert_eq!(decode(&bytes), "ü".repeat(15));
        assert_eq!(bytes[NAME_LEN - 1], 0);
    }

    #[test]
    fn hostile_bytes_are_printable() {
        let mut bytes = [0xff; NAME_LEN];
        bytes[1] = 0x1b;
        assert!(!decode(&bytes).contains(char::is_control));
        assert_eq!(decode(&[b'x'; NAME_LEN]).len(), NAME_LEN);
    }
}
