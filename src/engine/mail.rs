//! Mail from other threads: those of one type side by side, on both sides of the inbox.
//!
//! A box for each would be allocated by one thread and freed by another, and they would wait for each other in the
//! allocator: that was two thirds of the time of a post.

use super::inbox::Inbox;
use super::kept::{Keeper, Kept, LARGE};
use super::places::Places;
use super::state::{Engine, Mail, Pile, Queued};
use crate::outstanding::Work;
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// Something on its way to the loop's thread.
pub(crate) trait Letter: Send + 'static {
    /// Does what it is for, in step 7. It counts and watches the call itself, because not every letter is one.
    fn open(self, engine: &Rc<Engine>);

    /// What it is, and that it came at `came`.
    fn describe(&self, came: Instant) -> Work;
}

/// What has room for more, in bytes, gives it back when it has emptied: after a burst there may be silence.
const ROOM: usize = 1 << 20;

impl Inbox<Mail> {
    /// Sends a letter; gives it back if the context has gone.
    #[inline]
    pub(crate) fn send<L: Letter>(&self, letter: L) -> Result<(), L> {
        if size_of::<L>() > LARGE {
            return self.put(Box::new(letter)).map_err(|letter| *letter);
        }
        self.put(letter)
    }

    #[inline]
    fn put<L: Letter>(&self, letter: L) -> Result<(), L> {
        self.push(letter, |Mail { piles, order }, letter| {
            let known = piles.find::<L>().map(|(pile, _)| pile);
            let pile = known.unwrap_or_else(|| piles.add::<L>(Box::new(VecDeque::<L>::new())));
            let letters = piles.get_mut(pile).and_then(|pile| pile.as_any_mut().downcast_mut::<VecDeque<L>>());
            if let Some(letters) = letters {
                letters.push_back(letter);
                order.push(pile);
            }
        })
    }
}

impl<L: Letter> Letter for Box<L> {
    fn open(self, engine: &Rc<Engine>) {
        L::open(*self, engine);
    }

    fn describe(&self, came: Instant) -> Work {
        L::describe(self, came)
    }
}

impl<L: Letter> Pile for VecDeque<L> {
    fn deliver(&mut self, count: usize, engine: &Engine) {
        if let Some((keeper, letters)) = engine.keepers.find(|letters: Rc<RefCell<Letters<L>>>| letters) {
            let mut letters = letters.borrow_mut();
            for letter in self.drain(..count.min(self.len())) {
                let index = letters.insert(letter);
                engine.scheduler.push(Queued::Kept(Kept { keeper, index }));
            }
        }
        if self.is_empty() && self.capacity() * size_of::<L>() > ROOM {
            *self = VecDeque::new();
        }
    }

    fn describe(&self, came: Instant, all: &mut dyn FnMut(Work)) {
        self.iter().for_each(|letter| all(letter.describe(came)));
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// The letters of one type that have arrived and are not yet opened.
struct Letters<L>(Places<L>);

impl<L> Default for Letters<L> {
    fn default() -> Self {
        Letters(Places::new())
    }
}

impl<L> Letters<L> {
    fn insert(&mut self, letter: L) -> u32 {
        self.0.insert_with(|| letter)
    }

    fn take(&mut self, index: u32) -> Option<L> {
        let letter = self.0.take(index);
        if self.0.is_empty() && self.0.room() * size_of::<L>() > ROOM {
            self.0 = Places::new();
        } else if self.0.is_empty() {
            self.0.begin_anew();
        }
        letter
    }
}

impl<L: Letter> Keeper<Engine> for RefCell<Letters<L>> {
    fn end(&self, index: u32, engine: &Rc<Engine>, _: io::Result<()>) {
        let letter = self.borrow_mut().take(index);
        if let Some(letter) = letter {
            letter.open(engine);
        }
    }

    fn describe(&self, index: u32, came: Instant) -> Option<Work> {
        Some(self.borrow().0.get(index)?.describe(came))
    }

    fn trim(&self) {
        self.borrow_mut().0.trim();
    }
}
