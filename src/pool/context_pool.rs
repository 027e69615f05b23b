//! `ContextPool`: several contexts, started and ended as one.

use super::balance::{Balance, listen};
use super::hand_over::accept_for;
use super::member::{Member, Seat};
use super::remote::{PoolRemote, Table};
use super::thread::{Start, Thread};
use crate::config::Config;
use crate::handle::Handle;
use crate::ip::tcp;
use crate::remote::{Remote, Sender};
use crate::session::{self, Server, Session, Stats};
use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// One [`IoContext`](crate::IoContext) per thread, and one [`shutdown`](ContextPool::shutdown) for all. See the
/// [module](crate::pool).
///
/// [`serve`](ContextPool::serve) makes all of them serve one endpoint, [`start`](ContextPool::start) leaves to you what
/// they do, and [`builder`](ContextPool::builder) has the options of both.
///
/// Dropping the pool detaches its threads: they go on as if nothing had happened, and can still be ended through a
/// [`PoolRemote`]. When none of these is left either, nobody can shut them down, and a context that was merely waiting
/// for that returns when nothing else is outstanding. To know how the threads ended, [`join`](ContextPool::join) them.
#[must_use = "dropping a pool detaches its threads"]
pub struct ContextPool {
    remote: PoolRemote,
    threads: Vec<Thread>,
}

impl ContextPool {
    /// Starts `threads` threads that serve `endpoint`, with the options of [`builder`](ContextPool::builder) at their
    /// defaults. For one thread per processor take [`std::thread::available_parallelism`].
    ///
    /// `make` is called once on each thread, with that thread's handle and its number from 0, and returns what makes the
    /// sessions there: as the factory of [`session::serve`], it is told the peer's endpoint. The factory, the sessions
    /// and everything they share stay on their thread and need be neither `Send` nor `Sync`.
    ///
    /// All listeners are bound before any thread is started. Port 0 takes one free port for all of them;
    /// [`local_endpoint`](ContextPool::local_endpoint) tells it. When this call returns, every thread is set up.
    ///
    /// # Errors
    ///
    /// The endpoint is in use (also by another process that shares its ports), not of this machine, or needs a privilege;
    /// no descriptor or no thread is to be had; `threads` is 0 (`InvalidInput`). No thread is left behind.
    ///
    /// # Panics
    ///
    /// A panic of `make` leaves through this call; no thread is left behind.
    ///
    /// The example is that of the [module](crate::pool).
    pub fn serve<F, S>(
        threads: usize,
        endpoint: tcp::Endpoint,
        make: impl Fn(&Handle, usize) -> F + Send + Sync + 'static,
    ) -> io::Result<ContextPool>
    where
        F: FnMut(tcp::Endpoint) -> S + 'static,
        S: Session,
    {
        Self::builder(threads).serve(endpoint, make)
    }

    /// Starts `threads` threads, each with a context that runs until the pool is shut down, for whatever use.
    ///
    /// `setup` is called once on each thread, with that thread's handle and its number from 0. It starts whatever is to
    /// run there, and returns what ends it again: that is called, on the same thread, whenever the pool is
    /// [shut down](ContextPool::shutdown), with the deadline. A context returns from `run` when it was shut down and
    /// nothing is outstanding, so something that goes on for ever must be ended there, or be in the background.
    ///
    /// ```
    /// use ioctx::ContextPool;
    /// use std::time::Duration;
    ///
    /// let pool = ContextPool::start(2, |io, thread| {
    ///     let ticks = io.every(Duration::from_secs(1), move || println!("thread {thread} is alive"));
    ///     let io = io.clone();
    ///     Ok(move |_deadline| {
    ///         io.cancel(ticks);
    ///     })
    /// })?;
    /// for remote in pool.remotes() {
    ///     remote.post(|io| println!("work for {io:?}")).expect("it runs until it is shut down");
    /// }
    /// pool.shutdown(Duration::from_secs(1));
    /// assert!(pool.join().iter().all(|outcome| matches!(outcome, Ok(Ok(_)))));
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    ///
    /// What `setup` returns on the first thread where it fails; no descriptor or no thread is to be had; `threads` is 0
    /// (`InvalidInput`). No thread is left behind.
    ///
    /// # Panics
    ///
    /// A panic of `setup` leaves through this call; no thread is left behind.
    pub fn start<E>(
        threads: usize,
        setup: impl Fn(&Handle, usize) -> io::Result<E> + Send + Sync + 'static,
    ) -> io::Result<ContextPool>
    where
        E: FnMut(Duration) + 'static,
    {
        Self::builder(threads).start(setup)
    }

    /// Options first: a pool of `threads` threads.
    ///
    /// ```
    /// # use ioctx::session::{Connection, Session};
    /// # struct Echo;
    /// # impl Session for Echo {
    /// #     fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize { bytes.len() }
    /// # }
    /// use ioctx::pool::{Balance, ContextPool};
    ///
    /// let pool = ContextPool::builder(2)
    ///     .name("echo")
    ///     .balance(Balance::HandOver)
    ///     .serve(([127, 0, 0, 1], 0).into(), |_io, _thread| |_peer| Echo)?;
    /// # pool.shutdown(std::time::Duration::ZERO);
    /// # pool.join();
    /// # std::io::Result::Ok(())
    /// ```
    pub fn builder(threads: usize) -> Builder {
        let each_server: Arc<EachServer> = Arc::new(|_, _| {});
        Builder { threads, name: "ioctx".into(), balance: Balance::default(), config: Config::new(), each_server }
    }

    /// The endpoint that clients connect to, also after a shutdown; `None` for a pool that [`start`](ContextPool::start)
    /// has made.
    pub fn local_endpoint(&self) -> Option<tcp::Endpoint> {
        self.remote.local_endpoint()
    }

    /// How many threads serve: as many as asked for. An accepting thread does not count.
    pub fn threads(&self) -> usize {
        self.remote.remotes().len()
    }

    /// The ways to post work to the serving threads, in their order. A thread that has ended hands it back.
    pub fn remotes(&self) -> &[Remote] {
        self.remote.remotes()
    }

    /// The half of the pool that other threads may hold.
    pub fn remote(&self) -> PoolRemote {
        self.remote.clone()
    }

    /// What the servers of all threads have counted, added up. A thread that has ended counts with what it had then, its
    /// connections closed.
    ///
    /// Each thread is asked, and answers between two handlers. One that is busy for longer than a second counts with its
    /// last answer, and so does the one that makes this call, if it is one of the pool's own.
    ///
    /// ```
    /// # use ioctx::session::{Connection, Session};
    /// # struct Echo;
    /// # impl Session for Echo {
    /// #     fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize { bytes.len() }
    /// # }
    /// # let pool = ioctx::ContextPool::serve(2, ([127, 0, 0, 1], 0).into(), |_io, _thread| |_peer| Echo)?;
    /// assert_eq!(pool.stats().open, 0);
    /// # pool.shutdown(std::time::Duration::ZERO);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.remote.stats()
    }

    /// Ends all of it, and returns at once; [`join`](ContextPool::join) waits for the end.
    ///
    /// Each thread stops accepting, tells its sessions that they are [stopping](Session::stopping), and lets them finish,
    /// as [`Server::shutdown`]. A thread ends when nothing is outstanding on it. When `deadline` has passed, connections
    /// that are still open end with [`Reason::DeadlinePassed`](session::Reason::DeadlinePassed), and the threads end
    /// whatever else is outstanding (`Duration::MAX`: never so). Called again, the deadline that comes first holds.
    ///
    /// With [`Balance::HandOver`], whoever was accepted before gets a session before.
    pub fn shutdown(&self, deadline: Duration) {
        self.remote.shutdown(deadline);
    }

    /// Waits until every thread has ended: because the pool was shut down, because its context was
    /// [stopped](Remote::stop), or because a handler panicked. Returns how each has ended, in the order of the threads;
    /// with [`Balance::HandOver`] there is one more, for the thread that accepted.
    ///
    /// `Ok(Ok(n))` is how many handlers [`run`](crate::IoContext::run) ran, `Ok(Err(e))` its error, `Err(payload)` a
    /// panic.
    ///
    /// ```
    /// # let pool = ioctx::ContextPool::start(2, |_io, _thread| Ok(|_deadline| ()))?;
    /// pool.remotes()[1].post(|_| panic!("a bug")).expect("it runs");
    /// # while pool.remotes()[1].post(|_| ()).is_ok() {}
    /// pool.shutdown(std::time::Duration::ZERO);
    /// let outcomes = pool.join();
    /// assert!(outcomes[0].is_ok());
    /// assert_eq!(outcomes[1].as_ref().unwrap_err().downcast_ref(), Some(&"a bug"));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn join(self) -> Vec<thread::Result<io::Result<usize>>> {
        self.threads.into_iter().map(Thread::join).collect()
    }
}

impl fmt::Debug for ContextPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextPool").field("threads", &self.threads()).field("remote", &self.remote).finish()
    }
}

/// Options of a [`ContextPool`]; made by [`ContextPool::builder`].
#[derive(Clone)]
#[must_use = "a builder starts nothing by itself"]
pub struct Builder {
    threads: usize,
    name: String,
    balance: Balance,
    config: Config,
    each_server: Arc<EachServer>,
}

type EachServer = dyn Fn(&Server, usize) + Send + Sync;

impl Builder {
    /// What the threads are called: `name 0`, `name 1` and so on, and `name accept`. Default `ioctx`. Linux shows the
    /// first 15 bytes.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.replace('\0', ""); // No thread may have one in its name.
        self
    }

    /// How connections are spread over the threads. Default: [`Balance::default`].
    pub fn balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// The limits of each of the contexts.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Calls `f` with the server of each thread, and that thread's number, before the first client is served: for its
    /// limits. With [`Balance::HandOver`] these servers accept nobody themselves, so limits on accepting do nothing.
    ///
    /// ```
    /// # use ioctx::session::{Connection, Session};
    /// # struct Echo;
    /// # impl Session for Echo {
    /// #     fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize { bytes.len() }
    /// # }
    /// let pool = ioctx::ContextPool::builder(4)
    ///     .each_server(|server, _thread| server.set_max_connections(2_500))
    ///     .serve(([127, 0, 0, 1], 0).into(), |_io, _thread| |_peer| Echo)?;
    /// # pool.shutdown(std::time::Duration::ZERO);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn each_server(mut self, f: impl Fn(&Server, usize) + Send + Sync + 'static) -> Self {
        self.each_server = Arc::new(f);
        self
    }

    /// As [`ContextPool::serve`], with these options.
    ///
    /// # Errors
    ///
    /// As there; and the kernel does not balance on this platform, but [was asked to](Balance::Kernel) (`Unsupported`).
    ///
    /// # Panics
    ///
    /// As there.
    pub fn serve<F, S>(
        self,
        endpoint: tcp::Endpoint,
        make: impl Fn(&Handle, usize) -> F + Send + Sync + 'static,
    ) -> io::Result<ContextPool>
    where
        F: FnMut(tcp::Endpoint) -> S + 'static,
        S: Session,
    {
        self.check()?;
        let listeners = listen(self.balance, self.threads, endpoint)?;
        let endpoint = listeners[0].local_addr()?;
        let (mut own, mut accepting) = match self.balance {
            Balance::Kernel => (listeners.into_iter().map(Some).collect(), None),
            Balance::HandOver => (Vec::new(), listeners.into_iter().next()),
        };
        own.resize_with(self.threads, || None);
        let (make, each_server) = (Arc::new(make), Arc::clone(&self.each_server));
        self.launch(Some(endpoint), accepting.take(), move |thread| {
            let listener = own[thread].take();
            let (make, each_server) = (Arc::clone(&make), Arc::clone(&each_server));
            move |io: &Handle| {
                let factory = make(io, thread);
                let member = match listener {
                    Some(listener) => accepts_itself(io, listener, factory)?,
                    None => is_handed(io, factory)?,
                };
                if let Some(server) = &member.server {
                    each_server(server, thread);
                }
                Ok(member)
            }
        })
    }

    /// As [`ContextPool::start`], with these options.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn start<E>(
        self,
        setup: impl Fn(&Handle, usize) -> io::Result<E> + Send + Sync + 'static,
    ) -> io::Result<ContextPool>
    where
        E: FnMut(Duration) + 'static,
    {
        self.check()?;
        let setup = Arc::new(setup);
        self.launch(None, None, move |thread| {
            let setup = Arc::clone(&setup);
            move |io: &Handle| Ok(Member { end: Box::new(setup(io, thread)?), server: None, serve: None })
        })
    }

    fn check(&self) -> io::Result<()> {
        match self.threads {
            0 => Err(io::Error::new(io::ErrorKind::InvalidInput, "a pool needs a thread")),
            _ => Ok(()),
        }
    }

    /// Starts all threads. `setup_of` makes, for each, what is to be set up on it.
    fn launch<M>(
        self,
        endpoint: Option<tcp::Endpoint>,
        accepting: Option<TcpListener>,
        mut setup_of: impl FnMut(usize) -> M,
    ) -> io::Result<ContextPool>
    where
        M: FnOnce(&Handle) -> io::Result<Member> + Send + 'static,
    {
        let mut start = Start::new();
        let mut reports = Vec::new();
        for thread in 0..self.threads {
            let setup = setup_of(thread);
            let name = format!("{} {thread}", self.name);
            reports.push(start.launch(name, self.config.clone(), move |io| Ok(setup(io)?.sit_down(io)))?);
        }
        let seats: Vec<Seat> = reports.into_iter().map(|report| start.wait(report)).collect::<io::Result<_>>()?;
        let accepting = match accepting {
            Some(listener) => {
                let members: Vec<Sender<_>> = seats.iter().map(|seat| seat.orders.clone()).collect();
                let (name, config) = (format!("{} accept", self.name), self.config.clone());
                let report = start.launch(name, self.config, move |io| {
                    Ok((accept_for(members, io, listener, &config)?, Box::new(|| ()) as _))
                })?;
                Some(start.wait(report)?)
            }
            None => None,
        };
        let remotes = seats.iter().map(|seat| seat.remote.clone()).collect();
        let table = Arc::new(Table { seats, remotes, accepting, endpoint });
        Ok(ContextPool { remote: PoolRemote { table }, threads: start.go() })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Builder { threads, name, balance, config, each_server: _ } = self;
        f.debug_struct("Builder")
            .field("threads", threads)
            .field("name", name)
            .field("balance", balance)
            .field("config", config)
            .finish_non_exhaustive()
    }
}

/// A thread with a listener of its own.
fn accepts_itself<F, S>(io: &Handle, listener: TcpListener, factory: F) -> io::Result<Member>
where
    F: FnMut(tcp::Endpoint) -> S + 'static,
    S: Session,
{
    let server = session::serve(tcp::Acceptor::from_std(io, listener)?, factory)?;
    Ok(Member { end: ends(&server), server: Some(server), serve: None })
}

/// A thread that is handed what another has accepted.
fn is_handed<F, S>(io: &Handle, mut factory: F) -> io::Result<Member>
where
    F: FnMut(tcp::Endpoint) -> S + 'static,
    S: Session,
{
    let server = Server::without_listener(io);
    let adopting = server.clone();
    let mut adopt = move |client: TcpStream, peer| {
        let socket = tcp::Socket::from_std(&adopting, client)?;
        adopting.adopt(socket, factory(peer))
    };
    let serve = move |client, peer| {
        if let Err(error) = adopt(client, peer) {
            log::debug!(target: "ioctx", "a connection was handed over and lost: {error}");
        }
    };
    Ok(Member { end: ends(&server), server: Some(server), serve: Some(Box::new(serve)) })
}

fn ends(server: &Server) -> Box<dyn FnMut(Duration)> {
    let server = server.clone();
    Box::new(move |deadline| server.shutdown(deadline))
}
