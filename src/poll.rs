//! poll(2) on one descriptor: how a blocking call sleeps, and how the kernel is asked what it knows right now.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;

/// What of `flags`, or of errors, is so right now.
pub(crate) fn ready_now(source: &impl AsFd, flags: PollFlags) -> io::Result<PollFlags> {
    poll_one(source, flags, Some(&Timespec::default()))
}

/// Blocks the thread until something of `flags`, or an error, is so.
pub(crate) fn sleep_until_ready(source: &impl AsFd, flags: PollFlags) -> io::Result<()> {
    poll_one(source, flags, None).map(drop)
}

/// An interruption by a signal is never seen; even a wait of no length can be interrupted.
fn poll_one(source: &impl AsFd, flags: PollFlags, timeout: Option<&Timespec>) -> io::Result<PollFlags> {
    let mut descriptors = [PollFd::new(source, flags)];
    loop {
        match poll(&mut descriptors, timeout) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(descriptors[0].revents()),
        }
    }
}
