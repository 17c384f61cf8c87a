//! A virtual machine whose blobs other processes use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use coherd::coherence::Registry;
use coherd::mapping_type::Policies;
use coherd::renderer::blob_context::gpu::Gpu as BlobGpu;
use coherd::serve::Options;
use coherd::sync::{AllowList, SyncServer, SyncSocket};
use coherd_blob::MismatchPolicy;
use coherd_sync::{Capabilities, Connection, SyncError};
use tempfile::TempDir;

use crate::blob_gpu::MemoryGpu;
use crate::blob_rig::BlobRig;
use crate::frontend::Flavour;
use crate::rig::RigError;

/// coherd with blob contexts on a GPU, which is one made of files if nothing is said, a program in a
/// guest, and a socket for peers.
pub struct SyncRig<G = MemoryGpu> {
    /// The virtual machine.
    pub vm: BlobRig,
    /// The GPU.
    pub gpu: Arc<G>,
    server: SyncServer,
    folder: TempDir,
}

impl SyncRig {
    /// A rig that lets in whom coherd lets in if nothing is said.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn new() -> Result<Self, RigError> {
        Self::with(AllowList::default(), Options::default())
    }

    /// A rig that lets others in, and has other settings.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn with(allowed: AllowList, options: Options) -> Result<Self, RigError> {
        Self::on(&Arc::new(MemoryGpu::new()), allowed, options)
    }
}

impl<G: BlobGpu> SyncRig<G> {
    /// A rig with this GPU.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn on(gpu: &Arc<G>, allowed: AllowList, options: Options) -> Result<Self, RigError> {
        let folder = tempfile::tempdir()?;
        let blobs = Arc::new(Registry::new().map_err(io::Error::from)?);
        let socket = SyncSocket::bind(&folder.path().join("sync")).map_err(io::Error::other)?;
        let server = SyncServer::start(socket, allowed, Arc::clone(&blobs));
        let server = server.map_err(io::Error::other)?;
        let options = Options {
            blobs: Some(blobs),
            ..options
        };
        let policies = Policies::all(MismatchPolicy::Warn);
        let vm = BlobRig::with(gpu, Flavour::Qemu, policies, options)?;
        Ok(Self {
            vm,
            gpu: Arc::clone(gpu),
            server,
            folder,
        })
    }

    /// Where peers connect.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("sync")
    }

    /// A peer that asks for everything there is.
    ///
    /// # Errors
    /// See [`SyncError`].
    pub fn peer(&self, name: &str) -> Result<Connection, SyncError> {
        let options = coherd_sync::Options {
            name: name.to_owned(),
            capabilities: Capabilities::all(),
            answer_within: Duration::from_secs(60),
        };
        Connection::connect(self.path(), &options)
    }

    /// The VMM hangs up, and the daemon has to end well, as does the server.
    ///
    /// # Errors
    /// What [`BlobRig::finish`] returns.
    pub fn finish(self) -> Result<(), RigError> {
        let path = self.path();
        self.vm.finish()?;
        drop(self.server);
        match fs::exists(path)? {
            true => Err(io::Error::other("the socket's file is left behind").into()),
            false => Ok(()),
        }
    }
}
