//! The blocking calls: the descriptor stays non-blocking, and the thread sleeps in poll(2) on that one descriptor.

use super::object::{Descriptor, Direction};
use super::shared::Shared;
use crate::poll::sleep_until_ready;
use std::io::{self, ErrorKind};
use std::panic::Location;

impl<S: Descriptor> Shared<S> {
    /// Makes a call until it does not answer `WouldBlock`, and sleeps before each new attempt. `call` is ours: the
    /// source is borrowed. In non-blocking mode the first `WouldBlock` is returned.
    pub(crate) fn blocking<R>(
        &self,
        name: &str,
        direction: Direction,
        location: &'static Location<'static>,
        mut call: impl FnMut(&S) -> io::Result<R>,
    ) -> io::Result<R> {
        if !self.non_blocking.get() {
            let engine = &self.handle.engine;
            engine.warn_if_blocking(name, location);
        }
        loop {
            match self.with(&mut call) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The loop need not try what was just found not to be ready: an event will tell.
                    self.state.clear(direction.interest().as_ready());
                    self.watch_for_room_if_wanted();
                    if self.non_blocking.get() {
                        return Err(error);
                    }
                    self.with(|source| sleep_until_ready(source, direction.poll_flags()))?;
                }
                result => return result,
            }
        }
    }
}
