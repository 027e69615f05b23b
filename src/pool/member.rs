//! What a pool has on each of its serving threads: a member, and its seat at the table where others reach it.

use super::thread::Epilogue;
use crate::handle::Handle;
use crate::ip::tcp;
use crate::remote::{Remote, Sender};
use crate::session::{Server, Stats};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// What a member is told. One channel carries all of it, so whatever one thread tells arrives in order.
pub(super) enum Order {
    /// A client, accepted elsewhere, and where it comes from.
    Serve(TcpStream, tcp::Endpoint),
    /// Note down what was counted, then drop this: that is the answer.
    Count(mpsc::Sender<()>),
    Shutdown(Duration),
}

/// One serving thread, as the others see it.
pub(super) struct Seat {
    pub(super) remote: Remote,
    pub(super) orders: Sender<Order>,
    thread: ThreadId,
    /// What it has counted, when it was last asked, or at its end.
    counted: Arc<Mutex<Stats>>,
}

impl Seat {
    /// Asks the member to note down what it has counted. It drops `answer` when it has, or when its context has gone.
    pub(super) fn ask_for_count(&self, answer: mpsc::Sender<()>) {
        if self.thread != thread::current().id() {
            let _ = self.orders.send(Order::Count(answer)); // One that has ended has noted it down.
        }
    }

    pub(super) fn counted(&self) -> Stats {
        *lock(&self.counted)
    }
}

/// One serving thread, as it sees itself.
pub(super) struct Member {
    /// Ends what was set up; called for every shutdown.
    pub(super) end: Box<dyn FnMut(Duration)>,
    pub(super) server: Option<Server>,
    /// Gives a session to a client that was accepted elsewhere.
    pub(super) serve: Option<Box<dyn FnMut(TcpStream, tcp::Endpoint)>>,
}

impl Member {
    /// Takes its seat. From here on its context runs until it is shut down, or nobody is left who could do that.
    pub(super) fn sit_down(self, io: &Handle) -> (Seat, Epilogue) {
        let Member { mut end, server, mut serve } = self;
        let counted = Arc::new(Mutex::new(Stats::default()));
        let books = Books { server, counted: Arc::clone(&counted) };
        let mut guard = Some(io.work_guard());
        let orders = io.channel({
            let (books, io) = (books.clone(), io.clone());
            move |order| match (order, &mut serve) {
                (Order::Serve(client, peer), Some(serve)) => serve(client, peer),
                (Order::Serve(..), None) => {}
                (Order::Count(answer), _) => {
                    books.note_down(books.now());
                    drop(answer);
                }
                (Order::Shutdown(deadline), _) => {
                    guard.take();
                    end(deadline);
                    stop_at(&io, deadline);
                }
            }
        });
        let seat = Seat { remote: io.remote(), orders, thread: thread::current().id(), counted };
        let epilogue = move || books.note_down(Stats { open: 0, ..books.now() });
        (seat, Box::new(epilogue))
    }
}

/// What a thread's server counts, and where it is noted down.
#[derive(Clone)]
struct Books {
    server: Option<Server>,
    counted: Arc<Mutex<Stats>>,
}

impl Books {
    fn now(&self) -> Stats {
        self.server.as_ref().map(Server::stats).unwrap_or_default()
    }

    fn note_down(&self, stats: Stats) {
        *lock(&self.counted) = stats;
    }
}

/// Stops the context at the deadline of a shutdown, whatever is outstanding, when those whom the same deadline ends have
/// been told so: their sessions in step 5 of the turn after it.
fn stop_at(io: &Handle, deadline: Duration) {
    if deadline == Duration::MAX {
        return;
    }
    let handle = io.clone();
    let alarm = io.after(deadline, move |_| {
        let next = handle.clone();
        handle.post(move || next.clone().post(move || next.stop()));
    });
    io.background(alarm);
}

/// Nothing panics under this lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
