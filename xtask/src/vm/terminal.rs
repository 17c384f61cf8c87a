//! The user's terminal, connected to the guest's.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::pipe;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// What a terminal sends for Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// Copies between standard streams and `guest` until `ended` returns or the guest closes.
pub fn relay(guest: &UnixStream, ended: impl FnOnce() + Send) -> io::Result<()> {
    let _raw = Raw::enter()?;
    let (watch, alive) = pipe()?;
    thread::scope(|scope| {
        scope.spawn(move || {
            ended();
            drop(alive);
        });
        let mut input_open = true;
        let mut buffer = [0; 4096];
        loop {
            let interest = if input_open {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            let input = stdin();
            let mut fds = [
                PollFd::new(guest, PollFlags::IN),
                PollFd::new(&watch, PollFlags::IN),
                PollFd::new(&input, interest),
            ];
            rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
            let [from_guest, over, from_user] =
                [&fds[0], &fds[1], &fds[2]].map(|fd| !fd.revents().is_empty());
            if from_guest {
                let length = (&*guest).read(&mut buffer)?;
                if length == 0 {
                    return Ok(());
                }
                let mut output = io::stdout();
                output.write_all(&buffer[..length])?;
                output.flush()?;
            } else if over {
                return Ok(());
            }
            if from_user && input_open {
                let length = rustix::io::read(input, &mut buffer)?;
                input_open = length > 0;
                if input_open {
                    (&*guest).write_all(&buffer[..length])?;
                } else {
                    (&*guest).write_all(&[END_OF_INPUT])?;
                }
            }
        }
    })
}

/// Lets keys such as Ctrl-C through to the guest until dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> io::Result<Self> {
        if !isatty(stdin()) {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone, and then nobody misses its settings.
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
