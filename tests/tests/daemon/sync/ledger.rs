//! DESCRIBE: who maps a blob.

use coherd_protocol::sync::wire::Agreement;
use coherd_sync::{Access, Caching, Connection, Holder, HolderFlags, HolderKind};
use coherd_tests::sync_rig::SyncRig;

use super::{RAM, READ_WRITE, entry, mapped};

fn peers(peer: &Connection, blob: u64) -> Vec<Holder> {
    let holders = peer.describe(blob).unwrap().holders.into_iter();
    holders
        .filter(|holder| holder.kind == HolderKind::Peer)
        .collect()
}

#[test]
fn guest_vmm_and_peers_are_listed_with_their_types() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let watcher = rig.peer("watcher").unwrap();
    let writer = rig.peer("writer").unwrap();
    let id = entry(&watcher, 1).blob;
    let blob = writer.open(id, READ_WRITE).unwrap();
    let mapping = blob.map().unwrap();
    let bracket = mapping.write(..).unwrap();

    let ledger = watcher.describe(id).unwrap();

    let kinds: Vec<HolderKind> = ledger.holders.iter().map(|holder| holder.kind).collect();
    let expected = [HolderKind::Guest, HolderKind::Vmm, HolderKind::Peer];
    assert_eq!(kinds, expected);
    assert_eq!((ledger.agreement, ledger.open), (Agreement::Agree, 1));
    let peer = &ledger.holders[2];
    assert_eq!((peer.id, peer.name.as_str()), (writer.peer(), "writer"));
    assert_eq!(peer.pid, Some(std::process::id()));
    assert_eq!((peer.access, peer.open), (READ_WRITE, 1));
    assert_eq!(peer.caching, Some(Caching::Cached));
    assert!(!peer.flags.contains(HolderFlags::SELF));
    bracket.end().unwrap();
    drop((mapping, blob));
    writer.list().unwrap();
    assert_eq!(peers(&watcher, id), []);
    drop((watcher, writer));
    rig.finish().unwrap();
}

#[test]
fn long_ledgers_come_in_pages() {
    let mut rig = SyncRig::new().unwrap();
    mapped(&mut rig, 1, 1, RAM);
    let all: Vec<Connection> = (0..100)
        .map(|number| rig.peer(&format!("peer {number}")).unwrap())
        .collect();
    let id = entry(&all[0], 1).blob;
    let open: Vec<_> = all
        .iter()
        .map(|peer| peer.open(id, Access::READ).unwrap())
        .collect();
    let listed = peers(&all[7], id);
    let numbers: Vec<u64> = listed.iter().map(|holder| holder.id).collect();
    let expected: Vec<u64> = all.iter().map(Connection::peer).collect();
    assert_eq!(numbers, expected);
    let own = listed
        .iter()
        .filter(|holder| holder.flags.contains(HolderFlags::SELF));
    assert_eq!(
        own.map(|holder| holder.id).collect::<Vec<_>>(),
        [all[7].peer()]
    );
    drop((open, all));
    rig.finish().unwrap();
}
