//! A hunch that the next event is near: where connections come and go.
//!
//! A client on the same machine sends as soon as it is connected, and goes as soon as it has its answer. To fall asleep
//! meanwhile, and to be woken, costs both sides more than it takes. So when something was registered, or has gone, the loop
//! spins for a moment before it sleeps, the next few times. Clients from farther away do not come so soon: then it spins
//! in vain, grows cautious, and lets many more come and go before it tries again.

use super::caution::Caution;
use std::cell::Cell;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Hunch {
    /// So many of the next sleeps begin with a spin.
    spins: Cell<u32>,
    /// So many of the next that come or go are let pass.
    ignored: Cell<u32>,
    /// So many were, after the last spin in vain; less, the more often it was not in vain since. With most caution a spin
    /// in vain costs each that comes or goes 20 ns.
    caution: Cell<Caution>,
}

impl Hunch {
    /// How long it spins at most: about what it costs to fall asleep and be woken.
    pub(crate) const SPIN: Duration = Duration::from_micros(20);

    /// A connection comes, its message comes, and it goes.
    const SPINS: u32 = 3;

    /// Something was registered, or has gone.
    pub(crate) fn stir(&self) {
        match self.ignored.get().checked_sub(1) {
            Some(left) => self.ignored.set(left),
            None => self.spins.set(Self::SPINS),
        }
    }

    /// Whether the next sleep begins with a spin.
    pub(crate) fn is_up(&self) -> bool {
        self.spins.get() > 0
    }

    /// A spin has found something in time, or not.
    pub(crate) fn learn(&self, was_right: bool) {
        if was_right {
            self.spins.set(self.spins.get().saturating_sub(1));
            self.caution.set(self.caution.get().after_success());
        } else {
            let caution = self.caution.get().after_one_in_vain();
            self.spins.set(0);
            self.ignored.set(caution.occasions());
            self.caution.set(caution);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many that come, one after the other, make it spin, if each spin ends like this.
    fn spins(hunch: &Hunch, coming: u32, was_right: bool) -> u32 {
        let comes = |_: &u32| {
            hunch.stir();
            let is_up = hunch.is_up();
            is_up.then(|| hunch.learn(was_right));
            is_up
        };
        (0..coming).filter(comes).count() as u32
    }

    #[test]
    fn a_few_sleeps_begin_with_a_spin_when_something_has_come() {
        let hunch = Hunch::default();
        assert!(!hunch.is_up(), "nothing has come");
        hunch.stir();
        for left in (0..Hunch::SPINS).rev() {
            assert!(hunch.is_up());
            hunch.learn(true);
            assert_eq!(hunch.is_up(), left > 0);
        }
    }

    #[test]
    fn who_spins_in_vain_soon_hardly_spins_any_more() {
        let hunch = Hunch::default();
        assert!(spins(&hunch, 2_000, false) < 12);
        let many = 100 * Caution::MOST;
        assert!(spins(&hunch, many, false) <= 100, "once in {} times", Caution::MOST);
    }

    #[test]
    fn who_was_right_a_few_times_trusts_again() {
        let hunch = Hunch::default();
        spins(&hunch, 100_000, false);
        spins(&hunch, 2 * Caution::MOST, true);
        assert_eq!(spins(&hunch, 100, true), 100);
    }

    #[test]
    fn one_in_vain_among_many_that_are_not_hardly_matters() {
        let hunch = Hunch::default();
        let spins: u32 = (0..100).map(|_| spins(&hunch, 9, true) + spins(&hunch, 1, false)).sum();
        assert!(spins > 800, "{spins}");
    }
}
