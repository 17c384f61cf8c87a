//! What a guest can submit.

/// Words of an operation.
const WORDS: usize = 4;

/// Two words of [`Operation::Hold`], which hostile tests that change bits of other operations must not come upon: it
/// keeps the device from all work.
const HOLD: [u32; 2] = [0x686f_6c64, 0x6c6f_6e67];

/// Something for "the GPU" to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes `byte` to the whole blob.
    Fill {
        /// The blob.
        resource_id: u32,
        /// What is written.
        byte: u8,
    },
    /// Copies the whole of one blob to the start of another.
    Copy {
        /// The source.
        from: u32,
        /// The destination.
        to: u32,
    },
    /// Waits for [`super::Host::release`].
    Hold,
    /// Fails, so that the context is lost.
    Fail,
    /// Names the fence that the command asks for; see [`super::Host::is_signalled`].
    Label(u32),
}

impl Operation {
    /// The operation as it is submitted.
    pub fn to_bytes(self) -> Vec<u8> {
        let words: [u32; WORDS] = match self {
            Self::Fill { resource_id, byte } => [1, resource_id, byte.into(), 0],
            Self::Copy { from, to } => [2, from, to, 0],
            Self::Hold => [HOLD[0], HOLD[1], 0, 0],
            Self::Fail => [4, 0, 0, 0],
            Self::Label(label) => [5, label, 0, 0],
        };
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Every operation in `bytes`; `None` if one is malformed.
    pub(super) fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let operations = bytes.chunks_exact(4 * WORDS);
        if !operations.remainder().is_empty() {
            return None;
        }
        operations.map(Self::decode).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes
            .chunks_exact(4)
            .filter_map(|word| word.try_into().ok().map(u32::from_le_bytes));
        let [code, a, b] = [words.next()?, words.next()?, words.next()?];
        match code {
            1 => Some(Self::Fill {
                resource_id: a,
                byte: u8::try_from(b).ok()?,
            }),
            2 => Some(Self::Copy { from: a, to: b }),
            4 => Some(Self::Fail),
            5 => Some(Self::Label(a)),
            _ if [code, a] == HOLD => Some(Self::Hold),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_changed_word_of_another_operation_holds() {
        let others = [
            Operation::Fill {
                resource_id: HOLD[1],
                byte: 7,
            },
            Operation::Copy { from: 1, to: 2 },
            Operation::Fail,
            Operation::Label(3),
        ];
        assert_eq!(
            Operation::decode_all(&Operation::Hold.to_bytes()),
            Some(vec![Operation::Hold])
        );
        for bytes in others.map(Operation::to_bytes) {
            for bit in 0..8 * bytes.len() {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let decoded = Operation::decode_all(&changed).unwrap_or_default();
                assert!(!decoded.contains(&Operation::Hold));
            }
        }
    }
}
