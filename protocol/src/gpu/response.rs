//! Encoding of responses, VIRTIO 1.4 section 5.7.6.7.

use zerocopy::{FromBytes, IntoBytes};

use super::error::ErrorCode;
use super::header::Header;
use super::limits::{EDID_LEN, MAX_SCANOUTS};
use super::wire::{CapsetInfo, DisplayOne, EdidHead, MapInfoBody};

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// OK_NODATA
    OkNoData,
    /// OK_DISPLAY_INFO: the scanouts, in order; the rest up to 16 are disabled.
    DisplayInfo(Vec<DisplayOne>),
    /// OK_CAPSET_INFO
    CapsetInfo(CapsetInfo),
    /// OK_CAPSET
    Capset(Vec<u8>),
    /// OK_EDID: the blocks, at most 1024 bytes; none where there is no display.
    Edid(Vec<u8>),
    /// OK_RESOURCE_UUID
    Uuid([u8; 16]),
    /// OK_MAP_INFO: 1 cached, 2 uncached, 3 write-combining, and no other bit, because Linux
    /// compares the whole word.
    MapInfo(u32),
    /// One of the error codes.
    Error(ErrorCode),
}

impl Response {
    /// The code in the header.
    pub fn kind(&self) -> u32 {
        match self {
            Self::OkNoData => 0x1100,
            Self::DisplayInfo(_) => 0x1101,
            Self::CapsetInfo(_) => 0x1102,
            Self::Capset(_) => 0x1103,
            Self::Edid(_) => 0x1104,
            Self::Uuid(_) => 0x1105,
            Self::MapInfo(_) => 0x1106,
            Self::Error(code) => *code as u32,
        }
    }

    /// Replaces the contents of `out` by the answer to `request`.
    pub fn encode(&self, request: &Header, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(request.response(self.kind()).as_bytes());
        match self {
            Self::OkNoData | Self::Error(_) => {}
            Self::DisplayInfo(scanouts) => {
                let all = usize::try_from(MAX_SCANOUTS).unwrap_or(0);
                for scanout in scanouts.iter().take(all) {
                    out.extend_from_slice(scanout.as_bytes());
                }
                out.resize(Header::LEN + all * size_of::<DisplayOne>(), 0);
            }
            Self::CapsetInfo(info) => out.extend_from_slice(info.as_bytes()),
            Self::Capset(bytes) => out.extend_from_slice(bytes),
            Self::Edid(blocks) => {
                let len = blocks.len().min(EDID_LEN);
                let size = u32::try_from(len).unwrap_or(0).into();
                out.extend_from_slice(
                    EdidHead {
                        size,
                        padding: 0.into(),
                    }
                    .as_bytes(),
                );
                out.extend_from_slice(blocks.get(..len).unwrap_or_default());
                out.resize(Header::LEN + size_of::<EdidHead>() + EDID_LEN, 0);
            }
            Self::Uuid(uuid) => out.extend_from_slice(uuid),
            Self::MapInfo(map_info) => {
                let body = MapInfoBody {
                    map_info: (*map_info).into(),
                    padding: 0.into(),
                };
                out.extend_from_slice(body.as_bytes());
            }
        }
    }
}

impl Response {
    /// Decodes what [`Response::encode`] wrote; `None` for what it cannot have written.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, body) = Header::ref_from_prefix(bytes).ok()?;
        let kind = header.kind.get();
        Some(match kind {
            0x1100 if body.is_empty() => Self::OkNoData,
            0x1101 => {
                let scanouts = <[DisplayOne]>::ref_from_bytes(body).ok()?;
                let all = usize::try_from(MAX_SCANOUTS).unwrap_or(0);
                (scanouts.len() == all).then(|| Self::DisplayInfo(scanouts.to_vec()))?
            }
            0x1102 => Self::CapsetInfo(CapsetInfo::read_from_bytes(body).ok()?),
            0x1103 => Self::Capset(body.to_vec()),
            0x1104 => {
                let (head, blocks) = EdidHead::ref_from_prefix(body).ok()?;
                let len = usize::try_from(head.size.get()).ok()?;
                let blocks = (blocks.len() == EDID_LEN).then(|| blocks.get(..len))??;
                Self::Edid(blocks.to_vec())
            }
            0x1105 => Self::Uuid(body.try_into().ok()?),
            0x1106 => Self::MapInfo(MapInfoBody::read_from_bytes(body).ok()?.map_info.get()),
            code if body.is_empty() => Self::Error(ErrorCode::from_wire(code)?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn encoded(response: &Response) -> Vec<u8> {
        let mut out = vec![0xaa; 7];
        response.encode(&Header::default(), &mut out);
        out
    }

    #[test]
    fn sizes_are_those_of_the_linux_header() {
        assert_eq!(encoded(&Response::OkNoData).len(), 24);
        assert_eq!(encoded(&Response::DisplayInfo(vec![])).len(), 408);
        assert_eq!(encoded(&Response::Edid(vec![1; 128])).len(), 1056);
        assert_eq!(encoded(&Response::Uuid([0; 16])).len(), 40);
        assert_eq!(encoded(&Response::MapInfo(1)).len(), 32);
        assert_eq!(encoded(&Response::Error(ErrorCode::Unspec)).len(), 24);
        assert_eq!(encoded(&Response::Capset(vec![0; 160])).len(), 184);
    }

    #[test]
    fn what_was_encoded_decodes_to_the_same_and_a_byte_less_to_nothing() {
        let display = DisplayOne::new_zeroed();
        for response in [
            Response::OkNoData,
            Response::DisplayInfo(vec![display; 16]),
            Response::CapsetInfo(CapsetInfo::new_zeroed()),
            Response::Edid(vec![7; 128]),
            Response::Uuid([3; 16]),
            Response::MapInfo(3),
            Response::Error(ErrorCode::OutOfMemory),
        ] {
            let bytes = encoded(&response);
            assert_eq!(Response::decode(&bytes), Some(response.clone()));
            assert_eq!(Response::decode(&bytes[..bytes.len() - 1]), None);
        }
        let capset = Response::Capset(vec![1; 160]);
        assert_eq!(Response::decode(&encoded(&capset)), Some(capset));
    }

    #[test]
    fn edid_longer_than_the_field_is_cut() {
        assert_eq!(encoded(&Response::Edid(vec![1; 5000])).len(), 1056);
    }
}
