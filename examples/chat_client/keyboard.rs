//! Stdin, on its way to the server: read as it comes, but only as fast as the server takes it.

use ioctx::session::{Connection, Sent};
use ioctx::{Descriptor, Handle, Interest, Next, Registration};
use std::cell::{Cell, OnceCell};
use std::io::{self, ErrorKind, Read, Stdin, stdin};
use std::rc::Rc;

#[derive(Default)]
pub struct Keyboard {
    source: OnceCell<Source>,
    /// The last byte was not the end of a line.
    inside_line: Cell<bool>,
}

enum Source {
    /// A terminal or a pipe: the loop says when there is something to read.
    Polled(Registration<Descriptor<Stdin>>),
    /// Cannot be polled, because it is always ready: a regular file.
    File,
}

/// What comes after a piece of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    More,
    /// As much is queued as should be: go on when the connection has drained.
    Pause,
    End,
}

impl Keyboard {
    pub fn start(self: &Rc<Self>, connection: &Connection) -> io::Result<()> {
        let handle: &Handle = connection.as_ref();
        let (keyboard, to) = (Rc::clone(self), connection.clone());
        let registered = handle.register_fd(stdin(), Interest::READABLE, move |stdin, _| {
            match keyboard.pass_on(|buffer| stdin.read(buffer), &to) {
                Then::More => Next::Keep,
                Then::Pause => Next::Interest(Interest::NONE),
                Then::End => Next::Release,
            }
        });
        let source = match registered {
            Ok(registration) => Source::Polled(registration),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Source::File,
            Err(error) => return Err(error),
        };
        let _ = self.source.set(source);
        self.go_on(connection);
        Ok(())
    }

    /// Begins to read, or goes on after a pause.
    pub fn go_on(self: &Rc<Self>, connection: &Connection) {
        match self.source.get() {
            None => {}
            Some(Source::Polled(registration)) => {
                let _ = registration.set_interest(Interest::READABLE); // It fails when stdin has ended.
            }
            Some(Source::File) => self.read_file(connection.clone()),
        }
    }

    /// Reads one piece in each turn, so that the connection has its turns as well.
    fn read_file(self: &Rc<Self>, connection: Connection) {
        let keyboard = Rc::clone(self);
        let handle: Handle = connection.as_ref().clone();
        handle.post(move || {
            if keyboard.pass_on(|buffer| stdin().lock().read(buffer), &connection) == Then::More {
                keyboard.read_file(connection);
            }
        });
    }

    /// Reads no more: the conversation is over.
    pub fn stop(&self) {
        if let Some(Source::Polled(registration)) = self.source.get() {
            registration.release();
        }
    }

    /// Reads once, and sends what it got; or ends the stream when there is no more.
    pub fn pass_on(&self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>, connection: &Connection) -> Then {
        let mut buffer = [0; 4096];
        let bytes = match read(&mut buffer) {
            Ok(n) => &buffer[..n],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Then::More,
            Err(error) => {
                log::warn!("stdin: {error}");
                &[]
            }
        };
        let Some(last) = bytes.last() else {
            if self.inside_line.get() {
                connection.send(b"\n");
            }
            connection.shutdown_send();
            return Then::End;
        };
        self.inside_line.set(*last != b'\n');
        match connection.send(bytes) {
            Sent::AboveHigh => Then::Pause,
            Sent::Gone => Then::End,
            _ => Then::More,
        }
    }
}
