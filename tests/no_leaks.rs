//! P5, alone in its process, because it counts descriptors: `harness = false`.

use ioctx::ip::tcp::{self, Wait};
use ioctx::session::{self, Connection, Server, Session};
use ioctx::{IoContext, cancel_after};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

/// P5: nothing leaks when contexts go with everything outstanding, again and again: no descriptor, no handler.
fn main() -> io::Result<()> {
    let alive = Rc::new(());
    once(&alive)?; // whatever the process opens once
    sessions(&alive)?;
    let before = descriptors()?;
    for _ in 0..50 {
        once(&alive)?;
        sessions(&alive)?;
        assert_eq!(descriptors()?, before);
        assert_eq!(Rc::strong_count(&alive), 1);
    }
    println!("nothing leaked");
    Ok(())
}

fn once(alive: &Rc<()>) -> io::Result<()> {
    let mut io = IoContext::new()?;
    let acceptor = tcp::Acceptor::listen_on(&io, (Ipv4Addr::LOCALHOST, 0).into())?;
    let endpoint = acceptor.local_endpoint()?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(TcpStream::connect(endpoint)?);
        serve(acceptor.clone(), Rc::clone(alive));
        assert!(io.run_one()? == 1);
    }
    clients[0].write_all(b"waiting to be read")?;
    let connecting = tcp::Socket::new(&io);
    let held = Rc::clone(alive);
    connecting.async_connect(endpoint, move |_| drop(held));
    let held = Rc::clone(alive);
    acceptor.async_accept(move |_| drop(held));
    Ok(())
}

/// Accepts one connection and starts one operation of every kind on it, which keep it and the acceptor.
fn serve(acceptor: tcp::Acceptor, alive: Rc<()>) {
    acceptor.clone().async_accept(move |accepted| {
        let (socket, _) = accepted.expect("a client");
        let held = || (socket.clone(), acceptor.clone(), Rc::clone(&alive));
        let (a, b, c, d, e) = (held(), held(), held(), held(), held());
        socket.async_wait(Wait::Error, move |_| drop(a));
        socket.async_write(vec![0; 10_000_000], move |_| drop(b));
        socket.async_write_some([0; 1], move |_| drop(c));
        cancel_after(&socket, Duration::from_secs(60), |done| socket.async_read([0; 99], done), move |_| drop(d));
        socket.async_read_some([0; 1], move |_| drop(e));
    });
}

struct Holder {
    _alive: Rc<()>,
}

impl Session for Holder {
    fn received(&mut self, _: &Connection, bytes: &[u8]) -> usize {
        bytes.len() / 2
    }
}

/// Sessions and servers in every state, and handles of them that outlive the context and are used once more.
fn sessions(alive: &Rc<()>) -> io::Result<()> {
    let hold = || Holder { _alive: Rc::clone(alive) };
    let server = |io: &IoContext, most: usize| -> io::Result<Server> {
        let (acceptor, alive) = (tcp::Acceptor::listen_on(io, (Ipv4Addr::LOCALHOST, 0).into())?, Rc::clone(alive));
        let server = session::serve(acceptor, move |_| Holder { _alive: Rc::clone(&alive) })?;
        server.set_max_connections(most);
        Ok(server)
    };
    let mut io = IoContext::new()?;
    let servers = [server(&io, 0)?, server(&io, 1)?, server(&io, usize::MAX)?, server(&io, 0)?];
    servers[2].set_shedding(true);
    let (mut clients, mut connections) = (Vec::new(), Vec::new());
    for server in &servers {
        let Some(session::Endpoint::Tcp(endpoint)) = server.local_endpoint() else {
            panic!("it has one");
        };
        for _ in 0..2 {
            clients.push(TcpStream::connect(endpoint)?);
            connections.push(session::connect(&io, endpoint, Duration::from_secs(60), hold()));
        }
    }
    for client in &mut clients {
        client.write_all(b"half of it is left")?;
    }
    for _ in 0..5 {
        io.poll()?;
    }
    servers[3].shutdown(Duration::from_secs(60));
    let use_all = |connections: &[Connection]| {
        for connection in connections {
            connection.set_idle_timeout(Some(Duration::from_secs(60)));
            connection.send(&[7; 500_000]);
            connection.send_shared(&Rc::from(&b"shared"[..]));
            connection.notify();
            connection.pause();
            connection.resume();
        }
    };
    use_all(&connections);
    connections[0].close_after_flush(Duration::from_secs(60));
    connections[1].abort();
    io.poll()?;
    use_all(&connections);
    let handle = io.handle().clone();
    drop(io);
    use_all(&connections);
    let late = session::connect(&handle, servers_endpoint(), Duration::from_secs(60), hold());
    use_all(&[late]);
    for server in servers {
        server.set_max_connections(9);
        server.set_shedding(true);
        server.shutdown(Duration::from_secs(60));
    }
    Ok(())
}

fn servers_endpoint() -> tcp::Endpoint {
    (Ipv4Addr::LOCALHOST, 1).into()
}

/// How many descriptors are open; a constant where that cannot be told.
fn descriptors() -> io::Result<usize> {
    match cfg!(target_os = "linux") {
        true => Ok(std::fs::read_dir("/proc/self/fd")?.count()),
        false => Ok(0),
    }
}
