//! The session: one object per connection. It takes the bytes apart into lines, and does what they say.

use crate::room::Room;
use ioctx::session::{Connection, Reason, Session};
use std::rc::Rc;
use std::time::Duration;

/// The longest line, in bytes. A longer one is an error, and its bytes are never collected.
pub const LONGEST_LINE: usize = 1000;

/// How long the last lines may take to leave for one who quits.
const FAREWELL: Duration = Duration::from_secs(5);

pub struct Member {
    room: Rc<Room>,
    idle_timeout: Option<Duration>,
    /// `None` before the first line, and after `/quit`.
    name: Option<String>,
    /// In the middle of a line that is too long: the rest of it is thrown away.
    skipping: bool,
}

impl Member {
    pub fn new(room: &Rc<Room>, idle_timeout: Option<Duration>) -> Member {
        Member { room: Rc::clone(room), idle_timeout, name: None, skipping: false }
    }
}

impl Session for Member {
    fn opened(&mut self, connection: &Connection) {
        connection.set_idle_timeout(self.idle_timeout);
        connection.send(b"* what is your name?\n");
    }

    /// Takes the whole lines. What is left of `bytes` is shown again, with what follows.
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if !std::mem::take(&mut self.skipping) {
                self.answer(connection, line);
            }
        }
        if rest.len() > LONGEST_LINE {
            if !std::mem::replace(&mut self.skipping, true) {
                complain(connection, &too_long());
            }
            rest = &[];
        }
        bytes.len() - rest.len()
    }

    fn drained(&mut self, connection: &Connection) {
        let missed = self.name.as_ref().map_or(0, |name| self.room.caught_up(name));
        if missed > 0 {
            connection.send(format!("* you read too slowly, and missed {missed} lines\n").as_bytes());
        }
    }

    fn stopping(&mut self, connection: &Connection) {
        connection.send(b"* the server ends\n");
        connection.close_after_flush(Duration::MAX); // The server has a deadline.
    }

    fn closed(&mut self, connection: &Connection, reason: Reason) {
        if let Some(name) = self.name.take() {
            self.room.leave(&name, connection, &reason.to_string());
        }
    }
}

impl Member {
    fn answer(&mut self, connection: &Connection, line: &[u8]) {
        if !connection.is_open() {
            return; // It has quit.
        }
        if let Err(problem) = text(line).and_then(|line| self.obey(connection, line)) {
            complain(connection, &problem);
        }
    }

    fn obey(&mut self, connection: &Connection, line: &str) -> Result<(), String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("/nick", name) => self.be_called(connection, name.trim()),
            ("/who", "") => {
                connection.send(format!("* here are: {}\n", self.room.names()).as_bytes());
                Ok(())
            }
            ("/quit", "") => {
                self.quit(connection);
                Ok(())
            }
            (command, _) if command.starts_with('/') => Err("commands are /nick NAME, /who and /quit".into()),
            _ => self.say(connection, line),
        }
    }

    fn be_called(&mut self, connection: &Connection, name: &str) -> Result<(), String> {
        match &self.name {
            None => self.room.enter(name, connection)?,
            Some(old) => self.room.rename(old, name, connection)?,
        }
        self.name = Some(name.to_owned());
        connection.send(format!("* you are {name}\n").as_bytes());
        Ok(())
    }

    fn say(&mut self, connection: &Connection, line: &str) -> Result<(), String> {
        match &self.name {
            None => self.be_called(connection, line.trim()),
            Some(name) => {
                self.room.tell_others(connection, &format!("{name}: {line}\n"));
                Ok(())
            }
        }
    }

    fn quit(&mut self, connection: &Connection) {
        if let Some(name) = self.name.take() {
            self.room.leave(&name, connection, "quit");
        }
        connection.send(b"* bye\n");
        connection.close_after_flush(FAREWELL);
    }
}

/// What may be shown on the others' terminals: no control characters, which could do anything to those.
fn text(line: &[u8]) -> Result<&str, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line); // as telnet sends it
    if line.len() > LONGEST_LINE {
        return Err(too_long());
    }
    let line = std::str::from_utf8(line).map_err(|_| "a line is text in UTF-8")?;
    if line.contains(|letter: char| letter.is_control() && letter != '\t') {
        return Err("a line has no control characters".into());
    }
    Ok(line)
}

fn too_long() -> String {
    format!("a line has {LONGEST_LINE} bytes at most")
}

fn complain(connection: &Connection, problem: &str) {
    connection.send(format!("! {problem}\n").as_bytes());
}
