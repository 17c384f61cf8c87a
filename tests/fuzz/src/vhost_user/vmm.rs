//! A VMM with a guest, both of which may do anything.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use coherd::vhost_user::features;
use coherd_protocol::gpu::Features;
use coherd_tests::frontend::{GuestRam, RING_BYTES, RamRange, RingLayout};
use coherd_tests::hostile::{Guest, Temper, ram_for};
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use vhost::vhost_user::message::{FrontendReq as Code, VhostUserProtocolFeatures as Protocol};
use vm_memory::GuestAddress;

use super::files::Files;
use super::message::{Message, region, words};

/// Bytes of guest RAM.
pub const RAM: u64 = 512 << 10;
/// Where the VMM says it has guest RAM.
pub const USER_ADDR: u64 = 0x7000_0000_0000;

/// Bytes of a message's header.
const HEADER: usize = 12;
/// Files of one message.
const MAX_FDS: usize = 8;

/// See the module's description.
pub struct Vmm {
    stream: UnixStream,
    files: Files,
    ram: GuestRam,
    layouts: [RingLayout; 2],
    guest: Guest,
}

impl Vmm {
    /// A VMM at the other end of the daemon's socket.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input is too short.
    pub fn new(stream: UnixStream, u: &mut Unstructured<'_>) -> Result<Self> {
        let size = *u.choose(&[16, 64, 2, 256])?;
        let layouts =
            [0, 1].map(|queue: u64| RingLayout::at(GuestAddress(queue * RING_BYTES), size));
        let bytes = usize::try_from(RAM).unwrap_or_default();
        assert!(ram_for(0) < bytes);
        let ram = GuestRam::new(&[RamRange {
            gpa: 0,
            size: bytes,
        }])
        .expect("guest RAM");
        let table = ram.table().expect("RAM in one file");
        let file = table.first().map(|region| Arc::clone(&region.file));
        let fd = file.and_then(|file| file.as_fd().try_clone_to_owned().ok());
        stream.set_nonblocking(true).expect("a socket");
        Ok(Self {
            stream,
            files: Files::new(fd.expect("a duplicate of a memfd")),
            guest: Guest::new(ram.memory(), layouts, true, Temper::Wild),
            ram,
            layouts,
        })
    }

    /// Does one thing.
    ///
    /// # Errors
    /// [`arbitrary::Error`] if the input ends.
    pub fn act(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=15u8)? {
            0..=8 => {
                let message = Message::draw(u, &mut self.files)?;
                self.send(&message);
            }
            9..=11 => {
                self.guest.offer(u, 0)?;
                self.files.ring_doorbell();
            }
            12 => {
                self.guest.offer(u, 1)?;
                self.guest.corrupt(u)?;
                self.files.ring_doorbell();
            }
            13 => self.negotiate(u)?,
            _ => self.start(),
        }
        // Whatever comes back: the VMM may have done anything to the rings.
        self.guest.give_up();
        let _ = self.guest.collect();
        Ok(())
    }

    /// The handshake of a VMM that does nothing wrong.
    fn negotiate(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let crosvm: bool = u.arbitrary()?;
        let mut offered = features::protocol(false, false, true) | Protocol::REPLY_ACK;
        if crosvm {
            offered.remove(Protocol::BACKEND_SEND_FD);
        }
        let channel = self.files.channel(u)?;
        self.tell(Code::SET_PROTOCOL_FEATURES, &offered.bits().to_ne_bytes());
        self.send(&Message::new(Code::SET_BACKEND_REQ_FD, &[], vec![channel]));
        self.tell(Code::GET_SHMEM_CONFIG, &[]);
        Ok(())
    }

    /// What a VMM does when the guest starts its driver.
    fn start(&mut self) {
        for layout in &self.layouts {
            layout.clear(self.ram.memory()).expect("rings in guest RAM");
        }
        self.guest = Guest::new(self.ram.memory(), self.layouts, true, Temper::Wild);
        let bits = features::virtio(Features::all()) | features::LOG_ALL;
        self.tell(Code::SET_FEATURES, &bits.to_ne_bytes());
        let table = [words(&[1, 0]), region()].concat();
        self.send(&Message::new(
            Code::SET_MEM_TABLE,
            &table,
            vec![self.files.ram()],
        ));
        for (index, layout) in (0..).zip(self.layouts) {
            self.tell(Code::SET_VRING_NUM, &words(&[index, layout.size.into()]));
            self.tell(Code::SET_VRING_BASE, &words(&[index, 0]));
            let mut addresses = words(&[index, 0]);
            for address in [layout.desc, layout.used, layout.avail, GuestAddress(0)] {
                addresses.extend((USER_ADDR + address.0).to_ne_bytes());
            }
            self.tell(Code::SET_VRING_ADDR, &addresses);
            let doorbell = u64::from(index).to_ne_bytes();
            self.send(&Message::new(
                Code::SET_VRING_KICK,
                &doorbell,
                vec![self.files.kick()],
            ));
        }
        (0..2).for_each(|index| self.tell(Code::SET_VRING_ENABLE, &words(&[index, 1])));
    }

    fn tell(&self, code: Code, payload: &[u8]) {
        self.send(&Message::new(code, payload, Vec::new()));
    }

    fn send(&self, message: &Message) {
        let fds: Vec<BorrowedFd<'_>> = message.fds.iter().map(OwnedFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        // A socket that takes no more is that of a daemon which has hung up.
        let _ = sendmsg(
            &self.stream,
            &[IoSlice::new(&message.bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        );
    }

    /// Whether what the daemon has to read next is a whole message; `None` if it is nothing.
    pub fn pending(&self, daemon: impl AsFd) -> Option<bool> {
        let available = ioctl_fionread(&daemon).ok().filter(|bytes| *bytes > 0)?;
        let mut header = [0; HEADER];
        let (_, peeked) = recv(daemon, &mut header, RecvFlags::PEEK).ok()?;
        let size = header
            .last_chunk()
            .map_or(0, |size| u32::from_ne_bytes(*size));
        let whole = u64::try_from(HEADER).unwrap_or_default() + u64::from(size);
        Some(peeked == HEADER && available >= whole)
    }

    /// Takes what the daemon has answered.
    pub fn take_answers(&mut self) {
        let mut bytes = [0; 8192];
        while matches!(self.stream.read(&mut bytes), Ok(count) if count > 0) {}
    }

    /// Sends no more.
    pub fn hang_up(&self) {
        // The daemon may have hung up before.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
