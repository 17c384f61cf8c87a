//! Numbers and layouts against the kernel's: fixed ones, and those of the header where there is
//! one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use super::numbers;
use super::structs::{
    ContextInit, ContextParam, CreateBlob, ExecBuffer, GemClose, GetCaps, GetParam, Map,
    PrimeHandle, ResourceInfo, Version,
};

/// Expressions in C and what they are worth here.
fn facts() -> Vec<(&'static str, usize)> {
    let number = |opcode: rustix::ioctl::Opcode| opcode as usize;
    let word = |word: u32| word as usize;
    vec![
        ("DRM_IOCTL_VERSION", number(numbers::VERSION)),
        ("DRM_IOCTL_GEM_CLOSE", number(numbers::GEM_CLOSE)),
        (
            "DRM_IOCTL_PRIME_HANDLE_TO_FD",
            number(numbers::PRIME_HANDLE_TO_FD),
        ),
        (
            "DRM_IOCTL_PRIME_FD_TO_HANDLE",
            number(numbers::PRIME_FD_TO_HANDLE),
        ),
        ("DRM_IOCTL_VIRTGPU_MAP", number(numbers::MAP)),
        ("DRM_IOCTL_VIRTGPU_GETPARAM", number(numbers::GETPARAM)),
        (
            "DRM_IOCTL_VIRTGPU_RESOURCE_INFO",
            number(numbers::RESOURCE_INFO),
        ),
        ("DRM_IOCTL_VIRTGPU_GET_CAPS", number(numbers::GET_CAPS)),
        (
            "DRM_IOCTL_VIRTGPU_RESOURCE_CREATE_BLOB",
            number(numbers::CREATE_BLOB),
        ),
        (
            "DRM_IOCTL_VIRTGPU_CONTEXT_INIT",
            number(numbers::CONTEXT_INIT),
        ),
        // The number has the size in it, which grew; the kernel looks at the rest.
        (
            "DRM_IOCTL_VIRTGPU_EXECBUFFER & 0xc000ffff",
            number(numbers::EXECBUFFER) & 0xc000_ffff,
        ),
        (
            "VIRTGPU_EXECBUF_FENCE_FD_OUT",
            word(numbers::EXECBUF_FENCE_FD_OUT),
        ),
        ("VIRTGPU_EXECBUF_RING_IDX", word(numbers::EXECBUF_RING_IDX)),
        ("VIRTGPU_BLOB_MEM_GUEST", word(numbers::BLOB_MEM_GUEST)),
        ("VIRTGPU_BLOB_MEM_HOST3D", word(numbers::BLOB_MEM_HOST3D)),
        (
            "VIRTGPU_BLOB_FLAG_USE_MAPPABLE",
            word(super::BlobFlags::MAPPABLE.bits()),
        ),
        (
            "VIRTGPU_BLOB_FLAG_USE_SHAREABLE",
            word(super::BlobFlags::SHAREABLE.bits()),
        ),
        ("VIRTGPU_CONTEXT_PARAM_CAPSET_ID", 1),
        ("VIRTGPU_CONTEXT_PARAM_NUM_RINGS", 2),
        (
            "VIRTGPU_PARAM_HOST_VISIBLE",
            super::Parameter::HostVisible as usize,
        ),
        (
            "VIRTGPU_PARAM_CONTEXT_INIT",
            super::Parameter::ContextInit as usize,
        ),
        (
            "VIRTGPU_PARAM_SUPPORTED_CAPSET_IDs",
            super::Parameter::SupportedCapsetIds as usize,
        ),
        ("sizeof(struct drm_version)", size_of::<Version>()),
        (
            "offsetof(struct drm_version, name)",
            offset_of!(Version, name),
        ),
        (
            "offsetof(struct drm_version, desc)",
            offset_of!(Version, description),
        ),
        ("sizeof(struct drm_gem_close)", size_of::<GemClose>()),
        ("sizeof(struct drm_prime_handle)", size_of::<PrimeHandle>()),
        (
            "offsetof(struct drm_prime_handle, fd)",
            offset_of!(PrimeHandle, fd),
        ),
        ("sizeof(struct drm_virtgpu_map)", size_of::<Map>()),
        (
            "offsetof(struct drm_virtgpu_map, handle)",
            offset_of!(Map, handle),
        ),
        (
            "offsetof(struct drm_virtgpu_execbuffer, command)",
            offset_of!(ExecBuffer, command),
        ),
        (
            "offsetof(struct drm_virtgpu_execbuffer, fence_fd)",
            offset_of!(ExecBuffer, fence_fd),
        ),
        (
            "offsetof(struct drm_virtgpu_execbuffer, ring_idx)",
            offset_of!(ExecBuffer, ring_idx),
        ),
        ("sizeof(struct drm_virtgpu_getparam)", size_of::<GetParam>()),
        (
            "sizeof(struct drm_virtgpu_resource_info)",
            size_of::<ResourceInfo>(),
        ),
        (
            "offsetof(struct drm_virtgpu_resource_info, res_handle)",
            offset_of!(ResourceInfo, res_handle),
        ),
        ("sizeof(struct drm_virtgpu_get_caps)", size_of::<GetCaps>()),
        (
            "offsetof(struct drm_virtgpu_get_caps, addr)",
            offset_of!(GetCaps, addr),
        ),
        (
            "sizeof(struct drm_virtgpu_resource_create_blob)",
            size_of::<CreateBlob>(),
        ),
        (
            "offsetof(struct drm_virtgpu_resource_create_blob, size)",
            offset_of!(CreateBlob, size),
        ),
        (
            "offsetof(struct drm_virtgpu_resource_create_blob, cmd_size)",
            offset_of!(CreateBlob, cmd_size),
        ),
        (
            "offsetof(struct drm_virtgpu_resource_create_blob, blob_id)",
            offset_of!(CreateBlob, blob_id),
        ),
        (
            "sizeof(struct drm_virtgpu_context_set_param)",
            size_of::<ContextParam>(),
        ),
        (
            "sizeof(struct drm_virtgpu_context_init)",
            size_of::<ContextInit>(),
        ),
        (
            "offsetof(struct drm_virtgpu_context_init, ctx_set_params)",
            offset_of!(ContextInit, ctx_set_params),
        ),
    ]
}

#[test]
#[cfg(target_pointer_width = "64")]
fn numbers_of_ioctls_are_those_of_linux() {
    let expected = [
        (numbers::VERSION, 0xc040_6400u32),
        (numbers::GEM_CLOSE, 0x4008_6409),
        (numbers::PRIME_HANDLE_TO_FD, 0xc00c_642d),
        (numbers::PRIME_FD_TO_HANDLE, 0xc00c_642e),
        (numbers::MAP, 0xc010_6441),
        (numbers::EXECBUFFER, 0xc028_6442),
        (numbers::GETPARAM, 0xc010_6443),
        (numbers::RESOURCE_INFO, 0xc010_6445),
        (numbers::GET_CAPS, 0xc018_6449),
        (numbers::CREATE_BLOB, 0xc030_644a),
        (numbers::CONTEXT_INIT, 0xc010_644b),
    ];
    for (opcode, number) in expected {
        assert_eq!(opcode, number, "{opcode:#x} {number:#x}");
    }
}

#[test]
fn layouts_are_those_of_the_kernels_header() {
    let header = Path::new("/usr/include/drm/virtgpu_drm.h");
    if !header.exists() {
        skip("no <drm/virtgpu_drm.h> here; the lab has it");
        return;
    }
    let facts = facts();
    let mut source = String::from(
        "#include <stddef.h>\n#include <stdio.h>\n#include <drm/virtgpu_drm.h>\nint main(void) {\n",
    );
    for (expression, _) in &facts {
        writeln!(
            source,
            "printf(\"%llu\\n\", (unsigned long long)({expression}));"
        )
        .unwrap();
    }
    source += "return 0; }\n";
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("facts.c"), folder.path().join("facts"));
    std::fs::write(&file, source).unwrap();
    let built = Command::new("cc")
        .arg(&file)
        .arg("-o")
        .arg(&program)
        .status();
    if built
        .as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    {
        skip("no C compiler");
        return;
    }
    assert!(built.unwrap().success());

    let output = Command::new(&program).output().unwrap().stdout;

    let output = String::from_utf8(output).unwrap();
    let found: Vec<usize> = output.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(found.len(), facts.len());
    for ((expression, here), kernel) in facts.into_iter().zip(found) {
        assert_eq!(here, kernel, "{expression}");
    }
}

/// Says why a test is not run, past libtest, which hides what passing tests print.
fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
