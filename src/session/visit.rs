//! One dispatch of a connection: the only place where methods of a session are called.
//!
//! Nearly always there is nothing to do but to read, to show what was read, and to write what the session answers. That
//! is [`Link::serve`] in `serve.rs`, and the price of a message. Whenever anything else may be due, [`Visit`] does it, one duty after
//! the other, as `flow.rs` decides.

use super::Session;
use super::flow::{Asked, Duty, OurEnd, Phase};
use super::link::{Body, Connection, Link};
use super::outcome::{Idle, Reason};
use super::serve::Served;
use super::transport::{PIECE, first_piece};
use crate::engine::dispatch::Dispatch;
use crate::engine::reactor::Reactor;
use crate::engine::ready_state::State;
use crate::outstanding::Work;
use crate::readiness::budget::Budget;
use crate::ready::{Interest, Ready};
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

impl Dispatch for Link {
    #[inline(always)]
    fn state(&self) -> &State {
        &self.state
    }

    fn reactor(&self) -> &Reactor {
        &self.engine().reactor
    }

    #[inline(always)]
    fn dispatch(&self) {
        if self.state.wanted() != Interest::READABLE.as_ready() {
            return self.visit(Asked::default(), false);
        }
        match self.serve::<true>(self.engine()) {
            Served::Not => self.serve_otherwise(),
            served => self.go_on(served),
        }
    }

    /// Where so much waits that the next reads will fill the buffer too, a larger one is lent from then on.
    fn goes_on(&self) {
        let engine = self.engine();
        let waiting = || self.transport.borrow().as_ref().map_or(0, |transport| transport.unread());
        engine.buffers.grow_if_full(waiting, engine.config.largest_read());
    }

    fn has_panicked(&self) {
        self.engine().reactor.flush();
    }

    fn flush(self: &Rc<Self>) {
        self.flush_queue();
    }

    /// A connection is no operation: it has a key of its own.
    fn cancel(&self, _sequence: u64) -> bool {
        false
    }

    fn abandon(&self) {
        self.flow.phase.set(Phase::Ended);
        self.disturb();
        drop(self.take_transport());
        self.flow.queue.take();
        self.flow.tail.take();
        self.leave_roster();
        let body = self.body.try_borrow_mut().map(|mut body| body.take());
        drop(body);
    }

    fn describe(&self, tell: &mut dyn FnMut(Work)) {
        let endpoint = self.remote.as_ref().map(|remote| remote.to_string());
        tell(Work::new("session", "Connection", endpoint, self.origin));
    }
}

impl Link {
    #[inline(never)]
    fn serve_otherwise(&self) {
        self.go_on(self.serve::<false>(self.engine()));
    }

    #[inline(always)]
    fn go_on(&self, served: Served) {
        match served {
            Served::Wholly => {}
            Served::Not => self.visit(Asked::default(), false),
            Served::Partly { counted } => self.visit(Asked::READ, counted),
        }
    }

    /// Does what there is to do, but for what was `done`. `counted`: user code has run in this dispatch.
    #[cold]
    #[inline(never)]
    fn visit(&self, done: Asked, counted: bool) {
        if let Some(me) = self.me() {
            let budget = Budget::new();
            Visit { link: &me, counted: Cell::new(counted), done: Cell::new(done), budget }.do_duties();
        }
    }
}

/// A dispatch that has more to do than to read.
struct Visit<'a> {
    link: &'a Rc<Link>,
    /// User code has run in this dispatch, which counts as one handler.
    counted: Cell<bool>,
    /// What was done in it.
    done: Cell<Asked>,
    /// What may still be written in it, of the queue.
    budget: Budget,
}

impl Visit<'_> {
    /// Does what is due, one thing after the other, and nothing twice: then it is the others' turn.
    fn do_duties(&self) {
        let link = self.link;
        loop {
            let leaves = self.counted.get() && link.engine().must_leave();
            self.settle(leaves);
            if link.flow.is_rest_wanted() {
                link.state.end_doubt();
            }
            let Some(duty) = link.flow.next_duty(link.state.wanted(), self.done.get()) else {
                if link.flow.is_called_again(self.done.get()) {
                    link.state.demand_call();
                }
                break;
            };
            if leaves {
                link.state.demand_call();
                break;
            }
            self.done.set(self.done.get().with(link.flow.begin(duty)));
            self.perform(duty);
        }
    }

    fn perform(&self, duty: Duty) {
        match duty {
            Duty::End => self.end(),
            Duty::TellOpened => self.tell("opened", |session, connection| session.opened(connection)),
            Duty::TellNotified => self.tell("notified", |session, connection| session.notified(connection)),
            Duty::AskIdle => self.ask_idle(),
            Duty::TellDrained => self.tell("drained", |session, connection| session.drained(connection)),
            Duty::ShowTail => self.show_tail(0),
            Duty::TellEof => self.tell("eof", |session, connection| session.eof(connection)),
            Duty::Read => self.read(),
            Duty::LookAtError => self.look_at_error(),
            Duty::TellStopping => self.tell("stopping", |session, connection| session.stopping(connection)),
        }
    }

    /// Brings the connection in line with what was asked of it: writes, ends, and says what to watch for. `leaves`: whatever
    /// else is due is for the next call.
    fn settle(&self, leaves: bool) {
        let link = self.link;
        link.state.forget_demand();
        if link.flow.phase.get() == Phase::Connecting {
            self.look_at_connection();
        }
        self.write_queue();
        if link.flow.is_our_end_due() {
            self.send_our_end(leaves);
        }
        if link.flow.is_finished() {
            link.fail(Reason::Finished);
            link.state.forget_demand();
        }
        link.flow.forget_idle_requests();
        link.settle();
    }

    #[cold]
    fn look_at_connection(&self) {
        let link = self.link;
        if !link.state.ready().is_writable() {
            return;
        }
        let connected = link.transport.borrow().as_ref().and_then(|transport| transport.connected());
        match connected {
            None => link.state.clear(Ready::WRITABLE),
            Some(Ok(())) if link.flow.closes_when_open.get() => link.close_now_open(),
            Some(Ok(())) => {
                link.limit(Duration::MAX, || Reason::DeadlinePassed);
                link.become_open();
            }
            Some(Err(error)) => link.fail(Reason::Error(error)),
        }
    }

    // Reading.

    fn read(&self) {
        let link = self.link;
        let closes = || link.flow.phase.get() == Phase::Closing;
        let was_closing = closes(); // An error behind the bytes may end that.
        let mut buffer = link.engine().buffers.read.borrow_mut();
        let received = match &*link.transport.borrow() {
            Some(transport) => transport.receive(&link.state, link.engine(), first_piece(&mut buffer)),
            None => return,
        };
        let bytes = match received {
            Ok(n) if n >= PIECE => link.read_on(link.engine(), &mut buffer, n),
            Ok(n) if n > 0 => &buffer[..n],
            nothing => {
                drop(buffer);
                self.done.set(self.done.get().without(Asked::READ)); // Nothing was shown: the rest may be, before the end.
                link.look_at_end(nothing.err());
                return;
            }
        };
        link.flow.note_read(bytes.len());
        if was_closing || closes() {
            return link.note_moved(bytes.len(), 0); // Thrown away.
        }
        if !link.flow.tail.borrow().is_empty() {
            link.flow.tail.borrow_mut().append(bytes);
            return self.show_tail(bytes.len());
        }
        let answered = bytes.len();
        let consumed = self.call(answered, "received", |session, connection| session.received(connection, bytes));
        if let Some(consumed) = consumed {
            debug_assert!(consumed <= answered, "received was lent {answered} bytes and took {consumed}");
            link.keep_rest(bytes, consumed);
        }
    }

    /// `received`: how many bytes of it have just come.
    fn show_tail(&self, received: usize) {
        let link = self.link;
        let mut tail = link.flow.tail.borrow_mut();
        let bytes = tail.bytes();
        let consumed = self.call(received, "received", |session, connection| session.received(connection, bytes));
        let lent = tail.len();
        if let Some(consumed) = consumed {
            debug_assert!(consumed <= lent, "received was lent {lent} bytes and took {consumed}");
            if let Some(memory) = tail.consume(consumed) {
                link.engine().buffers.keep_spare(memory);
            }
        }
        drop(tail);
        if link.flow.phase.get() != Phase::Closing {
            link.check_tail(); // A session that closes may leave what it likes: nobody looks at it any more.
        }
    }

    /// Reading is paused or over, so nobody would come upon the error.
    fn look_at_error(&self) {
        let link = self.link;
        link.state.clear(Ready::ERROR);
        let error = link.transport.borrow().as_ref().and_then(|transport| transport.take_error());
        if let Some(error) = error {
            link.fail(Reason::Error(error));
        }
    }

    // Writing.

    /// Writes what is queued, as far as the socket and the budget go.
    fn write_queue(&self) {
        let link = self.link;
        while link.flow.may_write() && !self.budget.is_spent() && !link.flow.queue.borrow().is_empty() {
            let written = link.write_queued();
            if written == 0 {
                break;
            }
            link.flow.queue.borrow_mut().advance(written);
            if link.flow.may_write() {
                link.flow.note_written(); // Else a piece behind what was written has failed: nobody is to send more.
            }
            self.budget.pay_transfer(written, link.config());
        }
    }

    /// Everything is sent, and no more will be. Where the peer's stream has ended too, the close tells it so, if that is next:
    /// it spares a system call, and a timer for the peer to end in.
    fn send_our_end(&self, leaves: bool) {
        self.link.flow.our_end.set(OurEnd::Sent);
        if leaves || !self.link.flow.is_finished() {
            self.shut_down_sending();
        }
    }

    fn shut_down_sending(&self) {
        let link = self.link;
        let sent = link.transport.borrow().as_ref().map_or(Ok(()), |transport| transport.shutdown_send());
        match sent {
            Err(error) if error.kind() != ErrorKind::NotConnected => link.fail(Reason::Error(error)),
            Err(_) => {
                // The peer has gone altogether: by a reset, or by an end. Reading tells, after what it has sent before.
                link.state.set(Ready::READABLE);
                if link.flow.phase.get() == Phase::Closing {
                    link.wait_for_peer();
                }
            }
            Ok(()) if link.flow.phase.get() == Phase::Closing => link.wait_for_peer(),
            Ok(()) => {}
        }
    }

    // Calling.

    fn tell(&self, what: &'static str, method: impl FnOnce(&mut dyn Session, &Connection)) {
        self.call(0, what, method);
    }

    /// Calls a method of the session, on the occasion of so many bytes, and sends what it sent.
    fn call<R>(
        &self,
        received: usize,
        what: &'static str,
        method: impl FnOnce(&mut dyn Session, &Connection) -> R,
    ) -> Option<R> {
        let link = self.link;
        if !self.counted.replace(true) {
            link.engine().turn.count_handler();
        }
        let queue_is_empty = link.flow.queue.borrow().is_empty();
        link.room.set(if link.flow.takes_bytes() && queue_is_empty { link.gather_limit() } else { 0 });
        let engine = link.engine();
        let result = engine.call_on(what, &link.origin, || link.call(method));
        link.room.set(0);
        link.flush_gathered(received);
        result
    }

    fn ask_idle(&self) {
        match self.call(0, "idle", |session, connection| session.idle(connection)) {
            Some(Idle::Keep) => self.link.begin_idle_timeout(),
            Some(Idle::Close) => self.link.fail(Reason::Idle),
            None => {}
        }
    }

    // Ending.

    /// The last call of the session, and the end of everything else.
    fn end(&self) {
        let link = self.link;
        let panicked = link.flow.phase.get() == Phase::Panicked;
        let reason = link.reason.take().unwrap_or(Reason::Finished);
        let Some(Body { mut session, connection }) = link.let_go() else {
            return;
        };
        if !panicked {
            if !self.counted.replace(true) {
                link.engine().turn.count_handler();
            }
            link.engine().call_on("closed", &link.origin, || session.closed(&connection, reason));
        }
    }
}
