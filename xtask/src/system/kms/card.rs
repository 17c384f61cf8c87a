//! The card as drm_info sees it, and the monitor on it as its EDID describes it.

use serde_json::Value;

use crate::system::app::shell;
use crate::system::failure::{Failure, expect};
use crate::vm::Vm;

/// DRM_MODE_CONNECTED
const CONNECTED: u64 = 1;
/// DRM_MODE_TYPE_PREFERRED
const PREFERRED: u64 = 1 << 3;

/// DRM_PLANE_TYPE_PRIMARY
const PRIMARY: u64 = 1;

/// A mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Such as `1280x800`.
    pub name: String,
    /// Pixels of a line and lines, those that are seen.
    pub size: (u64, u64),
    /// kHz
    pub clock: u64,
}

/// A KMS device with one connector, to which a monitor is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Name of its driver.
    pub driver: String,
    /// Id of the connector.
    pub connector: u64,
    /// Id of the CRTC that drives it.
    pub crtc: u64,
    /// The mode that the monitor prefers.
    pub preferred: Mode,
    /// How many modes there are.
    pub modes: usize,
    /// Width and height of the picture, in millimetres.
    pub millimetres: (u64, u64),
    /// Id of the plane of the picture. Clients of atomic commits, as drm_info is one, do not see that of the cursor.
    pub plane: u64,
    /// Formats of the picture, such as `XR24`.
    pub formats: Vec<String>,
    /// Side lengths of the cursor's picture, in pixels.
    pub cursor_size: (u64, u64),
}

impl Card {
    /// Asks drm_info in the guest.
    pub fn find(vm: &Vm) -> Result<Self, Failure> {
        let said = shell(vm, "drm_info -j /dev/dri/card0")?;
        let json: Value = serde_json::from_str(&said).map_err(|error| {
            Failure::Wrong(format!("drm_info writes no JSON ({error}): {said}"))
        })?;
        Self::parse(&json["/dev/dri/card0"])
            .ok_or_else(|| Failure::Wrong(format!("drm_info sees no usable card: {json:#}")))
    }

    fn parse(json: &Value) -> Option<Self> {
        let [connector] = json["connectors"].as_array()?.as_slice() else {
            return None;
        };
        let [crtc] = json["crtcs"].as_array()?.as_slice() else {
            return None;
        };
        if connector["status"].as_u64()? != CONNECTED {
            return None;
        }
        let modes = connector["modes"].as_array()?;
        let preferred = modes
            .iter()
            .find(|mode| mode["type"].as_u64().unwrap_or(0) & PREFERRED != 0)?;
        let plane = json["planes"]
            .as_array()?
            .iter()
            .find(|plane| plane["properties"]["type"]["value"] == PRIMARY)?;
        let formats = plane["formats"].as_array()?.iter();
        let number = |value: &Value| value.as_u64();
        let pair = |value: &Value, first: &str, second: &str| {
            Some((number(&value[first])?, number(&value[second])?))
        };
        Some(Self {
            driver: json["driver"]["name"].as_str()?.to_owned(),
            connector: number(&connector["id"])?,
            crtc: number(&crtc["id"])?,
            preferred: Mode {
                name: preferred["name"].as_str()?.to_owned(),
                size: pair(preferred, "hdisplay", "vdisplay")?,
                clock: number(&preferred["clock"])?,
            },
            modes: modes.len(),
            millimetres: pair(connector, "phy_width", "phy_height")?,
            plane: number(&plane["id"])?,
            formats: formats.filter_map(fourcc).collect(),
            cursor_size: pair(&json["driver"]["caps"], "CURSOR_WIDTH", "CURSOR_HEIGHT")?,
        })
    }
}

/// The four letters of a DRM format.
fn fourcc(format: &Value) -> Option<String> {
    let code = u32::try_from(format.as_u64()?).ok()?;
    String::from_utf8(code.to_le_bytes().to_vec()).ok()
}

/// What the first block of an EDID says, VESA E-EDID 1.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edid {
    /// Name of the monitor.
    pub name: String,
    /// Width and height of the picture, in centimetres.
    pub centimetres: (u64, u64),
    /// Pixels of a line and lines of the first detailed timing.
    pub size: (u64, u64),
}

impl Edid {
    /// Reads the one that the guest's kernel has for its connector.
    pub fn of_guest(vm: &Vm) -> Result<Self, Failure> {
        let script = "od -An -v -tu1 -w128 /sys/class/drm/card0-Virtual-1/edid";
        let said = shell(vm, script)?;
        let bytes: Vec<u8> = said
            .split_whitespace()
            .filter_map(|byte| byte.parse().ok())
            .collect();
        Self::parse(&bytes)
            .ok_or_else(|| Failure::Wrong(format!("the guest has no good EDID: {said}")))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let block: &[u8; 128] = bytes.first_chunk()?;
        let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if sum != 0 {
            return None;
        }
        let wide =
            |low: usize, high: usize| u64::from(block[low]) | u64::from(block[high] >> 4) << 8;
        // The descriptor of tag 0xfc, section 3.10.3.4.
        let name = block[54..126]
            .chunks(18)
            .find(|descriptor| descriptor.starts_with(&[0, 0, 0, 0xfc]))?;
        let name = String::from_utf8_lossy(&name[5..]);
        Some(Self {
            name: name.lines().next()?.trim_end().to_owned(),
            centimetres: (block[21].into(), block[22].into()),
            size: (wide(56, 58), wide(59, 61)),
        })
    }
}

/// Fails unless the kernel made of a monitor's EDID what it says.
pub fn agree(card: &Card, edid: &Edid) -> Result<(), Failure> {
    let (width, height) = edid.centimetres;
    expect(
        card.millimetres == (width * 10, height * 10) && card.preferred.size == edid.size,
        || format!("the kernel has {card:?}, and its EDID says {edid:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn card() -> Value {
        json!({
            "driver": {"name": "virtio_gpu", "caps": {"CURSOR_WIDTH": 64, "CURSOR_HEIGHT": 64}},
            "connectors": [{"id": 37, "status": 1, "phy_width": 330, "phy_height": 210, "modes": [
                {"name": "640x480", "hdisplay": 640, "vdisplay": 480, "clock": 25175, "type": 64},
                {"name": "1280x800", "hdisplay": 1280, "vdisplay": 800, "clock": 71000, "type": 72},
            ]}],
            "crtcs": [{"id": 36}],
            "planes": [
                {"id": 31, "formats": [], "properties": {"type": {"value": 0}}},
                {"id": 32, "formats": [0x3432_5258], "properties": {"type": {"value": 1}}},
            ],
        })
    }

    fn edid() -> Vec<u8> {
        let mut block = vec![0; 128];
        (block[21], block[22]) = (33, 21);
        block[54..62].copy_from_slice(&[0xbc, 0x1b, 0x00, 0xa0, 0x50, 0x20, 0x17, 0x30]);
        block[72..84].copy_from_slice(b"\0\0\0\xfc\0coherd\n");
        let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        block[127] = 0u8.wrapping_sub(sum);
        block
    }

    #[test]
    fn card_has_the_preferred_mode_and_the_formats_of_its_picture() {
        let found = Card::parse(&card()).unwrap();
        assert_eq!(found.preferred.name, "1280x800");
        assert_eq!((found.modes, found.connector, found.crtc), (2, 37, 36));
        assert_eq!((found.plane, found.formats), (32, vec!["XR24".to_owned()]));
    }

    #[test]
    fn card_without_a_monitor_is_none() {
        let mut unplugged = card();
        unplugged["connectors"][0]["status"] = 2.into();
        assert_eq!(Card::parse(&unplugged), None);
    }

    #[test]
    fn edid_is_compared_with_what_the_kernel_has() {
        let card = Card::parse(&card()).unwrap();
        let mut monitor = Edid::parse(&edid()).unwrap();
        assert_eq!(monitor.name, "coherd");
        agree(&card, &monitor).unwrap();
        monitor.size.1 += 1;
        assert!(agree(&card, &monitor).is_err());
    }

    #[test]
    fn edid_with_a_wrong_checksum_is_none() {
        let mut block = edid();
        block[21] += 1;
        assert_eq!(Edid::parse(&block), None);
    }
}
