//! What each command does.

use coherd_protocol::blob_context::command::{self, Command, opcode};
use coherd_protocol::blob_context::reply;
use coherd_protocol::blob_context::{Request, Status};
use coherd_protocol::memory::MemoryProperties;
use zerocopy::little_endian::U64;
use zerocopy::{FromZeros, IntoBytes};

use super::resource::Resource;
use super::{Fault, MAX_ALLOCATION, State, TILED, XRGB8888};

type Outcome = Result<Vec<u8>, Status>;

impl State {
    /// Carries a command out and returns its reply.
    pub fn execute(
        &mut self,
        context: u32,
        request: &Request<'_>,
        replies: &mut Option<(u32, u64, u64)>,
    ) -> Vec<u8> {
        let code = request.head.opcode.get();
        let outcome = match self.fault {
            Fault::Refuse(refused, status) if refused == code => Err(status),
            _ => Command::decode(code, request.body)
                .and_then(|command| self.carry_out(context, &command, replies)),
        };
        if code != opcode::SET_REPLY_BUFFER {
            self.log(code, request.body, &outcome);
        }
        let (status, body) = match outcome {
            Ok(body) => (Status::Ok, body),
            Err(status) => (status, Vec::new()),
        };
        let head = reply::Head {
            sequence: request.head.sequence,
            status: status.to_wire().into(),
            size: ((size_of::<reply::Head>() + body.len()) as u32).into(),
            padding: 0.into(),
        };
        [head.as_bytes(), &body].concat()
    }

    fn log(&mut self, code: u32, body: &[u8], outcome: &Outcome) {
        let line = match Command::decode(code, body) {
            Ok(Command::Sync(sync)) => {
                let flags = command::SyncFlags::from_bits_retain(sync.flags.get());
                let end = sync.offset.get().wrapping_add(sync.size.get());
                format!("SYNC {flags:?} {}..{end}", sync.offset.get())
            }
            Ok(Command::Nop) => "NOP".into(),
            Ok(Command::Allocate(_)) => "ALLOCATE".into(),
            Ok(Command::Image(..)) => "IMAGE".into(),
            Ok(Command::Release(_)) => "RELEASE".into(),
            Ok(Command::Copy(_)) => "COPY".into(),
            Ok(Command::Fill(_)) => "FILL".into(),
            Ok(Command::Query(_)) => "QUERY".into(),
            Ok(Command::SetReplyBuffer(_)) | Err(_) => format!("COMMAND {code}"),
        };
        self.log.push(match outcome {
            Ok(_) => line,
            Err(status) => format!("{line}: {status:?}"),
        });
    }

    fn carry_out(
        &mut self,
        context: u32,
        command: &Command<'_>,
        replies: &mut Option<(u32, u64, u64)>,
    ) -> Outcome {
        match command {
            Command::Nop => Ok(Vec::new()),
            Command::SetReplyBuffer(buffer) => {
                let (offset, size) = (buffer.offset.get(), buffer.size.get());
                let resource = self.resource(context, buffer.resource_id.get())?;
                if !resource.is_guest() {
                    return Err(Status::UnknownResource);
                }
                if !resource.has(offset, size) {
                    return Err(Status::Invalid);
                }
                *replies = Some((buffer.resource_id.get(), offset, size));
                Ok(Vec::new())
            }
            Command::Allocate(allocate) => self.allocate(context, allocate),
            Command::Image(image, modifiers) => self.image(context, image, modifiers),
            Command::Release(release) => {
                let object = self.objects.remove(&(context, release.blob_id.get()));
                object.map(|_| Vec::new()).ok_or(Status::UnknownObject)
            }
            Command::Copy(copy) => self.copy(context, copy),
            Command::Fill(fill) => self.fill(context, fill),
            Command::Sync(sync) => {
                let resource = self.blob(context, sync.resource_id.get())?;
                resource.sync(context, sync).map(|()| Vec::new())
            }
            Command::Query(query) => self.query(context, query.resource_id.get()),
        }
    }

    fn resource(&mut self, context: u32, id: u32) -> Result<&mut Resource, Status> {
        let resource = self.resources.get_mut(&id);
        let resource = resource.filter(|resource| resource.contexts.contains(&context));
        resource.ok_or(Status::UnknownResource)
    }

    fn blob(&mut self, context: u32, id: u32) -> Result<&mut Resource, Status> {
        let resource = self.resource(context, id)?;
        if resource.is_guest() {
            return Err(Status::UnknownResource);
        }
        Ok(resource)
    }

    fn make(
        &mut self,
        (context, blob_id): (u32, u64),
        size: u64,
        required: u32,
        preferred: u32,
    ) -> Result<&mut Resource, Status> {
        let required = MemoryProperties::from_bits(required).ok_or(Status::Invalid)?;
        let preferred = MemoryProperties::from_bits(preferred).ok_or(Status::Invalid)?;
        if blob_id == 0 || self.objects.contains_key(&(context, blob_id)) {
            return Err(Status::ObjectInUse);
        }
        if size == 0 {
            return Err(Status::Invalid);
        }
        if size > MAX_ALLOCATION {
            return Err(Status::NoMemoryType);
        }
        let fits = |index: &u32| {
            let kind = self.types[*index as usize].properties.get();
            MemoryProperties::from_bits_retain(kind).contains(required)
        };
        let rank = |index: &u32| {
            let kind = self.types[*index as usize].properties.get();
            let kind = MemoryProperties::from_bits_retain(kind);
            let missing = preferred.difference(kind).bits().count_ones();
            (
                missing,
                kind.difference(required | preferred).bits().count_ones(),
            )
        };
        let types = 0..self.types.len() as u32;
        let index = types
            .filter(fits)
            .min_by_key(rank)
            .ok_or(Status::NoMemoryType)?;
        let kind = self.types[index as usize];
        let resource = Resource::new(size.next_multiple_of(4096), Some((index, kind)));
        Ok(self.objects.entry((context, blob_id)).or_insert(resource))
    }

    fn allocate(&mut self, context: u32, command: &command::Allocate) -> Outcome {
        if command.flags.get() != 0 {
            return Err(Status::Invalid);
        }
        let (required, preferred) = (command.required.get(), command.preferred.get());
        let key = (context, command.blob_id.get());
        let made = self.make(key, command.size.get(), required, preferred)?;
        Ok(made.memory().as_bytes().to_vec())
    }

    fn image(&mut self, context: u32, command: &command::Image, modifiers: &[U64]) -> Outcome {
        if command.fourcc.get() != XRGB8888 {
            return Err(Status::UnsupportedFormat);
        }
        let (width, height) = (command.width.get(), command.height.get());
        if width == 0 || height == 0 || width.max(height) > 4096 || command.flags.get() != 0 {
            return Err(Status::Invalid);
        }
        let offered =
            |wanted: u64| modifiers.is_empty() || modifiers.iter().any(|it| *it == wanted);
        let modifier = [TILED, 0].into_iter().find(|wanted| offered(*wanted));
        let modifier = modifier.ok_or(Status::UnsupportedModifier)?;
        let pitch = u64::from(width * 4).next_multiple_of(256);
        let size = pitch * u64::from(height);
        let (required, preferred) = (command.required.get(), command.preferred.get());
        let made = self.make((context, command.blob_id.get()), size, required, preferred)?;
        made.linear = modifier == 0;
        let mut layout = reply::ImageLayout::new_zeroed();
        layout.modifier = modifier.into();
        layout.plane_count = 1.into();
        layout.planes[0] = reply::Plane {
            offset: 0.into(),
            pitch: pitch.into(),
            size: size.into(),
        };
        Ok([made.memory().as_bytes(), layout.as_bytes()].concat())
    }

    fn copy(&mut self, context: u32, command: &command::Copy) -> Outcome {
        let (source_id, destination_id) = (command.source.get(), command.destination.get());
        let (from, to) = (
            command.source_offset.get(),
            command.destination_offset.get(),
        );
        let size = command.size.get();
        let source = self.blob(context, source_id)?;
        if size == 0 || !source.has(from, size) {
            return Err(Status::Invalid);
        }
        if !source.linear {
            return Err(Status::Unsupported);
        }
        let bytes = source.gpu_read(from, size);
        let destination = self.blob(context, destination_id)?;
        let overlaps = |to| source_id == destination_id && from < to + size && to < from + size;
        if !destination.has(to, size) || overlaps(to) {
            return Err(Status::Invalid);
        }
        if !destination.linear {
            return Err(Status::Unsupported);
        }
        destination.gpu_write(to, &bytes);
        Ok(Vec::new())
    }

    fn fill(&mut self, context: u32, command: &command::Fill) -> Outcome {
        let (offset, size) = (command.offset.get(), command.size.get());
        let resource = self.blob(context, command.resource_id.get())?;
        if size == 0 || offset % 4 != 0 || size % 4 != 0 || !resource.has(offset, size) {
            return Err(Status::Invalid);
        }
        if !resource.linear {
            return Err(Status::Unsupported);
        }
        let word = command.value.get().to_le_bytes();
        resource.gpu_write(offset, &word.repeat((size / 4) as usize));
        Ok(Vec::new())
    }

    fn query(&mut self, context: u32, id: u32) -> Outcome {
        let resource = self.blob(context, id)?;
        let mut ledger = reply::Ledger::new_zeroed();
        ledger.open = (resource.open.len() as u32).into();
        if resource.is_mappable() {
            ledger.holder_count = 1.into();
            ledger.holders[0] = reply::Holder {
                kind: 1.into(),
                map_info: resource.memory().map_info,
                count: 1.into(),
                open: ledger.open,
            };
        }
        Ok([resource.memory().as_bytes(), ledger.as_bytes()].concat())
    }
}
