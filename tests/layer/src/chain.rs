//! `pNext` chains: looking into them, and copies of them with structures left out or added.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use ash::vk;
use ash::vk::TaggedStructure;

/// A structure that [`Chain::copy`] keeps: its type, and its size in bytes.
pub type Kept = (vk::StructureType, usize);

/// The entry of `T` in a list of structures to keep.
pub const fn kept<T: TaggedStructure>() -> Kept {
    (T::STRUCTURE_TYPE, size_of::<T>())
}

/// The first structure of type `T` in a chain of input structures.
///
/// # Safety
/// `head` is null or a `pNext` chain that lives and does not change for `'a`.
pub unsafe fn find<'a, T: TaggedStructure>(head: *const c_void) -> Option<&'a T> {
    let mut structure = head.cast::<vk::BaseInStructure<'_>>();
    // SAFETY: the caller vouches for the chain, whose members start like VkBaseInStructure.
    while let Some(header) = unsafe { structure.as_ref() } {
        if header.s_type == T::STRUCTURE_TYPE {
            // SAFETY: the structure type says what it is.
            return unsafe { structure.cast::<T>().as_ref() };
        }
        structure = header.p_next;
    }
    None
}

/// The first structure of type `T` in a chain of output structures, or null.
///
/// # Safety
/// `head` is null or a live `pNext` chain.
pub unsafe fn find_mut<T: TaggedStructure>(head: *mut c_void) -> *mut T {
    let mut structure = head.cast::<vk::BaseOutStructure<'_>>();
    while !structure.is_null() {
        // SAFETY: the caller vouches for the chain, whose members start like VkBaseOutStructure.
        let header = unsafe { structure.read() };
        if header.s_type == T::STRUCTURE_TYPE {
            return structure.cast::<T>();
        }
        structure = header.p_next;
    }
    ptr::null_mut()
}

/// Room for one structure, with the alignment of the strictest.
type Block = Box<[MaybeUninit<u64>]>;

/// A chain whose structures are owned.
#[derive(Default)]
pub struct Chain(Vec<Block>);

impl Chain {
    /// Copies the structures that `keep` lists, in their order, and leaves the others out.
    ///
    /// # Safety
    /// `head` is null or a live `pNext` chain. What its structures point to outlives the copy.
    pub unsafe fn copy(head: *const c_void, keep: &[Kept]) -> Self {
        let mut chain = Self::default();
        let mut structure = head.cast::<vk::BaseInStructure<'_>>();
        // SAFETY: the caller vouches for the chain, whose members start like VkBaseInStructure.
        while let Some(header) = unsafe { structure.as_ref() } {
            if let Some(&(_, size)) = keep.iter().find(|(kind, _)| *kind == header.s_type) {
                // SAFETY: the structure type says that it has `size` bytes.
                unsafe { chain.append(structure.cast(), size) };
            }
            structure = header.p_next;
        }
        chain
    }

    /// Adds a structure at the end. Its own `pNext` does not count.
    pub fn push<T: TaggedStructure>(mut self, structure: &T) -> Self {
        // SAFETY: a reference to `size_of::<T>()` bytes of a structure.
        unsafe { self.append(ptr::from_ref(structure).cast(), size_of::<T>()) };
        self
    }

    /// What goes into `pNext`, valid as long as the chain is neither changed nor dropped.
    pub fn head(&self) -> *const c_void {
        self.0
            .first()
            .map_or(ptr::null(), |block| block.as_ptr().cast())
    }

    /// # Safety
    /// `structure` points to `size` readable bytes that start like `VkBaseInStructure`.
    unsafe fn append(&mut self, structure: *const u8, size: usize) {
        let words = size.div_ceil(size_of::<u64>());
        let mut block: Block = vec![MaybeUninit::uninit(); words].into_boxed_slice();
        // SAFETY: the block has room for `size` bytes, is new, and is aligned for any structure.
        unsafe {
            ptr::copy_nonoverlapping(structure, block.as_mut_ptr().cast::<u8>(), size);
            (*header(&mut block)).p_next = ptr::null_mut();
        }
        let address = header(&mut block);
        if let Some(last) = self.0.last_mut() {
            // SAFETY: every block holds a structure, which starts like VkBaseOutStructure.
            unsafe { (*header(last)).p_next = address };
        }
        self.0.push(block);
    }
}

fn header(block: &mut Block) -> *mut vk::BaseOutStructure<'static> {
    block.as_mut_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: [Kept; 2] = [
        kept::<vk::MemoryAllocateFlagsInfo<'_>>(),
        kept::<vk::MemoryPriorityAllocateInfoEXT<'_>>(),
    ];

    fn types(chain: &Chain) -> Vec<vk::StructureType> {
        let mut types = Vec::new();
        let mut structure = chain.head().cast::<vk::BaseInStructure<'_>>();
        // SAFETY: the chain's own structures.
        while let Some(header) = unsafe { structure.as_ref() } {
            types.push(header.s_type);
            structure = header.p_next;
        }
        types
    }

    #[test]
    fn an_empty_chain_is_null() {
        // SAFETY: null is an empty chain.
        unsafe {
            assert!(Chain::copy(ptr::null(), &KEEP).head().is_null());
            assert!(find::<vk::MemoryAllocateFlagsInfo<'_>>(ptr::null()).is_none());
            assert!(find_mut::<vk::MemoryAllocateFlagsInfo<'_>>(ptr::null_mut()).is_null());
        }
    }

    #[test]
    fn copies_what_is_to_be_kept_and_leaves_the_original_alone() {
        let mut flags = vk::MemoryAllocateFlagsInfo::default().device_mask(5);
        let mut export = vk::ExportMemoryAllocateInfo::default();
        let mut priority = vk::MemoryPriorityAllocateInfoEXT::default().priority(0.5);
        let info = vk::MemoryAllocateInfo::default()
            .push_next(&mut flags)
            .push_next(&mut export)
            .push_next(&mut priority);
        let import = vk::ImportMemoryHostPointerInfoEXT::default();

        // SAFETY: the structures above.
        let chain = unsafe { Chain::copy(info.p_next, &KEEP) }.push(&import);

        assert_eq!(
            types(&chain),
            [
                vk::StructureType::MEMORY_PRIORITY_ALLOCATE_INFO_EXT,
                vk::StructureType::MEMORY_ALLOCATE_FLAGS_INFO,
                vk::StructureType::IMPORT_MEMORY_HOST_POINTER_INFO_EXT
            ]
        );
        // SAFETY: the chain's own structures, and the original.
        unsafe {
            let flags = find::<vk::MemoryAllocateFlagsInfo<'_>>(chain.head());
            assert_eq!(flags.unwrap().device_mask, 5);
            let priority = find::<vk::MemoryPriorityAllocateInfoEXT<'_>>(chain.head());
            assert!((priority.unwrap().priority - 0.5).abs() < f32::EPSILON);
            assert!(find::<vk::ExportMemoryAllocateInfo<'_>>(chain.head()).is_none());
            assert!(find::<vk::ExportMemoryAllocateInfo<'_>>(info.p_next).is_some());
        }
    }
}
