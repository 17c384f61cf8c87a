//! Who is told what.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use coherd_blob::backing::{Backing, ExportKind};
use coherd_protocol::gpu::GpuError;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;
use crate::device::quota::Quota;
use std::sync::Arc;

const FIRST: u32 = 4;
const SECOND: u32 = 28;

type Log = Rc<RefCell<Vec<String>>>;

/// Notes what it is told.
struct Recorder {
    name: &'static str,
    capsets: Vec<Capset>,
    deaths: Vec<OwnedFd>,
    imports: bool,
    log: Log,
}

impl Recorder {
    fn note(&self, what: &str) {
        self.log.borrow_mut().push(format!("{} {what}", self.name));
    }
}

impl Renderer for Recorder {
    fn capsets(&self) -> &[Capset] {
        &self.capsets
    }

    fn create_context(&mut self, ctx_id: u32, _: u32, _: &str) -> Result<(), RendererError> {
        self.note(&format!("create {ctx_id}"));
        Ok(())
    }

    fn destroy_context(&mut self, ctx_id: u32) {
        self.note(&format!("destroy {ctx_id}"));
    }

    fn create_blob(&mut self, blob: &BlobRequest) -> Result<Option<Export>, RendererError> {
        self.note(&format!("blob {}", blob.resource_id));
        Ok(None)
    }

    fn import(&mut self, resource_id: u32, _: &BlobRecord) -> Result<(), RendererError> {
        self.note(&format!("import {resource_id}"));
        match self.imports {
            true => Ok(()),
            false => Err(RendererError::Unsupported("this")),
        }
    }

    fn destroy_resource(&mut self, resource_id: u32) {
        self.note(&format!("unref {resource_id}"));
    }

    fn attach(
        &mut self,
        ctx_id: u32,
        resource_id: u32,
        _: Option<&BlobRecord>,
    ) -> Result<(), RendererError> {
        self.note(&format!("attach {resource_id} to {ctx_id}"));
        Ok(())
    }

    fn detach(&mut self, ctx_id: u32, resource_id: u32) {
        self.note(&format!("detach {resource_id} from {ctx_id}"));
    }

    fn submit(
        &mut self,
        ctx_id: u32,
        _: &mut [u8],
        _: &mut dyn Scope,
    ) -> Result<(), RendererError> {
        self.note(&format!("submit {ctx_id}"));
        Ok(())
    }

    fn create_fence(&mut self, ctx_id: u32, _: u8, id: u64) -> Result<(), RendererError> {
        self.note(&format!("fence {id} of {ctx_id}"));
        Ok(())
    }

    fn deaths(&self) -> Vec<BorrowedFd<'_>> {
        self.deaths.iter().map(AsFd::as_fd).collect()
    }

    fn obituary(&mut self, index: usize) -> String {
        format!("{} {index}", self.name)
    }

    fn lost_contexts(&mut self) -> Vec<u32> {
        self.capsets.iter().map(|capset| capset.id).collect()
    }
}

struct Nothing;

impl Scope for Nothing {
    fn guest_memory(&self, _: u32) -> Option<Arc<GuestRanges>> {
        None
    }
    fn reserve(&mut self, _: u64) -> Result<(), GpuError> {
        Ok(())
    }
    fn release(&mut self, _: u64) {}
    fn admit(&mut self, _: Quota, _: usize, _: usize) -> Result<(), GpuError> {
        Ok(())
    }
}

/// Two renderers, the second of which imports; context 1 is the first's and 2 the second's.
fn two() -> (Dispatch, Log) {
    let log = Log::default();
    let recorder = |name, capset_id, deaths| {
        let capset = Capset {
            id: capset_id,
            version: 1,
            data: Vec::new(),
        };
        Box::new(Recorder {
            name,
            capsets: vec![capset],
            deaths: (0..deaths).map(|_| memfd()).collect(),
            imports: name == "b",
            log: Rc::clone(&log),
        })
    };
    let mut both = Dispatch::new()
        .with(recorder("a", FIRST, 2))
        .with(recorder("b", SECOND, 1));
    both.create_context(1, FIRST, "").unwrap();
    both.create_context(2, SECOND, "").unwrap();
    log.borrow_mut().clear();
    (both, log)
}

fn memfd() -> OwnedFd {
    let fd = memfd_create("blob", MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, 4096).unwrap();
    fd
}

fn record() -> BlobRecord {
    let backing = Backing::new(memfd(), ExportKind::Shm, 4096).unwrap();
    BlobRecord::new(backing, None, None)
}

fn blob(ctx_id: u32, resource_id: u32) -> BlobRequest {
    BlobRequest {
        ctx_id,
        resource_id,
        blob_mem: 2,
        blob_flags: 1,
        blob_id: 1,
        size: 4096,
    }
}

#[test]
fn commands_go_to_the_renderer_of_their_context() {
    let (mut both, log) = two();
    for ctx_id in [1, 2] {
        both.create_blob(&blob(ctx_id, 10 + ctx_id)).unwrap();
        both.attach(ctx_id, 10 + ctx_id, None).unwrap();
        both.submit(ctx_id, &mut [], &mut Nothing).unwrap();
        both.create_fence(ctx_id, 0, 7).unwrap();
        both.detach(ctx_id, 10 + ctx_id);
        both.destroy_resource(10 + ctx_id);
        both.destroy_context(ctx_id);
    }
    let of = |name: &str, id: u32| {
        let resource = 10 + id;
        [
            format!("{name} blob {resource}"),
            format!("{name} attach {resource} to {id}"),
            format!("{name} submit {id}"),
            format!("{name} fence 7 of {id}"),
            format!("{name} detach {resource} from {id}"),
            format!("{name} unref {resource}"),
            format!("{name} destroy {id}"),
        ]
    };
    assert_eq!(*log.borrow(), [of("a", 1), of("b", 2)].concat());
    assert!(both.create_context(3, 5, "").is_err());
    assert!(both.submit(1, &mut [], &mut Nothing).is_err());
}

#[test]
fn foreign_resource_is_imported_once_and_leaves_its_owner_last() {
    let (mut both, log) = two();
    both.create_context(3, SECOND, "").unwrap();
    both.create_blob(&blob(1, 10)).unwrap();
    log.borrow_mut().clear();

    both.attach(2, 10, Some(&record())).unwrap();
    both.attach(3, 10, Some(&record())).unwrap();
    both.destroy_resource(10);

    let told = [
        "b import 10",
        "b attach 10 to 2",
        "b attach 10 to 3",
        "b unref 10",
        "a unref 10",
    ];
    assert_eq!(*log.borrow(), told);
}

#[test]
fn resource_that_cannot_be_imported_is_not_attached() {
    let (mut both, log) = two();
    both.create_blob(&blob(1, 10)).unwrap();
    both.create_blob(&blob(2, 11)).unwrap();
    log.borrow_mut().clear();

    both.attach(2, 10, None).unwrap_err();
    both.attach(1, 11, Some(&record())).unwrap_err();
    both.destroy_resource(11);

    assert_eq!(*log.borrow(), ["a import 11", "b unref 11"]);
}

#[test]
fn deaths_and_losses_of_all_are_told_apart() {
    let (mut both, _) = two();
    assert_eq!(both.deaths().len(), 3);
    let obituaries = [0, 1, 2, 3].map(|index| both.obituary(index));
    assert_eq!(obituaries, ["a 0", "a 1", "b 0", ""]);
    assert_eq!(both.lost_contexts(), [FIRST, SECOND]);
    let ids: Vec<u32> = both.capsets().iter().map(|capset| capset.id).collect();
    assert_eq!(ids, [FIRST, SECOND]);
}
