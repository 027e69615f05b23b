//! `register`: a source, an interest, and the callback that the loop calls when the source is ready.

use super::callback::{Callback, Next, Registered};
use super::descriptor::Descriptor;
use super::io::Io;
use crate::handle::Handle;
use crate::ready::{Interest, Ready};
use mio::event::Source;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::panic::Location;
use std::rc::Rc;

impl Handle {
    /// Registers a source of [`mio`] (a socket, a listener, a pipe, or your own [`Source`]) and calls `callback` when
    /// it is ready for `interest`.
    ///
    /// The callback is called again, turn after turn, as long as the source is ready for something it is interested
    /// in. It is told what that is, reaches the source through [`Io`], and answers with [`Next`]. One dispatch of it
    /// counts as one handler.
    ///
    /// The registration is outstanding work until it is released; dropping the returned [`Registration`] only
    /// detaches it. The source must be non-blocking, as mio's own are.
    ///
    /// # Errors
    ///
    /// The poller refused the source (already registered somewhere, out of memory), or the context has gone. The
    /// source is closed.
    ///
    /// ```
    /// use ioctx::{Interest, Io, IoContext, Next, Ready};
    /// use mio::net::UnixStream;
    /// use std::io::Write;
    ///
    /// let mut io = IoContext::new()?;
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// io.register(theirs, Interest::READABLE, |io: &Io<UnixStream>, _: Ready| {
    ///     let mut buffer = [0; 64];
    ///     match io.read(&mut buffer) {
    ///         Ok(0) | Err(_) => Next::Release,
    ///         Ok(n) => {
    ///             println!("{:?}", &buffer[..n]);
    ///             Next::Keep
    ///         }
    ///     }
    /// })?;
    /// ours.write_all(b"hello")?;
    /// drop(ours);
    /// io.run()?; // until the callback releases
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn register<S, F>(&self, source: S, interest: Interest, callback: F) -> io::Result<Registration<S>>
    where
        S: Source + 'static,
        F: FnMut(&Io<'_, S>, Ready) -> Next + 'static,
    {
        let engine = &self.engine;
        engine.check_alive()?;
        let origin = engine.origin(Location::caller());
        let registered = Rc::new(Callback::new(self.clone(), origin, source, callback));
        registered.begin(interest)?;
        Ok(Registration { registered })
    }

    /// Registers any pollable descriptor: a terminal, a pipe, an eventfd, a device.
    ///
    /// As [`register`](Handle::register), for descriptors that are not ours to make non-blocking: see [`Descriptor`].
    ///
    /// # Errors
    ///
    /// The descriptor cannot be polled (`InvalidInput` for a regular file), is registered already, or the context
    /// has gone.
    ///
    /// ```no_run
    /// use ioctx::{Descriptor, Interest, Io, IoContext, Next, Ready};
    /// use std::io::Stdin;
    ///
    /// let mut io = IoContext::new()?;
    /// io.register_fd(std::io::stdin(), Interest::READABLE, |stdin: &Io<Descriptor<Stdin>>, _: Ready| {
    ///     let mut line = [0; 1024];
    ///     match stdin.read(&mut line) {
    ///         Ok(n) if n > 0 => Next::Keep,
    ///         _ => Next::Release,
    ///     }
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn register_fd<T, F>(
        &self,
        descriptor: T,
        interest: Interest,
        callback: F,
    ) -> io::Result<Registration<Descriptor<T>>>
    where
        T: AsFd + 'static,
        F: FnMut(&Io<'_, Descriptor<T>>, Ready) -> Next + 'static,
    {
        self.register(Descriptor::new(descriptor), interest, callback).map_err(|error| {
            if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) {
                io::Error::new(ErrorKind::InvalidInput, "a regular file cannot be polled: it is always ready")
            } else {
                error
            }
        })
    }
}

/// A registration, as seen by whoever made it. Dropping it detaches it: the registration lives on in the loop.
pub struct Registration<S> {
    registered: Rc<dyn Registered<S>>,
}

impl<S> Registration<S> {
    /// Whether the registration has been released.
    pub fn is_released(&self) -> bool {
        self.registered.registered_state().token().is_none()
    }

    /// Changes what the callback is called for. No system call on streams and listeners.
    ///
    /// # Errors
    ///
    /// The registration has been released (`NotConnected`), its context has gone, or the poller refused.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        self.registered.check_registered()?;
        self.registered.change_interest(interest)?;
        Rc::clone(&self.registered).enqueue();
        Ok(())
    }

    /// Ends the registration: its callback is not called again, not even for an event of this turn, and is dropped
    /// (when it returns, if it is running). Does nothing if it has ended.
    pub fn release(&self) {
        self.registered.release();
    }

    /// Ends the registration and gives the source back.
    ///
    /// # Errors
    ///
    /// Its callback is running (`ResourceBusy`): the registration lives on, detached; better keep it, return
    /// [`Next::Release`], and ask for the source afterwards. Or the context has gone, which closed the source.
    pub fn into_source(self) -> io::Result<S> {
        self.registered.take_source()
    }

    /// Stops counting the registration as outstanding: it does not keep [`run`](crate::IoContext::run) alive.
    #[must_use = "this is the registration; drop it to detach it"]
    pub fn background(self) -> Self {
        self.registered.make_background();
        self
    }
}

impl<S> fmt::Debug for Registration<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("slot", &self.registered.registered_state().slot())
            .field("ready", &self.registered.registered_state().ready())
            .field("interest", &self.registered.registered_state().interest())
            .finish()
    }
}
