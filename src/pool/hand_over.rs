//! The thread that accepts for all the others.

use super::member::Order;
use crate::config::Config;
use crate::handle::Handle;
use crate::ip::tcp;
use crate::remote::Sender;
use std::cell::Cell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

/// Tells the serving threads to shut down when it is dropped. It goes there by way of the accepting thread, so that
/// whom that has accepted before is handed over before; if it has ended, the same happens at once.
pub(super) struct LastOrder {
    pub(super) members: Vec<Sender<Order>>,
    pub(super) deadline: Duration,
}

impl Drop for LastOrder {
    fn drop(&mut self) {
        for member in &self.members {
            let _ = member.send(Order::Shutdown(self.deadline)); // One that has ended needs no telling.
        }
    }
}

/// Accepts clients and hands them to `members`, one after the other. What comes back ends it, for good.
pub(super) fn accept_for(
    members: Vec<Sender<Order>>,
    io: &Handle,
    listener: TcpListener,
    config: &Config,
) -> io::Result<Sender<LastOrder>> {
    let acceptor = tcp::Acceptor::from_std(io, listener)?;
    let door = Rc::new(Door { acceptor, members, next: Cell::new(0), retry: config.accept_retry });
    door.clone().accept();
    Ok(io.channel(move |last: LastOrder| {
        door.acceptor.close();
        drop(last);
    }))
}

struct Door {
    acceptor: tcp::Acceptor,
    members: Vec<Sender<Order>>,
    next: Cell<usize>,
    retry: Duration,
}

impl Door {
    fn accept(self: Rc<Self>) {
        self.acceptor.clone().async_accept(move |accepted| match accepted {
            Ok((socket, peer)) => {
                if self.hand_over(&socket, peer) {
                    self.accept();
                }
            }
            Err(_) if !self.acceptor.is_open() => {}
            Err(error) => {
                log::warn!(target: "ioctx", "accept: {error}");
                let io: Handle = self.acceptor.as_ref().clone();
                io.after(self.retry, move |_| self.accept());
            }
        });
    }

    /// Hands a client to the first in turn who is there. Whether anybody is.
    fn hand_over(&self, socket: &tcp::Socket, peer: tcp::Endpoint) -> bool {
        let mut client = match socket.release() {
            Ok(descriptor) => TcpStream::from(descriptor),
            Err(error) => {
                log::warn!(target: "ioctx", "a connection was accepted and lost: {error}");
                return true;
            }
        };
        for _ in 0..self.members.len() {
            let next = self.next.replace((self.next.get() + 1) % self.members.len());
            match self.members[next].send(Order::Serve(client, peer)) {
                Ok(()) => return true,
                Err(refused) => match refused.into_inner() {
                    Order::Serve(back, _) => client = back,
                    _ => return true,
                },
            }
        }
        log::error!(target: "ioctx", "no thread of the pool is left to serve: it stops listening");
        self.acceptor.close();
        false
    }
}
