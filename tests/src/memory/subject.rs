//! A piece of memory and the file that shares it.

use std::os::fd::{AsFd, OwnedFd};

use coherd_blob::backing::ExportKind;
use coherd_blob::exporter::{Allocated, fd_caching};
use coherd_blob::{Access, Backing, Exporter, MapInfo, MemoryProperties, MemoryType};
use coherd_vulkan::Device;
use coherd_vulkan::memory::{
    Allocation, AllocationRequest, ExportNeed, ImportRequest, MemoryTypeInfo,
};

use super::{Door, MemoryError};

/// See the module's description.
#[derive(Debug)]
pub struct Subject {
    allocation: Allocation,
    backing: Option<Backing>,
    imported: bool,
}

impl Subject {
    /// Memory of one of the device's types, shared as its driver can.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn allocate(
        device: &Device,
        info: &MemoryTypeInfo,
        size: u64,
    ) -> Result<Self, MemoryError> {
        let export = match info.export {
            Some(_) => ExportNeed::Mappable,
            None => ExportNeed::None,
        };
        let allocation = device.allocate(&AllocationRequest {
            name: "subject",
            size,
            required: info.properties,
            export,
            ..AllocationRequest::default()
        })?;
        let visible = info.properties.contains(MemoryProperties::HOST_VISIBLE);
        let backing = match export {
            ExportNeed::Mappable if visible => {
                let exported = allocation.export()?;
                Some(Backing::new(exported.fd, exported.kind, size)?)
            }
            _ => None,
        };
        Ok(Self {
            allocation,
            backing,
            imported: false,
        })
    }

    /// Memory of others, which the device imports as dma-buf.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn import(device: &Device, fd: OwnedFd, size: u64) -> Result<Self, MemoryError> {
        let again = fd.try_clone().map_err(|error| {
            let errno = rustix::io::Errno::from_io_error(&error);
            MemoryError::Map(errno.unwrap_or(rustix::io::Errno::BADF))
        })?;
        let request = ImportRequest {
            name: "subject",
            size,
            required: MemoryProperties::HOST_VISIBLE,
            ..ImportRequest::default()
        };
        Ok(Self {
            allocation: device.import_dma_buf(again, &request)?,
            backing: Some(Backing::new(fd, ExportKind::DmaBuf, size)?),
            imported: true,
        })
    }

    /// The memory.
    #[must_use]
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// The file that shares it.
    #[must_use]
    pub fn backing(&self) -> Option<&Backing> {
        self.backing.as_ref()
    }

    /// Who exports that file.
    #[must_use]
    pub fn exporter(&self) -> Option<&Exporter> {
        self.backing.as_ref().map(Backing::exporter)
    }

    /// Its type; `None` if the CPU cannot map it.
    #[must_use]
    pub fn memory_type(&self) -> Option<MemoryType> {
        MemoryType::from_properties(self.allocation.properties())
    }

    /// How mappings of the file are cached, as far as anybody can tell.
    #[must_use]
    pub fn file_caching(&self) -> Option<MapInfo> {
        let allocated = (!self.imported).then(|| Allocated {
            properties: self.allocation.properties(),
            integrated: None,
        });
        fd_caching(self.exporter()?, allocated)
    }

    /// What a guest may be told: the type of memory that was allocated, and of any other the way in
    /// which its file is mapped, if that is known.
    #[must_use]
    pub fn map_info(&self) -> Option<MapInfo> {
        if self.imported {
            return self.file_caching();
        }
        self.memory_type().map(|memory_type| memory_type.caching)
    }

    /// The doors there are to it.
    #[must_use]
    pub fn doors(&self) -> Vec<Door> {
        let mut doors = Vec::new();
        if self.memory_type().is_some() {
            doors.push(Door::Mapping);
        }
        if self.backing.is_some() {
            doors.push(Door::File);
        }
        doors
    }

    /// Whether accesses through a door need brackets.
    #[must_use]
    pub fn needs_brackets(&self, door: Door) -> bool {
        let Some(memory_type) = self.memory_type() else {
            return false;
        };
        match door {
            Door::Mapping => memory_type.needs_brackets(),
            Door::File => memory_type.needs_brackets_through(self.file_caching()),
        }
    }

    /// What begins an access through a door.
    pub(super) fn start(&self, door: Door, access: Access) -> Result<(), MemoryError> {
        if let Some(file) = self.dma_buf(door) {
            super::door::sync(file, access, false)?;
        }
        if access.contains(Access::READ) && !self.is_coherent() {
            self.allocation.invalidate(0..self.allocation.size())?;
        }
        Ok(())
    }

    /// What ends it.
    pub(super) fn end(&self, door: Door, access: Access) -> Result<(), MemoryError> {
        if access.contains(Access::WRITE) && !self.is_coherent() {
            self.allocation.flush(0..self.allocation.size())?;
        }
        if let Some(file) = self.dma_buf(door) {
            super::door::sync(file, access, true)?;
        }
        Ok(())
    }

    fn is_coherent(&self) -> bool {
        self.memory_type()
            .is_none_or(|memory_type| memory_type.coherent)
    }

    fn dma_buf(&self, door: Door) -> Option<impl AsFd> {
        self.backing
            .as_ref()
            .filter(|backing| door == Door::File && backing.exporter().is_dma_buf())
    }
}
