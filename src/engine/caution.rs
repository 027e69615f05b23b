//! How seldom to try again what was in vain.

/// So many occasions to let pass: twice as many after each trial in vain, half as many after each that was not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caution(u32);

impl Caution {
    pub(crate) const MOST: u32 = 1024;

    #[must_use]
    pub(crate) fn after_one_in_vain(self) -> Caution {
        Caution((2 * self.0).clamp(1, Self::MOST))
    }

    #[must_use]
    pub(crate) fn after_success(self) -> Caution {
        Caution(self.0 / 2)
    }

    pub(crate) fn occasions(self) -> u32 {
        self.0
    }
}
