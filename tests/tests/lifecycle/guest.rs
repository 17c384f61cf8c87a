//! The guest and its VMM, checked against the model after each step.

use std::collections::BTreeSet;

use coherd_protocol::gpu::header::Timeline;
use coherd_tests::driver::{Blob, Gpu, Request, Token};
use coherd_tests::frontend::{Flavour, Frontend, Stage, Window};
use coherd_tests::interrupt::{MOMENTS, interrupt};
use coherd_tests::renderer::{CAPSET, Operation, Recipe};
use coherd_tests::rig::Rig;

use crate::model::{Model, Place, file};
use crate::{Command, End, Event, Step};

const PAGE: u64 = 4096;

/// The guest and its VMM.
pub struct Guest {
    rig: Rig,
    flavour: Flavour,
    model: Model,
    /// Commands that wait for a fence, and their contexts.
    pending: Vec<(u32, Token)>,
}

impl Guest {
    /// A guest whose driver has just started.
    pub fn new(flavour: Flavour) -> Self {
        Self {
            rig: Rig::new(flavour).unwrap(),
            flavour,
            model: Model::new(flavour),
            pending: Vec::new(),
        }
    }

    /// Takes a step and looks whether everything is as it has to be.
    pub fn take(&mut self, step: &Step) {
        match *step {
            Step::Command(command) => self.execute(command),
            Step::Event(event) => {
                if self.has(event) {
                    happen(event, &self.rig.frontend);
                    self.follow(event);
                }
            }
            Step::Interrupt(command, stage, event) => {
                let command = self.prepare(command);
                if self.reaches(command, stage) && self.has(event) {
                    self.interrupt(command, stage, event);
                } else {
                    self.execute(command);
                }
            }
        }
        self.check();
    }

    /// Ends, in the middle of a command if one is given.
    pub fn end(mut self, last: Option<(Command, Stage)>, end: End) {
        let middle = last
            .map(|(command, stage)| (self.prepare(command), stage))
            .filter(|(command, stage)| self.reaches(*command, *stage));
        if middle.is_none() {
            self.check_like_new();
        }
        let gate = middle.map(|(command, stage)| {
            let gate = self.rig.frontend.gate(stage);
            self.send(command);
            assert!(gate.wait_held(self.rig.frontend.deadline()));
            gate
        });
        match end {
            End::Stop if gate.is_none() => {
                self.rig.frontend.stop().unwrap();
                return self.rig.finish().unwrap();
            }
            End::HangUp if gate.is_none() => return self.rig.finish().unwrap(),
            End::HangUp | End::Stop | End::Kill => self.rig.frontend.kill(),
            End::Quit => self.rig.server.ask_to_quit().unwrap(),
        }
        self.rig.server.finish().unwrap();
        drop(gate);
        assert!(self.rig.host.complaints().is_empty());
    }

    /// Whether this VMM does that.
    fn has(&self, event: Event) -> bool {
        match event {
            Event::Pause => self.flavour != Flavour::Libkrun,
            Event::ResetDevice => self.flavour == Flavour::Qemu,
            Event::Reboot | Event::Memory => true,
        }
    }

    /// Lets a command of the window have something to do, and returns it: a blob that is mapped
    /// already is unmapped instead.
    fn prepare(&mut self, command: Command) -> Command {
        let (Command::Map(id, _) | Command::Unmap(id) | Command::Unref(id)) = command else {
            return command;
        };
        self.execute(Command::CreateContext(1));
        self.execute(Command::Create(1, id, 2));
        let is_mapped = self.model.blobs[&id].page.is_some();
        match command {
            Command::Map(..) if is_mapped => return Command::Unmap(id),
            Command::Unmap(_) | Command::Unref(_) if !is_mapped => {
                self.execute(Command::Map(id, 12 + 4 * u64::from(id)));
            }
            _ => {}
        }
        command
    }

    /// Whether a command brings this VMM to a stage.
    fn reaches(&self, command: Command, stage: Stage) -> bool {
        MOMENTS.contains(&(self.flavour, stage)) && self.model.asks_vmm(command)
    }

    fn execute(&mut self, command: Command) {
        if let Command::Fill(_, id, _) = command
            && !self.model.blobs.contains_key(&id)
        {
            // The renderer would end the context.
            return;
        }
        let token = self.send(command);
        let code = self.model.execute(command);
        match command {
            Command::Fence(ctx) if code == 0x1100 => self.pending.push((ctx, token)),
            _ => self.accept(token, code),
        }
        if let Command::DestroyContext(ctx) = command {
            for (_, token) in self.pending.extract_if(.., |(id, _)| *id == ctx) {
                let answer = self.rig.gpu.wait(token, self.rig.frontend.deadline());
                assert_eq!(answer.unwrap().code(), 0x1100);
            }
        }
    }

    fn interrupt(&mut self, command: Command, stage: Stage, event: Event) {
        let gate = self.rig.frontend.gate(stage);
        let token = self.send(command);
        if (self.flavour, event) == (Flavour::Crosvm, Event::Memory) {
            // crosvm sends it while its worker is busy.
            assert!(gate.wait_held(self.rig.frontend.deadline()));
            happen(event, &self.rig.frontend);
            gate.open();
        } else {
            interrupt(&self.rig, (stage, gate), |frontend| happen(event, frontend));
        }
        // crosvm carries a request out though the guest has started again meanwhile.
        let code = self.model.execute(command);
        match event {
            Event::Pause | Event::Memory => self.accept(token, code),
            Event::Reboot | Event::ResetDevice => self.follow(event),
        }
    }

    fn follow(&mut self, event: Event) {
        if matches!(event, Event::Reboot | Event::ResetDevice) {
            self.rig.gpu = Gpu::new(&self.rig.frontend).unwrap();
            self.model.reset();
            self.pending.clear();
        }
    }

    fn send(&mut self, command: Command) -> Token {
        let request = match command {
            Command::Map(id, page) => return self.rig.gpu.send_map_blob(id, page * PAGE).unwrap(),
            Command::Fence(ctx_id) => {
                let fence = self.rig.gpu.next_fence(Timeline::Ring {
                    ctx_id,
                    ring_idx: 1,
                });
                return self.rig.gpu.submit_3d_fenced(ctx_id, &[], fence).unwrap();
            }
            Command::CreateContext(ctx) => Request::ctx_create(ctx, CAPSET, ""),
            Command::DestroyContext(ctx) => Request::ctx_destroy(ctx),
            Command::Create(ctx_id, resource_id, pages) => Blob {
                ctx_id,
                resource_id,
                mem: 2,
                flags: 1,
                blob_id: Recipe::new(file(resource_id)).blob_id(),
                size: pages * PAGE,
            }
            .request(&[]),
            Command::Unref(id) => Request::unref(id),
            Command::Unmap(id) => Request::unmap_blob(id),
            Command::Attach(ctx, id) => Request::ctx_attach(ctx, id),
            Command::Detach(ctx, id) => Request::ctx_detach(ctx, id),
            Command::Fill(ctx, resource_id, byte) => {
                let fill = Operation::Fill { resource_id, byte };
                Request::submit_3d(ctx, &fill.to_bytes())
            }
        };
        self.rig.gpu.submit(&request).unwrap()
    }

    fn accept(&mut self, token: Token, code: u32) {
        let answer = self.rig.gpu.wait(token, self.rig.frontend.deadline());
        assert_eq!(answer.unwrap().code(), code);
    }

    /// Compares everything that can be seen with the model.
    fn check(&mut self) {
        // What was to be done before this is done.
        self.rig.gpu.display_info().unwrap();
        assert_eq!(self.rig.frontend.fault(), None);
        let places: BTreeSet<Place> = self.mappings().into_iter().collect();
        assert_eq!(places, self.model.window());
        assert!(self.rig.host.contexts().iter().eq(&self.model.contexts));
        assert!(self.rig.host.blobs().iter().eq(self.model.blobs.keys()));
        assert_eq!(self.rig.host.attached(), self.model.attached);
        for (id, blob) in &self.model.blobs {
            let Some(byte) = blob.byte else { continue };
            let last = blob.pages * PAGE - 1;
            let seen = match (blob.page, self.rig.frontend.window()) {
                (Some(page), Some(window)) => window.read_vec(page * PAGE + last, 1).unwrap(),
                _ => self.rig.host.read(*id, last, 1).unwrap(),
            };
            assert_eq!(seen, [byte], "{id}");
        }
        for (_, token) in &self.pending {
            assert_eq!(self.rig.gpu.try_take(*token).unwrap(), None);
        }
    }

    /// A new driver finds everything as on the first day.
    fn check_like_new(&mut self) {
        self.take(&Step::Event(Event::Reboot));
        for command in [
            Command::CreateContext(1),
            Command::Create(1, 1, 3),
            Command::Attach(1, 1),
            Command::Map(1, 1),
            Command::Fill(1, 1, 0x5a),
        ] {
            self.take(&Step::Command(command));
        }
    }

    fn mappings(&self) -> Vec<Place> {
        let window = self.rig.frontend.window();
        let mappings = window.map_or_else(Vec::new, Window::mappings);
        mappings
            .iter()
            .map(|map| (map.shm_offset / PAGE, map.len / PAGE))
            .collect()
    }
}

fn happen(event: Event, frontend: &Frontend) {
    match event {
        Event::Pause => {
            let bases = frontend.stop().unwrap();
            frontend.resume(&bases).unwrap();
        }
        Event::Reboot => frontend.reboot().unwrap(),
        Event::ResetDevice => {
            frontend.reset_device().unwrap();
            frontend.start().unwrap();
        }
        Event::Memory => frontend.repeat_memory().unwrap(),
    }
}
