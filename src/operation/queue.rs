//! The queue of one direction of an object: first in, first out, with room for one without an allocation.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Most objects have one operation outstanding in each direction. It sits in `front`; only a second one needs the
/// list behind it.
pub(super) struct Queue<T> {
    /// `Some` exactly while `len` is not 0.
    front: Cell<Option<T>>,
    behind: RefCell<VecDeque<T>>,
    len: Cell<usize>,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Queue { front: Cell::new(None), behind: RefCell::default(), len: Cell::new(0) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    #[inline(always)]
    pub(super) fn push_back(&self, item: T) {
        let len = self.len.get();
        self.len.set(len + 1);
        if len == 0 {
            std::mem::forget(self.front.replace(Some(item))); // That was `None`. But `set` would look.
        } else {
            self.push_behind(item);
        }
    }

    #[cold]
    #[inline(never)]
    fn push_behind(&self, item: T) {
        self.behind.borrow_mut().push_back(item);
    }

    #[inline]
    pub(super) fn push_front(&self, item: T) {
        self.len.set(self.len.get() + 1);
        if let Some(second) = self.front.replace(Some(item)) {
            self.behind.borrow_mut().push_front(second);
        }
    }

    #[inline]
    pub(super) fn pop_front(&self) -> Option<T> {
        let item = self.front.take()?;
        let len = self.len.get() - 1;
        self.len.set(len);
        if len > 0 {
            self.move_up();
        }
        Some(item)
    }

    #[cold]
    #[inline(never)]
    fn move_up(&self) {
        self.front.set(self.behind.borrow_mut().pop_front());
    }

    /// Takes out the first item that `is_it`. The order of the others stays.
    pub(super) fn remove(&self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        if self.look_at_front(&is_it)? {
            return self.pop_front();
        }
        let mut behind = self.behind.borrow_mut();
        let item = behind.iter().position(is_it).and_then(|position| behind.remove(position))?;
        self.len.set(self.len.get() - 1);
        Some(item)
    }

    /// What `look` says of the item at the front.
    pub(super) fn look_at_front<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let front = self.front.take()?;
        let result = look(&front);
        self.front.set(Some(front));
        Some(result)
    }

    pub(super) fn for_each(&self, mut look: impl FnMut(&T)) {
        self.look_at_front(&mut look);
        self.behind.borrow().iter().for_each(look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &Queue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop_front()).collect()
    }

    #[test]
    fn items_leave_in_the_order_they_came() {
        let queue = Queue::new();
        (1..=4).for_each(|n| queue.push_back(n));
        assert_eq!(queue.pop_front(), Some(1));
        queue.push_front(1);
        queue.push_back(5);
        assert_eq!(drain(&queue), [1, 2, 3, 4, 5]);
        assert!(queue.is_empty());
        queue.push_front(6);
        assert_eq!(drain(&queue), [6]);
    }

    #[test]
    fn any_item_can_be_taken_out() {
        for out in 1..=3 {
            let queue = Queue::new();
            (1..=3).for_each(|n| queue.push_back(n));
            assert_eq!(queue.remove(|n| *n == out), Some(out));
            assert_eq!(queue.remove(|n| *n == out), None);
            assert_eq!(drain(&queue), (1..=3).filter(|n| *n != out).collect::<Vec<_>>());
        }
    }
}
