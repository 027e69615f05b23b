//! The room without a socket: the test plays the people in it.

use crate::member::{LONGEST_LINE, Member};
use crate::room::{Room, SLOW, Slow, TOO_SLOW};
use ioctx::testing::Harness;
use std::rc::Rc;
use std::time::Duration;

const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

struct Tested {
    room: Rc<Room>,
    host: Harness,
}

/// A room, and its first member.
fn room(slow: Slow) -> Tested {
    let room = Rc::new(Room::new(slow));
    let host = Harness::new(Member::new(&room, Some(IDLE_TIMEOUT)));
    says(&host, "ann");
    heard(&host);
    Tested { room, host }
}

impl Tested {
    fn joins(&self, name: &str) -> Harness {
        let guest = self.host.beside(Member::new(&self.room, Some(IDLE_TIMEOUT)));
        says(&guest, name);
        assert_eq!(heard(&guest), format!("* what is your name?\n* you are {name}\n"));
        assert_eq!(heard(&self.host), format!("* {name} joined\n"));
        guest
    }
}

fn says(member: &Harness, line: &str) {
    member.receive(format!("{line}\n").as_bytes());
}

fn heard(member: &Harness) -> String {
    String::from_utf8(member.sent()).expect("text")
}

#[test]
fn what_one_says_all_the_others_hear() {
    let room = room(Slow::Skip);
    let (ann, bob, cyd) = (&room.host, room.joins("bob"), room.joins("cyd"));
    heard(&bob);
    says(&bob, "hello");
    assert_eq!((heard(ann), heard(&bob), heard(&cyd)), ("bob: hello\n".into(), "".into(), "bob: hello\n".into()));
}

#[test]
fn lines_may_come_in_any_pieces() {
    let room = room(Slow::Skip);
    let bob = room.joins("bob");
    room.host.receive_bytewise("one\r\ntwø\n".as_bytes());
    room.host.receive(b"three\nfo");
    room.host.receive(b"ur\n");
    assert_eq!(heard(&bob), "ann: one\nann: twø\nann: three\nann: four\n");
}

#[test]
fn names_are_words_and_unique() {
    let room = room(Slow::Skip);
    let guest = room.host.beside(Member::new(&room.room, None));
    heard(&guest);
    for (name, answer) in [
        ("ann", "! ann is taken\n"),
        ("", "! a name has 1 to 20 letters, digits, - or _\n"),
        ("two words", "! a name has 1 to 20 letters, digits, - or _\n"),
        ("/nick bob", "* you are bob\n"),
        ("/nick ann", "! ann is taken\n"),
        ("/nick bobby", "* you are bobby\n"),
        ("/who", "* here are: ann, bobby\n"),
        ("/dance", "! commands are /nick NAME, /who and /quit\n"),
    ] {
        says(&guest, name);
        assert_eq!(heard(&guest), answer, "{name}");
    }
    assert_eq!(heard(&room.host), "* bob joined\n* bob is now bobby\n");
}

#[test]
fn who_quits_is_told_bye_and_says_nothing_more() {
    let room = room(Slow::Skip);
    let bob = room.joins("bob");
    says(&bob, "/quit\nstill here");
    assert_eq!(heard(&bob), "* bye\n");
    assert!(bob.saw_eof());
    bob.peer_eof();
    assert!(!bob.is_open());
    assert_eq!(heard(&room.host), "* bob left: quit\n");
}

#[test]
fn who_leaves_otherwise_is_missed_too() {
    let room = room(Slow::Skip);
    let (bob, cyd) = (room.joins("bob"), room.joins("cyd"));
    bob.receive(b"the last words\n");
    bob.peer_eof();
    assert_eq!(heard(&room.host), "bob: the last words\n* bob left: finished\n");
    cyd.reset();
    assert!(heard(&room.host).starts_with("* cyd left: Connection reset"));
}

#[test]
fn a_line_too_long_is_an_error_and_the_next_one_is_a_line_again() {
    let room = room(Slow::Skip);
    let bob = room.joins("bob");
    let longest = "x".repeat(LONGEST_LINE);
    let answer = "! a line has 1000 bytes at most\n";
    says(&bob, &longest);
    assert_eq!((heard(&room.host), heard(&bob)), (format!("bob: {longest}\n"), "".into()));
    says(&bob, &format!("{longest}x\nagain"));
    assert_eq!((heard(&room.host), heard(&bob)), ("bob: again\n".into(), answer.into()));
    for _ in 0..10 {
        bob.receive(longest.as_bytes()); // It never ends: that is said once.
    }
    says(&bob, "\nat last");
    assert_eq!((heard(&room.host), heard(&bob)), ("bob: at last\n".into(), answer.into()));
}

#[test]
fn what_is_not_text_is_an_error() {
    let room = room(Slow::Skip);
    let bob = room.joins("bob");
    bob.receive(b"\xff\xfe\n");
    assert_eq!(heard(&bob), "! a line is text in UTF-8\n");
    bob.receive(b"\x1b[2J\n");
    assert_eq!(heard(&bob), "! a line has no control characters\n");
    assert_eq!(heard(&room.host), "");
}

/// Ann says numbered lines until this many bytes are queued for bob, or bob has gone.
fn talks_until_queued(room: &Tested, bob: &Harness, bytes: usize) -> usize {
    let lines = (0..).take_while(|number| {
        says(&room.host, &format!("{number} {}", "x".repeat(900)));
        bob.is_open() && bob.connection().queued() <= bytes
    });
    lines.count() + 1
}

#[test]
fn a_slow_reader_misses_lines_and_is_told_how_many() {
    let room = room(Slow::Skip);
    let bob = room.joins("bob");
    bob.peer_stalls();
    let said = talks_until_queued(&room, &bob, SLOW);
    for _ in 0..1000 {
        says(&room.host, "missed");
    }
    let queued = bob.connection().queued();
    bob.peer_takes(queued - 100_000); // He has not caught up yet.
    says(&room.host, "missed");
    bob.peer_resumes();
    says(&room.host, "heard again");
    let heard = heard(&bob);
    let lines: Vec<&str> = heard.lines().collect();
    for (number, line) in lines[..said].iter().enumerate() {
        assert!(line.starts_with(&format!("ann: {number} x")), "{line}");
    }
    assert_eq!(lines[said..], ["* you read too slowly, and missed 1001 lines", "ann: heard again"]);
}

#[test]
fn a_burst_makes_nobody_slow() {
    let room = room(Slow::Skip);
    let bob = room.joins("bob");
    room.host.receive("a\n".repeat(32 * 1024).as_bytes());
    assert_eq!(heard(&bob), "ann: a\n".repeat(32 * 1024));
}

#[test]
fn a_slow_reader_is_dropped_where_that_is_the_policy() {
    let room = room(Slow::Drop);
    let (bob, cyd) = (room.joins("bob"), room.joins("cyd"));
    bob.peer_stalls();
    talks_until_queued(&room, &bob, TOO_SLOW);
    assert!(!bob.is_open());
    assert_eq!(heard(&room.host), "* bob left: the peer reads too slowly: too much is queued for it\n");
    assert!(cyd.is_open());
}

#[test]
fn who_neither_hears_nor_says_anything_is_dropped() {
    let room = room(Slow::Skip);
    let bob = room.joins("bob");
    room.host.advance(IDLE_TIMEOUT / 2);
    says(&room.host, "still there?");
    room.host.advance(IDLE_TIMEOUT / 2);
    assert!(bob.is_open(), "he has heard something");
    room.host.advance(IDLE_TIMEOUT / 2);
    assert!(!bob.is_open());
}
