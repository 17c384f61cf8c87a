//! The VMM's memory table: which of its regions are guest RAM, and where they are.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coherd_blob::FileId;
use coherd_blob::backing::is_dma_buf;
use rustix::fs::FileType;
use rustix::io::Errno;
use thiserror::Error;
use tracing::debug;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryRegion, GuestRegionMmap};

use crate::dirty_log::{DirtyLog, RegionLog};
use crate::memory::{GuestMemory, Ram};

/// Why a memory table was refused.
#[derive(Debug, Error)]
pub enum MemoryTableError {
    /// A region's file could not be looked at.
    #[error("cannot inspect the file of the region at {gpa:#x}")]
    Inspect {
        /// Guest physical address.
        gpa: u64,
        /// The error of fstat or fstatfs.
        source: Errno,
    },
    /// A region of guest RAM could not be mapped.
    #[error("cannot map the region at {gpa:#x}")]
    Map {
        /// Guest physical address.
        gpa: u64,
        /// The error of mmap.
        source: vm_memory::mmap::MmapRegionError,
    },
    /// A region's file ends before the region does; touching what is missing would kill this
    /// process.
    #[error("file of the region at {gpa:#x} has {file} bytes, less than the region needs")]
    PastEnd {
        /// Guest physical address.
        gpa: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// Regions overlap or wrap around.
    #[error("regions of guest RAM overlap or wrap around")]
    Layout,
    /// No region matches a removal.
    #[error("no region at {0:#x} to remove")]
    Unknown(u64),
}

/// Files this process has handed to the VMM for the window.
///
/// QEMU puts every window mapping into the memory table of all its vhost-user devices, the one
/// the mapping came from included. Those regions are not guest RAM.
#[derive(Debug, Default)]
pub struct ExportedFiles(Mutex<Exported>);

#[derive(Debug, Default)]
struct Exported {
    uses: HashMap<FileId, usize>,
    /// Files whose last use ended, latest last. One may have come into use again.
    released: VecDeque<FileId>,
}

/// Released files that are remembered: a table that is on its way has no more regions.
const MAX_RELEASED: usize = 512;

impl ExportedFiles {
    /// Counts a mapping of `file`; to be called before the VMM hears of it.
    pub fn add(&self, file: FileId) {
        *self.lock().uses.entry(file).or_default() += 1;
    }

    /// Counts an unmapping of `file`. It stays known until a table comes without it, because a
    /// table that was on its way still has it; not every VMM sends one.
    pub fn release(&self, file: FileId) {
        let exported = &mut *self.lock();
        let Some(count) = exported.uses.get_mut(&file) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            exported.released.push_back(file);
        }
        if exported.released.len() > MAX_RELEASED
            && let Some(oldest) = exported.released.pop_front()
            && exported.uses.get(&oldest) == Some(&0)
            && !exported.released.contains(&oldest)
        {
            exported.uses.remove(&oldest);
        }
    }

    /// Forgets every file: the front-end that had them has hung up, and the number of a file that
    /// is gone may be that of the next one's RAM.
    pub fn clear(&self) {
        *self.lock() = Exported::default();
    }

    fn contains(&self, file: FileId) -> bool {
        self.lock().uses.contains_key(&file)
    }

    fn forget_unused(&self, in_table: impl Fn(FileId) -> bool) {
        let exported = &mut *self.lock();
        let uses = &mut exported.uses;
        uses.retain(|file, count| *count > 0 || in_table(*file));
        exported.released.retain(|file| uses.contains_key(file));
    }

    fn lock(&self) -> MutexGuard<'_, Exported> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type RamRegion = GuestRegionMmap<RegionLog>;

#[derive(Clone, Debug)]
struct Region {
    gpa: u64,
    size: u64,
    user_addr: u64,
    mmap_offset: u64,
    file: FileId,
    /// `None` for regions that are not guest RAM.
    ram: Option<Arc<RamRegion>>,
}

impl Region {
    fn is_same(&self, other: &VhostUserMemoryRegion, file: FileId) -> bool {
        self.gpa == other.guest_phys_addr
            && self.size == other.memory_size
            && self.mmap_offset == other.mmap_offset
            && self.file == file
    }
}

/// The table of one connection.
#[derive(Debug)]
pub struct MemoryTable {
    regions: Vec<Region>,
    exported: Arc<ExportedFiles>,
    /// Where writes to RAM are logged, if they ever are.
    log: Option<Arc<DirtyLog>>,
}

impl MemoryTable {
    /// An empty table.
    pub fn new(exported: Arc<ExportedFiles>, log: Option<Arc<DirtyLog>>) -> Self {
        Self {
            regions: Vec::new(),
            exported,
            log,
        }
    }

    /// Replaces the table (SET_MEM_TABLE). RAM that was in the old one stays mapped where it is.
    ///
    /// # Errors
    /// See [`MemoryTableError`]; the old table stays.
    pub fn replace(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
    ) -> Result<GuestMemory, MemoryTableError> {
        let mut table = Vec::with_capacity(regions.len());
        for (region, file) in regions.iter().zip(files) {
            table.push(self.adopt(region, file)?);
        }
        let memory = ram_of(&table)?;
        self.regions = table;
        self.exported
            .forget_unused(|file| self.regions.iter().any(|region| region.file == file));
        Ok(memory)
    }

    /// Adds one region (ADD_MEM_REG).
    ///
    /// # Errors
    /// See [`MemoryTableError`]; the table stays as it was.
    pub fn add(
        &mut self,
        region: &VhostUserMemoryRegion,
        file: File,
    ) -> Result<GuestMemory, MemoryTableError> {
        let mut table = self.regions.clone();
        table.push(self.adopt(region, file)?);
        let memory = ram_of(&table)?;
        self.regions = table;
        Ok(memory)
    }

    /// Removes one region (REM_MEM_REG).
    ///
    /// # Errors
    /// [`MemoryTableError::Unknown`] if no region has this address, size and user address.
    pub fn remove(
        &mut self,
        region: &VhostUserMemoryRegion,
    ) -> Result<GuestMemory, MemoryTableError> {
        let gpa = region.guest_phys_addr;
        let index = self
            .regions
            .iter()
            .position(|known| {
                known.gpa == gpa
                    && known.size == region.memory_size
                    && known.user_addr == region.user_addr
            })
            .ok_or(MemoryTableError::Unknown(gpa))?;
        self.regions.swap_remove(index);
        self.exported
            .forget_unused(|file| self.regions.iter().any(|region| region.file == file));
        ram_of(&self.regions)
    }

    /// The guest physical address at which RAM ends.
    pub fn end(&self) -> u64 {
        let ram = self.regions.iter().filter(|region| region.ram.is_some());
        let ends = ram.map(|region| region.gpa.saturating_add(region.size));
        ends.max().unwrap_or(0)
    }

    /// The guest physical address behind an address of the VMM in guest RAM.
    pub fn guest_address(&self, user_addr: u64) -> Option<GuestAddress> {
        self.regions
            .iter()
            .filter(|region| region.ram.is_some())
            .find_map(|region| {
                let offset = user_addr.checked_sub(region.user_addr)?;
                (offset < region.size).then(|| GuestAddress(region.gpa + offset))
            })
    }

    fn adopt(
        &self,
        region: &VhostUserMemoryRegion,
        file: File,
    ) -> Result<Region, MemoryTableError> {
        let gpa = region.guest_phys_addr;
        let inspect = |source| MemoryTableError::Inspect { gpa, source };
        let id = FileId::of(&file).map_err(inspect)?;
        let known = self.regions.iter().find(|known| known.is_same(region, id));
        let ram = match known {
            Some(known) => known.ram.clone(),
            None if self.exported.contains(id) || is_dma_buf(&file).map_err(inspect)? => {
                debug!(gpa, "region is a window mapping, not RAM");
                None
            }
            None => Some(self.map(region, file)?),
        };
        Ok(Region {
            gpa,
            size: region.memory_size,
            user_addr: region.user_addr,
            mmap_offset: region.mmap_offset,
            file: id,
            ram,
        })
    }

    fn map(
        &self,
        region: &VhostUserMemoryRegion,
        file: File,
    ) -> Result<Arc<RamRegion>, MemoryTableError> {
        let gpa = region.guest_phys_addr;
        let size = usize::try_from(region.memory_size).map_err(|_| MemoryTableError::Layout)?;
        check_end(region, &file)?;
        let log = RegionLog::new(self.log.clone(), gpa);
        let mapping = MmapRegionBuilder::new_with_bitmap(size, log)
            .with_file_offset(FileOffset::new(file, region.mmap_offset))
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_NORESERVE | libc::MAP_SHARED)
            .build()
            .map_err(|source| MemoryTableError::Map { gpa, source })?;
        GuestRegionMmap::new(mapping, GuestAddress(gpa))
            .map(Arc::new)
            .ok_or(MemoryTableError::Layout)
    }
}

/// Files without an end, such as devices, are their drivers' concern.
fn check_end(region: &VhostUserMemoryRegion, file: &File) -> Result<(), MemoryTableError> {
    let gpa = region.guest_phys_addr;
    let stat =
        rustix::fs::fstat(file).map_err(|source| MemoryTableError::Inspect { gpa, source })?;
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    let end = region.mmap_offset.checked_add(region.memory_size);
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if regular && end.is_none_or(|end| end > len) {
        return Err(MemoryTableError::PastEnd { gpa, file: len });
    }
    Ok(())
}

fn ram_of(regions: &[Region]) -> Result<GuestMemory, MemoryTableError> {
    let mut ram: Vec<_> = regions
        .iter()
        .filter_map(|region| region.ram.clone())
        .collect();
    if ram.is_empty() {
        return Ok(GuestMemory::default());
    }
    ram.sort_by_key(|region| region.start_addr());
    Ram::from_arc_regions(ram)
        .map(Arc::new)
        .map_err(|_| MemoryTableError::Layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;
    use vm_memory::{Bytes, GuestMemoryBackend};

    fn memfd(size: u64) -> File {
        let fd = rustix::fs::memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, size).unwrap();
        File::from(fd)
    }

    fn region(gpa: u64, size: u64) -> VhostUserMemoryRegion {
        VhostUserMemoryRegion::new(gpa, size, 0x7000_0000_0000 + gpa, 0)
    }

    #[test]
    fn ram_is_mapped_and_translated() {
        let mut table = MemoryTable::new(Arc::default(), None);
        let memory = table
            .replace(&[region(0x1000, 0x2000)], vec![memfd(0x2000)])
            .unwrap();
        assert!(memory.check_range(GuestAddress(0x1000), 0x2000));
        assert_eq!(
            table.guest_address(0x7000_0000_1010),
            Some(GuestAddress(0x1010))
        );
        assert_eq!(table.guest_address(0x7000_0000_3000), None);
    }

    #[test]
    fn region_past_the_end_of_its_file_is_refused() {
        let mut table = MemoryTable::new(Arc::default(), None);
        for (size, offset) in [(0x3000, 0), (0x1000, 0x2000), (0x1000, u64::MAX - 0xfff)] {
            let region = VhostUserMemoryRegion::new(0, size, 0x7000_0000_0000, offset);
            let refused = table.replace(&[region], vec![memfd(0x2000)]).unwrap_err();
            assert!(matches!(
                refused,
                MemoryTableError::PastEnd { file: 0x2000, .. }
            ));
        }
    }

    #[test]
    fn exported_files_are_neither_mapped_nor_translated() {
        let exported = Arc::new(ExportedFiles::default());
        let blob = memfd(0x1000);
        exported.add(FileId::of(&blob).unwrap());
        let mut table = MemoryTable::new(Arc::clone(&exported), None);

        let regions = [region(0, 0x1000), region(0x10_0000, 0x1000)];
        let memory = table.replace(&regions, vec![memfd(0x1000), blob]).unwrap();

        assert_eq!(memory.num_regions(), 1);
        assert_eq!(table.guest_address(0x7000_0010_0000), None);
    }

    #[test]
    fn released_file_is_foreign_until_a_table_comes_without_it() {
        let exported = Arc::new(ExportedFiles::default());
        let (ram, blob) = (memfd(0x1000), memfd(0x1000));
        let id = FileId::of(&blob).unwrap();
        exported.add(id);
        exported.release(id);
        let mut table = MemoryTable::new(Arc::clone(&exported), None);

        let files = vec![ram.try_clone().unwrap(), blob];
        let memory = table
            .replace(&[region(0, 0x1000), region(0x10_0000, 0x1000)], files)
            .unwrap();
        assert_eq!(memory.num_regions(), 1);
        assert!(exported.contains(id));

        table.replace(&[region(0, 0x1000)], vec![ram]).unwrap();
        assert!(!exported.contains(id));
    }

    #[test]
    fn ram_in_both_tables_keeps_its_mapping() {
        let mut table = MemoryTable::new(Arc::default(), None);
        let ram = memfd(0x1000);
        let old = table
            .replace(&[region(0, 0x1000)], vec![ram.try_clone().unwrap()])
            .unwrap();

        let regions = [region(0, 0x1000), region(0x2000, 0x1000)];
        let new = table.replace(&regions, vec![ram, memfd(0x1000)]).unwrap();

        let address = |memory: &GuestMemory| memory.get_host_address(GuestAddress(0)).unwrap();
        assert_eq!(address(&old), address(&new));
        new.write_obj(7u8, GuestAddress(0x2000)).unwrap();
    }

    #[test]
    fn overlapping_ram_is_refused_and_the_table_stays() {
        let mut table = MemoryTable::new(Arc::default(), None);
        table
            .replace(&[region(0, 0x1000)], vec![memfd(0x1000)])
            .unwrap();
        assert!(table.add(&region(0x800, 0x1000), memfd(0x1000)).is_err());
        assert!(table.add(&region(0x1000, 0x1000), memfd(0x1000)).is_ok());
        assert!(table.remove(&region(0x1000, 0x1000)).is_ok());
        assert!(table.remove(&region(0x1000, 0x1000)).is_err());
    }
}
