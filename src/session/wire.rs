//! A transport without a socket: two buffers, and a peer that does what a test says. For `testing::Harness`.

use crate::engine::ready_state::State;
use crate::ready::Ready;
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};

#[derive(Debug, Default)]
pub struct Wire {
    /// From the peer, not read yet.
    to_session: RefCell<VecDeque<u8>>,
    /// From the session, not looked at yet.
    to_peer: RefCell<Vec<u8>>,
    /// How many bytes the peer still takes; `None`: any number.
    room: Cell<Option<usize>>,
    /// The peer has neither taken the connection nor refused it.
    is_connecting: Cell<bool>,
    peer_ended: Cell<bool>,
    peer_reset: Cell<bool>,
    session_ended: Cell<bool>,
    session_reset: Cell<bool>,
}

// What the session's side does.
impl Wire {
    pub(super) fn receive(&self, state: &State, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.peer_reset.get() {
            return Err(Errno::CONNRESET);
        }
        let mut bytes = self.to_session.borrow_mut();
        if bytes.is_empty() {
            state.clear(Ready::READABLE);
            return if self.peer_ended.get() { Ok(0) } else { Err(Errno::AGAIN) };
        }
        let n = bytes.len().min(buffer.len());
        for (slot, byte) in buffer.iter_mut().zip(bytes.drain(..n)) {
            *slot = byte;
        }
        if bytes.is_empty() && !self.peer_ended.get() {
            state.clear(Ready::READABLE);
        }
        Ok(n)
    }

    pub(super) fn send(&self, state: &State, bytes: &[u8]) -> Result<usize, Errno> {
        if self.peer_reset.get() {
            return Err(Errno::PIPE);
        }
        let n = self.room.get().map_or(bytes.len(), |room| room.min(bytes.len()));
        if n < bytes.len() {
            state.clear(Ready::WRITABLE);
        }
        if n == 0 && !bytes.is_empty() {
            return Err(Errno::AGAIN);
        }
        self.room.set(self.room.get().map(|room| room - n));
        self.to_peer.borrow_mut().extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    pub(super) fn send_vectored(&self, state: &State, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.send(state, &all)
    }

    pub(super) fn unread(&self) -> usize {
        self.to_session.borrow().len()
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.peer_reset.get().then(|| Errno::CONNRESET.into())
    }

    /// How the attempt to connect has ended.
    pub(super) fn connected(&self) -> Option<io::Result<()>> {
        if self.peer_reset.get() {
            return Some(Err(Errno::CONNREFUSED.into()));
        }
        (!self.is_connecting.get()).then_some(Ok(()))
    }

    pub(super) fn shutdown_send(&self) {
        self.session_ended.set(true);
    }

    pub(super) fn reset_by_session(&self) {
        self.session_reset.set(true);
    }
}

// What the peer does.
impl Wire {
    pub(super) fn set_connecting(&self, connecting: bool) {
        self.is_connecting.set(connecting);
    }

    pub(super) fn peer_sends(&self, bytes: &[u8]) {
        self.to_session.borrow_mut().extend(bytes);
    }

    pub(super) fn peer_takes(&self) -> Vec<u8> {
        self.to_peer.take()
    }

    pub(super) fn peer_ends(&self) {
        self.peer_ended.set(true);
    }

    pub(super) fn peer_resets(&self) {
        self.peer_reset.set(true);
    }

    /// From here on the peer takes this many bytes; `None`: any number.
    pub(super) fn set_room(&self, room: Option<usize>) {
        self.room.set(room);
    }

    pub(super) fn has_session_ended(&self) -> bool {
        self.session_ended.get()
    }

    pub(super) fn has_session_reset(&self) -> bool {
        self.session_reset.get()
    }
}
