//! Transfers of 3D mode: of the renderer's resources, and of 2D resources.

use coherd_protocol::gpu::Format;
use coherd_tests::driver::Transfer;
use coherd_tests::frontend::Flavour;
use coherd_tests::rig::Rig;

use crate::{CTX, code, pattern, rig};

/// Bytes of a texel.
const TEXEL: usize = 4;

/// A transfer of the whole of a 16 by 8 texture.
fn whole(resource_id: u32) -> Transfer {
    Transfer {
        ctx_id: CTX,
        resource_id,
        region: [0, 0, 0, 16, 8, 1],
        ..Transfer::default()
    }
}

/// A rig whose guest's context has a 2D resource 1 and a 3D resource 2, both 16 by 8, with the
/// given bytes behind each.
fn rig_with_textures(behind: &[u8]) -> Rig {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu.create_2d(1, Format::B8G8R8A8, 16, 8).unwrap();
    rig.gpu.create_3d(2, [16, 8, 1]).unwrap();
    for id in [1, 2] {
        let backing = rig.gpu.buffer(behind).unwrap();
        rig.gpu.attach_backing(id, &[backing]).unwrap();
        rig.gpu.ctx_attach(CTX, id).unwrap();
    }
    rig
}

#[test]
fn texels_come_back_from_the_host_where_the_strides_say() {
    let bytes = pattern(3, 4096);
    for id in [1, 2] {
        let mut rig = rig_with_textures(&bytes);
        let other = rig.gpu.buffer(&[0; 4096]).unwrap();

        rig.gpu.transfer_to_host_3d(&whole(id)).unwrap();
        rig.gpu.detach_backing(id).unwrap();
        rig.gpu.attach_backing(id, &[other]).unwrap();
        let part = Transfer {
            region: [4, 2, 0, 3, 2, 1],
            offset: 1000,
            stride: 100,
            ..whole(id)
        };
        rig.gpu.transfer_from_host_3d(&part).unwrap();

        let back = rig.gpu.read_buffer(other).unwrap();
        for row in 0..2 {
            let from = ((2 + row) * 16 + 4) * TEXEL;
            let to = 1000 + row * 100;
            let len = 3 * TEXEL;
            assert_eq!(back[to..to + len], bytes[from..from + len], "row {row}");
        }
        let touched = back.iter().filter(|byte| **byte != 0).count();
        assert!(touched <= 2 * 3 * TEXEL, "{touched} bytes were written");
        rig.finish().unwrap();
    }
}

#[test]
fn transfer_that_leaves_the_texture_or_the_backing_is_refused() {
    let mut rig = rig_with_textures(&[7; 4096]);
    for id in [1, 2] {
        for wrong in [
            Transfer {
                region: [1, 0, 0, 16, 8, 1],
                ..whole(id)
            },
            Transfer {
                region: [0, 0, 1, 16, 8, 1],
                ..whole(id)
            },
            Transfer {
                region: [u32::MAX, 0, 0, 2, 1, 1],
                ..whole(id)
            },
            Transfer {
                level: 1,
                ..whole(id)
            },
            Transfer {
                offset: 4096 - 511,
                ..whole(id)
            },
            Transfer {
                offset: u64::MAX,
                ..whole(id)
            },
            Transfer {
                stride: u32::MAX,
                ..whole(id)
            },
        ] {
            let refusal = if id == 1 { 0x1205 } else { 0x1200 };
            let to = rig.gpu.transfer_to_host_3d(&wrong);
            assert_eq!(code(to), refusal, "{wrong:?}");
            let from = rig.gpu.transfer_from_host_3d(&wrong);
            assert_eq!(code(from), refusal, "{wrong:?}");
        }
    }
    rig.finish().unwrap();
}

#[test]
fn transfer_needs_a_context_that_has_the_resource_and_a_backing() {
    let mut rig = rig_with_textures(&[7; 4096]);
    for id in [1, 2] {
        let no_context = Transfer {
            ctx_id: 9,
            ..whole(id)
        };
        assert_eq!(code(rig.gpu.transfer_to_host_3d(&no_context)), 0x1204);
        rig.gpu.detach_backing(id).unwrap();
        assert_eq!(code(rig.gpu.transfer_to_host_3d(&whole(id))), 0x1200);
        rig.gpu.ctx_detach(CTX, id).unwrap();
        assert_eq!(code(rig.gpu.transfer_from_host_3d(&whole(id))), 0x1203);
    }
    assert_eq!(code(rig.gpu.transfer_to_host_3d(&whole(3))), 0x1203);
    rig.finish().unwrap();
}

#[test]
fn texture_lives_in_the_renderer_until_its_unref() {
    let mut rig = rig(Flavour::Qemu);
    rig.gpu.create_3d(5, [4, 4, 4]).unwrap();
    assert_eq!(rig.host.textures(), [5]);
    assert_eq!(code(rig.gpu.create_3d(5, [4, 4, 4])), 0x1203);
    assert_eq!(code(rig.gpu.create_3d(0, [4, 4, 4])), 0x1203);
    assert_eq!(code(rig.gpu.create_3d(6, [0, 4, 4])), 0x1200);
    assert_eq!(code(rig.gpu.map_blob(5, 0)), 0x1205);

    rig.gpu.unref(5).unwrap();

    assert!(rig.host.textures().is_empty());
    rig.finish().unwrap();
}
