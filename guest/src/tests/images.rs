//! Images.

use super::COHERENT;
use crate::fake::{FakeHost, TILED, XRGB8888};
use crate::{ImageError, ImageRequest, ImageUsage, LINEAR, MemoryProperties, Status};

fn request(modifiers: &[u64]) -> ImageRequest {
    ImageRequest {
        width: 100,
        height: 50,
        fourcc: XRGB8888,
        modifiers: modifiers.to_vec(),
        usage: ImageUsage::SAMPLED,
        required: COHERENT,
        preferred: MemoryProperties::empty(),
        shareable: false,
    }
}

#[test]
fn image_has_the_layout_that_the_host_chose() {
    let context = FakeHost::new().open();
    let image = context.create_image(&request(&[LINEAR])).unwrap();
    assert_eq!(image.modifier(), LINEAR);
    assert_eq!(image.planes().len(), 1);
    assert_eq!(image.planes()[0].pitch, 512);
    assert!(image.allocation().size() >= 512 * 50);
    assert_eq!(image.allocation().memory().properties, COHERENT);
}

#[test]
fn linear_images_are_copied_as_bytes_and_others_are_not() {
    let context = FakeHost::new().open();
    let linear = context.create_image(&request(&[LINEAR])).unwrap();
    let tiled = context.create_image(&request(&[TILED, LINEAR])).unwrap();
    assert_eq!(tiled.modifier(), TILED);
    context
        .fill(linear.allocation().at(0), 4096, 5)
        .unwrap()
        .wait()
        .unwrap();
    let error = context
        .fill(tiled.allocation().at(0), 4096, 5)
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(error.call().status(), Some(Status::Unsupported));
}

#[test]
fn images_that_cannot_be_have_a_status_and_leave_nothing() {
    let host = FakeHost::new();
    let context = host.open();
    let cases = [
        (
            ImageRequest {
                fourcc: 7,
                ..request(&[])
            },
            Status::UnsupportedFormat,
        ),
        (request(&[0xff]), Status::UnsupportedModifier),
        (
            ImageRequest {
                width: 0,
                ..request(&[])
            },
            Status::Invalid,
        ),
    ];
    for (request, status) in cases {
        let error = context.create_image(&request).unwrap_err();
        let ImageError::Host { source, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(source.status(), Some(status));
    }
    let many = context.create_image(&request(&[0; 65])).unwrap_err();
    assert!(matches!(many, ImageError::Modifiers(65)));
    assert_eq!(host.holdings(), (0, 0));
}
