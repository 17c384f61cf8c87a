//! An open file of the fake device.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use coherd_protocol::blob_context::Stream;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::fstat;
use rustix::io::Errno;

use super::resource::Resource;
use super::{Fault, State};
use crate::access::SharedMap;
use crate::transport::Transport;
use crate::uapi::{BlobFlags, BlobHandle};

#[derive(Debug)]
pub struct File {
    host: Arc<Mutex<State>>,
    context: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    handles: HashMap<u32, u32>,
    /// Resource, offset and size of the reply buffer.
    replies: Option<(u32, u64, u64)>,
}

pub fn signal(fence: &OwnedFd) {
    rustix::io::write(fence, &1u64.to_ne_bytes()).unwrap();
}

impl File {
    pub(super) fn new(host: Arc<Mutex<State>>, context: u32) -> Self {
        Self {
            host,
            context,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> (MutexGuard<'_, State>, MutexGuard<'_, Inner>) {
        (self.host.lock().unwrap(), self.inner.lock().unwrap())
    }

    fn adopt(&self, resource: Option<Resource>) -> BlobHandle {
        let (mut state, mut inner) = self.lock();
        let resource_id = state.new_id();
        if let Some(mut resource) = resource {
            resource.contexts.insert(self.context);
            state.resources.insert(resource_id, resource);
        }
        let handle = state.new_id();
        inner.handles.insert(handle, resource_id);
        BlobHandle {
            handle,
            resource_id,
        }
    }

    fn execute(&self, bytes: &[u8]) {
        let (mut state, mut inner) = self.lock();
        let (Ok(stream), false) = (Stream::new(bytes), state.fault == Fault::Lost) else {
            return;
        };
        for request in stream {
            let reply = state.execute(self.context, &request, &mut inner.replies);
            let place = request.reply_offset().map(u64::from);
            if let (Some(place), Some((buffer, offset, size))) = (place, inner.replies)
                && place + reply.len() as u64 <= size
            {
                state.resources[&buffer].cpu_write(offset + place, &reply);
            }
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let mut state = self.host.lock().unwrap();
        let context = self.context;
        for resource in state.resources.values_mut() {
            resource.contexts.remove(&context);
            resource.open.retain(|(owner, _)| *owner != context);
        }
        state
            .resources
            .retain(|_, resource| !resource.contexts.is_empty());
        state.objects.retain(|(owner, _), _| *owner != context);
    }
}

impl Transport for File {
    fn capset(&self, out: &mut [u8]) -> io::Result<()> {
        let capset = self.host.lock().unwrap().capset();
        let len = capset.len().min(out.len());
        out[..len].copy_from_slice(&capset[..len]);
        Ok(())
    }

    fn create_guest_blob(&self, size: u64) -> io::Result<BlobHandle> {
        Ok(self.adopt(Some(Resource::new(size, None))))
    }

    fn create_host_blob(
        &self,
        blob_id: u64,
        size: u64,
        flags: BlobFlags,
    ) -> io::Result<BlobHandle> {
        let object = {
            let mut state = self.host.lock().unwrap();
            state.log.push(format!("BLOB {flags:?}"));
            match state.fault {
                Fault::WindowFull => return Err(Errno::NOSPC.into()),
                Fault::NoBlob => None,
                _ => state.objects.remove(&(self.context, blob_id)),
            }
        };
        Ok(self.adopt(object.filter(|object| object.size == size)))
    }

    fn close(&self, handle: u32) {
        let (mut state, mut inner) = self.lock();
        let resource_id = inner.handles.remove(&handle).unwrap();
        if let Some(resource) = state.resources.get_mut(&resource_id) {
            resource.contexts.remove(&self.context);
            resource.open.retain(|(owner, _)| *owner != self.context);
            if resource.contexts.is_empty() {
                state.resources.remove(&resource_id);
            }
        }
    }

    fn map(&self, handle: u32, len: usize) -> io::Result<SharedMap> {
        let (state, inner) = self.lock();
        let resource = state.resources.get(&inner.handles[&handle]);
        let resource = resource.filter(|resource| {
            // Linux 6.12 maps whole blobs only.
            let fault = state.fault == Fault::NoMap && !resource.is_guest();
            resource.is_mappable() && resource.size == len as u64 && !fault
        });
        SharedMap::new(resource.ok_or(Errno::INVAL)?.file.as_fd(), 0, len)
    }

    fn submit(&self, stream: &[u8]) -> io::Result<()> {
        self.execute(stream);
        Ok(())
    }

    fn submit_fenced(&self, stream: &[u8]) -> io::Result<OwnedFd> {
        let fence = eventfd(0, EventfdFlags::CLOEXEC)?;
        let copy = fence.try_clone()?;
        if self.host.lock().unwrap().fault == Fault::Hang {
            self.host.lock().unwrap().held.push(fence);
        } else {
            self.execute(stream);
            signal(&fence);
        }
        Ok(copy)
    }

    fn export(&self, handle: u32) -> io::Result<OwnedFd> {
        let (state, inner) = self.lock();
        let resource = state.resources.get(&inner.handles[&handle]);
        resource.ok_or(Errno::NOENT)?.file.try_clone()
    }

    fn import(&self, file: BorrowedFd<'_>) -> io::Result<BlobHandle> {
        let inode = fstat(file)?.st_ino;
        let (mut state, mut inner) = self.lock();
        let found = state
            .resources
            .iter_mut()
            .find(|(_, resource)| fstat(&resource.file).is_ok_and(|stat| stat.st_ino == inode));
        let (resource_id, resource) = found.ok_or(Errno::NODEV)?;
        let resource_id = *resource_id;
        resource.contexts.insert(self.context);
        let known = inner.handles.iter().find(|(_, id)| **id == resource_id);
        let handle = known.map(|(handle, _)| *handle);
        let handle = handle.unwrap_or_else(|| state.new_id());
        inner.handles.insert(handle, resource_id);
        Ok(BlobHandle {
            handle,
            resource_id,
        })
    }
}
