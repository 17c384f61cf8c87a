//! The server, its blobs, and what must hold when peers are gone.

use std::ops::Range;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use coherd::coherence::registry::{NewBlob, Registry};
use coherd::coherence::{AccessError, BlobRecord, DeviceMemory, Patience};
use coherd::mapping_type::MappingType;
use coherd::sync::{AllowList, SyncServer, SyncSocket};
use coherd_blob::backing::ExportKind;
use coherd_blob::{Access, Backing, MapInfo, MemoryProperties};
use coherd_sync::{Capabilities, Connection, HolderKind, Options};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen,
    socket_with,
};

/// Blobs of an input.
const BLOBS: u32 = 4;
const SIZE: u64 = 2 * 4096;
const ATOM: u64 = 64;
/// Longer than anything takes, also where a processor has other things to do.
const PATIENCE: Duration = Duration::from_secs(15);

/// Memory of a driver whose GPU is never done, or always.
#[derive(Debug)]
struct FuzzMemory {
    hangs: bool,
}

impl DeviceMemory for FuzzMemory {
    fn atom(&self) -> Option<u64> {
        Some(ATOM)
    }

    fn memory_type(&self) -> (u32, MemoryProperties) {
        (0, MemoryProperties::HOST_VISIBLE)
    }

    fn wait(&self, _: Access, patience: &Patience<'_>) -> std::result::Result<(), AccessError> {
        while self.hangs {
            thread::sleep(patience.slice()?.min(Duration::from_micros(200)));
        }
        Ok(())
    }

    fn invalidate(&self, range: Range<u64>) -> std::result::Result<(), AccessError> {
        check(&range);
        Ok(())
    }

    fn flush(&self, range: Range<u64>) -> std::result::Result<(), AccessError> {
        check(&range);
        Ok(())
    }
}

/// What a driver is asked for lies in the blob and has whole atoms.
fn check(range: &Range<u64>) {
    assert!(range.start < range.end && range.end <= SIZE, "{range:?}");
    let is_whole = range.start.is_multiple_of(ATOM) && range.end.is_multiple_of(ATOM);
    assert!(is_whole, "{range:?}");
}

/// How many files this process has open.
pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// See the module's description.
pub struct Host {
    blobs: Arc<Registry>,
    address: SocketAddrUnix,
    _server: SyncServer,
}

impl Host {
    /// The one of this process.
    pub fn get() -> &'static Self {
        static HOST: OnceLock<Host> = OnceLock::new();
        HOST.get_or_init(Self::new)
    }

    fn new() -> Self {
        let socket = seqpacket();
        // The kernel chooses a name that is no file.
        bind(&socket, &SocketAddrUnix::new_unnamed()).expect("a name");
        let address = getsockname(&socket).expect("a name");
        let address = SocketAddrUnix::try_from(address).expect("a unix socket");
        listen(&socket, 64).expect("a socket that listens");
        let socket = SyncSocket::inherit(socket.into_raw_fd()).expect("a socket that listens");
        let blobs = Arc::new(Registry::new().expect("an eventfd"));
        let server = SyncServer::start(socket, AllowList::default(), Arc::clone(&blobs));
        Self {
            blobs,
            address,
            _server: server.expect("threads"),
        }
    }

    /// A new connection.
    pub fn connect(&self) -> OwnedFd {
        let socket = seqpacket();
        connect(&socket, &self.address).expect("a server that listens");
        socket
    }

    /// New blobs, which go with what is returned.
    pub fn fill(&self) -> Blobs<'_> {
        Blobs {
            host: self,
            ids: (0..BLOBS).map(|number| self.enter(number)).collect(),
        }
    }

    /// The first has memory that is coherent, the second some whose GPU hangs, the third none.
    fn enter(&self, number: u32) -> u64 {
        let memory = |hangs| Some(Arc::new(FuzzMemory { hangs }) as Arc<dyn DeviceMemory>);
        let record = match number {
            0 => Some(record(None)),
            1 => Some(record(memory(true))),
            2 => None,
            _ => Some(record(memory(false))),
        };
        self.blobs.enter(NewBlob {
            size: SIZE,
            resource_id: number,
            context_id: 0,
            record: record.map(Arc::new),
        })
    }

    /// Waits until nothing is left of peers, as a new one finds it, and blobs have gone.
    pub fn check_that_all_is_over(&self, files: usize) {
        // Blobs that were destroyed before have a file as long as a peer has something of them.
        wait_for_files(files);
        let options = Options {
            name: "afterwards".to_owned(),
            capabilities: Capabilities::all(),
            answer_within: PATIENCE,
        };
        let peer = Connection::from_fd(self.connect(), &options).expect("a peer is let in");
        assert_eq!(peer.list().expect("a list"), []);
        drop(peer);
        wait_for_files(files);
    }
}

/// Waits until no more files are open than these.
fn wait_for_files(files: usize) {
    let deadline = Instant::now() + PATIENCE;
    while open_files() > files {
        assert!(Instant::now() < deadline, "files are kept");
        thread::sleep(Duration::from_micros(100));
    }
}

fn seqpacket() -> OwnedFd {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socket_with(family, kind, SocketFlags::CLOEXEC, None).expect("a socket")
}

fn record(memory: Option<Arc<dyn DeviceMemory>>) -> BlobRecord {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let fd = memfd_create("blob", flags).expect("a memfd");
    ftruncate(&fd, SIZE).expect("a long memfd");
    let backing = Backing::new(fd, ExportKind::Shm, SIZE).expect("a good memfd");
    let types = MappingType {
        told: MapInfo::Cached,
        coherent: memory.is_none(),
        file: Some(MapInfo::Cached),
        effective: None,
    };
    BlobRecord::new(backing, Some(types), memory)
}

/// The blobs of one input.
pub struct Blobs<'host> {
    host: &'host Host,
    ids: Vec<u64>,
}

impl Blobs<'_> {
    /// Their ids.
    pub fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// The guest destroys one and makes another.
    pub fn renew(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let place = u.choose_index(self.ids.len())?;
        self.host.blobs.remove(self.ids[place]);
        self.ids[place] = self.host.enter(u32::try_from(place).unwrap_or(0));
        Ok(())
    }
}

impl Drop for Blobs<'_> {
    /// Waits until no peer has anything of those that are left, and removes them.
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let options = Options {
            name: "observer".to_owned(),
            capabilities: Capabilities::all(),
            answer_within: PATIENCE,
        };
        let peer = Connection::from_fd(self.host.connect(), &options).expect("a peer is let in");
        for &id in &self.ids {
            loop {
                let ledger = peer.describe(id).expect("a description");
                let of_peer = |kind| kind == HolderKind::Peer;
                let is_held = ledger.holders.iter().any(|holder| of_peer(holder.kind));
                if ledger.open == 0 && !is_held {
                    break;
                }
                assert!(Instant::now() < deadline, "{ledger:?} of nobody");
                thread::sleep(Duration::from_micros(100));
            }
            self.host.blobs.remove(id);
        }
    }
}
