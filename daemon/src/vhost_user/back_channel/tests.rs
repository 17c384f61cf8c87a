//! Both ends of the channel.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use zerocopy::FromBytes;

use super::message::{FLAG_REPLY, MessageHeader, VERSION};
use super::*;

fn channel(protocol: Protocol) -> (Arc<BackChannel>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let channel = Arc::new(BackChannel::default());
    channel.set_socket(ours);
    channel.set_protocol(protocol);
    channel.set_window_asked();
    channel.set_running(true);
    (channel, theirs)
}

fn crosvm() -> Protocol {
    Protocol::REPLY_ACK | Protocol::BACKEND_REQ | Protocol::CONFIG | Protocol::SHMEM
}

fn qemu() -> Protocol {
    crosvm() | Protocol::BACKEND_SEND_FD | Protocol::SHARED_OBJECT
}

fn serve(peer: &mut UnixStream, value: u64) -> (u32, Vec<u8>) {
    let mut header = [0; 12];
    peer.read_exact(&mut header).unwrap();
    let header = MessageHeader::read_from_bytes(&header).unwrap();
    let mut payload = vec![0; usize::try_from(header.size).unwrap()];
    peer.read_exact(&mut payload).unwrap();
    answer(peer, header.request, value);
    (header.request, payload)
}

fn answer(peer: &mut UnixStream, request: u32, value: u64) {
    let header = MessageHeader {
        request,
        flags: VERSION | FLAG_REPLY,
        size: 8,
    };
    peer.write_all(&[header.as_bytes(), &value.to_ne_bytes()].concat())
        .unwrap();
}

#[test]
fn map_on_qemu_is_followed_by_a_barrier() {
    let (channel, mut peer) = channel(qemu());
    let vmm = thread::spawn(move || [serve(&mut peer, 0).0, serve(&mut peer, 0).0]);
    channel
        .map(std::io::stdin().as_fd(), 4096, 8192, 4096)
        .unwrap();
    assert_eq!(vmm.join().unwrap(), [SHMEM_MAP, BARRIER]);
}

#[test]
fn map_on_crosvm_is_one_message() {
    let (channel, mut peer) = channel(crosvm());
    let vmm = thread::spawn(move || {
        let served = serve(&mut peer, 0);
        peer.set_nonblocking(true).unwrap();
        assert!(
            peer.read(&mut [0])
                .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
        );
        served
    });
    channel
        .map(std::io::stdin().as_fd(), 4096, 8192, 4096)
        .unwrap();
    let (code, payload) = vmm.join().unwrap();
    let request = MapRequest::read_from_bytes(&payload).unwrap();
    assert_eq!(code, SHMEM_MAP);
    assert_eq!((request.shmid, request.flags), (1, 1));
    assert_eq!(
        (request.fd_offset, request.shm_offset, request.len),
        (4096, 8192, 4096)
    );
}

#[test]
fn stop_before_the_first_byte_is_taken_retracts_the_request() {
    let (channel, mut peer) = channel(qemu());
    let caller = Arc::clone(&channel);
    let client = thread::spawn(move || caller.unmap(8192, 4096));
    poll(&mut [PollFd::new(&peer, PollFlags::IN)], None).unwrap();

    channel.set_running(false);

    let (code, _) = serve(&mut peer, 1);
    assert_eq!(code, SHMEM_UNMAP + RETRACTED);
    assert!(matches!(
        client.join().unwrap(),
        Err(BackChannelError::Stopped)
    ));
}

#[test]
fn configuration_change_is_a_header_and_no_barrier_follows() {
    for protocol in [crosvm(), qemu()] {
        let (channel, mut peer) = channel(protocol);
        let vmm = thread::spawn(move || {
            let served = [serve(&mut peer, 0), serve(&mut peer, 0)];
            served.map(|(code, payload)| (code, payload.len()))
        });
        channel.config_changed().unwrap();
        channel.config_changed().unwrap();
        assert_eq!(vmm.join().unwrap(), [(CONFIG_CHANGE, 0); 2]);
    }
}

#[test]
fn configuration_change_is_retracted_by_a_stop() {
    let (channel, mut peer) = channel(qemu());
    let caller = Arc::clone(&channel);
    let client = thread::spawn(move || caller.config_changed());
    poll(&mut [PollFd::new(&peer, PollFlags::IN)], None).unwrap();

    channel.set_running(false);

    assert_eq!(serve(&mut peer, 1).0, CONFIG_CHANGE + RETRACTED);
    let result = client.join().unwrap();
    assert!(matches!(result, Err(BackChannelError::Stopped)));
}

#[test]
fn configuration_change_needs_no_window_and_a_window_needs_no_configuration() {
    let without_window = crosvm() - Protocol::SHMEM;
    let (channel, mut peer) = channel(without_window);
    let vmm = thread::spawn(move || serve(&mut peer, 0).0);
    channel.config_changed().unwrap();
    assert_eq!(vmm.join().unwrap(), CONFIG_CHANGE);

    channel.set_protocol(crosvm() - Protocol::CONFIG);
    assert!(matches!(
        channel.config_changed(),
        Err(BackChannelError::NoConfigChange)
    ));
}

#[test]
fn refusal_is_reported() {
    let (channel, mut peer) = channel(qemu());
    let vmm = thread::spawn(move || serve(&mut peer, 1));
    let error = channel.unmap(0, 4096).unwrap_err();
    assert!(matches!(error, BackChannelError::Refused(1)));
    vmm.join().unwrap();
}

#[test]
fn nothing_is_sent_while_the_device_is_stopped_or_without_a_window() {
    let (stopped, _peer) = channel(qemu());
    stopped.set_running(false);
    assert!(matches!(
        stopped.unmap(0, 4096),
        Err(BackChannelError::Stopped)
    ));

    let (unfit, _peer) = channel(Protocol::SHMEM | Protocol::BACKEND_REQ);
    assert!(matches!(
        unfit.unmap(0, 4096),
        Err(BackChannelError::NoWindow)
    ));
    let none = BackChannel::default();
    none.set_running(true);
    assert!(matches!(
        none.unmap(0, 4096),
        Err(BackChannelError::NoWindow)
    ));
}

#[test]
fn close_ends_a_request_that_waits() {
    for protocol in [crosvm(), qemu()] {
        let (channel, peer) = channel(protocol);
        let caller = Arc::clone(&channel);
        let client = thread::spawn(move || caller.unmap(0, 4096));
        poll(&mut [PollFd::new(&peer, PollFlags::IN)], None).unwrap();
        channel.close();
        assert!(matches!(
            client.join().unwrap(),
            Err(BackChannelError::Broken(_))
        ));
    }
}
