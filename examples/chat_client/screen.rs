//! The session: prints what comes, and tells the keyboard when to go on and when it is over.

use crate::keyboard::Keyboard;
use ioctx::session::{Connection, Reason, Session};
use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

/// How the conversation ended.
#[derive(Clone)]
pub struct Outcome(Rc<RefCell<Result<(), String>>>);

impl Default for Outcome {
    fn default() -> Self {
        Outcome(Rc::new(RefCell::new(Ok(()))))
    }
}

impl Outcome {
    pub fn take(&self) -> Result<(), String> {
        std::mem::replace(&mut self.0.borrow_mut(), Ok(()))
    }

    /// What went wrong first is what the user wants to know.
    fn fail(&self, problem: impl ToString) {
        let mut outcome = self.0.borrow_mut();
        if outcome.is_ok() {
            *outcome = Err(problem.to_string());
        }
    }
}

pub struct Screen<W> {
    output: W,
    keyboard: Rc<Keyboard>,
    outcome: Outcome,
}

impl<W: Write + 'static> Screen<W> {
    pub fn new(output: W, keyboard: &Rc<Keyboard>, outcome: &Outcome) -> Self {
        Screen { output, keyboard: Rc::clone(keyboard), outcome: outcome.clone() }
    }
}

impl<W: Write + 'static> Session for Screen<W> {
    /// Prints at once, and blocks if it must: there is nothing else to do meanwhile, and the server should know.
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        if let Err(error) = self.output.write_all(bytes).and_then(|()| self.output.flush()) {
            self.outcome.fail(format!("nobody reads the output: {error}"));
            connection.abort();
        }
        bytes.len()
    }

    fn drained(&mut self, connection: &Connection) {
        self.keyboard.go_on(connection);
    }

    fn closed(&mut self, _: &Connection, reason: Reason) {
        self.keyboard.stop();
        if !matches!(reason, Reason::Finished) {
            self.outcome.fail(reason);
        }
    }
}
