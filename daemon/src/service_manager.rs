//! The service manager: the sockets it hands down and what it is told, as sd_listen_fds(3) and
//! sd_notify(3) have it.
//!
//! The socket for notices is connected once, before the sandbox takes its path away; `sd-notify`
//! would look the path up again for each notice.

use std::os::fd::RawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tracing::warn;

/// Name of the socket for the VMM, `FileDescriptorName=` of its unit.
pub const VHOST_USER: &str = "vhost-user";
/// Name of the socket for peers that look into the guest's blobs.
const SYNC: &str = "sync";

/// Why nothing can be had from the service manager.
#[derive(Debug, Error)]
pub enum ServiceManagerError {
    /// The variables do not say what they should.
    #[error("sockets of the service manager are not usable (LISTEN_FDS, LISTEN_FDNAMES)")]
    Sockets(#[source] std::io::Error),
    /// There are several sockets and none is named.
    #[error(
        "service manager hands down several sockets, and none is named vhost-user: set \
         FileDescriptorName=vhost-user in the socket unit"
    )]
    Unnamed,
}

/// Sockets that were handed down, by what they are for. Each is for its taker to own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// For the VMM.
    pub vhost_user: Option<RawFd>,
    /// For peers.
    pub sync: Option<RawFd>,
}

impl Sockets {
    /// What the service manager handed to this process; nothing without one.
    ///
    /// # Errors
    /// See [`ServiceManagerError`].
    pub fn from_environment() -> Result<Self, ServiceManagerError> {
        let named = sd_notify::listen_fds_with_names().map_err(ServiceManagerError::Sockets)?;
        Self::by_name(&named.collect::<Vec<_>>())
    }

    /// A socket alone is the VMM's, whatever its name, unless that says `sync`.
    fn by_name(named: &[(RawFd, String)]) -> Result<Self, ServiceManagerError> {
        let find = |wanted: &str| {
            let mut all = named.iter();
            all.find(|(_, name)| name == wanted).map(|(fd, _)| *fd)
        };
        let sockets = Self {
            vhost_user: find(VHOST_USER),
            sync: find(SYNC),
        };
        let mut others = named.iter().map(|(fd, _)| *fd);
        let mut others = others
            .by_ref()
            .filter(|fd| ![sockets.vhost_user, sockets.sync].contains(&Some(*fd)));
        match (sockets.vhost_user, others.next(), others.next()) {
            (None, Some(only), None) => Ok(Self {
                vhost_user: Some(only),
                ..sockets
            }),
            (None, Some(_), Some(_)) => Err(ServiceManagerError::Unnamed),
            _ => Ok(sockets),
        }
    }
}

/// Tells the service manager how this process is doing, or nobody if there is none.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that started this process.
    pub fn from_environment() -> Self {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let connect = || -> std::io::Result<UnixDatagram> {
            let address = match address.as_encoded_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(&address)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            // It may be stuck, and this process must not be.
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match connect() {
            Ok(socket) => Self {
                socket: Some(socket),
                watchdog: sd_notify::watchdog_enabled(),
            },
            Err(error) => {
                warn!(%error, "service manager is not told of anything: cannot connect to NOTIFY_SOCKET");
                Self::default()
            }
        }
    }

    /// How often it wants to hear that this process is alive, at least.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// A VMM can connect.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// What this process does, in words for its user.
    pub fn status(&self, text: &str) {
        self.tell(&[NotifyState::Status(text)]);
    }

    /// Every thread that matters is alive.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Some(socket) = &self.socket {
            let text: Vec<String> = states.iter().map(ToString::to_string).collect();
            // It may have gone, which is its own concern.
            let _ = socket.send(text.join("\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_name(names: &[&str]) -> Result<Sockets, ServiceManagerError> {
        let named = (3..).zip(names.iter().map(ToString::to_string));
        Sockets::by_name(&named.collect::<Vec<_>>())
    }

    #[test]
    fn sockets_are_told_apart_by_name() {
        let sockets = by_name(&["sync", "other", "vhost-user"]).unwrap();
        assert_eq!((sockets.vhost_user, sockets.sync), (Some(5), Some(3)));
    }

    #[test]
    fn socket_alone_is_the_vmms_unless_its_name_says_otherwise() {
        assert_eq!(by_name(&["coherd@vm.socket"]).unwrap().vhost_user, Some(3));
        assert_eq!(by_name(&["sync", "unknown"]).unwrap().vhost_user, Some(4));
        assert_eq!(by_name(&["sync"]).unwrap().vhost_user, None);
        assert_eq!(by_name(&[]).unwrap(), Sockets::default());
    }

    #[test]
    fn several_sockets_of_other_names_are_refused() {
        assert!(matches!(
            by_name(&["unknown", "unknown"]),
            Err(ServiceManagerError::Unnamed)
        ));
    }
}
