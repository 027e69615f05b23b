//! How what is sent leaves: gathered, straight, or queued.
//!
//! ```text
//!   own method, small ------------------> gathered --(the method returns: serve.rs)--> one write
//!   16 KiB or more, nothing queued -----> now, with what was gathered before it in one
//!                                         write, else in pieces
//!   from another's `received` ----------> queued ----(that method returns: flush)----> one write
//!   from elsewhere, shared, or behind
//!   what is queued already -------------> queued ----(the next dispatch: visit.rs)---> writes
//! ```

use super::flow::Phase;
use super::link::Link;
use super::outcome::{Reason, Sent};
use super::transport::PIECE;
use super::write_queue::SLICES;
use rustix::io::Errno;
use std::io::IoSlice;
use std::rc::Rc;

/// A send of at least this many bytes is not copied: it goes straight to the socket, with what was gathered before it.
pub(super) const LARGE: usize = 16 * 1024;

/// How many pieces one straight write takes: what was gathered, and those of the caller.
const STRAIGHT: usize = 16;

impl Link {
    #[inline(always)]
    pub(super) fn send(self: &Rc<Self>, bytes: &[u8]) -> Sent {
        let room = self.room.get();
        if bytes.len() < LARGE {
            // With no room only nothing at all is gathered. The buffer is busy when a logger sends.
            if let Ok(mut gather) = self.engine().buffers.gather.try_borrow_mut() {
                if gather.push(bytes, room) {
                    return Sent::Accepted;
                }
            }
        }
        self.send_otherwise(bytes)
    }

    /// Out of line, so that the way of a small send is short.
    #[cold]
    #[inline(never)]
    fn send_otherwise(self: &Rc<Self>, bytes: &[u8]) -> Sent {
        // Something else was done in this method as well: what it sends is gathered all the same.
        let gathers = self.in_method() && self.flow.takes_bytes() && self.flow.queue.borrow().is_empty();
        let gather = &self.engine().buffers.gather;
        if gathers && bytes.len() < LARGE && gather.borrow_mut().push(bytes, self.gather_limit()) {
            return Sent::Accepted;
        }
        self.send_slices(&[IoSlice::new(bytes)])
    }

    pub(super) fn send_slices(self: &Rc<Self>, slices: &[IoSlice<'_>]) -> Sent {
        if !self.flow.takes_bytes() {
            return Sent::Gone;
        }
        let size: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = self.send_straight(slices, size);
        if !self.flow.takes_bytes() {
            self.look(); // It has just failed, and the kernel need not say so again.
            return Sent::Gone;
        }
        if !self.flow.has_room_for(size - written) {
            self.fail(Reason::WriteLimit);
            return Sent::Gone;
        }
        let mut skipped = written;
        for slice in slices {
            let skip = skipped.min(slice.len());
            self.flow.queue.borrow_mut().push(&slice[skip..]);
            skipped -= skip;
        }
        self.note_queued()
    }

    pub(super) fn send_shared(self: &Rc<Self>, bytes: &Rc<[u8]>) -> Sent {
        if self.in_method() && bytes.len() < LARGE {
            return self.send(bytes); // It leaves at once, in one write with the rest.
        }
        if !self.flow.takes_bytes() {
            return Sent::Gone;
        }
        self.queue_gathered();
        if !self.flow.has_room_for(bytes.len()) {
            self.fail(Reason::WriteLimit);
            return Sent::Gone;
        }
        self.flow.queue.borrow_mut().push_shared(bytes);
        self.note_queued()
    }

    fn note_queued(self: &Rc<Self>) -> Sent {
        if !self.flow.queue.borrow().is_empty() {
            let above = self.flow.note_queued();
            if above || !self.is_flushed_soon() {
                self.look();
            }
            if above {
                return Sent::AboveHigh;
            }
        }
        Sent::Accepted
    }

    /// Whether what is queued will be written when the method that runs has returned: if it is another session's
    /// `received`, and nothing but to write is to be done here. Not while somebody listens to the trace: a logger that is
    /// told of the write may do anything.
    fn is_flushed_soon(self: &Rc<Self>) -> bool {
        let engine = self.engine();
        let may_be =
            self.calm.get() > 0 && engine.buffers.is_lent() && !engine.teller.watches_calls() && !self.in_method();
        if may_be && !self.is_to_be_flushed.replace(true) {
            engine.flush_at_end(self.clone());
        }
        may_be
    }

    /// Writes what is queued, with one call of `write`; what is left after that is for a dispatch, and so is whatever else
    /// was asked meanwhile.
    pub(super) fn flush_queue(self: &Rc<Self>) {
        self.is_to_be_flushed.set(false);
        if self.calm.get() > 0 {
            let written = self.write_queued();
            let mut queue = self.flow.queue.borrow_mut();
            queue.advance(written);
            if queue.is_empty() {
                return;
            }
        }
        if !self.flow.is_over() {
            self.look();
        }
    }

    /// Writes without a copy, if nothing is queued before it, and if it is worth a system call: then what was gathered
    /// leaves with it. Returns how many bytes of `slices` were written.
    fn send_straight(&self, slices: &[IoSlice<'_>], size: usize) -> usize {
        let (in_method, is_open) = (self.in_method(), self.flow.phase.get() == Phase::Open);
        let is_first = self.flow.queue.borrow().is_empty() && self.state.ready().is_writable();
        let is_worth_it = in_method || size >= LARGE;
        if !(is_open && is_first && is_worth_it && self.may_write_straight(size)) {
            self.queue_gathered();
            return 0;
        }
        if !in_method {
            return self.write(&slices[..slices.len().min(STRAIGHT)]); // One system call takes so many.
        }
        // The gathered bytes are taken out, because a logger may be told of the write.
        let gathered = self.engine().buffers.take_gathered();
        let mut all = [IoSlice::new(&[]); STRAIGHT];
        all[0] = IoSlice::new(&gathered);
        let count = slices.len().min(STRAIGHT - 1); // What is beyond is queued behind the rest.
        all[1..=count].copy_from_slice(&slices[..count]);
        let written = self.write(&all[usize::from(gathered.is_empty())..=count]);
        let before = gathered.len();
        if let Some(rest) = gathered.get(written..) {
            self.flow.queue.borrow_mut().push(rest);
        }
        self.engine().buffers.keep_spare(gathered);
        written.saturating_sub(before)
    }

    /// Straight writes are bounded as those of a dispatch are: a session that sends as long as the peer takes it must
    /// come to an end.
    fn may_write_straight(&self, size: usize) -> bool {
        let (turn, spent) = self.straight.get();
        let now = self.engine().turn.number() as u32; // Wraps around; the turn before is another in any case.
        let spent = if turn == now { spent } else { 0 };
        self.straight.set((now, spent.saturating_add(u32::try_from(size).unwrap_or(u32::MAX))));
        (spent as usize) < self.config().dispatch_bytes
    }

    /// Moves what was gathered behind what is queued.
    fn queue_gathered(&self) {
        if self.in_method() {
            let mut gather = self.engine().buffers.gather.borrow_mut();
            self.flow.queue.borrow_mut().push(gather.bytes());
            gather.clear();
        }
    }

    /// Writes from the front of the queue, as `write` does.
    pub(super) fn write_queued(&self) -> usize {
        // Shared, because a logger that is told of the write may ask how much is queued.
        let queue = self.flow.queue.borrow();
        if let Some(bytes) = queue.in_one_piece() {
            return self.write(&[IoSlice::new(bytes)]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = queue.slices(&mut slices);
        self.write(&slices[..count])
    }

    /// Writes one slice in pieces, as many as a dispatch may, and several slices in one system call. An error breaks the
    /// connection off. Returns how many bytes the socket took.
    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> usize {
        let [large] = slices else {
            return self.write_piece(slices);
        };
        if self.engine().teller.tracing() {
            return self.write_piece(slices); // A logger that is told of a piece might send something before the next.
        }
        let mut written = 0;
        for piece in large.chunks(PIECE).take(self.config().dispatch_bytes.div_ceil(PIECE)) {
            let taken = self.write_piece(&[IoSlice::new(piece)]);
            written += taken;
            if taken < piece.len() {
                break;
            }
        }
        written
    }

    fn write_piece(&self, slices: &[IoSlice<'_>]) -> usize {
        if !self.state.ready().is_writable() {
            return 0;
        }
        let (state, engine) = (&self.state, self.engine());
        let written = match &*self.transport.borrow() {
            Some(transport) if slices.len() == 1 => transport.send(state, engine, &slices[0]),
            Some(transport) => transport.send_vectored(state, engine, slices),
            None => Ok(0),
        };
        match written {
            Ok(n) => {
                self.note_moved(0, n);
                n
            }
            Err(error) => {
                if error != Errno::AGAIN {
                    self.break_off(error.into());
                }
                0
            }
        }
    }
}
