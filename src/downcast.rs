//! Downcasts of what is nearly always of the type that is asked for.
//!
//! `Any` tells its type by a call that the compiler cannot look into, and the answer goes through memory: that was 4 of
//! the 15 ns of a post. Here the virtual tables are compared first. Where they are the same, the compiler knows
//! what `Any` would answer, and leaves the call out. Where they are not, `Any` decides, because one type may have
//! several tables: one for each unit that the compiler has cut the program into. So whoever asks does it in a method of
//! the type in question, which an optimised build puts into one unit with the method that has made the `dyn Any`.

use std::any::Any;

/// The box, if this is what is in it.
#[inline(always)]
pub(crate) fn boxed<T: 'static>(any: Box<dyn Any>) -> Option<Box<T>> {
    if has_table_of::<T>(&*any) { any.downcast().ok() } else { ask(any) }
}

#[cold]
#[inline(never)]
fn ask<T: 'static>(any: Box<dyn Any>) -> Option<Box<T>> {
    any.downcast().ok()
}

/// A guess, on which nothing but speed rests. `false` may be said of a `T`, too.
#[inline(always)]
#[expect(ambiguous_wide_pointer_comparisons, reason = "the addresses are equal; what is compared are the tables")]
fn has_table_of<T: 'static>(any: &dyn Any) -> bool {
    let any: *const dyn Any = any;
    let as_it_would_be: *const dyn Any = any.cast::<T>();
    any == as_it_would_be
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_comes_out_as_what_it_is_and_as_nothing_else() {
        assert_eq!(boxed::<u32>(Box::new(7_u32)), Some(Box::new(7)));
        assert_eq!(boxed::<i32>(Box::new(7_u32)), None);
        assert_eq!(boxed::<()>(Box::new([(), ()])), None);
    }

    #[test]
    fn tables_tell_types_apart() {
        assert!(!has_table_of::<i32>(&7_u32) && !has_table_of::<()>(&[(), ()]) && !has_table_of::<[(); 2]>(&()));
    }

    /// As if the tables were two.
    #[test]
    fn a_box_that_does_not_look_like_it_is_asked() {
        assert_eq!(ask::<u32>(Box::new(7_u32)), Some(Box::new(7)));
        assert_eq!(ask::<i32>(Box::new(7_u32)), None);
    }
}
