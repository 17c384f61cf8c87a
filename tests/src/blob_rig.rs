//! A virtual machine whose guest uses blob contexts.

use std::io::Write;
use std::sync::{Arc, Once};

use coherd::mapping_type::{MappingTypes, Policies};
use coherd::renderer::blob_context::gpu::Gpu as BlobGpu;
use coherd::renderer::blob_context::{BlobContexts, Vulkan};
use coherd::serve::{Options, RendererFactory};
use coherd_blob::MismatchPolicy;

use crate::driver::{BlobProgram, Gpu};
use crate::frontend::{Config, Flavour, Frontend};
use crate::rig::{RigError, Server};

/// The context of the rig's program.
pub const CTX: u32 = 1;
/// The resource with the replies of the rig's program.
pub const REPLIES: u32 = 1000;

/// Whether the lack of Vulkan was told.
static TOLD: Once = Once::new();

/// Set where a missing Vulkan driver is a failure.
const REQUIRE: &str = "COHERD_REQUIRE_VULKAN";

/// coherd with blob contexts, a VMM, and a program in a guest.
pub struct BlobRig {
    /// The VMM.
    pub frontend: Frontend,
    /// The guest's driver.
    pub gpu: Gpu,
    /// The program.
    pub program: BlobProgram,
    /// The daemon.
    pub server: Server,
}

impl BlobRig {
    /// A rig that allocates from `gpu` whatever it is asked for, under QEMU.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn new<G: BlobGpu>(gpu: &Arc<G>) -> Result<Self, RigError> {
        let policies = Policies::all(MismatchPolicy::Warn);
        Self::with(gpu, Flavour::Qemu, policies, Options::default())
    }

    /// A rig with other settings.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn with<G: BlobGpu>(
        gpu: &Arc<G>,
        flavour: Flavour,
        policies: Policies,
        options: Options,
    ) -> Result<Self, RigError> {
        options.mapping_types.set_policies(policies);
        let types: Arc<MappingTypes> = Arc::clone(&options.mapping_types);
        let (server, stream) = Server::pair(options, factory(gpu, &types))?;
        let frontend = Frontend::from_stream(stream, Config::new(flavour))?;
        frontend.start()?;
        let mut gpu = Gpu::new(&frontend)?;
        let program = BlobProgram::new(&mut gpu, CTX, REPLIES)?;
        Ok(Self {
            frontend,
            gpu,
            program,
            server,
        })
    }

    /// The VMM hangs up, and the daemon has to end well.
    ///
    /// # Errors
    /// [`RigError::Fault`], and what [`Server::finish`] returns.
    pub fn finish(self) -> Result<(), RigError> {
        let fault = self.frontend.fault();
        drop((self.gpu, self.frontend));
        self.server.finish()?;
        fault.map_or(Ok(()), |fault| Err(RigError::Fault(fault)))
    }
}

/// Makes a renderer that has blob contexts and nothing else, which allocate from `gpu`.
pub fn factory<G: BlobGpu>(gpu: &Arc<G>, types: &Arc<MappingTypes>) -> RendererFactory {
    let (gpu, types) = (Arc::clone(gpu), Arc::clone(types));
    Box::new(move |fences| Ok(Box::new(BlobContexts::new(gpu, types, fences)) as Box<_>))
}

/// A Vulkan device; `None`, and a line about it, where there is none and none is required.
///
/// # Panics
/// Where one is required.
pub fn vulkan() -> Option<Arc<Vulkan>> {
    match Vulkan::open(None) {
        Ok(vulkan) => Some(Arc::new(vulkan)),
        Err(error) => {
            let why = coherd::explain::one_line(&error);
            assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE}: {why}");
            TOLD.call_once(|| {
                // Past the harness, which keeps what a test prints.
                let _ = writeln!(std::io::stderr(), "SKIPPED: tests on Vulkan: {why}");
            });
            None
        }
    }
}
