//! LIST, OPEN and DESCRIBE.

use coherd_sync::{
    Access, Agreement, Backing, Caching, Connection, EntryFlags, HolderFlags, HolderKind,
    MemoryProperties, OpenFlags, Options, Status,
};

use super::support::{Fake, HEADER, Recipe, Rules};
use super::{BOTH, everything, one_blob};

#[test]
fn list_has_every_blob_whatever_the_size_of_a_page() {
    for page in [1, 7, 1000] {
        let fake = Fake::new(Rules {
            page,
            ..Rules::default()
        });
        let created: Vec<_> = (0..300)
            .map(|_| {
                fake.create(Recipe {
                    size: 4096,
                    ..Recipe::default()
                })
            })
            .collect();
        fake.destroy(created[150]);
        let connection = Connection::connect(fake.path(), &Options::default()).unwrap();

        let listed = connection.list().unwrap();

        let ids: Vec<_> = listed.iter().map(|entry| entry.blob).collect();
        let alive: Vec<_> = created
            .iter()
            .copied()
            .filter(|id| *id != created[150])
            .collect();
        assert_eq!(ids, alive, "{page}");
    }
}

#[test]
fn entry_says_what_the_server_does() {
    let (_fake, connection, blob) = one_blob(Recipe::default());
    let [entry] = connection.list().unwrap()[..] else {
        panic!("not one blob");
    };
    assert_eq!(entry.blob, blob);
    assert_eq!(entry.size, 3 * 4096);
    assert_eq!(entry.resource_id, 101);
    assert_eq!((entry.generation, entry.context_id), (1, 2));
    assert_eq!(
        entry.flags,
        EntryFlags::OPENABLE | EntryFlags::WRITABLE | EntryFlags::NEEDS_BRACKETS
    );
}

#[test]
fn open_blob_says_what_memory_it_is() {
    let (_fake, connection, id) = one_blob(Recipe::default());
    let blob = connection.open(id, Access::READ).unwrap();
    let info = blob.info();
    assert_eq!((info.blob, info.size), (id, 3 * 4096));
    assert_eq!((info.data_offset, info.page_size), (HEADER, 4096));
    assert_eq!((info.access, info.fd_access), (Access::READ, Access::READ));
    assert_eq!(info.flags, OpenFlags::MMAP | OpenFlags::NEEDS_BRACKETS);
    assert_eq!(
        info.memory.properties,
        MemoryProperties::HOST_VISIBLE | MemoryProperties::HOST_CACHED
    );
    assert_eq!(info.memory.told, Some(Caching::WriteCombining));
    assert_eq!(info.memory.file, Some(Caching::Cached));
    assert_eq!(info.memory.effective, None);
    assert_eq!(info.memory.backing, Backing::MemfdWithHeader);
    assert_eq!(info.exporter, "memfd");
    assert_eq!(info.image, None);
}

#[test]
fn open_image_says_what_image_it_is() {
    let (_fake, connection, id) = one_blob(Recipe {
        planes: 2,
        ..Recipe::default()
    });
    let blob = connection.open(id, Access::READ).unwrap();
    let image = blob.info().image.clone().unwrap();
    assert_eq!((image.fourcc, image.modifier), (0x3432_5258, 5));
    assert_eq!((image.width, image.height), (32, 16));
    assert_eq!(image.planes.len(), 2);
    assert_eq!(image.planes[1].offset, 4096);
    assert_eq!((image.planes[1].pitch, image.planes[1].size), (128, 2048));
}

#[test]
fn blob_is_open_once_until_it_is_dropped() {
    let (_fake, connection, id) = one_blob(Recipe::default());
    let blob = connection.open(id, BOTH).unwrap();
    let again = connection.open(id, BOTH).unwrap_err();
    assert_eq!(again.status(), Some(Status::InUse));
    let mapping = blob.map().unwrap();
    drop(blob);
    let again = connection.open(id, BOTH).unwrap_err();
    assert_eq!(again.status(), Some(Status::InUse));
    drop(mapping);
    connection.open(id, BOTH).unwrap();
}

#[test]
fn blob_that_is_not_there_is_refused() {
    let (fake, connection, id) = one_blob(Recipe::default());
    let unknown = connection.open(id + 1, BOTH).unwrap_err();
    assert_eq!(unknown.status(), Some(Status::UnknownBlob));
    fake.destroy(id);
    let gone = connection.open(id, BOTH).unwrap_err();
    assert_eq!(gone.status(), Some(Status::Gone));
    let gone = connection.describe(id).unwrap_err();
    assert_eq!(gone.status(), Some(Status::Gone));
}

#[test]
fn ledger_has_the_guest_and_every_peer_whatever_the_size_of_a_page() {
    for page in [1, 2, 1000] {
        let fake = Fake::new(Rules {
            page,
            ..Rules::default()
        });
        let id = fake.create(Recipe::default());
        let peers: Vec<_> = (0..5)
            .map(|_| Connection::connect(fake.path(), &everything()).unwrap())
            .collect();
        let _open: Vec<_> = peers
            .iter()
            .map(|peer| peer.open(id, BOTH).unwrap())
            .collect();

        let ledger = peers[2].describe(id).unwrap();

        assert_eq!(ledger.agreement, Agreement::Differ);
        assert_eq!(ledger.holders.len(), 6);
        assert_eq!(ledger.holders[0].kind, HolderKind::Guest);
        assert_eq!(ledger.holders[0].caching, Some(Caching::WriteCombining));
        assert_eq!(ledger.holders[0].pid, None);
        let own: Vec<_> = ledger
            .holders
            .iter()
            .filter(|holder| holder.flags.contains(HolderFlags::SELF))
            .collect();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].id, peers[2].peer());
        assert_eq!(own[0].name, "test");
        assert_eq!((own[0].kind, own[0].pid), (HolderKind::Peer, Some(4321)));
    }
}

#[test]
fn ledger_counts_brackets() {
    let (_fake, connection, id) = one_blob(Recipe::default());
    let mapping = connection.open(id, BOTH).unwrap().map().unwrap();
    let _first = mapping.read(..).unwrap();
    let _second = mapping.read(..10).unwrap();
    let ledger = connection.describe(id).unwrap();
    assert_eq!(ledger.open, 2);
    assert_eq!(ledger.holders[1].open, 2);
}
