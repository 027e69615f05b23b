//! What one dispatch may do before the others have their turn.

use crate::config::Config;
use std::cell::Cell;

/// What one dispatch has paid, in bytes. Everything is paid for in bytes: a read or a write costs what it moves, but
/// at least its share of the calls, and any other call its share. So one number bounds bytes and calls. A short transfer
/// that has drained the source costs nothing: it was the last in its direction.
#[derive(Debug)]
pub(crate) struct Budget {
    paid: Cell<usize>,
    /// Whether that is all. It is noted, because then the compiler knows that a new budget is not spent.
    spent: Cell<bool>,
}

impl Budget {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Budget { paid: Cell::new(0), spent: Cell::new(false) }
    }

    #[inline(always)]
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.get()
    }

    #[inline(always)]
    pub(crate) fn pay_transfer(&self, moved: usize, config: &Config) {
        self.pay(moved.max(config.least_transfer), config);
    }

    pub(super) fn pay_call(&self, config: &Config) {
        self.pay(config.least_call, config);
    }

    /// The last may cost more than is left.
    #[inline(always)]
    fn pay(&self, bytes: usize, config: &Config) {
        self.paid.set(self.paid.get().saturating_add(bytes));
        self.spent.set(self.paid.get() >= config.dispatch_bytes);
    }
}
