//! The seven steps of socket programming, each one call, each with its outcome.
//!
//!     cargo run --example seven_steps
//!
//! The numbers are those of the study notes (docs/) that this project began with. The notes write
//! `boost::asio::tcp::socket`; Asio's name is `boost::asio::ip::tcp::socket`, and here it is `ioctx::ip::tcp::Socket`.
//!
//! Server and client share one thread, and every call blocks, yet nobody waits for the other: from `listen` on the
//! kernel completes connections by itself and keeps them in the backlog until `accept` takes them out, and what is
//! written waits in the kernel's buffers until it is read.

#[macro_use]
mod cli;

use ioctx::IoContext;
use ioctx::ip::tcp::{Acceptor, Endpoint, Protocol, Socket};
use std::fmt::{Debug, Display};
use std::io;
use std::net::{Ipv4Addr, Shutdown};
use std::process::ExitCode;

const USAGE: &str = "usage: seven_steps\n\nA server and a client in one thread, one blocking call after the other.";

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| {
        cli::no_arguments(arguments)?;
        Ok(seven_steps()?)
    })
}

fn seven_steps() -> io::Result<()> {
    heading(1, "basic steps 基本步骤");
    say!("        server 服务器: socket, bind, listen, accept, read and write");
    say!("        client 客户端: socket, connect, read and write");

    heading(2, "endpoint 终端节点: an address and a port of one protocol, whom to talk to");

    heading(3, "create an endpoint 创建终端节点; port 0 asks the system for a free one");
    let any_port = Endpoint::from((Ipv4Addr::LOCALHOST, 0));
    say!("step 3  Endpoint::from((Ipv4Addr::LOCALHOST, 0)) -> {any_port}");

    heading(4, "create a socket 创建 socket, and an acceptor: context 上下文, protocol 协议, socket, open");
    let ios = step(4, "IoContext::new()", IoContext::new())?;
    let protocol = Protocol::v4();
    let early = Socket::new(&ios);
    step(4, "socket.open(v4)", early.open(protocol))?;
    let acceptor = Acceptor::new(&ios);
    step(4, "acceptor.open(v4)", acceptor.open(protocol))?;

    heading(5, "bind the acceptor 绑定 acceptor");
    step(5, format_args!("acceptor.bind({any_port})"), acceptor.bind(any_port))?;
    let server = step(5, "acceptor.local_endpoint()", acceptor.local_endpoint())?;

    heading(6, "connect 连接: too early, nobody listens yet");
    // An error is a value like any other: this one is expected, and the program goes on.
    let _refused = step(6, format_args!("socket.connect({server})"), early.connect(server));

    heading(7, "listen 监听");
    step(7, "acceptor.listen(128)", acceptor.listen(128))?;

    heading(6, "connect again, with a fresh socket: systems differ in what a failed connect leaves behind");
    let client = Socket::with_protocol(&ios, server.into())?;
    step(6, format_args!("client.connect({server})"), client.connect(server))?;

    heading(7, "accept 接受连接: a new socket for this one client");
    let (session, _peer) = step(7, "acceptor.accept()", acceptor.accept())?;

    heading(7, "then read and write 收发消息");
    step(7, "client.write(\"你好\")", client.write("你好".as_bytes()))?;
    step(7, "session.read_some()", read_some(&session))?;
    step(7, "session.write(\"hello\")", session.write(b"hello"))?;
    step(7, "session.shutdown(Write)", session.shutdown(Shutdown::Write))?;
    step(7, "client.read_some()", read_some(&client))?;
    step(7, "client.read_some(), the end of the stream", read_some(&client))?;
    Ok(())
}

fn heading(number: u32, title: &str) {
    say!("\n{number}. {title}");
}

/// Prints how a call ended, and hands its outcome on.
fn step<T: Debug>(number: u32, call: impl Display, outcome: io::Result<T>) -> io::Result<T> {
    say!("step {number}  {call} -> {outcome:?}");
    outcome
}

fn read_some(socket: &Socket) -> io::Result<String> {
    let mut buffer = [0; 64];
    let n = socket.read_some(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
}
