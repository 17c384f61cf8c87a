//! Blobs of blob contexts on a screen.

use coherd_protocol::gpu::wire::{Rect, SetScanoutBlob};
use coherd_protocol::memory::MemoryProperties;
use coherd_tests::blob_gpu::{LINEAR, XR24};
use coherd_tests::driver::blob_program::ImageWish;

use super::{RAM, blob, on_each_gpu, on_files};
use crate::code;

fn scanout(resource_id: u32, stride: u32) -> SetScanoutBlob {
    let mut strides = [0.into(); 4];
    strides[0] = stride.into();
    SetScanoutBlob {
        rect: Rect {
            x: 0.into(),
            y: 0.into(),
            width: 64.into(),
            height: 64.into(),
        },
        scanout_id: 0.into(),
        resource_id: resource_id.into(),
        width: 64.into(),
        height: 64.into(),
        format: 2.into(),
        padding: 0.into(),
        strides,
        offsets: [0.into(); 4],
    }
}

#[test]
fn buffers_and_linear_images_are_shown() {
    on_each_gpu(|mut rig| {
        blob(&mut rig, 1, 4, RAM);
        rig.gpu.set_scanout_blob(&scanout(1, 256)).unwrap();
        assert_eq!(code(rig.gpu.set_scanout_blob(&scanout(1, 512))), 0x1205);
        let wish = ImageWish {
            size: (64, 64),
            fourcc: XR24,
            modifiers: vec![LINEAR],
            required: RAM,
        };
        if let Ok((blob_id, image)) = rig.program.image(&mut rig.gpu, &wish).unwrap()
            && image.memory.backing.get() != 0
        {
            let pitch = u32::try_from(image.layout.planes[0].pitch.get()).unwrap();
            rig.program
                .create_blob(&mut rig.gpu, 2, (blob_id, image.memory))
                .unwrap();
            rig.gpu.set_scanout_blob(&scanout(2, pitch)).unwrap();
            rig.gpu.flush(2, scanout(2, pitch).rect).unwrap();
        }
        rig.gpu.unref(1).unwrap();
        rig.finish().unwrap();
    });
}

#[test]
fn memory_that_has_no_file_is_not_shown() {
    let (mut rig, _) = on_files();
    blob(&mut rig, 1, 4, MemoryProperties::DEVICE_LOCAL);
    assert_eq!(code(rig.gpu.set_scanout_blob(&scanout(1, 256))), 0x1200);
    rig.finish().unwrap();
}
