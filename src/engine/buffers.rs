//! Memory that one loop lends to all its connections: only one of them is served at a time.

use std::cell::{Cell, RefCell};

#[derive(Default)]
pub(crate) struct Buffers {
    /// What is read lands here, so that an idle connection holds no buffer. Borrowed while a connection is lent it;
    /// nobody else needs it then, because handlers do not nest.
    pub(crate) read: RefCell<Vec<u8>>,
    /// What one call of user code sends, until the call returns.
    pub(crate) gather: RefCell<Gather>,
    /// The memory of the last buffer that somebody was done with, for the next one who needs one.
    spare: Cell<Vec<u8>>,
}

/// A spare larger than this is given back to the system.
const SPARE: usize = 256 * 1024;

impl Buffers {
    /// The buffers come with the first connection: a loop without any pays nothing for them.
    pub(crate) fn provide(&self, read: usize) {
        if let (Ok(mut buffer), Ok(mut gather)) = (self.read.try_borrow_mut(), self.gather.try_borrow_mut()) {
            if buffer.is_empty() {
                *buffer = vec![0; read];
                gather.memory = vec![0; Gather::ROOM].into();
            }
        }
    }

    /// An empty vector, with the memory of an earlier one if there is any.
    pub(crate) fn take_spare(&self) -> Vec<u8> {
        self.spare.take()
    }

    pub(crate) fn keep_spare(&self, mut spare: Vec<u8>) {
        if spare.capacity() <= SPARE {
            spare.clear();
            self.spare.set(spare);
        }
    }
}

/// Small pieces put together, to leave in one system call. Of a fixed size, because a vector's growth costs more
/// instructions than the copy of a small message.
#[derive(Default)]
pub(crate) struct Gather {
    memory: Box<[u8]>,
    /// Never more than `memory` holds.
    len: u32,
}

impl Gather {
    pub(crate) const ROOM: usize = 64 * 1024;

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(..self.len()).unwrap_or_default()
    }

    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds a small piece, if it is not more than `limit` then; `false` if it is, or if there is no room.
    #[inline(always)]
    pub(crate) fn push(&mut self, bytes: &[u8], limit: u32) -> bool {
        let end = self.len() + bytes.len();
        if end > limit as usize {
            return false;
        }
        let Some(room) = self.memory.get_mut(self.len()..end) else {
            return false;
        };
        self.len = end as u32; // At most `limit`.
        room.copy_from_slice(bytes);
        true
    }
}
