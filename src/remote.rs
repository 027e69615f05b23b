//! `Remote` and `Sender`: the loop as other threads see it.

use crate::engine::inbox::Inbox;
use crate::engine::mail::Letter;
use crate::engine::state::{Engine, Mail};
use crate::handle::Handle;
use crate::key::Origin;
use crate::outstanding::Work;
use crate::work::RemoteWorkGuard;
use std::any::Any;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// The half of a [`Handle`] that may go to other threads: `Clone`, `Send` and `Sync`.
///
/// It does not keep [`run`](crate::IoContext::run) alive, and may outlive its context.
///
/// ```
/// let mut io = ioctx::IoContext::new()?;
/// let remote = io.remote();
/// let guard = io.work_guard(); // or `run` might return before the thread has posted
/// std::thread::spawn(move || {
///     let posted = remote.post(move |io| {
///         println!("on the loop's thread, with a handle: {io:?}");
///         io.stop();
///     });
///     assert!(posted.is_ok());
/// });
/// io.run()?;
/// drop(guard);
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Remote {
    inbox: Arc<Inbox<Mail>>,
}

impl Handle {
    /// The half of this handle that other threads may hold.
    pub fn remote(&self) -> Remote {
        let inbox = Arc::clone(&self.engine.inbox);
        Remote { inbox }
    }

    /// Makes a channel into the loop: `handler` lives here, with whatever `Rc` state it captures, and is called once
    /// for every value that any thread sends.
    ///
    /// Values of one sender arrive in the order sent. The channel does not keep [`run`](crate::IoContext::run)
    /// alive; a value that was sent does, until it is delivered, and so does the end of the channel: the handler is
    /// dropped, on the loop's thread, after the last sender.
    ///
    /// ```
    /// # let mut io = ioctx::IoContext::new()?;
    /// let total = std::rc::Rc::new(std::cell::Cell::new(0));
    /// let sender = io.channel({
    ///     let total = total.clone();
    ///     move |n: u32| total.set(total.get() + n)
    /// });
    /// std::thread::spawn(move || (1..=4).try_for_each(|n| sender.send(n))).join().unwrap().unwrap();
    /// assert_eq!(io.run()?, 4);
    /// assert_eq!(total.get(), 10);
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn channel<T: Send + 'static>(&self, handler: impl FnMut(T) + 'static) -> Sender<T> {
        let location = Location::caller();
        let receiver: Rc<dyn Any> = Rc::new(Receiver::<T> { handler: RefCell::new(Box::new(handler)) });
        let index =
            if self.engine.is_alive() { self.engine.channels.borrow_mut().insert(receiver) } else { usize::MAX };
        let inbox = Arc::clone(&self.engine.inbox);
        Sender { link: Arc::new(Link { inbox, index, location }), value: std::marker::PhantomData }
    }
}

impl Remote {
    /// Queues a task for the loop's thread and wakes the loop if it sleeps. Tasks of one thread run in the order
    /// posted; each runs exactly once, or is dropped unrun with its context.
    ///
    /// However many tasks arrive before the loop looks, it is woken by one system call; a loop that runs handlers by none.
    ///
    /// # Errors
    ///
    /// The context has gone: the task comes back in the error.
    #[track_caller]
    pub fn post<F>(&self, task: F) -> Result<(), PostError<F>>
    where
        F: FnOnce(&Handle) + Send + 'static,
    {
        let posted = RemoteTask { location: Location::caller(), task };
        self.inbox.send(posted).map_err(|posted| PostError { task: posted.task })
    }

    /// Asks the loop to stop, like [`Handle::stop`], from any thread. Never blocks.
    pub fn stop(&self) {
        self.inbox.stop();
    }

    /// Keeps [`run`](crate::IoContext::run) from returning for want of work until the guard is dropped, on any
    /// thread.
    #[track_caller]
    pub fn work_guard(&self) -> RemoteWorkGuard {
        let index = self.inbox.hold(Origin { location: Location::caller(), started: Instant::now() });
        let inbox = Arc::clone(&self.inbox);
        RemoteWorkGuard { inbox, index }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("alive", &!self.inbox.is_closed()).finish()
    }
}

/// What [`Remote::post`] sends.
struct RemoteTask<F> {
    location: &'static Location<'static>,
    task: F,
}

impl<F: FnOnce(&Handle) + Send + 'static> Letter for RemoteTask<F> {
    fn open(self, engine: &Rc<Engine>) {
        let RemoteTask { location, task } = self;
        let handle = Handle { engine: Rc::clone(engine) };
        engine.call("remote post", location, || task(&handle));
    }

    fn describe(&self, came: Instant) -> Work {
        work("remote post", self.location, came)
    }
}

fn work(kind: &'static str, location: &'static Location<'static>, came: Instant) -> Work {
    Work::new(kind, "Remote", None, Origin { location, started: came })
}

/// The sending end of [`Handle::channel`]: goes to any thread, and may be cloned.
pub struct Sender<T> {
    link: Arc<Link>,
    /// A sender only ever gives values away, so it is `Send` and `Sync` whatever `T` is.
    value: std::marker::PhantomData<fn(T)>,
}

/// What the clones of one sender share.
struct Link {
    inbox: Arc<Inbox<Mail>>,
    /// The channel's place in the engine.
    index: usize,
    /// Where the channel was made.
    location: &'static Location<'static>,
}

struct Receiver<T> {
    handler: RefCell<Box<dyn FnMut(T)>>,
}

impl<T: Send + 'static> Sender<T> {
    /// Sends a value to the loop's handler, and wakes the loop if it sleeps. Never blocks; the queue has no bound.
    ///
    /// # Errors
    ///
    /// The context has gone: the value comes back in the error.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let Link { inbox, index, location } = &*self.link;
        let message = Message { index: *index, location, value };
        inbox.send(message).map_err(|message| SendError { value: message.value })
    }
}

/// What [`Sender::send`] sends.
struct Message<T> {
    index: usize,
    location: &'static Location<'static>,
    value: T,
}

impl<T: Send + 'static> Letter for Message<T> {
    fn open(self, engine: &Rc<Engine>) {
        let Message { index, location, value } = self;
        let receiver = engine.channels.borrow().get(index).cloned();
        engine.call("channel message", location, || {
            if let Some(receiver) = receiver.as_ref().and_then(|receiver| receiver.downcast_ref::<Receiver<T>>()) {
                (receiver.handler.borrow_mut())(value);
            }
        });
    }

    fn describe(&self, came: Instant) -> Work {
        work("channel message", self.location, came)
    }
}

/// The last sender is gone: the handler goes too, behind everything that was sent.
impl Drop for Link {
    fn drop(&mut self) {
        let Link { inbox, index, location } = self;
        // If it is not accepted, the handler went with its context.
        drop(inbox.send(End { index: *index, location }));
    }
}

/// What the last sender leaves behind.
struct End {
    index: usize,
    location: &'static Location<'static>,
}

impl Letter for End {
    fn open(self, engine: &Rc<Engine>) {
        let receiver = engine.channels.borrow_mut().try_remove(self.index);
        drop(receiver);
    }

    fn describe(&self, came: Instant) -> Work {
        work("end of channel", self.location, came)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let link = Arc::clone(&self.link);
        Sender { link, value: std::marker::PhantomData }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("alive", &!self.link.inbox.is_closed()).finish()
    }
}

/// [`Remote::post`] failed because the context has gone. Holds the task.
pub struct PostError<F> {
    task: F,
}

impl<F> PostError<F> {
    /// The task that was not posted.
    pub fn into_inner(self) -> F {
        self.task
    }
}

impl<F> fmt::Debug for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostError").finish_non_exhaustive()
    }
}

impl<F> fmt::Display for PostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot post: the IoContext has been dropped")
    }
}

impl<F> Error for PostError<F> {}

/// [`Sender::send`] failed because the context has gone. Holds the value.
pub struct SendError<T> {
    value: T,
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot send: the IoContext has been dropped")
    }
}

impl<T> Error for SendError<T> {}
