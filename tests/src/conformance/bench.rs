//! The guest of a case: its driver, and checks of what the device answers.

use std::time::Duration;

use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::header::{Fence, Timeline};
use vm_memory::Bytes;

use super::case::Setup;
use super::codes;
use super::facts::Facts;
use super::failure::{Failure, ensure};
use crate::driver::{Answer, Blob, Buffer, DriverError, Gpu, QueueKind, Request, Token};
use crate::frontend::{Deadline, Event, Frontend, Shown, Window, WindowError};

/// How long to wait before looking whether the backend is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes of an answer without data.
const HEADER: u32 = 24;

/// The note of a case that any answer passes.
pub const LEFT_OPEN: &str = "the standard leaves it open";

/// No case has a resource of this id.
const NOBODY: u32 = u32::MAX - 15;

/// The guest of a case.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The VMM, for what a driver cannot do.
    pub frontend: &'a mut Frontend,
    /// The driver.
    pub gpu: Gpu,
    facts: &'a Facts,
    deadline: Deadline,
    allowed: Duration,
    notes: Vec<String>,
}

impl<'a> Bench<'a> {
    /// A guest whose device was just reset and started, with `allowed` time for all that it does.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn new(
        frontend: &'a mut Frontend,
        facts: &'a Facts,
        setup: Setup,
        allowed: Duration,
    ) -> Result<Self, Failure> {
        frontend.reset()?;
        frontend.set_guest_features(setup.features);
        frontend.set_queue_size(setup.queue_size)?;
        frontend.start()?;
        let gpu = Gpu::new(frontend)?;
        Ok(Self {
            frontend,
            gpu,
            facts,
            deadline: Deadline::after(allowed),
            allowed,
            notes: Vec::new(),
        })
    }

    /// What the backend has.
    pub fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// Remembers something for the report, once.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// What was remembered.
    pub fn into_notes(self) -> String {
        self.notes.join(", ")
    }

    /// The driver resets the device and starts anew.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn reset(&mut self) -> Result<(), Failure> {
        self.frontend.reboot()?;
        self.gpu = Gpu::new(self.frontend)?;
        Ok(())
    }

    /// Sends a command with room for `data` bytes after the header of its answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn send(&mut self, request: &Request, data: usize) -> Result<Token, Failure> {
        let data = u32::try_from(data).unwrap_or(u32::MAX);
        let room = HEADER.saturating_add(data);
        Ok(self.gpu.send(&request.to_bytes(), room)?)
    }

    /// Waits for the answer to `token`; `what` was sent.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn wait(&mut self, token: Token, what: &str) -> Result<Answer, Failure> {
        loop {
            let slice = Deadline::after(LOOK.min(self.deadline.remaining()));
            match self.gpu.wait(token, slice) {
                Ok(answer) => return Ok(answer),
                Err(DriverError::Timeout) => self.check(what)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fails if there is nothing to wait for any more.
    fn check(&self, what: &str) -> Result<(), Failure> {
        if let Some(fault) = self.frontend.fault() {
            return Err(fault.into());
        }
        if self.frontend.is_hung_up() {
            return Err(Failure::HungUp(what.to_owned()));
        }
        if self.deadline.passed() {
            return Err(Failure::NoAnswer {
                what: what.to_owned(),
                waited: self.allowed,
            });
        }
        Ok(())
    }

    /// Waits until the display socket carries what `wanted` accepts, since `mark` of the log.
    ///
    /// # Errors
    /// [`Failure::Wrong`] if it does not while the case lasts.
    pub fn see(
        &self,
        mark: usize,
        what: &str,
        wanted: impl Fn(&Shown) -> bool,
    ) -> Result<Shown, Failure> {
        let is_it = |event: &Event| matches!(event, Event::Shown(shown) if wanted(shown));
        loop {
            let slice = Deadline::after(LOOK.min(self.deadline.remaining()));
            if let Some(Event::Shown(shown)) = self.frontend.log().wait(mark, slice, is_it) {
                return Ok(shown);
            }
            ensure(!self.deadline.passed(), || {
                format!("{what} is not on the display socket")
            })?;
            self.check(what)?;
        }
    }

    /// As [`Self::see`] where the backend has a display socket. Elsewhere the report says that
    /// `what` cannot be seen.
    ///
    /// # Errors
    /// See [`Self::see`].
    pub fn see_if_possible(
        &mut self,
        mark: usize,
        what: &str,
        wanted: impl Fn(&Shown) -> bool,
    ) -> Result<(), Failure> {
        if self.frontend.has_display() {
            return self.see(mark, what, wanted).map(drop);
        }
        self.note(format!("{what} cannot be seen"));
        Ok(())
    }

    /// Sends a command and waits for its answer, which has a header.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn call(&mut self, request: &Request, data: usize) -> Result<Answer, Failure> {
        let token = self.send(request, data)?;
        let what = codes::command(request.kind());
        let answer = self.wait(token, &what)?;
        ensure(answer.used >= HEADER, || {
            format!("{what} was answered with {} bytes", answer.used)
        })?;
        Ok(answer)
    }

    /// Sends bytes on a queue with `room` bytes for the answer, and waits for the chain.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn raw(&mut self, queue: QueueKind, bytes: &[u8], room: u32) -> Result<Answer, Failure> {
        let token = self.gpu.send_on(queue, bytes, room)?;
        self.wait(token, &format!("{} bytes on {queue:?}", bytes.len()))
    }

    /// The command succeeds and has no data.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for any other answer.
    pub fn ok(&mut self, request: &Request) -> Result<(), Failure> {
        self.data(request, codes::OK_NODATA, 0).map(drop)
    }

    /// The command succeeds with `code` and exactly `len` bytes, which are returned.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for any other answer.
    pub fn data(&mut self, request: &Request, code: u32, len: usize) -> Result<Vec<u8>, Failure> {
        let answer = self.call(request, len)?;
        let what = || codes::command(request.kind());
        ensure(answer.code() == code, || {
            let got = codes::response(answer.code());
            format!("{}: {got} instead of {}", what(), codes::response(code))
        })?;
        let told = answer.used as usize;
        ensure(told == HEADER as usize + len, || {
            format!("{}: {told} bytes instead of {}", what(), 24 + len)
        })?;
        Ok(answer.body().to_vec())
    }

    /// The command is refused with one of the ERR codes.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for any other answer.
    pub fn refused(&mut self, request: &Request) -> Result<(), Failure> {
        let answer = self.call(request, 0)?;
        self.expect_error(&answer)
    }

    /// The command is refused with the one code whose name says why.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for any other answer.
    pub fn refused_as(&mut self, request: &Request, code: u32) -> Result<(), Failure> {
        let answer = self.call(request, 0)?;
        self.expect_error(&answer)?;
        ensure(answer.code() == code, || {
            let got = codes::response(answer.code());
            let what = codes::command(request.kind());
            format!("{what}: {got} instead of {}", codes::response(code))
        })
    }

    /// An answer is one of the ERR codes and has no data.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for any other answer.
    pub fn expect_error(&mut self, answer: &Answer) -> Result<(), Failure> {
        let (got, what) = (
            codes::response(answer.code()),
            codes::command(answer.command),
        );
        ensure(is_error(answer.code()), || {
            format!("{what}: {got} instead of an error")
        })?;
        ensure(answer.used == HEADER, || {
            format!("{what}: an error of {} bytes", answer.used)
        })?;
        self.note(got);
        Ok(())
    }

    /// The command is answered, with success or an error, where the standard leaves it open.
    /// Returns whether it succeeded.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for an answer that is neither.
    pub fn answered(&mut self, request: &Request) -> Result<bool, Failure> {
        let answer = self.call(request, 0)?;
        let code = answer.code();
        ensure(code == codes::OK_NODATA || is_error(code), || {
            let what = codes::command(request.kind());
            format!("{what}: {}", codes::response(code))
        })?;
        self.note(codes::response(code));
        Ok(code == codes::OK_NODATA)
    }

    /// As [`Self::answered`], for a case that no answer but a broken one fails. The report says
    /// so.
    ///
    /// # Errors
    /// See [`Self::answered`].
    pub fn left_open(&mut self, request: &Request) -> Result<(), Failure> {
        self.answered(request)?;
        self.note(LEFT_OPEN);
        Ok(())
    }

    /// Creates a host blob of a kind that a renderer need not have without a command stream.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] where it is refused.
    pub fn create_if_possible(&mut self, blob: &Blob) -> Result<(), Failure> {
        if self.answered(&blob.request(&[]))? {
            return Ok(());
        }
        let flags = blob.flags;
        Err(Failure::Unsupported(format!(
            "no blob with flags {flags} without a command stream"
        )))
    }

    /// The device answers.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn alive(&mut self) -> Result<(), Failure> {
        let answer = self.call(&Request::unref(NOBODY), 0)?;
        ensure(is_error(answer.code()), || {
            format!("afterwards, {} to nonsense", codes::response(answer.code()))
        })
    }

    /// Creates context `ctx_id` with a renderer behind it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn context(&mut self, ctx_id: u32) -> Result<(), Failure> {
        let features = Features::from_bits_truncate(self.frontend.features());
        let typed = features.contains(Features::CONTEXT_INIT);
        let capset = self.facts.capset().filter(|_| typed).unwrap_or(0);
        self.ok(&Request::ctx_create(ctx_id, capset, "conformance"))
    }

    /// A mappable blob of context `ctx_id` that needs no command to exist.
    pub fn host_blob(&self, ctx_id: u32, resource_id: u32, size: u64) -> Blob {
        Blob {
            ctx_id,
            resource_id,
            mem: 2,
            flags: 1,
            blob_id: self.facts.blob_id,
            size,
        }
    }

    /// A fence without a ring.
    pub fn global_fence(&mut self) -> Fence {
        self.gpu.next_fence(Timeline::Global)
    }

    /// A fence on a ring of a context.
    pub fn ring_fence(&mut self, ctx_id: u32, ring_idx: u8) -> Fence {
        self.gpu.next_fence(Timeline::Ring { ctx_id, ring_idx })
    }

    /// Zeroed guest memory of `len` bytes in one piece.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn memory(&mut self, len: u64) -> Result<Buffer, Failure> {
        let len = usize::try_from(len).map_err(|_| DriverError::OutOfPages)?;
        Ok(self.gpu.buffer(&vec![0; len])?)
    }

    /// Writes to guest memory that was allocated before.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn write(&self, buffer: Buffer, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.gpu.memory().write_slice(bytes, buffer.addr);
        Ok(written.map_err(DriverError::from)?)
    }

    /// The guest's window.
    ///
    /// # Errors
    /// [`Failure::Window`] if there is none.
    pub fn window(&self) -> Result<&Window, Failure> {
        let window = self.frontend.window();
        Ok(window.ok_or(WindowError::NoRegion(1))?)
    }
}

/// Whether a response code is one of the ERR codes of VIRTIO 1.4 section 5.7.6.7.
pub fn is_error(code: u32) -> bool {
    (codes::ERR_UNSPEC..=codes::ERR_INVALID_PARAMETER).contains(&code)
}
