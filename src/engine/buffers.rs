//! Memory that one loop lends to all its connections: only one of them is served at a time.

use std::cell::{Cell, RefCell};

#[derive(Default)]
pub(crate) struct Buffers {
    /// What is read lands here, so that an idle connection holds no buffer. Borrowed while a connection is lent it;
    /// nobody else needs it then, because handlers do not nest.
    pub(crate) read: RefCell<Vec<u8>>,
    /// What one call of user code sends, until the call returns.
    pub(crate) gather: RefCell<Vec<u8>>,
    /// The memory of the last buffer that somebody was done with, for the next one who needs one.
    spare: Cell<Vec<u8>>,
}

/// A spare larger than this is given back to the system.
const SPARE: usize = 256 * 1024;

impl Buffers {
    /// The read buffer comes with the first connection: a loop without any pays nothing for it.
    pub(crate) fn provide(&self, bytes: usize) {
        if let Ok(mut read) = self.read.try_borrow_mut() {
            if read.is_empty() {
                *read = vec![0; bytes];
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
