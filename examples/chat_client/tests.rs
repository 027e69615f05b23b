//! Both halves without a terminal and without a server: the test plays them.

use crate::keyboard::{Keyboard, Then};
use crate::screen::{Outcome, Screen};
use ioctx::testing::Harness;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

/// What was printed.
#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Client {
    paper: Paper,
    keyboard: Rc<Keyboard>,
    outcome: Outcome,
    server: Harness,
}

fn client() -> Client {
    let (paper, keyboard, outcome) = (Paper::default(), Rc::default(), Outcome::default());
    let server = Harness::new(Screen::new(paper.clone(), &keyboard, &outcome));
    Client { paper, keyboard, outcome, server }
}

impl Client {
    fn types(&self, mut bytes: &[u8]) -> Then {
        let then = self.keyboard.pass_on(|buffer| bytes.read(buffer), self.server.connection());
        self.server.settle();
        then
    }
}

#[test]
fn what_comes_is_printed() {
    let client = client();
    client.server.receive(b"* what is your na");
    assert_eq!(*client.paper.0.borrow(), b"* what is your na");
    client.server.receive(b"me?\n");
    assert_eq!(*client.paper.0.borrow(), b"* what is your name?\n");
}

#[test]
fn the_end_of_the_input_ends_the_stream_but_not_the_output() {
    let client = client();
    assert_eq!(client.types(b"ann\nbye"), Then::More);
    assert_eq!(client.types(b""), Then::End);
    assert_eq!(client.server.sent(), b"ann\nbye\n", "the last line is a whole one");
    assert!(client.server.saw_eof() && client.server.is_open());
    client.server.receive(b"bob: bye\n");
    assert_eq!(*client.paper.0.borrow(), b"bob: bye\n");
    client.server.peer_eof();
    assert!(!client.server.is_open());
    assert_eq!(client.outcome.take(), Ok(()));
}

#[test]
fn a_server_that_does_not_read_pauses_the_input() {
    let client = client();
    client.server.peer_stalls();
    let typed = (0..).take_while(|_| client.types(&[b'x'; 4096]) == Then::More).count() + 1;
    assert!(typed * 4096 <= 128 * 1024);
    client.server.peer_resumes();
    assert_eq!(client.types(b"\n"), Then::More);
    assert_eq!(client.server.sent().len(), typed * 4096 + 1);
}

#[test]
fn nothing_ready_and_interrupted_are_no_end() {
    let client = client();
    for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted] {
        assert_eq!(client.keyboard.pass_on(|_| Err(kind.into()), client.server.connection()), Then::More);
    }
    client.server.settle();
    assert!(!client.server.saw_eof());
}

#[test]
fn a_server_that_ends_the_conversation_is_no_failure_and_one_that_breaks_it_is() {
    let ended = client();
    ended.server.peer_eof();
    assert_eq!(ended.outcome.take(), Ok(()));
    assert_eq!(ended.types(b"anybody?\n"), Then::End);

    let broken = client();
    broken.server.reset();
    assert!(broken.outcome.take().is_err_and(|why| why.starts_with("Connection reset")));
}

#[test]
fn output_that_nobody_reads_ends_the_conversation() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let outcome = Outcome::default();
    let server = Harness::new(Screen::new(Closed, &Rc::default(), &outcome));
    server.receive(b"hello\n");
    assert!(!server.is_open());
    assert_eq!(outcome.take(), Err("nobody reads the output: broken pipe".into()));
}
