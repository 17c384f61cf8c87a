//! A good state with something of everything.

use coherd::snapshot::Writer;
use coherd_protocol::gpu::{Header, Response};
use coherd_protocol::state::{
    Attachment, Bracket, Contents, ContentsKind, Context, ContextState, Cursor, DeferredChain,
    Device, Display, End, Entry, Kind, Memory, MemoryFlags, Object, Resource, ResourceFlags,
    ResourceKind, Ring, RingFlags, Scanout,
};
use zerocopy::{FromZeros, IntoBytes};

use super::subject::{FEATURES, PAGE, WINDOW};

/// Kind and payload.
pub type Section = (Kind, Vec<u8>);

/// HOST_VISIBLE, HOST_COHERENT and HOST_CACHED.
const RAM: u32 = 2 | 4 | 8;
/// HOST_VISIBLE and HOST_CACHED.
const INCOHERENT: u32 = 2 | 8;
const CACHED: u32 = 1;

/// The state as a stream.
pub fn stream() -> Vec<u8> {
    written(&sections())
}

/// Sections as a stream.
pub fn written(sections: &[Section]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).expect("memory takes bytes");
    for (kind, payload) in sections {
        writer
            .section(*kind, &[payload])
            .expect("memory takes bytes");
    }
    writer.finish().expect("memory takes bytes")
}

/// The state's sections.
pub fn sections() -> Vec<Section> {
    let mut sections = described();
    let contents = |kind: ContentsKind, id: u32, offset: u64| {
        let head = Contents {
            kind: kind.to_wire().into(),
            id: id.into(),
            offset: offset.into(),
        };
        let page = vec![7u8; usize::try_from(PAGE).expect("a small number")];
        (Kind::Contents, [head.as_bytes(), &page].concat())
    };
    sections.push(contents(ContentsKind::Image, 1, 0));
    sections.push(contents(ContentsKind::Blob, 3, PAGE));
    sections.push(contents(ContentsKind::Object, 0, 0));
    let end = End {
        sections: u64::try_from(sections.len())
            .expect("a small number")
            .into(),
        bytes: (3 * PAGE).into(),
    };
    sections.push((Kind::End, end.as_bytes().to_vec()));
    sections
}

fn memory(pages: u64, properties: u32) -> Memory {
    let mut flags = MemoryFlags::SHARED;
    flags.set(MemoryFlags::COHERENT, properties == RAM);
    Memory {
        size: (pages * PAGE).into(),
        properties: properties.into(),
        told: CACHED.into(),
        flags: flags.bits().into(),
        ..Memory::new_zeroed()
    }
}

fn resource(id: u32, kind: ResourceKind, pages: u64, flags: ResourceFlags) -> Resource {
    Resource {
        id: id.into(),
        kind: kind.to_wire().into(),
        size: (pages * PAGE).into(),
        flags: flags.bits().into(),
        ..Resource::new_zeroed()
    }
}

/// Everything but bytes.
fn described() -> Vec<Section> {
    let mut device = Device {
        features: FEATURES.into(),
        window_size: WINDOW.into(),
        bytes: ((4 + 2 + 2 + 1) * PAGE).into(),
        blob_alignment: 4096.into(),
        outputs: 1.into(),
        ..Device::new_zeroed()
    };
    device.displays[0] = Display {
        width: 1280.into(),
        height: 800.into(),
    };
    let mut answer = Vec::new();
    Response::MapInfo(CACHED).encode(&Header::default(), &mut answer);
    let ring = Ring {
        flags: RingFlags::all().bits().into(),
        position: 9.into(),
        deferred: 1.into(),
        response: u32::try_from(answer.len()).expect("a small number").into(),
        ..Ring::new_zeroed()
    };
    let chain = DeferredChain {
        head: 2.into(),
        reserved: 0.into(),
        len: 24.into(),
    };
    let cursor_ring = Ring {
        index: 1.into(),
        ..Ring::new_zeroed()
    };
    let mut context = Context {
        id: 1.into(),
        state: ContextState::Rendered.to_wire().into(),
        capset: 28.into(),
        replies: 2.into(),
        replies_size: PAGE.into(),
        ..Context::new_zeroed()
    };
    context.name[..4].copy_from_slice(b"test");
    let mut image = resource(1, ResourceKind::TwoD, 4, ResourceFlags::BACKING);
    image.width = 64.into();
    image.height = 64.into();
    image.entries = 1.into();
    let mut guest = resource(2, ResourceKind::GuestBlob, 1, ResourceFlags::BACKING);
    guest.entries = 1.into();
    let entry = |address: u64, length: u32| Entry {
        address: address.into(),
        length: length.into(),
    };
    let is_mapped = ResourceFlags::MAPPABLE | ResourceFlags::MAPPED;
    let mut blob = resource(
        3,
        ResourceKind::HostBlob,
        2,
        is_mapped | ResourceFlags::UUID,
    );
    blob.owner = 1.into();
    blob.map_offset = PAGE.into();
    blob.uuid = [5; 16];
    blob.memory = memory(2, RAM);
    let mut other = resource(4, ResourceKind::HostBlob, 2, is_mapped);
    other.map_offset = (3 * PAGE).into();
    other.memory = memory(2, INCOHERENT);
    let attachment = |resource: u32| Attachment {
        context: 1.into(),
        resource: resource.into(),
    };
    let object = Object {
        context: 1.into(),
        reserved: 0.into(),
        blob_id: 77.into(),
        memory: memory(1, RAM),
    };
    let bracket = Bracket {
        context: 1.into(),
        resource: 4.into(),
        access: 3.into(),
        count: 2.into(),
        start: 0.into(),
        end: PAGE.into(),
    };
    let scanout = Scanout {
        index: 0.into(),
        resource: 1.into(),
    };
    let cursor = Cursor {
        resource: 1.into(),
        hot_x: 3.into(),
        ..Cursor::new_zeroed()
    };
    vec![
        (Kind::Device, device.as_bytes().to_vec()),
        (
            Kind::Ring,
            [ring.as_bytes(), chain.as_bytes(), &answer].concat(),
        ),
        (Kind::Ring, cursor_ring.as_bytes().to_vec()),
        (Kind::Scanout, scanout.as_bytes().to_vec()),
        (Kind::Cursor, cursor.as_bytes().to_vec()),
        (Kind::Context, context.as_bytes().to_vec()),
        (
            Kind::Resource,
            [image.as_bytes(), entry(0, 16384).as_bytes()].concat(),
        ),
        (
            Kind::Resource,
            [guest.as_bytes(), entry(0x4000, 4096).as_bytes()].concat(),
        ),
        (Kind::Resource, blob.as_bytes().to_vec()),
        (Kind::Resource, other.as_bytes().to_vec()),
        (
            Kind::Attachments,
            [2, 3, 4].map(attachment).as_bytes().to_vec(),
        ),
        (Kind::Object, object.as_bytes().to_vec()),
        (Kind::Bracket, bracket.as_bytes().to_vec()),
        (Kind::Described, Vec::new()),
    ]
}
