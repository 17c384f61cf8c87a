//! Resources of other renderers in virglrenderer.
//!
//! A Venus context can import a resource that virglrenderer knows. rutabaga makes known what is in
//! its own table, and lets nothing into that from outside, so virglrenderer is called directly:
//! a resource of this table is in no table of rutabaga's, and the other way round.

#![allow(
    unsafe_code,
    reason = "rutabaga has no way to import a resource into virglrenderer"
)]

use std::collections::HashSet;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use coherd_protocol::gpu::blob_mem;
use rutabaga_gfx::Rutabaga;
use thiserror::Error;

/// `VIRGL_RENDERER_BLOB_FD_TYPE_DMABUF`. Its worker hands the file to the Vulkan driver as a
/// dma-buf.
const FD_TYPE_DMA_BUF: u32 = 1;

/// `struct virgl_renderer_resource_import_blob_args` of virglrenderer.h.
#[repr(C)]
struct ImportBlobArgs {
    res_handle: u32,
    blob_mem: u32,
    fd_type: u32,
    fd: c_int,
    size: u64,
}

// rutabaga links the library.
unsafe extern "C" {
    fn virgl_renderer_resource_import_blob(args: *const ImportBlobArgs) -> c_int;
    fn virgl_renderer_resource_unref(res_handle: u32);
    fn virgl_renderer_ctx_attach_resource(ctx_id: c_int, res_handle: c_int);
    fn virgl_renderer_ctx_detach_resource(ctx_id: c_int, res_handle: c_int);
}

/// Why virglrenderer does not know a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ForeignError {
    /// virglrenderer has a resource with this id.
    #[error("virglrenderer knows resource {0} already")]
    Known(u32),
    /// virglrenderer refused it.
    #[error("virglrenderer does not import resource {id} (error {code})")]
    Refused {
        /// The resource.
        id: u32,
        /// The negative errno that virglrenderer returned.
        code: c_int,
    },
}

/// See the module's description. virglrenderer's state belongs to one thread, and so does this.
#[derive(Debug)]
pub struct ForeignResources {
    known: HashSet<u32>,
    thread: PhantomData<*const ()>,
}

impl ForeignResources {
    /// No resources, of the virglrenderer that `rutabaga` has started and ends.
    pub fn new(_rutabaga: &Rutabaga) -> Self {
        Self {
            known: HashSet::new(),
            thread: PhantomData,
        }
    }

    /// Whether this resource was imported.
    pub fn contains(&self, resource_id: u32) -> bool {
        self.known.contains(&resource_id)
    }

    /// Makes a resource of `size` bytes known, whose bytes are those of `file` from its start.
    ///
    /// # Errors
    /// See [`ForeignError`]; `file` is closed then.
    pub fn import(
        &mut self,
        resource_id: u32,
        file: OwnedFd,
        size: u64,
    ) -> Result<(), ForeignError> {
        if self.contains(resource_id) {
            return Err(ForeignError::Known(resource_id));
        }
        let args = ImportBlobArgs {
            res_handle: resource_id,
            blob_mem: blob_mem::HOST3D,
            fd_type: FD_TYPE_DMA_BUF,
            fd: file.as_raw_fd(),
            size,
        };
        // SAFETY: virglrenderer was started on this thread, which this table does not leave, and
        // answers -EINVAL for an id that it has; `args` lives through the call.
        let code = unsafe { virgl_renderer_resource_import_blob(&raw const args) };
        if code != 0 {
            return Err(ForeignError::Refused {
                id: resource_id,
                code,
            });
        }
        // The file is virglrenderer's now, which closes it with the resource.
        let _ = file.into_raw_fd();
        self.known.insert(resource_id);
        Ok(())
    }

    /// Lets a context's worker have a resource.
    pub fn attach(&self, ctx_id: u32, resource_id: u32) {
        // SAFETY: as in `import`; virglrenderer ignores ids it does not know.
        unsafe { virgl_renderer_ctx_attach_resource(number(ctx_id), number(resource_id)) }
    }

    /// Takes a resource from a context's worker.
    pub fn detach(&self, ctx_id: u32, resource_id: u32) {
        // SAFETY: as in `attach`.
        unsafe { virgl_renderer_ctx_detach_resource(number(ctx_id), number(resource_id)) }
    }

    /// Makes virglrenderer forget a resource, in every context; `false` if it was not imported.
    pub fn forget(&mut self, resource_id: u32) -> bool {
        let known = self.known.remove(&resource_id);
        if known {
            // SAFETY: as in `import`; the resource is one of ours, which rutabaga does not hold.
            unsafe { virgl_renderer_resource_unref(resource_id) }
        }
        known
    }
}

/// virglrenderer's functions disagree about the sign of ids; the bits count.
fn number(id: u32) -> c_int {
    c_int::from_ne_bytes(id.to_ne_bytes())
}
