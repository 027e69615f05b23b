//! A pair without a socket: the test plays both the client and the target.

use crate::pair::{Pair, Pairs};
use ioctx::testing::Harness;
use std::rc::Rc;
use std::time::Duration;

const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the two ends of a forwarded connection see.
struct Ends {
    client: Harness,
    target: Harness,
    pairs: Rc<Pairs>,
}

fn connected() -> Ends {
    let pairs = Pairs::new(Some(IDLE_TIMEOUT));
    let (client, target) = Pair::sides(&pairs);
    let client = Harness::new(client);
    client.receive(b"early ");
    let target = client.beside(target);
    client.receive(b"bird");
    assert_eq!(target.sent(), b"early bird");
    Ends { client, target, pairs }
}

impl Ends {
    /// Each of the two as the one that acts.
    fn both_ways(test: impl Fn(&Harness, &Harness)) {
        let Ends { client, target, .. } = connected();
        test(&client, &target);
        let Ends { client, target, .. } = connected();
        test(&target, &client);
    }
}

#[test]
fn bytes_pass_both_ways() {
    Ends::both_ways(|here, there| {
        here.receive(b"ping");
        assert_eq!(there.sent(), b"ping");
        there.receive_bytewise(b"pong");
        assert_eq!(here.sent(), b"pong");
    });
}

#[test]
fn who_sends_to_one_that_does_not_read_is_paused() {
    Ends::both_ways(|here, there| {
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        there.peer_stalls();
        for piece in bytes.chunks(1000) {
            here.receive(piece);
        }
        assert!(here.connection().is_paused());
        assert!(there.connection().queued() <= 128 * 1024, "one read more than the high watermark");
        there.peer_resumes();
        assert!(!here.connection().is_paused());
        assert_eq!(there.sent(), bytes);
    });
}

#[test]
fn an_end_that_does_not_read_is_still_read_from() {
    Ends::both_ways(|here, there| {
        here.peer_stalls();
        there.receive(&[b'.'; 500_000]);
        assert!(here.connection().is_above_high());
        here.receive(b"and yet it sends");
        here.peer_eof();
        assert_eq!(there.sent(), b"and yet it sends");
        assert!(there.saw_eof());
        here.peer_resumes();
        assert_eq!(here.sent(), [b'.'; 500_000]);
    });
}

#[test]
fn the_end_of_a_stream_is_carried_over_and_the_other_direction_goes_on() {
    Ends::both_ways(|here, there| {
        here.receive(b"the question");
        here.peer_eof();
        assert_eq!(there.sent(), b"the question");
        assert!(there.saw_eof() && !here.saw_eof());
        there.receive(b"the answer");
        there.peer_eof();
        assert_eq!(here.sent(), b"the answer");
        assert!(here.saw_eof() && !here.is_open() && !there.is_open());
    });
}

#[test]
fn the_end_of_a_stream_waits_for_the_bytes_before_it() {
    Ends::both_ways(|here, there| {
        there.peer_stalls();
        here.receive(&[1; 1000]);
        here.peer_eof();
        there.peer_eof();
        assert!(!here.is_open(), "it is done");
        assert!(!there.saw_eof() && there.is_open());
        there.peer_resumes();
        assert_eq!(there.sent(), [1; 1000]);
        assert!(!there.is_open() && !there.saw_reset());
    });
}

#[test]
fn a_reset_is_carried_over() {
    Ends::both_ways(|here, there| {
        here.reset();
        assert!(there.saw_reset() && !there.is_open());
    });
}

#[test]
fn a_reset_after_the_end_of_a_stream_takes_none_of_its_bytes_away() {
    Ends::both_ways(|here, there| {
        there.peer_stalls();
        here.receive(&[1; 1000]);
        here.peer_eof();
        here.reset();
        there.receive(b"is anybody there?");
        assert!(!here.is_open());
        there.peer_resumes();
        assert_eq!(there.sent(), [1; 1000]);
        assert!(there.saw_eof() && !there.saw_reset());
    });
}

#[test]
fn a_pair_on_which_nothing_moves_is_reset() {
    Ends::both_ways(|here, there| {
        here.advance(IDLE_TIMEOUT / 2);
        here.receive(b"still there");
        here.advance(IDLE_TIMEOUT / 2);
        assert!(here.is_open() && there.is_open());
        here.advance(IDLE_TIMEOUT / 2);
        assert!(here.saw_reset() && there.saw_reset());
    });
}

#[test]
fn a_client_that_vanishes_before_a_target_that_hangs_is_not_kept() {
    let Ends { client, target, .. } = connected();
    target.peer_stalls();
    client.receive(&[1; 200_000]);
    client.reset();
    client.advance(IDLE_TIMEOUT);
    assert!(!client.is_open() && !target.is_open());
}

#[test]
fn a_client_whose_target_has_failed_already_is_reset() {
    let (client, target) = Pair::sides(&Pairs::new(None));
    let target = Harness::new(target);
    target.connection().abort();
    target.settle();
    let client = target.beside(client);
    assert!(client.saw_reset() && !client.is_open());
}

#[test]
fn all_that_is_left_at_the_deadline_is_reset() {
    let Ends { client, target, pairs } = connected();
    pairs.abort();
    client.settle();
    assert!(client.saw_reset() && target.saw_reset());
    assert!(!client.is_open() && !target.is_open());
}
