//! The daemon's end.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::geteuid;
use tracing::{debug, error, warn};

use super::{ControlError, DONE, ERROR, METRICS, PROGRESS, SAVE};
use crate::cage;
use crate::credentials::Credentials;
use crate::explain::one_line;
use crate::metrics::Metrics;
use crate::serve::Control;
use crate::snapshot::{Direction, Transfer, Transfers};
use crate::socket_file::{SocketFile, Taken, make_free};

/// How long a client may do nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// The user who may do everything anyway.
const ROOT: u32 = 0;
/// Time between two words on progress.
const PERIOD: Duration = Duration::from_millis(500);

/// What a client asks for.
enum Request {
    /// The device's state, in this file.
    Save(File),
    Metrics,
}

/// What is had through the socket.
struct Service {
    transfers: Arc<Transfers>,
    metrics: Arc<Metrics>,
}

/// The socket, whose file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: Option<UnixListener>,
    file: Arc<SocketFile>,
}

impl ControlSocket {
    /// Listens on `path`. A socket file that nobody listens on is replaced.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Bind {
            path: path.into(),
            source,
        };
        let _alone = make_free(path).map_err(|taken| match taken {
            Taken::InUse => ControlError::InUse(path.into()),
            Taken::NotASocket => ControlError::NotASocket(path.into()),
        })?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let file = SocketFile::of(path).map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            listener: Some(listener),
            file: Arc::new(file),
        })
    }

    /// The file that was made for it.
    pub fn file(&self) -> &Arc<SocketFile> {
        &self.file
    }

    /// Serves clients from now on, in a thread of its own: one after the other, but for the one
    /// that waits for a state, of which there is at most one.
    ///
    /// # Errors
    /// That of starting a thread.
    pub fn serve(&mut self, control: &Control) -> std::io::Result<()> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        let service = Service {
            transfers: control.transfers(),
            metrics: control.metrics(),
        };
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                if let Err(error) = cage::confine(cage::Thread::Control) {
                    return error!("control socket is not served: {}", one_line(&error));
                }
                for client in listener.incoming().flatten() {
                    if let Err(error) = service.serve(client) {
                        debug!("control client: {}", one_line(&error));
                    }
                }
            })
            .map(drop)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.file.remove();
    }
}

impl Service {
    fn serve(&self, mut client: UnixStream) -> std::io::Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let peer = Credentials::of_peer(&client)?;
        if ![geteuid().as_raw(), ROOT].contains(&peer.uid) {
            warn!(uid = peer.uid, "control client is not let in");
            return writeln!(
                client,
                "{ERROR} only the user that coherd runs as may do this"
            );
        }
        match receive(&client)? {
            Some(Request::Metrics) => client.write_all(self.metrics.to_string().as_bytes()),
            Some(Request::Save(file)) => self.save(client, file),
            None => writeln!(client, "{ERROR} this coherd does not know the request"),
        }
    }

    fn save(&self, mut client: UnixStream, file: File) -> std::io::Result<()> {
        let transfer = match self.transfers.begin(Direction::Save, file, true) {
            Ok(transfer) => transfer,
            Err(error) => return writeln!(client, "{ERROR} {}", one_line(&error)),
        };
        std::thread::Builder::new()
            .name("control-save".into())
            .spawn(move || follow(&transfer, client))
            .map(drop)
    }
}

/// Tells a client how far its save is, and how it ended. It is saved, whether anybody listens or
/// not.
fn follow(transfer: &Transfer, mut client: UnixStream) {
    while !transfer.wait_over(PERIOD) {
        let (done, total) = transfer.progress().get();
        let _ = writeln!(client, "{PROGRESS} {done} {total}");
    }
    let _ = match transfer.wait() {
        Ok(()) => writeln!(client, "{DONE}"),
        Err(error) => writeln!(client, "{ERROR} {}", one_line(&error)),
    };
}

/// What a client asks for, if it is known.
fn receive(client: &UnixStream) -> Result<Option<Request>, Errno> {
    let mut bytes = [0; 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        recvmsg(client, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let file = files.flatten().last();
    Ok(match (bytes.get(..received.bytes), file) {
        (Some(SAVE), Some(file)) => Some(Request::Save(file.into())),
        (Some(METRICS), None) => Some(Request::Metrics),
        _ => None,
    })
}
