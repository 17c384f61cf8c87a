//! The guest's side of a program: what it sends, and what the answers have to be like.

use std::collections::BTreeMap;

use coherd_protocol::gpu::header::{Fence, Timeline};
use coherd_tests::driver::{Answer, Gpu, Request, Token};
use coherd_tests::frontend::Flavour;
use coherd_tests::renderer::{CAPSET, Host, Operation};
use coherd_tests::rig::Rig;

use super::{CONTEXTS, RINGS, Step};

/// What the guest knows of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Alive,
    /// It dies or is dead; what its commands are answered is open.
    Dying,
}

/// A command, and what its answer has to be like.
#[derive(Debug)]
struct Sent {
    token: Token,
    fence: Option<Fence>,
    code: Option<u32>,
    /// The label under which the renderer has to signal its work first.
    label: Option<u32>,
    /// Commands that are answered before it is.
    after: Vec<usize>,
    /// Position of the answer.
    answered: Option<u64>,
}

fn is_of_context(timeline: Timeline, wanted: u32) -> bool {
    matches!(timeline, Timeline::Ring { ctx_id, .. } if ctx_id == wanted)
}

/// The guest and its VMM.
pub struct Guest {
    rig: Rig,
    flavour: Flavour,
    contexts: BTreeMap<u32, Context>,
    /// Every command of the present driver.
    sent: Vec<Sent>,
    next_label: u32,
}

impl Guest {
    /// A guest with its contexts.
    pub fn new(flavour: Flavour) -> Self {
        let mut guest = Self {
            rig: Rig::new(flavour).unwrap(),
            flavour,
            contexts: BTreeMap::new(),
            sent: Vec::new(),
            next_label: 0,
        };
        CONTEXTS.for_each(|ctx_id| guest.create(ctx_id));
        guest
    }

    /// The renderer.
    pub fn host(&self) -> Host {
        self.rig.host.clone()
    }

    /// Does a step that is not the renderer's.
    pub fn take(&mut self, step: &Step) {
        match *step {
            Step::Submit {
                ctx_id,
                ring,
                id,
                malformed,
            } => self.submit(ctx_id, ring, id, malformed),
            Step::Global(id) => {
                let timeline = Timeline::Global;
                let request = Request::display_info();
                let fence = Some(Fence { id, timeline });
                self.send(request, fence, Some(0x1101), None, Vec::new());
            }
            Step::Create(ctx_id) => self.create(ctx_id),
            Step::Destroy(ctx_id) => self.destroy(ctx_id),
            Step::Lose(ctx_id) => self.lose(ctx_id),
            Step::Look => self.look(),
            Step::Pause => {
                let bases = self.rig.frontend.stop().unwrap();
                self.look_while_stopped();
                self.rig.frontend.resume(&bases).unwrap();
            }
            Step::Reboot => {
                self.rig.frontend.reset().unwrap();
                self.start_again();
            }
            Step::Reset if self.flavour == Flavour::Qemu => {
                self.rig.frontend.reset_device().unwrap();
                self.start_again();
            }
            Step::Reset | Step::Signal(..) => {}
        }
    }

    fn submit(&mut self, ctx_id: u32, ring: Option<u8>, id: u64, malformed: bool) {
        let label = self.next_label;
        self.next_label += 1;
        let mut commands = Operation::Label(label).to_bytes();
        commands.truncate(if malformed { 3 } else { commands.len() });
        let timeline = ring.map_or(Timeline::Global, |ring_idx| Timeline::Ring {
            ctx_id,
            ring_idx,
        });
        let request = Request::submit_3d(ctx_id, &commands);
        let code = match self.contexts.get(&ctx_id) {
            None => Some(0x1204),
            Some(Context::Dying) => None,
            Some(Context::Alive) if malformed => Some(0x1205),
            Some(Context::Alive) => Some(0x1100),
        };
        let waits = code == Some(0x1100) && ring.is_some_and(|ring| RINGS.contains(&ring));
        let follows = match timeline {
            Timeline::Global => self.fences_of(ctx_id),
            Timeline::Ring { .. } => Vec::new(),
        };
        let fence = Some(Fence { id, timeline });
        self.send(request, fence, code, waits.then_some(label), follows);
    }

    fn create(&mut self, ctx_id: u32) {
        let code = match self.contexts.get(&ctx_id) {
            Some(_) => 0x1204,
            None => 0x1100,
        };
        self.contexts.entry(ctx_id).or_insert(Context::Alive);
        let request = Request::ctx_create(ctx_id, CAPSET, "");
        self.send(request, None, Some(code), None, Vec::new());
    }

    fn destroy(&mut self, ctx_id: u32) {
        let code = match self.contexts.remove(&ctx_id) {
            Some(_) => 0x1100,
            None => 0x1204,
        };
        let released = self.release(ctx_id);
        let request = Request::ctx_destroy(ctx_id);
        self.send(request, None, Some(code), None, released);
    }

    fn lose(&mut self, ctx_id: u32) {
        // The renderer has the contexts that the guest has once it has caught up.
        self.rig.gpu.display_info().unwrap();
        if let Some(context @ Context::Alive) = self.contexts.get_mut(&ctx_id) {
            *context = Context::Dying;
            self.release(ctx_id);
            self.rig.host.lose(ctx_id).unwrap();
        }
    }

    /// Fences of a context that wait for the renderer need not wait any more. Returns all of them.
    fn release(&mut self, ctx_id: u32) -> Vec<usize> {
        let fences = self.fences_of(ctx_id);
        for index in &fences {
            self.sent[*index].label = None;
        }
        fences
    }

    fn fences_of(&self, ctx_id: u32) -> Vec<usize> {
        let has_fence = |sent: &Sent| {
            sent.fence
                .is_some_and(|fence| is_of_context(fence.timeline, ctx_id))
        };
        (0..self.sent.len())
            .filter(|index| has_fence(&self.sent[*index]))
            .collect()
    }

    fn send(
        &mut self,
        request: Request,
        fence: Option<Fence>,
        code: Option<u32>,
        label: Option<u32>,
        mut after: Vec<usize>,
    ) {
        let request = fence.map_or(request.clone(), |fence| request.fence(fence));
        if let Some(Fence { timeline, .. }) = fence {
            let same = |sent: &Sent| sent.fence.is_some_and(|fence| fence.timeline == timeline);
            after.extend(self.sent.iter().rposition(same));
        }
        self.sent.push(Sent {
            token: self.rig.gpu.submit(&request).unwrap(),
            fence,
            code,
            label,
            after,
            answered: None,
        });
    }

    /// Takes the answers that are there.
    fn look(&mut self) {
        for index in 0..self.sent.len() {
            if self.sent[index].answered.is_none()
                && let Some(answer) = self.rig.gpu.try_take(self.sent[index].token).unwrap()
            {
                self.accept(index, &answer);
            }
        }
    }

    fn accept(&mut self, index: usize, answer: &Answer) {
        let sent = &mut self.sent[index];
        let has_code = sent.code.is_none_or(|code| code == answer.code());
        assert!(
            has_code && answer.fence() == sent.fence,
            "{sent:?}: {answer:?}"
        );
        let is_due = sent
            .label
            .is_none_or(|label| self.rig.host.is_signalled(label));
        assert!(is_due, "{sent:?} is answered early");
        sent.answered = Some(answer.position);
    }

    /// Takes the answers while there can be no new ones, and compares them with each other.
    fn look_while_stopped(&mut self) {
        self.look();
        for sent in &self.sent {
            for before in sent.after.iter().map(|index| &self.sent[*index]) {
                let in_order = sent.answered.is_none()
                    || before.answered.is_some() && before.answered < sent.answered;
                assert!(in_order, "{sent:?} is answered before {before:?}");
            }
        }
    }

    /// A new driver takes over a device that was reset.
    fn start_again(&mut self) {
        self.look_while_stopped();
        self.rig.frontend.start().unwrap();
        self.rig.gpu = Gpu::new(&self.rig.frontend).unwrap();
        self.contexts.clear();
        self.sent.clear();
        CONTEXTS.for_each(|ctx_id| self.create(ctx_id));
    }

    /// Everything is signalled and has to be answered.
    pub fn finish(mut self) {
        // The renderer knows every fence when this is answered.
        self.rig.gpu.display_info().unwrap();
        for fence in self.rig.host.fences() {
            self.rig.host.signal(fence);
        }
        for index in 0..self.sent.len() {
            if self.sent[index].answered.is_none() {
                let deadline = self.rig.frontend.deadline();
                let answer = self.rig.gpu.wait(self.sent[index].token, deadline).unwrap();
                self.accept(index, &answer);
            }
        }
        self.rig.frontend.stop().unwrap();
        self.look_while_stopped();
        self.rig.finish().unwrap();
    }
}
