//! Device feature bits, VIRTIO 1.4 section 5.7.3.

use bitflags::bitflags;

bitflags! {
    /// Feature bits of the GPU device itself (bits 0 to 23).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features: u64 {
        /// 3D mode: gates every 0x02xx command and blobs that the host backs.
        const VIRGL = 1 << 0;
        /// GET_EDID is answered.
        const EDID = 1 << 1;
        /// RESOURCE_ASSIGN_UUID is answered.
        const RESOURCE_UUID = 1 << 2;
        /// Blob resources: CREATE_BLOB, SET_SCANOUT_BLOB, MAP_BLOB and UNMAP_BLOB.
        const RESOURCE_BLOB = 1 << 3;
        /// Context types and rings; needs [`Features::VIRGL`].
        const CONTEXT_INIT = 1 << 4;
        /// `blob_alignment` of the configuration space is valid; needs
        /// [`Features::RESOURCE_BLOB`].
        const BLOB_ALIGNMENT = 1 << 5;
    }
}
