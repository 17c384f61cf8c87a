//! Messages, right and wrong.

use std::os::fd::OwnedFd;

use arbitrary::{Result, Unstructured};
use coherd::vhost_user::features;
use coherd_protocol::gpu::Features;
use vhost::vhost_user::message::{
    FrontendReq as Code, VhostUserHeaderFlag as Flag, VhostUserProtocolFeatures as Protocol,
};

use super::files::Files;
use super::vmm::{RAM, USER_ADDR};
use crate::vmm::PAGE;

/// The version in a header's flags.
const VERSION: u32 = 1;
/// One more than the last code there is.
const CODES: u32 = Code::GET_SHMEM_CONFIG as u32 + 1;
/// Bytes of a dirty log for all of guest RAM.
const LOG: u64 = RAM.div_ceil(8 * PAGE);
/// In the payload of a message about a ring's event: there is no file.
const NO_FD: u64 = 1 << 8;

/// A message with the files that go along.
#[derive(Debug)]
pub struct Message {
    /// Header and payload.
    pub bytes: Vec<u8>,
    /// On the first byte.
    pub fds: Vec<OwnedFd>,
}

impl Message {
    /// A message of version 1.
    pub fn new(code: Code, payload: &[u8], fds: Vec<OwnedFd>) -> Self {
        Self::with_flags(code.into(), VERSION, payload, fds)
    }

    fn with_flags(code: u32, flags: u32, payload: &[u8], fds: Vec<OwnedFd>) -> Self {
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = [code, flags, size].map(u32::to_ne_bytes).concat();
        Self {
            bytes: [&header, payload].concat(),
            fds,
        }
    }

    /// Draws a message.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input ends.
    pub fn draw(u: &mut Unstructured<'_>, files: &mut Files) -> Result<Self> {
        let code = if rarely(u)? {
            u.arbitrary()?
        } else {
            u.int_in_range(0..=CODES)?
        };
        let known = Code::try_from(code).ok();
        let payload = payload(u, known)?;
        let mut fds = Vec::new();
        for _ in 0..fd_count(u, known, &payload)? {
            let fitting = match known {
                Some(Code::SET_MEM_TABLE | Code::ADD_MEM_REG) if u.int_in_range(0..=3u8)? != 3 => {
                    files.ram()
                }
                Some(Code::SET_VRING_KICK | Code::SET_VRING_CALL | Code::SET_VRING_ERR)
                    if !rarely(u)? =>
                {
                    files.kick()
                }
                Some(Code::SET_BACKEND_REQ_FD) if !rarely(u)? => files.channel(u)?,
                _ => files.draw(u)?,
            };
            fds.push(fitting);
        }
        let flags = match u.int_in_range(0..=7u8)? {
            0..=3 => VERSION,
            7 => u.arbitrary()?,
            _ => VERSION | Flag::NEED_REPLY.bits(),
        };
        let mut message = Self::with_flags(code, flags, &payload, fds);
        if rarely(u)? {
            let index = u.choose_index(message.bytes.len())?;
            if let Some(byte) = message.bytes.get_mut(index) {
                *byte = u.arbitrary()?;
            }
        }
        Ok(message)
    }
}

/// A region of guest RAM, at its place.
pub fn region() -> Vec<u8> {
    [0, RAM, USER_ADDR, 0].map(u64::to_ne_bytes).concat()
}

/// Two words, as SET_VRING_NUM and others carry them.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn payload(u: &mut Unstructured<'_>, code: Option<Code>) -> Result<Vec<u8>> {
    if rarely(u)? {
        return Ok(u.bytes(u.len().min(64))?.to_vec());
    }
    let Some(code) = code else {
        return Ok(Vec::new());
    };
    let word = |u: &mut Unstructured<'_>| number(u, 1);
    Ok(match code {
        Code::SET_FEATURES => feature_bits(u)?.to_ne_bytes().to_vec(),
        Code::SET_PROTOCOL_FEATURES => protocol_bits(u)?.to_ne_bytes().to_vec(),
        Code::SET_MEM_TABLE => {
            let count = u.int_in_range(0..=9u32)?;
            let mut bytes = words(&[mostly(u, count)?, 0]);
            for _ in 0..count {
                bytes.extend(any_region(u)?);
            }
            bytes
        }
        Code::ADD_MEM_REG | Code::REM_MEM_REG => [vec![0; 8], any_region(u)?].concat(),
        Code::SET_VRING_NUM
        | Code::SET_VRING_BASE
        | Code::GET_VRING_BASE
        | Code::SET_VRING_ENABLE => {
            let value = *u.choose(&[0, 1, 2, 16, 256, 1024, 65535, 65536])?;
            words(&[word(u)?, mostly(u, value)?])
        }
        Code::SET_VRING_ADDR => {
            let mut bytes = words(&[word(u)?, number(u, 1)?]);
            for _ in 0..4 {
                let offset = 16 * u64::from(number(u, 4096)?);
                let address = if rarely(u)? {
                    u.arbitrary()?
                } else {
                    USER_ADDR + offset
                };
                bytes.extend(address.to_ne_bytes());
            }
            bytes
        }
        Code::SET_VRING_KICK | Code::SET_VRING_CALL | Code::SET_VRING_ERR => {
            let none = if u.int_in_range(0..=3u8)? == 3 {
                NO_FD
            } else {
                0
            };
            (u64::from(word(u)?) | none).to_ne_bytes().to_vec()
        }
        Code::GET_CONFIG | Code::SET_CONFIG => {
            let size = number(u, 24)?;
            let mut bytes = words(&[number(u, 24)?, size, number(u, 1)?]);
            bytes.resize(bytes.len() + size.min(512) as usize, 0x5a);
            bytes
        }
        Code::GET_INFLIGHT_FD | Code::SET_INFLIGHT_FD => vec![u.arbitrary()?; 24],
        Code::GET_SHARED_OBJECT => vec![u.arbitrary()?; 16],
        Code::SET_DEVICE_STATE_FD => words(&[number(u, 1)?, number(u, 1)?]),
        Code::SET_LOG_BASE => {
            let size = *u.choose(&[LOG, 0, LOG - 1, PAGE, u64::MAX])?;
            let offset = *u.choose(&[0, PAGE, 1, u64::MAX])?;
            [size, offset].map(u64::to_ne_bytes).concat()
        }
        Code::SET_STATUS => u.arbitrary::<u64>()?.to_ne_bytes().to_vec(),
        _ => Vec::new(),
    })
}

fn any_region(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if u.int_in_range(0..=3u8)? == 0 {
        return Ok(region());
    }
    let mut numbers = [0; 4];
    for number in &mut numbers {
        *number = if rarely(u)? {
            u.arbitrary()?
        } else {
            PAGE * u.int_in_range(0..=RAM / PAGE)?
        };
    }
    if let Some(user_addr) = numbers.get_mut(2)
        && !rarely(u)?
    {
        *user_addr = user_addr.wrapping_add(USER_ADDR);
    }
    Ok(numbers.map(u64::to_ne_bytes).concat())
}

fn fd_count(u: &mut Unstructured<'_>, code: Option<Code>, payload: &[u8]) -> Result<usize> {
    let fitting = match code {
        Some(Code::SET_MEM_TABLE) => payload.len().saturating_sub(8) / 32,
        Some(Code::SET_VRING_KICK | Code::SET_VRING_CALL | Code::SET_VRING_ERR) => {
            usize::from(payload.get(1) != Some(&1))
        }
        Some(
            Code::SET_LOG_BASE
            | Code::SET_LOG_FD
            | Code::SET_BACKEND_REQ_FD
            | Code::SET_INFLIGHT_FD
            | Code::GPU_SET_SOCKET
            | Code::ADD_MEM_REG
            | Code::SET_DEVICE_STATE_FD,
        ) => 1,
        _ => 0,
    };
    if rarely(u)? {
        return u.int_in_range(0..=8);
    }
    Ok(fitting.min(8))
}

fn feature_bits(u: &mut Unstructured<'_>) -> Result<u64> {
    let offered = features::virtio(Features::all()) | features::LOG_ALL;
    match u.int_in_range(0..=3u8)? {
        0 => Ok(offered & u.arbitrary::<u64>()?),
        3 if rarely(u)? => u.arbitrary(),
        _ => Ok(offered),
    }
}

fn protocol_bits(u: &mut Unstructured<'_>) -> Result<u64> {
    let offered = (features::protocol(true, false, true) | Protocol::REPLY_ACK).bits();
    match u.int_in_range(0..=3u8)? {
        0 => Ok(offered & u.arbitrary::<u64>()?),
        // crosvm never takes BACKEND_SEND_FD.
        1 => Ok(offered & !Protocol::BACKEND_SEND_FD.bits()),
        3 if rarely(u)? => u.arbitrary(),
        _ => Ok(offered),
    }
}

fn number(u: &mut Unstructured<'_>, most: u32) -> Result<u32> {
    if rarely(u)? {
        return u.arbitrary();
    }
    u.int_in_range(0..=most)
}

fn mostly(u: &mut Unstructured<'_>, value: u32) -> Result<u32> {
    if rarely(u)? { u.arbitrary() } else { Ok(value) }
}

fn rarely(u: &mut Unstructured<'_>) -> Result<bool> {
    Ok(u.int_in_range(0..=23u8)? == 23)
}
