//! One descriptor chain: the request is copied out of guest memory once, the response is written
//! to the writable part.

use coherd_protocol::gpu::limits::MAX_REQUEST_LEN;
use coherd_protocol::gpu::{GpuError, Header, Response};
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};

use crate::heap;
use crate::memory::GuestMemory;

/// Buffers that serve one chain after the other.
#[derive(Debug, Default)]
pub struct Exchange {
    request: Vec<u8>,
    response: Vec<u8>,
    writable: Vec<(GuestAddress, usize)>,
}

impl Exchange {
    /// Takes the request and the writable ranges of `chain`.
    ///
    /// # Errors
    /// [`GpuError::TooLong`], or [`GpuError::BadField`] for a descriptor outside guest memory. A
    /// response can be written in both cases.
    pub fn begin(
        &mut self,
        chain: DescriptorChain<GuestMemory>,
        memory: &GuestMemory,
    ) -> Result<(), GpuError> {
        self.request.clear();
        heap::trim(&mut self.request);
        self.writable.clear();
        let mut result = Ok(());
        for descriptor in chain {
            let len = usize::try_from(descriptor.len()).unwrap_or(usize::MAX);
            if descriptor.is_write_only() {
                self.writable.push((descriptor.addr(), len));
            } else if result.is_ok() {
                result = self.append(descriptor, len, memory);
            }
        }
        result
    }

    fn append(
        &mut self,
        descriptor: Descriptor,
        len: usize,
        memory: &GuestMemory,
    ) -> Result<(), GpuError> {
        let start = self.request.len();
        let end = start.saturating_add(len);
        if end > MAX_REQUEST_LEN {
            return Err(GpuError::TooLong(end));
        }
        self.request.resize(end, 0);
        let room = self.request.get_mut(start..).unwrap_or_default();
        memory
            .read_slice(room, descriptor.addr())
            .map_err(|_| GpuError::BadField("address of a descriptor"))
    }

    /// The request.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Writes `response` and returns the number of bytes written: all of it, or the header alone
    /// where there is less room, or nothing where there is no room for that. Linux gives the
    /// cursor queue no room at all.
    pub fn respond(&mut self, response: &Response, memory: &GuestMemory) -> u32 {
        let header = match coherd_protocol::gpu::Command::header(&self.request) {
            Ok(header) => *header,
            Err(_) => Header::default(),
        };
        response.encode(&header, &mut self.response);
        let room = self
            .writable
            .iter()
            .fold(0usize, |sum, (_, len)| sum.saturating_add(*len));
        let len = match room {
            room if room >= self.response.len() => self.response.len(),
            room if room >= Header::LEN => Header::LEN,
            _ => 0,
        };
        let mut rest = self.response.get(..len).unwrap_or_default();
        for (address, room) in &self.writable {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*room));
            if memory.write_slice(now, *address).is_err() {
                return 0;
            }
            rest = later;
        }
        u32::try_from(len).unwrap_or(0)
    }
}
