//! A look ahead at what timers hold that will be due soon, and at the handlers of those that were cancelled.
//!
//! Of a million timers, each handler lies in memory that is in no cache. One after the other when it is its turn, each would
//! be waited for; read in a loop with nothing else in it, the processor waits for many at once.

use super::kept::{Keeper, Kept};
use super::state::{AtDeadline, Engine, Queued};
use super::timer_nodes::AHEAD;
use std::hint;
use std::rc::Rc;

impl Engine {
    /// Reads something of the memory behind each timer; of those of one keeper, and next to each other, together.
    #[inline(never)] // Or the loop that fires one timer after the other would run out of registers.
    pub(super) fn touch(&self, ahead: &[Option<&AtDeadline>]) {
        let read = ahead.chunk_by(are_alike).fold(0, |read, alike| read ^ self.touch_alike(alike));
        hint::black_box(read); // Or the compiler would leave the reading out.
    }

    fn touch_alike(&self, alike: &[Option<&AtDeadline>]) -> usize {
        let mut indices = [0; AHEAD];
        let kept = alike.iter().filter_map(|then| then.and_then(kept));
        let count = indices.iter_mut().zip(kept).map(|(index, kept)| *index = kept.index).count();
        let indices = &indices[..count];
        match alike {
            [Some(AtDeadline::Wait(wait) | AtDeadline::WaitInBackground(wait)), ..] => {
                self.keepers.of(wait).map_or(0, |keeper| keeper.touch(indices))
            }
            [Some(AtDeadline::Ring(alarm) | AtDeadline::RingInBackground(alarm)), ..] => {
                self.ringers.of(alarm).map_or(0, |alarms| alarms.touch(indices))
            }
            [Some(AtDeadline::Repeat(repeat)), ..] => Rc::strong_count(repeat),
            _ => 0,
        }
    }
}

fn kept(then: &AtDeadline) -> Option<&Kept> {
    use AtDeadline::{Internal, Repeat, Ring, RingInBackground, Wait, WaitInBackground};
    match then {
        Wait(kept) | WaitInBackground(kept) | Ring(kept) | RingInBackground(kept) => Some(kept),
        Repeat(_) | Internal(_) => None,
    }
}

/// Whether what both hold has the same keeper.
fn are_alike(one: &Option<&AtDeadline>, other: &Option<&AtDeadline>) -> bool {
    use AtDeadline::{Ring, RingInBackground, Wait, WaitInBackground};
    match (one, other) {
        (Some(Wait(one) | WaitInBackground(one)), Some(Wait(other) | WaitInBackground(other)))
        | (Some(Ring(one) | RingInBackground(one)), Some(Ring(other) | RingInBackground(other))) => {
            one.keeper == other.keeper
        }
        _ => false,
    }
}

/// So few handlers are in the caches in any case, and of more than these it is not worth asking about the first.
const FEW: usize = 1024;

/// A row of handlers that are called one after the other, all of one keeper. Where types alternate there is none, and nothing
/// is looked at ahead.
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) keeper: Rc<dyn Keeper<Engine>>,
    /// Where the last one was kept.
    last: u32,
    until_look: usize,
}

impl Row {
    pub(super) fn new(first: &Kept, keeper: Rc<dyn Keeper<Engine>>) -> Self {
        Row { number: first.keeper, keeper, last: first.index, until_look: FEW }
    }

    /// Now and then looks at those that come next. Not where they are called in the order in which they lie: there the slab
    /// looks ahead by itself, see `places.rs`.
    #[inline(always)]
    pub(super) fn look_ahead(&mut self, index: u32, engine: &Engine) {
        if index.wrapping_sub(self.last) > 1 {
            if self.until_look == 0 {
                self.until_look = AHEAD;
                self.touch_next(engine);
            }
            self.until_look -= 1;
        }
        self.last = index;
    }

    #[inline(never)]
    fn touch_next(&self, engine: &Engine) {
        let (mut indices, mut count) = ([0; AHEAD], 0);
        engine.scheduler.show_next(AHEAD, |queued| match queued {
            Queued::Kept(kept) if kept.keeper == self.number => {
                indices[count] = kept.index;
                count += 1;
            }
            _ => {}
        });
        hint::black_box(self.keeper.touch(&indices[..count]));
    }
}
