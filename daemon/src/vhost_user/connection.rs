//! The socket of one connection, request by request.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use vhost::vhost_user::{BackendReqHandler, Error, Result};

use super::back_channel::BackChannel;
use super::handler::Handler;
use super::peek;

/// A front-end's requests on their way to a [`Handler`].
pub struct Connection {
    stream: UnixStream,
    requests: BackendReqHandler<Mutex<Handler>>,
    channel: Arc<BackChannel>,
}

impl Connection {
    /// The front-end at the other end of `stream`, whose back channel becomes `channel`.
    ///
    /// # Errors
    /// The error of dup.
    pub fn new(
        stream: UnixStream,
        handler: Handler,
        channel: Arc<BackChannel>,
    ) -> std::io::Result<Self> {
        let requests =
            BackendReqHandler::from_stream(stream.try_clone()?, Arc::new(Mutex::new(handler)));
        Ok(Self {
            stream,
            requests,
            channel,
        })
    }

    /// Waits for one request and answers it.
    ///
    /// # Errors
    /// vhost's, after which the connection is over; see [`is_hang_up`].
    pub fn serve_request(&mut self) -> Result<()> {
        if let Some(socket) = peek::back_channel(&self.stream).map_err(Error::SocketError)? {
            self.channel.set_socket(socket);
        }
        self.requests.handle_request()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether `error` says that the front-end went away.
pub fn is_hang_up(error: &Error) -> bool {
    let broken = |error: &std::io::Error| {
        matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        )
    };
    match error {
        Error::Disconnected | Error::PartialMessage => true,
        Error::SocketBroken(error) | Error::SocketError(error) => broken(error),
        _ => false,
    }
}
