//! Handlers without a box of their own: those of one type are kept side by side.

use super::per_type::PerType;
use crate::outstanding::Work;
use std::any::Any;
use std::cell::{Ref, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// What is larger, in bytes, is to have a box after all: it would be copied whenever a keeper grows, at each ring of an
/// alarm, and if it comes from another thread, while the inbox is locked.
pub(crate) const LARGE: usize = 256;

/// Where a handler is kept. There is one of these for each: who has it ends it. (An alarm is kept as long as somebody has
/// a handle of it, or it is set.)
///
/// Aligned so that it is read and written as one.
#[derive(Debug)]
#[repr(align(8))]
pub(crate) struct Kept {
    pub(crate) keeper: u32,
    pub(crate) index: u32,
}

/// Keeps the handlers of one type: those of waits for a deadline, see `waits.rs`, or letters from other threads, see
/// `mail.rs`. `E` is what they are called with: the engine.
pub(crate) trait Keeper<E> {
    /// Takes the handler out and calls it; with the outcome, if it is that of a wait.
    fn end(&self, index: u32, engine: &Rc<E>, outcome: io::Result<()>);

    /// What it is; `None` if there is none. `came` is when, for letters.
    fn describe(&self, index: u32, came: Instant) -> Option<Work>;

    /// Reads something of the memory of each handler, and returns it; if they are those of waits.
    fn touch(&self, _indices: &[u32]) -> usize {
        0
    }

    /// Gives back memory that is not needed now.
    fn trim(&self);
}

/// The keepers of one context, one for each type. `K` is what they have in common: `dyn Keeper`, or what those of alarms
/// have, see `ring.rs`.
pub(crate) struct Keepers<K: ?Sized>(RefCell<PerType<Both<K>>>);

/// Twice the same, because a `dyn Keeper` cannot be turned into a `dyn Any`.
struct Both<K: ?Sized> {
    keeper: Rc<K>,
    any: Rc<dyn Any>,
}

impl<K: ?Sized> Keepers<K> {
    pub(crate) fn new() -> Self {
        Keepers(RefCell::default())
    }

    /// The keeper of type `T`, and its number. `as_common` coerces it to what it has in common with the others.
    #[inline(always)]
    pub(crate) fn find<T: Default + 'static>(&self, as_common: fn(Rc<T>) -> Rc<K>) -> Option<(u32, Ref<'_, T>)> {
        let mut number = 0;
        let likely = Ref::filter_map(self.0.borrow(), |keepers| {
            let (likely, both) = keepers.likely::<T>()?;
            number = likely;
            both.any.downcast_ref()
        });
        match likely {
            Ok(keeper) => Some((number, keeper)),
            Err(borrowed) => {
                drop(borrowed); // There may be one to add.
                self.search(as_common)
            }
        }
    }

    /// Finds it when another type was asked for lately, or adds it.
    #[cold]
    #[inline(never)]
    fn search<T: Default + 'static>(&self, as_common: fn(Rc<T>) -> Rc<K>) -> Option<(u32, Ref<'_, T>)> {
        let known = self.0.borrow().find::<T>().map(|(number, _)| number);
        let number = known.unwrap_or_else(|| self.add(as_common));
        let keeper = Ref::filter_map(self.0.borrow(), |keepers| keepers.get(number)?.any.downcast_ref());
        Some((number, keeper.ok()?))
    }

    #[cold]
    #[inline(never)]
    fn add<T: Default + 'static>(&self, as_common: fn(Rc<T>) -> Rc<K>) -> u32 {
        let any = Rc::new(T::default());
        self.0.borrow_mut().add::<T>(Both { keeper: as_common(any.clone()), any })
    }

    #[inline]
    pub(crate) fn of(&self, kept: &Kept) -> Option<Rc<K>> {
        self.0.borrow().get(kept.keeper).map(|both| Rc::clone(&both.keeper))
    }

    pub(crate) fn for_each(&self, f: impl Fn(&K)) {
        self.0.borrow().values().for_each(|both| f(&both.keeper));
    }

    /// All of them, and what they keep; to be dropped when nothing is borrowed.
    pub(crate) fn take_all(&self) -> Self {
        Keepers(RefCell::new(self.0.take()))
    }
}

impl<K: ?Sized> fmt::Debug for Keepers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keepers").finish_non_exhaustive()
    }
}
