//! A virtual machine that goes on in another daemon.

use std::io::{Seek, Write};
use std::sync::Arc;

use coherd::mapping_type::Policies;
use coherd::renderer::blob_context::gpu::Gpu as BlobGpu;
use coherd::serve::Options;
use coherd_blob::MismatchPolicy;

use crate::blob_rig::{BlobRig, factory};
use crate::frontend::{Config, Flavour, Frontend};
use crate::rig::{RigError, Server};

/// A virtual machine between two daemons.
pub struct Moving {
    /// The state of its GPU.
    pub state: Vec<u8>,
    bases: Vec<u16>,
    rig: BlobRig,
}

/// How a state comes to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    VhostUser,
    File,
}

impl BlobRig {
    /// Stops the device and saves its state.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn save(self) -> Result<Moving, RigError> {
        let bases = self.frontend.stop()?;
        self.save_stopped(bases)
    }

    /// Saves the state of the device, which was stopped at `bases`.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn save_stopped(self, bases: Vec<u16>) -> Result<Moving, RigError> {
        let state = self.frontend.save_state()?;
        Ok(Moving {
            state,
            bases,
            rig: self,
        })
    }
}

impl Moving {
    /// The VM goes on where it is.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn stay(self) -> Result<BlobRig, RigError> {
        self.rig.frontend.resume(&self.bases)?;
        Ok(self.rig)
    }

    /// The first daemon ends, and the VM goes on in another, which allocates from `gpu`.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn load<G: BlobGpu>(
        self,
        gpu: &Arc<G>,
        flavour: Flavour,
        options: Options,
    ) -> Result<BlobRig, RigError> {
        self.go_on(gpu, flavour, options, Way::VhostUser)
    }

    /// The same, but the other daemon has the state from a file before the VMM comes.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn restore<G: BlobGpu>(
        self,
        gpu: &Arc<G>,
        flavour: Flavour,
        options: Options,
    ) -> Result<BlobRig, RigError> {
        self.go_on(gpu, flavour, options, Way::File)
    }

    fn go_on<G: BlobGpu>(
        self,
        gpu: &Arc<G>,
        flavour: Flavour,
        options: Options,
        way: Way,
    ) -> Result<BlobRig, RigError> {
        let Self {
            state,
            bases,
            rig: old,
        } = self;
        let policies = Policies::all(MismatchPolicy::Warn);
        options.mapping_types.set_policies(policies);
        let types = Arc::clone(&options.mapping_types);
        let factory = factory(gpu, &types);
        let (server, stream) = match way {
            Way::VhostUser => Server::pair(options, factory)?,
            Way::File => {
                let mut file = tempfile::tempfile()?;
                file.write_all(&state)?;
                file.rewind()?;
                Server::restored(file, options, factory)?
            }
        };
        let ram = old.frontend.ram();
        let frontend = Frontend::with_ram(stream, Config::new(flavour), ram)?;
        let (mut driver, program) = (old.gpu, old.program);
        let fault = old.frontend.fault();
        drop(old.frontend);
        old.server.finish()?;
        if let Some(fault) = fault {
            return Err(RigError::Fault(fault));
        }
        match way {
            Way::VhostUser => frontend.load_state(&state)?,
            Way::File => frontend.adopt(),
        }
        frontend.resume(&bases)?;
        driver.move_to(&frontend)?;
        // The first command is served once the window is as it was.
        driver.display_info()?;
        Ok(BlobRig {
            frontend,
            gpu: driver,
            program,
            server,
        })
    }
}
