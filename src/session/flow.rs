//! The core of a connection: what it has to do next, decided without a socket, a clock or a session.
//!
//! ```text
//!   Connecting --> Open --close_after_flush--> Closing
//!        \           \  \--a write failed--> Broken     \
//!         \           \                         \        \
//!          +-----------+---- any end -----------+---------+--> Ending --> Ended
//! ```
//!
//! A connection ends by itself when both directions have: the peer's end was told to the session, and ours was sent.

use super::tail::Tail;
use super::write_queue::WriteQueue;
use crate::config::Config;
use crate::ready::{Interest, Ready};
use std::cell::{Cell, RefCell};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Open,
    /// What is queued is still sent, then the end of the stream; what arrives is thrown away.
    Closing,
    /// A write failed: nothing can be sent any more, but the peer's last words are still read.
    Broken,
    /// The reason is known; `closed` is due.
    Ending,
    /// A method has panicked: as `Ending`, but the session is told nothing.
    Panicked,
    Ended,
}

/// What is known of the end of the peer's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerEnd {
    NotYet,
    Seen,
    Told,
}

/// What has become of the end of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OurEnd {
    NotYet,
    /// To be sent when the queue is empty.
    Wanted,
    /// Or left to the close, where that is next.
    Sent,
}

/// Something to do, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    End,
    TellOpened,
    TellNotified,
    AskIdle,
    TellDrained,
    /// Show what was left unconsumed once more.
    ShowTail,
    TellEof,
    Read,
    /// The poller told of an error while nobody reads.
    LookAtError,
    TellStopping,
}

/// Duties that somebody has asked for, as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked(u8);

impl Asked {
    pub(super) const OPENED: Asked = Asked(1);
    pub(super) const NOTIFIED: Asked = Asked(2);
    pub(super) const IDLE: Asked = Asked(4);
    pub(super) const DRAINED: Asked = Asked(8);
    pub(super) const SHOW: Asked = Asked(16);
    pub(super) const STOPPING: Asked = Asked(32);
    /// Only done, never asked for: `received` was called, or would have been.
    pub(super) const READ: Asked = Asked(64);

    fn has(self, other: Asked) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn with(self, other: Asked) -> Asked {
        Asked(self.0 | other.0)
    }

    pub(super) fn without(self, other: Asked) -> Asked {
        Asked(self.0 & !other.0)
    }
}

/// A number of bytes in half the room, because every connection has four of them: the largest stands for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(u32);

impl Bytes {
    pub(super) fn new(bytes: usize) -> Bytes {
        Bytes(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    pub(super) fn get(self) -> usize {
        if self.0 == u32::MAX { usize::MAX } else { self.0 as usize }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Queued bytes at which `drained` is called, at which reading pauses, and past which the connection ends.
    pub(super) low: Bytes,
    pub(super) high: Bytes,
    pub(super) hard: Bytes,
    /// Unconsumed bytes past which the connection ends.
    pub(super) tail: Bytes,
}

pub(super) struct Flow {
    pub(super) phase: Cell<Phase>,
    pub(super) peer_end: Cell<PeerEnd>,
    pub(super) our_end: Cell<OurEnd>,
    asked: Cell<Asked>,
    paused: Cell<bool>,
    /// To be closed gracefully once it is connected, because something was sent before that.
    pub(super) closes_when_open: Cell<bool>,
    /// How many of the bytes that had arrived when `stopping` was asked for are still to be read.
    pub(super) unread_before_stopping: Cell<usize>,
    /// Whether reading pauses by itself above the high watermark.
    pub(super) pauses_above_high: Cell<bool>,
    /// `send` has answered `AboveHigh`, and `drained` was not asked for yet.
    above_high: Cell<bool>,
    pub(super) limits: Cell<Limits>,
    pub(super) queue: RefCell<WriteQueue>,
    /// Borrowed while the session is lent it.
    pub(super) tail: RefCell<Tail>,
}

impl Flow {
    pub(super) fn new(phase: Phase, config: &Config) -> Self {
        Flow {
            phase: Cell::new(phase),
            peer_end: Cell::new(PeerEnd::NotYet),
            our_end: Cell::new(OurEnd::NotYet),
            asked: Cell::default(),
            paused: Cell::new(false),
            closes_when_open: Cell::new(false),
            unread_before_stopping: Cell::new(0),
            pauses_above_high: Cell::new(true),
            above_high: Cell::new(false),
            limits: Cell::new(Limits {
                low: Bytes::new(config.low_watermark),
                high: Bytes::new(config.high_watermark),
                hard: Bytes::new(config.write_limit),
                tail: Bytes::new(config.unconsumed_limit),
            }),
            queue: RefCell::default(),
            tail: RefCell::default(),
        }
    }

    // Asking.

    pub(super) fn ask(&self, what: Asked) {
        self.asked.set(Asked(self.asked.get().0 | what.0));
    }

    fn forget(&self, what: Asked) {
        self.asked.set(Asked(self.asked.get().0 & !what.0));
    }

    /// Whether there is nothing to do but to read and to show what was read.
    pub(super) fn is_calm(&self) -> bool {
        self.asked.get().0 == 0
            && self.phase.get() == Phase::Open
            && self.our_end.get() == OurEnd::NotYet
            && self.queue.borrow().is_empty()
            && self.tail.borrow().is_empty()
    }

    /// Whether bytes given to `send` still go anywhere.
    #[inline(always)]
    pub(super) fn takes_bytes(&self) -> bool {
        matches!(self.phase.get(), Phase::Open | Phase::Connecting) && self.our_end.get() == OurEnd::NotYet
    }

    /// Whether bytes may be written to the transport.
    #[inline(always)]
    pub(super) fn may_write(&self) -> bool {
        matches!(self.phase.get(), Phase::Open | Phase::Closing)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase.get(), Phase::Ending | Phase::Panicked | Phase::Ended)
    }

    // Reading.

    pub(super) fn set_paused(&self, paused: bool) {
        let resumes = self.paused.replace(paused) && !paused;
        if resumes {
            self.ask(Asked::SHOW);
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    pub(super) fn is_above_high(&self) -> bool {
        self.above_high.get()
    }

    fn may_show(&self) -> bool {
        let is_held_back = self.above_high.get() && self.pauses_above_high.get();
        self.phase.get() == Phase::Broken || (!self.paused.get() && !is_held_back)
    }

    pub(super) fn note_peer_end(&self) {
        if self.peer_end.get() == PeerEnd::NotYet {
            self.peer_end.set(PeerEnd::Seen);
            self.ask(Asked::SHOW);
        }
    }

    // Writing.

    pub(super) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Whether so many more bytes may be queued.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.queued().saturating_add(bytes) <= self.limits.get().hard.get()
    }

    /// Bytes were queued. Whether it is now more than the high watermark.
    pub(super) fn note_queued(&self) -> bool {
        let above = self.queued() > self.limits.get().high.get();
        if above {
            self.above_high.set(true);
        }
        above
    }

    /// Bytes have left the queue: below the low watermark reading resumes, and `drained` is due.
    pub(super) fn note_written(&self) {
        if self.above_high.get() && self.queued() <= self.limits.get().low.get() {
            self.above_high.set(false);
            self.ask(Asked::DRAINED);
            if self.pauses_above_high.get() && !self.paused.get() {
                self.ask(Asked::SHOW);
            }
        }
    }

    /// Whether the end of our stream is to be sent now.
    pub(super) fn is_our_end_due(&self) -> bool {
        self.our_end.get() == OurEnd::Wanted
            && matches!(self.phase.get(), Phase::Open | Phase::Closing)
            && self.queue.borrow().is_empty()
    }

    /// Whether both directions have ended.
    pub(super) fn is_finished(&self) -> bool {
        let peer_is_done = match self.phase.get() {
            Phase::Open => self.peer_end.get() == PeerEnd::Told,
            Phase::Closing => self.peer_end.get() != PeerEnd::NotYet,
            _ => false,
        };
        peer_is_done && self.our_end.get() == OurEnd::Sent
    }

    // What next.

    /// What the transport is watched for.
    pub(super) fn interest(&self) -> Interest {
        let readable = match self.phase.get() {
            Phase::Connecting => return Interest::WRITABLE,
            Phase::Open => self.may_show() && self.peer_end.get() == PeerEnd::NotYet,
            Phase::Closing | Phase::Broken => self.peer_end.get() == PeerEnd::NotYet,
            Phase::Ending | Phase::Panicked | Phase::Ended => return Interest::NONE,
        };
        let writable = self.phase.get() != Phase::Broken && !self.queue.borrow().is_empty();
        let mut interest = if readable { Interest::READABLE } else { Interest::ERROR };
        if writable {
            interest |= Interest::WRITABLE;
        }
        interest
    }

    /// The next thing to do, given what the transport is ready for and wanted for. What this dispatch has `done` waits
    /// for the next: so a session that asks for something again and again does not hold the loop.
    pub(super) fn next_duty(&self, wanted: Ready, done: Asked) -> Option<Duty> {
        let may_read = wanted.is_readable() && !done.has(Asked::READ);
        match self.phase.get() {
            Phase::Connecting | Phase::Ended => return None,
            Phase::Ending | Phase::Panicked => return Some(Duty::End),
            Phase::Closing if wanted.is_readable() => return may_read.then_some(Duty::Read),
            Phase::Closing => return wanted.is_error().then_some(Duty::LookAtError),
            Phase::Broken if !wanted.is_readable() => return Some(Duty::End),
            Phase::Open | Phase::Broken => {}
        }
        let asked = self.asked.get();
        let told = [
            (Asked::OPENED, Duty::TellOpened),
            (Asked::NOTIFIED, Duty::TellNotified),
            (Asked::IDLE, Duty::AskIdle),
            (Asked::DRAINED, Duty::TellDrained),
        ];
        if let Some((_, duty)) = told.into_iter().find(|(bit, _)| asked.has(*bit) && !done.has(*bit)) {
            return Some(duty);
        }
        if asked.has(Asked::DRAINED) {
            return None; // It was done, and is due again: nothing is shown before it is told.
        }
        if self.may_show() {
            if self.is_show_due() {
                return (!done.has(Asked::READ)).then_some(Duty::ShowTail);
            }
            if self.peer_end.get() == PeerEnd::Seen {
                return Some(Duty::TellEof);
            }
        }
        if wanted.is_readable() && (!self.is_stopping_due() || done.has(Asked::STOPPING)) {
            return may_read.then_some(Duty::Read); // What is left is ready, so it comes again in the next turn.
        }
        if wanted.is_error() {
            return Some(Duty::LookAtError);
        }
        (asked.has(Asked::STOPPING) && !done.has(Asked::STOPPING)).then_some(Duty::TellStopping)
    }

    fn is_show_due(&self) -> bool {
        self.asked.get().has(Asked::SHOW) && self.may_show() && !self.tail.borrow().is_empty()
    }

    /// Whether what had arrived when `stopping` was asked for has been read: a peer that never ceases to send shall not
    /// put it off for ever.
    fn is_stopping_due(&self) -> bool {
        self.asked.get().has(Asked::STOPPING) && self.unread_before_stopping.get() == 0
    }

    /// Whether it matters now what is behind a short read: there is something, and `stopping` waits for it.
    pub(super) fn is_rest_wanted(&self) -> bool {
        self.asked.get().has(Asked::STOPPING) && !self.is_stopping_due()
    }

    /// Bytes were read.
    pub(super) fn note_read(&self, bytes: usize) {
        self.unread_before_stopping.set(self.unread_before_stopping.get().saturating_sub(bytes));
    }

    /// Whether something that nobody will tell of is left for the next dispatch.
    pub(super) fn is_called_again(&self, done: Asked) -> bool {
        let asked = Asked(self.asked.get().0 & done.0);
        let is_told = matches!(self.phase.get(), Phase::Open | Phase::Broken);
        is_told && (asked != Asked::default() || self.is_show_due())
    }

    /// Takes a duty off the list, before it is done: what asks for it again meanwhile is not forgotten.
    /// Returns how that is noted as done.
    pub(super) fn begin(&self, duty: Duty) -> Asked {
        let what = match duty {
            Duty::TellOpened => Asked::OPENED,
            Duty::TellNotified => Asked::NOTIFIED,
            Duty::AskIdle => Asked::IDLE,
            Duty::TellDrained => Asked::DRAINED,
            Duty::TellStopping => Asked::STOPPING,
            Duty::ShowTail | Duty::Read => Asked::READ,
            Duty::TellEof | Duty::End | Duty::LookAtError => Asked::default(),
        };
        match duty {
            Duty::ShowTail => self.forget(Asked::SHOW),
            Duty::TellEof => self.peer_end.set(PeerEnd::Told),
            _ => self.forget(what),
        }
        what
    }

    /// Nothing but reading is due: a request to show a tail that is empty is done with.
    pub(super) fn forget_idle_requests(&self) {
        if self.tail.borrow().is_empty() {
            self.forget(Asked::SHOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Flow {
        let config = Config::new().watermarks(10, 20).write_limit(100).unconsumed_limit(50);
        Flow::new(Phase::Open, &config)
    }

    fn next(flow: &Flow) -> Option<Duty> {
        let duty = flow.next_duty(Ready::READABLE.of(flow.interest()), Asked::default())?;
        flow.begin(duty);
        Some(duty)
    }

    #[test]
    fn reading_pauses_above_the_high_watermark_and_resumes_below_the_low_one() {
        let flow = open();
        flow.queue.borrow_mut().push(&[0; 20]);
        assert!(!flow.note_queued() && flow.interest().is_readable());
        flow.queue.borrow_mut().push(&[0]);
        assert!(flow.note_queued() && !flow.interest().is_readable() && flow.interest().is_writable());
        assert_eq!(next(&flow), None);
        flow.queue.borrow_mut().advance(10);
        flow.note_written();
        assert_eq!(next(&flow), None, "11 are left");
        flow.queue.borrow_mut().advance(1);
        flow.note_written();
        assert_eq!(next(&flow), Some(Duty::TellDrained));
        assert_eq!(next(&flow), Some(Duty::Read));
    }

    #[test]
    fn the_tail_is_shown_when_reading_resumes_and_before_the_end() {
        let flow = open();
        flow.tail.borrow_mut().begin(Vec::new(), b"rest");
        flow.set_paused(true);
        flow.note_peer_end();
        assert_eq!(next(&flow), None, "nothing is shown while reading is paused");
        flow.set_paused(false);
        assert_eq!(next(&flow), Some(Duty::ShowTail));
        assert_eq!(next(&flow), Some(Duty::TellEof));
        assert_eq!(next(&flow), None);
        assert!(!flow.is_finished());
        flow.our_end.set(OurEnd::Sent);
        assert!(flow.is_finished());
    }

    #[test]
    fn a_broken_connection_is_read_until_nothing_is_left() {
        let flow = open();
        flow.queue.borrow_mut().push(b"never sent");
        flow.set_paused(true);
        flow.phase.set(Phase::Broken);
        assert!(!flow.takes_bytes() && flow.interest() == Interest::READABLE);
        assert_eq!(next(&flow), Some(Duty::Read));
        assert_eq!(flow.next_duty(Ready::NONE, Asked::default()), Some(Duty::End));
    }

    #[test]
    fn a_closing_connection_throws_away_what_arrives_and_calls_nobody() {
        let flow = open();
        flow.ask(Asked::NOTIFIED);
        flow.phase.set(Phase::Closing);
        flow.our_end.set(OurEnd::Wanted);
        assert!(flow.is_our_end_due() && !flow.takes_bytes());
        assert_eq!(next(&flow), Some(Duty::Read));
        flow.our_end.set(OurEnd::Sent);
        flow.note_peer_end();
        assert!(flow.is_finished());
    }

    #[test]
    fn the_limits_count_what_is_queued() {
        let flow = open();
        assert!(flow.has_room_for(100) && !flow.has_room_for(101));
        flow.queue.borrow_mut().push(&[0; 60]);
        assert!(flow.has_room_for(40) && !flow.has_room_for(41));
    }
}
