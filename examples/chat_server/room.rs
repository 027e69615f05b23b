//! Who is there, and how what one says reaches the others.

use ioctx::session::{Connection, Sent};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What becomes of a member that reads more slowly than the others talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// It misses lines, and is told how many.
    Skip,
    /// It is disconnected.
    Drop,
}

/// The members, by name.
pub struct Room {
    slow: Slow,
    seats: RefCell<BTreeMap<String, Seat>>,
}

struct Seat {
    connection: Connection,
    /// How many lines were left out since more was queued than the high watermark; `None` while the member keeps up.
    missed: Cell<Option<u64>>,
}

/// So much is read of a member at once, at most.
pub const READ: usize = 64 * 1024;

/// A member is slow when so many bytes are queued for it, and has caught up when these are. One read of somebody's
/// shortest lines may become ten times as long, with the name before each: that alone makes nobody slow.
pub const SLOW: usize = 1024 * 1024;
const CAUGHT_UP: usize = 64 * 1024;

/// Whoever is so many bytes behind is dropped. Under `Slow::Skip` nobody gets there.
pub const TOO_SLOW: usize = 2 * SLOW;

const LONGEST_NAME: usize = 20;

impl Room {
    pub fn new(slow: Slow) -> Room {
        Room { slow, seats: RefCell::default() }
    }

    /// Seats a member, or says why not.
    pub fn enter(&self, name: &str, connection: &Connection) -> Result<(), String> {
        self.check(name)?;
        connection.set_watermarks(CAUGHT_UP, SLOW);
        connection.set_write_limit(TOO_SLOW); // This is all that `Slow::Drop` needs.
        let seat = Seat { connection: connection.clone(), missed: Cell::new(None) };
        self.seats.borrow_mut().insert(name.to_owned(), seat);
        self.tell_others(connection, &format!("* {name} joined\n"));
        Ok(())
    }

    /// Seats a member under another name, or says why not.
    pub fn rename(&self, old: &str, new: &str, connection: &Connection) -> Result<(), String> {
        self.check(new)?;
        let mut seats = self.seats.borrow_mut();
        if let Some(seat) = seats.remove(old) {
            seats.insert(new.to_owned(), seat);
        }
        drop(seats);
        self.tell_others(connection, &format!("* {old} is now {new}\n"));
        Ok(())
    }

    pub fn leave(&self, name: &str, connection: &Connection, why: &str) {
        let seat = self.seats.borrow_mut().remove(name);
        drop(seat);
        self.tell_others(connection, &format!("* {name} left: {why}\n"));
    }

    /// All names, in their order.
    pub fn names(&self) -> String {
        let seats = self.seats.borrow();
        seats.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Passes a line on to everybody but the one that it comes from.
    pub fn tell_others(&self, from: &Connection, line: &str) {
        let line: Rc<[u8]> = Rc::from(line.as_bytes()); // one copy, however many listen
        for seat in self.seats.borrow().values().filter(|seat| seat.connection != *from) {
            self.pass(&line, seat);
        }
    }

    fn pass(&self, line: &Rc<[u8]>, seat: &Seat) {
        if let Some(missed) = seat.missed.get() {
            return seat.missed.set(Some(missed + 1));
        }
        if seat.connection.send_shared(line) == Sent::AboveHigh && self.slow == Slow::Skip {
            seat.missed.set(Some(0));
        }
    }

    /// The member has read what was queued for it. Returns how many lines it has missed meanwhile.
    pub fn caught_up(&self, name: &str) -> u64 {
        self.seats.borrow().get(name).and_then(|seat| seat.missed.take()).unwrap_or(0)
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let is_word = name.chars().all(|letter| letter.is_alphanumeric() || "-_".contains(letter));
        if !is_word || name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(format!("a name has 1 to {LONGEST_NAME} letters, digits, - or _"));
        }
        if self.seats.borrow().contains_key(name) {
            return Err(format!("{name} is taken"));
        }
        Ok(())
    }
}
