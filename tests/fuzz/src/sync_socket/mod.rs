//! The sync socket: peers that send anything with any file, right requests in any order, and blobs
//! that come and go meanwhile.
//!
//! The server is the real one, with its threads, and lives as long as the process, as it would. So
//! an input may do one thing in another order the next time. What must hold at its end does not
//! depend on that: nobody has anything of a blob, no file is left, and a new peer is served.

mod host;
mod message;
mod peer;

use arbitrary::{Result, Unstructured};

use self::host::Host;
use self::peer::Peer;

/// Steps of one input, so that none takes seconds.
const STEPS: usize = 64;
/// Connections of one input.
const PEERS: usize = 3;

/// See the module's description.
pub fn run(input: &[u8]) {
    let host = Host::get();
    let files = host::open_files();
    // An input that ends early has been used up.
    let _ = session(host, &mut Unstructured::new(input));
    host.check_that_all_is_over(files);
}

fn session(host: &Host, u: &mut Unstructured<'_>) -> Result<()> {
    let mut blobs = host.fill();
    // They are gone before the blobs.
    let mut peers: [Option<Peer>; PEERS] = [const { None }; PEERS];
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        match u.int_in_range(0..=15u8)? {
            0 => {
                let gone = u.choose_index(PEERS)?;
                peers[gone] = None;
            }
            1 => blobs.renew(u)?,
            _ => {
                let which = u.choose_index(PEERS)?;
                let peer = match &mut peers[which] {
                    Some(peer) => peer,
                    none => none.insert(Peer::connect(host, u)?),
                };
                peer.step(u, blobs.ids())?;
            }
        }
    }
    Ok(())
}
