//! The memory of an object, a resource once a blob was made of it.

use std::collections::HashSet;
use std::os::fd::OwnedFd;

use coherd_protocol::blob_context::Status;
use coherd_protocol::blob_context::capset::{MemoryType, TypeFlags};
use coherd_protocol::blob_context::command::{self, SyncFlags};
use coherd_protocol::blob_context::reply::{self, MemoryFlags};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use zerocopy::FromZeros;

use super::ATOM;

#[derive(Debug)]
pub struct Resource {
    /// What mappings show.
    pub file: OwnedFd,
    /// What the GPU works on, if that is something else.
    gpu: Option<Vec<u8>>,
    pub size: u64,
    /// `None` for guest memory.
    kind: Option<(u32, MemoryType)>,
    /// Whether it can be copied as bytes.
    pub linear: bool,
    pub contexts: HashSet<u32>,
    pub open: Vec<(u32, command::Sync)>,
}

impl Resource {
    pub fn new(size: u64, kind: Option<(u32, MemoryType)>) -> Self {
        let file = memfd_create("fake", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, size).unwrap();
        let mut resource = Self {
            file,
            gpu: None,
            size,
            kind,
            linear: true,
            contexts: HashSet::new(),
            open: Vec::new(),
        };
        if resource.flags().contains(TypeFlags::NEEDS_SYNC) {
            resource.gpu = Some(vec![0; size as usize]);
        }
        resource
    }

    pub fn is_guest(&self) -> bool {
        self.kind.is_none()
    }

    pub fn is_mappable(&self) -> bool {
        self.is_guest() || self.flags().contains(TypeFlags::MAPPABLE)
    }

    fn flags(&self) -> TypeFlags {
        let kind = self.kind.as_ref();
        kind.map_or(TypeFlags::empty(), |(_, kind)| {
            TypeFlags::from_bits_retain(kind.flags.get())
        })
    }

    /// Whether a range is inside.
    pub fn has(&self, offset: u64, size: u64) -> bool {
        offset.checked_add(size).is_some_and(|end| end <= self.size)
    }

    pub fn gpu_read(&self, offset: u64, size: u64) -> Vec<u8> {
        match &self.gpu {
            Some(gpu) => gpu[offset as usize..(offset + size) as usize].to_vec(),
            None => self.cpu_read(offset, size),
        }
    }

    pub fn gpu_write(&mut self, offset: u64, bytes: &[u8]) {
        match &mut self.gpu {
            Some(gpu) => gpu[offset as usize..][..bytes.len()].copy_from_slice(bytes),
            None => self.cpu_write(offset, bytes),
        }
    }

    pub fn cpu_read(&self, offset: u64, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; size as usize];
        assert_eq!(pread(&self.file, &mut bytes, offset).unwrap(), bytes.len());
        bytes
    }

    pub fn cpu_write(&self, offset: u64, bytes: &[u8]) {
        assert_eq!(pwrite(&self.file, bytes, offset).unwrap(), bytes.len());
    }

    pub fn sync(&mut self, context: u32, sync: &command::Sync) -> Result<(), Status> {
        let flags = SyncFlags::from_bits(sync.flags.get()).ok_or(Status::Invalid)?;
        let access = flags.difference(SyncFlags::END);
        let offset = sync.offset.get();
        let size = match sync.size.get() {
            0 => self.size.saturating_sub(offset),
            size => size,
        };
        if access.is_empty() || !self.has(offset, size) {
            return Err(Status::Invalid);
        }
        let mut start = *sync;
        start.flags = access.bits().into();
        let start = (context, start);
        let whole = offset / ATOM * ATOM..(offset + size).next_multiple_of(ATOM).min(self.size);
        if flags.contains(SyncFlags::END) {
            let place = self.open.iter().position(|open| *open == start);
            self.open.swap_remove(place.ok_or(Status::NotOpen)?);
            if self.gpu.is_some() && access.contains(SyncFlags::WRITE) {
                let bytes = self.cpu_read(whole.start, whole.end - whole.start);
                self.gpu_write(whole.start, &bytes);
            }
        } else {
            self.open.push(start);
            if self.gpu.is_some() && access.contains(SyncFlags::READ) {
                let bytes = self.gpu_read(whole.start, whole.end - whole.start);
                self.cpu_write(whole.start, &bytes);
            }
        }
        Ok(())
    }

    pub fn memory(&self) -> reply::Memory {
        let Some((index, kind)) = &self.kind else {
            return reply::Memory::new_zeroed();
        };
        let flags = MemoryFlags::from_bits_retain(self.flags().bits()) | MemoryFlags::AGREED;
        reply::Memory {
            size: self.size.into(),
            type_index: (*index).into(),
            properties: kind.properties,
            flags: flags.bits().into(),
            map_info: kind.map_info,
            fd_map_info: 0.into(),
            effective_map_info: 0.into(),
            backing: 2.into(),
            padding: 0.into(),
        }
    }
}
