//! tmp
#[macro_use]
mod cli;
use ioctx::session::{self, Connection, Session};
use ioctx::{IoContext, ip::tcp};
struct Echo;
impl Session for Echo {
    fn received(&mut self, connection: &Connection, bytes: &[u8]) -> usize {
        connection.send(bytes);
        bytes.len()
    }
}
fn main() -> std::process::ExitCode {
    cli::run("", |arguments| {
        let mut io = IoContext::new()?;
        let acceptor = tcp::Acceptor::listen_on(&io, cli::address(arguments)?)?;
        let server = session::serve(acceptor, |_peer| Echo)?;
        say!("listening on {}", server.local_endpoint().unwrap());
        io.run()?;
        Ok(())
    })
}
