//! Arguments of ioctls, as the kernel lays them out.

/// `struct drm_version`
#[repr(C)]
#[derive(Debug)]
pub struct Version {
    pub major: i32,
    pub minor: i32,
    pub patch: i32,
    pub name_len: usize,
    pub name: *mut u8,
    pub date_len: usize,
    pub date: *mut u8,
    pub description_len: usize,
    pub description: *mut u8,
}

/// `struct drm_gem_close`
#[repr(C)]
#[derive(Debug)]
pub struct GemClose {
    pub handle: u32,
    pub pad: u32,
}

/// `struct drm_prime_handle`, of both directions
#[repr(C)]
#[derive(Debug)]
pub struct PrimeHandle {
    pub handle: u32,
    pub flags: u32,
    pub fd: i32,
}

/// `struct drm_virtgpu_map`
#[repr(C)]
#[derive(Debug)]
pub struct Map {
    pub offset: u64,
    pub handle: u32,
    pub pad: u32,
}

/// `struct drm_virtgpu_execbuffer` as far as Linux 5.16 has it. The kernel takes what is missing as
/// zero, which means no sync objects.
#[repr(C)]
#[derive(Debug)]
pub struct ExecBuffer {
    pub flags: u32,
    pub size: u32,
    pub command: u64,
    pub bo_handles: u64,
    pub num_bo_handles: u32,
    pub fence_fd: i32,
    pub ring_idx: u32,
    pub pad: u32,
}

/// `struct drm_virtgpu_getparam`; `value` is the address of an `int`.
#[repr(C)]
#[derive(Debug)]
pub struct GetParam {
    pub param: u64,
    pub value: u64,
}

/// `struct drm_virtgpu_resource_info`
#[repr(C)]
#[derive(Debug)]
pub struct ResourceInfo {
    pub bo_handle: u32,
    pub res_handle: u32,
    pub size: u32,
    pub blob_mem: u32,
}

/// `struct drm_virtgpu_get_caps`
#[repr(C)]
#[derive(Debug)]
pub struct GetCaps {
    pub cap_set_id: u32,
    pub cap_set_ver: u32,
    pub addr: u64,
    pub size: u32,
    pub pad: u32,
}

/// `struct drm_virtgpu_resource_create_blob`
#[repr(C)]
#[derive(Debug, Default)]
pub struct CreateBlob {
    pub blob_mem: u32,
    pub blob_flags: u32,
    pub bo_handle: u32,
    pub res_handle: u32,
    pub size: u64,
    pub pad: u32,
    pub cmd_size: u32,
    pub cmd: u64,
    pub blob_id: u64,
}

/// `struct drm_virtgpu_context_set_param`
#[repr(C)]
#[derive(Debug)]
pub struct ContextParam {
    pub param: u64,
    pub value: u64,
}

/// `struct drm_virtgpu_context_init`
#[repr(C)]
#[derive(Debug)]
pub struct ContextInit {
    pub num_params: u32,
    pub pad: u32,
    pub ctx_set_params: u64,
}
