//! One dispatch of a connection: the only place where methods of a session are called.

use super::Session;
use super::flow::{Asked, Duty, OurEnd, PeerEnd, Phase};
use super::link::{Body, Connection, Link};
use super::outcome::{Idle, Reason};
use super::transport::Reach;
use super::write_queue::SLICES;
use crate::engine::reactor::{Handler, State};
use crate::outstanding::Work;
use crate::readiness::io::Budget;
use crate::ready::{Interest, Ready};
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::time::Duration;

impl Handler for Link {
    #[inline]
    fn state(&self) -> &State {
        &self.state
    }

    #[inline(always)]
    fn dispatch(&self) {
        let budget = Budget::new(self.config());
        let visit = Visit::new(self, &budget);
        if self.flow.is_plain() && self.state.wanted() == Interest::READABLE.as_ready() {
            visit.read();
            if !self.unsettled.get() {
                return;
            }
        }
        visit.do_duties();
    }

    /// A connection is no operation: it has a key of its own.
    fn cancel(&self, _sequence: u64) -> bool {
        false
    }

    fn abandon(&self) {
        self.flow.phase.set(Phase::Ended);
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

struct Visit<'a> {
    link: &'a Link,
    budget: &'a Budget,
    /// User code has run in this dispatch, which counts as one handler.
    counted: Cell<bool>,
    done: Cell<Asked>,
}

impl<'a> Visit<'a> {
    #[inline(always)]
    fn new(link: &'a Link, budget: &'a Budget) -> Self {
        link.visiting.set(true);
        Visit { link, budget, counted: Cell::new(false), done: Cell::default() }
    }

    /// Does what is due, one thing after the other, and nothing twice: then it is the others' turn.
    fn do_duties(&self) {
        let link = self.link;
        link.state.forget_demand();
        loop {
            self.settle();
            let Some(duty) = link.flow.next_duty(link.state.wanted(), self.done.get()) else {
                if link.flow.is_called_again(self.done.get()) {
                    link.state.demand_call();
                }
                break;
            };
            if self.counted.get() && link.engine().must_leave() {
                link.state.demand_call();
                break;
            }
            self.note_done(link.flow.begin(duty));
            self.perform(duty);
        }
    }

    #[inline(always)]
    fn note_done(&self, what: Asked) {
        self.done.set(self.done.get().with(what));
    }

    fn perform(&self, duty: Duty) {
        match duty {
            Duty::End => self.end(),
            Duty::TellOpened => self.tell("opened", |session, connection| session.opened(connection)),
            Duty::TellNotified => self.tell("notified", |session, connection| session.notified(connection)),
            Duty::AskIdle => self.ask_idle(),
            Duty::TellDrained => self.tell("drained", |session, connection| session.drained(connection)),
            Duty::ShowTail => self.show_tail(),
            Duty::TellEof => self.tell("eof", |session, connection| session.eof(connection)),
            Duty::Read => self.read(),
            Duty::TellStopping => self.tell("stopping", |session, connection| session.stopping(connection)),
        }
    }

    /// Brings the connection in line with what was asked of it: writes, ends, and says what to watch for.
    fn settle(&self) {
        let link = self.link;
        link.unsettled.set(false);
        if link.flow.phase.get() == Phase::Connecting {
            self.look_at_connection();
        }
        self.write_queue();
        if link.flow.is_our_end_due() {
            self.send_our_end();
        }
        if link.flow.is_finished() {
            self.fail(Reason::Finished);
        }
        link.flow.forget_idle_requests();
        link.settle_interest();
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
            Some(Ok(())) if link.flow.closes_when_open.get() => link.flow.phase.set(Phase::Closing),
            Some(Ok(())) => {
                self.with_rc(|link| link.limit(Duration::MAX, || Reason::DeadlinePassed));
                link.flow.phase.set(Phase::Open);
                link.flow.ask(Asked::OPENED);
            }
            Some(Err(error)) => self.fail(Reason::Error(error)),
        }
    }

    // Reading.

    #[inline(always)]
    fn read(&self) {
        self.note_done(Asked::READ);
        let link = self.link;
        let mut buffer = link.engine().buffers.read.borrow_mut();
        let reach = Reach { state: &link.state, engine: link.engine(), budget: self.budget };
        let received = match &*link.transport.borrow() {
            Some(transport) => transport.receive(&reach, &mut buffer),
            None => return,
        };
        match received {
            Ok(n) if n > 0 => self.show(&buffer[..n]),
            nothing => {
                drop(buffer);
                self.look_at_end(nothing);
            }
        }
    }

    #[inline(always)]
    fn show(&self, bytes: &[u8]) {
        let link = self.link;
        link.note_received(bytes.len());
        if !link.flow.tail.borrow().is_empty() {
            link.flow.tail.borrow_mut().append(bytes);
            return self.show_tail();
        }
        if link.flow.phase.get() == Phase::Closing {
            return;
        }
        let lent = bytes.len();
        if let Some(consumed) = self.call("received", |session, connection| session.received(connection, bytes)) {
            debug_assert!(consumed <= lent, "received was lent {lent} bytes and consumed {consumed}");
            if consumed < lent {
                self.keep_rest(&bytes[consumed..]);
            }
        }
    }

    #[cold]
    fn keep_rest(&self, rest: &[u8]) {
        let link = self.link;
        if !link.flow.is_over() && link.flow.phase.get() != Phase::Closing {
            link.flow.tail.borrow_mut().begin(link.engine().buffers.take_spare(), rest);
            self.check_tail();
        }
    }

    fn show_tail(&self) {
        let link = self.link;
        let mut tail = link.flow.tail.borrow_mut();
        if link.flow.phase.get() == Phase::Closing {
            return link.engine().buffers.keep_spare(tail.take());
        }
        let lent = tail.len();
        let bytes = tail.bytes();
        if let Some(consumed) = self.call("received", |session, connection| session.received(connection, bytes)) {
            debug_assert!(consumed <= lent, "received was lent {lent} bytes and consumed {consumed}");
            if let Some(memory) = tail.consume(consumed) {
                link.engine().buffers.keep_spare(memory);
            }
        }
        drop(tail);
        if link.flow.phase.get() != Phase::Closing {
            self.check_tail(); // A session that closes may leave what it likes: nobody looks at it any more.
        }
    }

    fn check_tail(&self) {
        if self.link.flow.tail.borrow().len() > self.link.flow.limits.get().tail {
            self.fail(Reason::UnconsumedLimit);
        }
    }

    /// A read has brought no bytes.
    #[cold]
    fn look_at_end(&self, nothing: io::Result<usize>) {
        let link = self.link;
        match nothing {
            Ok(_) => {
                link.flow.note_peer_end();
                self.done.set(Asked::default()); // Nothing was shown: the rest may be, before the end.
                link.unsettled.set(true);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.fail(Reason::Error(error)),
        }
    }

    // Writing.

    /// Writes what the method that has just returned has sent.
    #[inline(always)]
    fn flush_gathered(&self) {
        let link = self.link;
        let mut gather = link.engine().buffers.gather.borrow_mut();
        if gather.is_empty() {
            return;
        }
        if !matches!(link.flow.phase.get(), Phase::Open | Phase::Closing | Phase::Connecting) {
            return gather.clear(); // It goes nowhere any more.
        }
        let reach = Reach { state: &link.state, engine: link.engine(), budget: self.budget };
        let sent = match &*link.transport.borrow() {
            Some(transport) if link.flow.phase.get() != Phase::Connecting => transport.send(&reach, &gather),
            _ => Ok(0),
        };
        match sent {
            Ok(n) if n == gather.len() => {
                link.note_sent(n);
                gather.clear();
            }
            sent => {
                let gathered = std::mem::take(&mut *gather);
                drop(gather);
                self.queue_rest(gathered, sent);
            }
        }
    }

    #[cold]
    fn queue_rest(&self, gathered: Vec<u8>, sent: io::Result<usize>) {
        let link = self.link;
        link.unsettled.set(true);
        let sent = match sent {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => {
                link.break_off(error);
                return link.return_gather(gathered);
            }
        };
        link.note_sent(sent);
        link.flow.queue.borrow_mut().push(&gathered[sent..]);
        link.flow.note_queued();
        link.return_gather(gathered);
        if !link.flow.has_room_for(0) {
            self.fail(Reason::WriteLimit);
        }
    }

    /// Writes what is queued, as far as the socket and the budget go.
    fn write_queue(&self) {
        let link = self.link;
        if !matches!(link.flow.phase.get(), Phase::Open | Phase::Closing) {
            return;
        }
        loop {
            let mut queue = link.flow.queue.borrow_mut();
            if queue.is_empty() {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = queue.slices(&mut slices);
            let written = link.write_within(self.budget, &slices[..count]);
            if written == 0 {
                break;
            }
            queue.advance(written);
            drop(queue);
            link.flow.note_written();
        }
    }

    /// Everything is sent, and no more will be.
    fn send_our_end(&self) {
        let link = self.link;
        link.flow.our_end.set(OurEnd::Sent);
        let sent = link.transport.borrow().as_ref().map_or(Ok(()), |transport| transport.shutdown_send());
        match sent {
            Err(error) if error.kind() != ErrorKind::NotConnected => self.fail(Reason::Error(error)),
            Err(_) => link.flow.peer_end.set(PeerEnd::Seen), // The peer has gone altogether.
            Ok(()) if link.flow.phase.get() == Phase::Closing => drop(self.with_rc(Link::begin_grace)),
            Ok(()) => {}
        }
    }

    // Calling.

    fn tell(&self, what: &'static str, method: impl FnOnce(&mut dyn Session, &Connection)) {
        self.call(what, method);
    }

    /// Calls a method of the session, and sends what it sent. `None` if there is no session any more.
    #[inline(always)]
    fn call<R>(&self, what: &'static str, method: impl FnOnce(&mut dyn Session, &Connection) -> R) -> Option<R> {
        let link = self.link;
        let engine = link.engine();
        let mut body = link.body.borrow_mut();
        let Body { session, connection } = body.as_mut()?;
        let mut call = InMethod { link, has_returned: false };
        link.in_method.set(true);
        if !self.counted.replace(true) {
            engine.turn.count_handler();
        }
        let result = engine.call_on(what, &link.origin, || method(&mut **session, connection));
        call.has_returned = true;
        drop(call);
        drop(body);
        self.flush_gathered();
        Some(result)
    }

    fn ask_idle(&self) {
        match self.call("idle", |session, connection| session.idle(connection)) {
            Some(Idle::Keep) => drop(self.with_rc(Link::begin_idle_timeout)),
            Some(Idle::Close) => self.fail(Reason::Idle),
            None => {}
        }
    }

    // Ending.

    fn fail(&self, reason: Reason) {
        self.with_rc(|link| link.fail(reason));
    }

    /// What is only done now and then goes by the handle that the session has.
    fn with_rc<R>(&self, act: impl FnOnce(&Rc<Link>) -> R) -> Option<R> {
        let connection = self.link.body.borrow().as_ref().map(|body| body.connection.clone())?;
        Some(act(&connection.link))
    }

    /// The last call of the session, and the end of everything else.
    #[cold]
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

impl Drop for Visit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.link.visiting.set(false);
    }
}

/// A method of the session runs. If it panics, the connection is closed in the next turn.
struct InMethod<'a> {
    link: &'a Link,
    has_returned: bool,
}

impl Drop for InMethod<'_> {
    #[inline]
    fn drop(&mut self) {
        self.link.in_method.set(false);
        if !self.has_returned {
            self.link.flow.phase.set(Phase::Panicked);
            self.link.state.demand_call();
            self.link.engine().buffers.gather.borrow_mut().clear();
        }
    }
}
