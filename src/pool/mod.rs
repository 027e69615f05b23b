//! Several processors: one context per thread, all serving one endpoint.
//!
//! An [`IoContext`](crate::IoContext) belongs to one thread, and so does everything on it. A server that wants more than
//! one processor runs several contexts side by side, which share nothing. That is also what Asio's users are told to
//! do: with many threads in one `io_context` every handler may run beside every other, and pays for locks or strands;
//! with one context per thread each is a strand by itself, its sessions share their state through an `Rc`, and a
//! connection stays on the processor that knows it. The price: a busy connection is not moved to an idle thread.
//!
//! ```
//! use ioctx::ContextPool;
//! use ioctx::session::{Connection, Session};
//! use std::cell::Cell;
//! use std::net::Ipv4Addr;
//! use std::rc::Rc;
//! use std::time::Duration;
//!
//! struct Echo {
//!     /// Shared by the sessions of one thread: no lock, no atomic.
//!     echoed: Rc<Cell<usize>>,
//! }
//!
//! impl Session for Echo {
//!     fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
//!         self.echoed.set(self.echoed.get() + bytes.len());
//!         connection.send(bytes);
//!         bytes.len()
//!     }
//! }
//!
//! // Called once on each thread, this makes what that thread's sessions share, and what makes its sessions.
//! let pool = ContextPool::serve(4, (Ipv4Addr::LOCALHOST, 0).into(), |_io, _thread| {
//!     let echoed = Rc::new(Cell::new(0));
//!     move |_peer| Echo { echoed: echoed.clone() }
//! })?;
//! println!("listening on {:?}", pool.local_endpoint());
//! # use std::io::{Read, Write};
//! # let mut client = std::net::TcpStream::connect(pool.local_endpoint().unwrap())?;
//! # client.write_all(b"hello")?;
//! # client.read_exact(&mut [0; 5])?;
//!
//! pool.shutdown(Duration::from_secs(5)); // from here, or from any thread through `pool.remote()`
//! for (thread, outcome) in pool.join().into_iter().enumerate() {
//!     match outcome {
//!         Ok(handlers) => println!("thread {thread} ran {} handlers", handlers?),
//!         Err(_panic) => println!("thread {thread} panicked"),
//!     }
//! }
//! # std::io::Result::Ok(())
//! ```
//!
//! # Who gets which client
//!
//! [`Balance`] says how connections are spread, and its default is the best that the platform has:
//!
//! - [`Kernel`](Balance::Kernel): each thread has a listener of its own, all at one endpoint, and the kernel chooses one
//!   of them for each client by a hash of its address and port. No thread waits for another, but chance spreads few
//!   connections unevenly.
//! - [`HandOver`](Balance::HandOver): one thread more accepts, and hands each socket to the next thread in turn. So each
//!   gets as many as the others. `examples/hand_over.rs` does it by hand.
//!
//! # Threads
//!
//! A context starts no threads of its own. The pool starts exactly those that it was asked for, plus the accepting one
//! with `HandOver`, before [`serve`](ContextPool::serve) returns, and they carry [names](Builder::name). They end when
//! the pool is [shut down](ContextPool::shutdown): by the thread that has made it, or by any other through a
//! [`PoolRemote`]. To do so on a signal, let the main thread run a context of its own with a `SignalSet` whose handler
//! has a `PoolRemote`, and [`join`](ContextPool::join) the pool when that `run` has returned.
//!
//! # When one thread panics
//!
//! A panic in a session, or in any other handler, ends that thread's context: its connections are closed, its handlers
//! and sessions dropped, and [`join`](ContextPool::join) returns the panic. The other threads serve on. With `Kernel`
//! its listener closes too, so the kernel sends new clients to the others; those that waited in its backlog are reset.
//! With `HandOver` the next thread in turn gets what it would have got. When no thread is left, nobody listens.
//! (Only where panics unwind: with `panic = "abort"` the process ends, as ever.)

mod balance;
mod thread;
mod member;
mod hand_over;
mod remote;
mod context_pool;

pub use balance::Balance;
pub use context_pool::{Builder, ContextPool};
pub use remote::PoolRemote;
