//! What one dispatch may do before the others have their turn.

use crate::config::Config;
use std::cell::Cell;

/// What is left of one dispatch, in bytes. Everything is paid for in bytes: a read or a write costs what it moves, but
/// at least its share of the calls, and any other call its share. So one number bounds bytes and calls. A short transfer
/// that has drained the source costs nothing: it was the last in its direction.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
}

impl Budget {
    #[inline(always)]
    pub(crate) fn new(config: &Config) -> Self {
        let left = Cell::new(config.dispatch_bytes.get());
        Budget { left }
    }

    #[inline(always)]
    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    #[inline(always)]
    pub(crate) fn pay_transfer(&self, moved: usize, config: &Config) {
        self.pay(moved.max(config.least_transfer));
    }

    pub(super) fn pay_call(&self, config: &Config) {
        self.pay(config.least_call);
    }

    /// The last may cost more than is left.
    #[inline(always)]
    fn pay(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes));
    }
}
