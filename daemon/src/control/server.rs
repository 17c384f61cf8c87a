//! The daemon's end.

use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::geteuid;
use tracing::{debug, warn};

use super::{ControlError, DONE, ERROR, PROGRESS, SAVE};
use crate::credentials::Credentials;
use crate::explain::one_line;
use crate::snapshot::{Direction, SnapshotError, Transfers};
use crate::socket_file::{SocketFile, Taken, make_free};

/// How long a client may do nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// The user who may do everything anyway.
const ROOT: u32 = 0;
/// Time between two words on progress.
const PERIOD: Duration = Duration::from_millis(500);

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

    /// Serves clients from now on, one after the other, in a thread of its own.
    ///
    /// # Errors
    /// That of starting a thread.
    pub fn serve(&mut self, transfers: Arc<Transfers>) -> std::io::Result<()> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    if let Err(error) = serve_client(&client, &transfers) {
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

fn serve_client(mut client: &UnixStream, transfers: &Arc<Transfers>) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let peer = Credentials::of_peer(client)?;
    if ![geteuid().as_raw(), ROOT].contains(&peer.uid) {
        warn!(uid = peer.uid, "control client is not let in");
        return writeln!(
            client,
            "{ERROR} only the user that coherd runs as may do this"
        );
    }
    let Some(file) = receive(client)? else {
        return writeln!(client, "{ERROR} this coherd does not know the request");
    };
    match save(client, File::from(file), transfers) {
        Ok(()) => writeln!(client, "{DONE}"),
        Err(error) => writeln!(client, "{ERROR} {}", one_line(&error)),
    }
}

/// The file of a request to save.
fn receive(client: &UnixStream) -> Result<Option<OwnedFd>, Errno> {
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
    let is_save = bytes.get(..received.bytes) == Some(SAVE);
    Ok(file.filter(|_| is_save))
}

fn save(
    mut client: &UnixStream,
    file: File,
    transfers: &Arc<Transfers>,
) -> Result<(), SnapshotError> {
    let transfer = transfers.begin(Direction::Save, file, true)?;
    while !transfer.wait_over(PERIOD) {
        let (done, total) = transfer.progress().get();
        // It is saved, whether anybody listens or not.
        let _ = writeln!(client, "{PROGRESS} {done} {total}");
    }
    transfer.wait()
}
