//! A program in the guest that uses a blob context.

use coherd_protocol::blob_context::command::{
    self, Copy, Fill, NO_REPLY, Query, Release, SetReplyBuffer, SyncFlags, opcode,
};
use coherd_protocol::blob_context::reply::{
    Allocated, Described, Head, ImageCreated, Ledger, Memory,
};
use coherd_protocol::blob_context::{CAPSET_BLOB, Capset, Status, StreamBuilder};
use coherd_protocol::gpu::header::Timeline;
use coherd_protocol::memory::{Access, MemoryProperties};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::commands::Blob;
use super::descriptor::Buffer;
use super::error::DriverError;
use super::gpu::{Gpu, Token};

/// Bytes of the reply buffer.
const REPLIES: u32 = 64 << 10;

/// A reply as it lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How the command ended; `None` if there is no reply.
    pub status: Option<Status>,
    /// What comes back with it.
    pub sequence: u32,
    /// What is behind its head.
    pub body: Vec<u8>,
}

/// An answer to a command: what it says, or why it failed.
pub type Answer<T> = Result<T, Status>;

/// A program with one blob context and a buffer for replies.
#[derive(Debug)]
pub struct BlobProgram {
    ctx_id: u32,
    replies: Buffer,
    sequence: u32,
    next_blob_id: u64,
}

/// What a program asks memory to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Bytes.
    pub size: u64,
    /// Properties it has to have.
    pub required: MemoryProperties,
    /// Properties that would be nice.
    pub preferred: MemoryProperties,
}

/// An image that a program asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageWish {
    /// Pixels.
    pub size: (u32, u32),
    /// Format.
    pub fourcc: u32,
    /// Modifiers, any of which will do.
    pub modifiers: Vec<u64>,
    /// Properties its memory has to have.
    pub required: MemoryProperties,
}

impl BlobProgram {
    /// Creates context `ctx_id` and a blob `resource_id` of guest memory for replies.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn new(gpu: &mut Gpu, ctx_id: u32, resource_id: u32) -> Result<Self, DriverError> {
        gpu.ctx_create(ctx_id, CAPSET_BLOB, "blob-program")?;
        let replies = gpu.buffer(&vec![0; REPLIES as usize])?;
        let blob = Blob {
            resource_id,
            mem: 1,
            size: REPLIES.into(),
            ..Blob::default()
        };
        gpu.create_blob(&blob, &[replies])?;
        gpu.ctx_attach(ctx_id, resource_id)?;
        let mut program = Self {
            ctx_id,
            replies,
            sequence: 0,
            next_blob_id: 1,
        };
        let set = SetReplyBuffer {
            resource_id: resource_id.into(),
            padding: 0.into(),
            offset: 0.into(),
            size: u64::from(REPLIES).into(),
        };
        let reply = program.call(gpu, opcode::SET_REPLY_BUFFER, &set, &[0u8; 0])?;
        match reply.status {
            Some(Status::Ok) => Ok(program),
            _ => Err(DriverError::NoReply),
        }
    }

    /// Its context.
    pub fn ctx_id(&self) -> u32 {
        self.ctx_id
    }

    /// Where its replies lie.
    pub fn replies(&self) -> Buffer {
        self.replies
    }

    /// The capset of blob contexts.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn capset(gpu: &mut Gpu) -> Result<Capset, DriverError> {
        for index in 0..8 {
            let info = gpu.capset_info(index)?;
            if info.capset_id.get() == CAPSET_BLOB {
                let len = info.max_size.get() as usize;
                let bytes = gpu.capset(CAPSET_BLOB, info.max_version.get(), len)?;
                return Capset::decode(&bytes).ok_or(DriverError::NoReply);
            }
        }
        Err(DriverError::NoReply)
    }

    /// Sends one command and waits for all that the context has to do.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn call<T, U>(
        &mut self,
        gpu: &mut Gpu,
        code: u32,
        fixed: &T,
        array: &[U],
    ) -> Result<Reply, DriverError>
    where
        T: IntoBytes + Immutable,
        U: IntoBytes + Immutable,
    {
        let mut stream = StreamBuilder::default();
        let place = self.place(gpu, 0)?;
        stream.push(code, place, fixed, array);
        self.run(gpu, &stream)?;
        self.reply(gpu, 0)
    }

    /// Clears the memory for the reply at `offset`, and names that place with a new sequence
    /// number, for a command in a stream.
    ///
    /// # Errors
    /// [`DriverError::Memory`]
    pub fn place(&mut self, gpu: &Gpu, offset: u32) -> Result<(u32, u32), DriverError> {
        self.sequence += 1;
        let head = Head::new_zeroed();
        gpu.memory()
            .write_slice(head.as_bytes(), self.address(offset))?;
        Ok((offset, self.sequence))
    }

    /// Submits a stream with a fence and waits for it.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn run(&self, gpu: &mut Gpu, stream: &StreamBuilder) -> Result<(), DriverError> {
        let token = self.submit(gpu, stream)?;
        self.wait(gpu, token)
    }

    /// Submits a stream with a fence.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn submit(&self, gpu: &mut Gpu, stream: &StreamBuilder) -> Result<Token, DriverError> {
        let fence = gpu.next_fence(Timeline::Ring {
            ctx_id: self.ctx_id,
            ring_idx: 0,
        });
        gpu.submit_3d_fenced(self.ctx_id, stream.bytes(), fence)
    }

    /// Waits for a stream that was submitted.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn wait(&self, gpu: &mut Gpu, token: Token) -> Result<(), DriverError> {
        let patience = gpu.patience();
        gpu.wait(token, patience)?.expect_code(0x1100).map(drop)
    }

    /// The reply at `offset`, as it lies there now.
    ///
    /// # Errors
    /// [`DriverError::Memory`]
    pub fn reply(&self, gpu: &Gpu, offset: u32) -> Result<Reply, DriverError> {
        let mut head = Head::new_zeroed();
        gpu.memory()
            .read_slice(head.as_mut_bytes(), self.address(offset))?;
        let len = (head.size.get() as usize).saturating_sub(size_of::<Head>());
        let mut body = vec![0; len.min(4096)];
        let behind = self.address(offset + u32::try_from(size_of::<Head>()).unwrap_or(0));
        gpu.memory().read_slice(&mut body, behind)?;
        Ok(Reply {
            status: Status::from_wire(head.status.get()),
            sequence: head.sequence.get(),
            body,
        })
    }

    /// ALLOCATE: the blob id, and what memory it is.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn allocate(
        &mut self,
        gpu: &mut Gpu,
        wish: Wish,
    ) -> Result<Answer<(u64, Memory)>, DriverError> {
        let blob_id = self.new_blob_id();
        let command = command::Allocate {
            blob_id: blob_id.into(),
            size: wish.size.into(),
            required: wish.required.bits().into(),
            preferred: wish.preferred.bits().into(),
            usage: 0.into(),
            flags: 0.into(),
        };
        let reply = self.call(gpu, opcode::ALLOCATE, &command, &[0u8; 0])?;
        let allocated = reply.parse::<Allocated>()?;
        Ok(allocated.map(|allocated| (blob_id, allocated.memory)))
    }

    /// IMAGE: the blob id, and what it is.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn image(
        &mut self,
        gpu: &mut Gpu,
        wish: &ImageWish,
    ) -> Result<Answer<(u64, ImageCreated)>, DriverError> {
        let blob_id = self.new_blob_id();
        let modifiers: Vec<U64> = wish.modifiers.iter().map(|word| U64::new(*word)).collect();
        let command = command::Image {
            blob_id: blob_id.into(),
            width: wish.size.0.into(),
            height: wish.size.1.into(),
            fourcc: wish.fourcc.into(),
            usage: 0.into(),
            required: wish.required.bits().into(),
            preferred: 0.into(),
            modifier_count: u32::try_from(modifiers.len()).unwrap_or(u32::MAX).into(),
            flags: 0.into(),
        };
        let reply = self.call(gpu, opcode::IMAGE, &command, &modifiers)?;
        Ok(reply
            .parse::<ImageCreated>()?
            .map(|created| (blob_id, created)))
    }

    /// RELEASE.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn release(&mut self, gpu: &mut Gpu, blob_id: u64) -> Result<Answer<()>, DriverError> {
        let command = Release {
            blob_id: blob_id.into(),
        };
        self.call(gpu, opcode::RELEASE, &command, &[0u8; 0])?.done()
    }

    /// RESOURCE_CREATE_BLOB from an object, mappable and shareable, and attaches it.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn create_blob(
        &self,
        gpu: &mut Gpu,
        resource_id: u32,
        (blob_id, memory): (u64, Memory),
    ) -> Result<(), DriverError> {
        let blob = Blob {
            ctx_id: self.ctx_id,
            resource_id,
            mem: 2,
            flags: 3,
            blob_id,
            size: memory.size.get(),
        };
        gpu.create_blob(&blob, &[])?;
        gpu.ctx_attach(self.ctx_id, resource_id)
    }

    /// FILL.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn fill(
        &mut self,
        gpu: &mut Gpu,
        resource_id: u32,
        (offset, size): (u64, u64),
        word: u32,
    ) -> Result<Answer<()>, DriverError> {
        let command = fill(resource_id, (offset, size), word);
        self.call(gpu, opcode::FILL, &command, &[0u8; 0])?.done()
    }

    /// COPY of `size` bytes, each side with its offset.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn copy(
        &mut self,
        gpu: &mut Gpu,
        from: (u32, u64),
        to: (u32, u64),
        size: u64,
    ) -> Result<Answer<()>, DriverError> {
        let command = copy(from, to, size);
        self.call(gpu, opcode::COPY, &command, &[0u8; 0])?.done()
    }

    /// SYNC(START) of a whole resource.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn start(
        &mut self,
        gpu: &mut Gpu,
        resource_id: u32,
        access: Access,
    ) -> Result<Answer<()>, DriverError> {
        let command = sync(resource_id, flags(access), (0, 0));
        self.call(gpu, opcode::SYNC, &command, &[0u8; 0])?.done()
    }

    /// SYNC(END) of a whole resource.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn end(
        &mut self,
        gpu: &mut Gpu,
        resource_id: u32,
        access: Access,
    ) -> Result<Answer<()>, DriverError> {
        let command = sync(resource_id, flags(access) | SyncFlags::END, (0, 0));
        self.call(gpu, opcode::SYNC, &command, &[0u8; 0])?.done()
    }

    /// QUERY.
    ///
    /// # Errors
    /// See [`DriverError`].
    pub fn query(
        &mut self,
        gpu: &mut Gpu,
        resource_id: u32,
    ) -> Result<Answer<(Memory, Ledger)>, DriverError> {
        let command = Query {
            resource_id: resource_id.into(),
            padding: 0.into(),
        };
        let reply = self.call(gpu, opcode::QUERY, &command, &[0u8; 0])?;
        let described = reply.parse::<Described>()?;
        Ok(described.map(|described| (described.memory, described.ledger)))
    }

    fn new_blob_id(&mut self) -> u64 {
        self.next_blob_id += 1;
        self.next_blob_id
    }

    fn address(&self, offset: u32) -> GuestAddress {
        GuestAddress(self.replies.addr.0 + u64::from(offset))
    }
}

impl Reply {
    /// The whole reply, if the command succeeded.
    ///
    /// # Errors
    /// [`DriverError::NoReply`]
    fn parse<T: FromBytes>(&self) -> Result<Answer<T>, DriverError> {
        match self.status.ok_or(DriverError::NoReply)? {
            Status::Ok => {
                let bytes = [&[0; size_of::<Head>()][..], &self.body].concat();
                let reply = T::read_from_bytes(&bytes).map_err(|_| DriverError::NoReply)?;
                Ok(Ok(reply))
            }
            status => Ok(Err(status)),
        }
    }

    /// Whether the command succeeded.
    fn done(&self) -> Result<Answer<()>, DriverError> {
        match self.status.ok_or(DriverError::NoReply)? {
            Status::Ok => Ok(Ok(())),
            status => Ok(Err(status)),
        }
    }
}

/// A stream of one command without a reply.
pub fn silent<T: IntoBytes + Immutable>(code: u32, fixed: &T) -> StreamBuilder {
    let mut stream = StreamBuilder::default();
    stream.push(code, (NO_REPLY, 0), fixed, &[0u8; 0]);
    stream
}

/// FILL as a structure.
pub fn fill(resource_id: u32, (offset, size): (u64, u64), word: u32) -> Fill {
    Fill {
        resource_id: resource_id.into(),
        value: word.into(),
        offset: offset.into(),
        size: size.into(),
    }
}

/// COPY as a structure.
pub fn copy(from: (u32, u64), to: (u32, u64), size: u64) -> Copy {
    Copy {
        source: from.0.into(),
        destination: to.0.into(),
        source_offset: from.1.into(),
        destination_offset: to.1.into(),
        size: size.into(),
    }
}

/// SYNC as a structure, with the default time-out.
pub fn sync(resource_id: u32, flags: SyncFlags, (offset, size): (u64, u64)) -> command::Sync {
    command::Sync {
        resource_id: resource_id.into(),
        flags: flags.bits().into(),
        offset: offset.into(),
        size: size.into(),
        timeout_ms: 0.into(),
        padding: 0.into(),
    }
}

/// The flags of a START.
pub fn flags(access: Access) -> SyncFlags {
    SyncFlags::from_bits_truncate(access.bits())
}
