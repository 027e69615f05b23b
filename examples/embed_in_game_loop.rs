//! A game loop with 60 frames a second gives the network 2 ms of each.
//!
//!     cargo run --example embed_in_game_loop [ADDR] [--frames N]
//!
//! Play with `nc 127.0.0.1 7000`: w, a, s and d, then Enter, move you about. The world is a plain `&mut World` that no
//! handler ever sees: handlers push events into a queue, and the frame takes them out.

#[macro_use]
mod cli;

use cli::{Failure, failed};
use ioctx::ip::tcp::{Acceptor, Socket};
use ioctx::{IoContext, error};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: embed_in_game_loop [ADDR] [--frames N]

A game loop with a network inside: clients send w, a, s and d, and the world prints where they are.

  ADDR        IP:PORT to listen on, default 127.0.0.1:7000; port 0 takes a free one
  --frames N  end after so many frames; default: never";

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
const NETWORK: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    cli::run(USAGE, |arguments| play(&Options::parse(arguments)?))
}

fn play(options: &Options) -> Result<(), Failure> {
    let mut io = IoContext::new()?;
    let acceptor = Acceptor::listen_on(&io, options.address).map_err(failed(options.address))?;
    say!("listening on {}", acceptor.local_endpoint()?);
    let events = Events::default();
    accept(acceptor, 1, Rc::clone(&events));

    let mut world = World::default();
    let mut next_frame = Instant::now();
    for frame in 0..options.frames {
        io.poll_for(NETWORK)?; // Returns at once when there is nothing to do.
        update(&mut world, frame, &events.take());
        next_frame = (next_frame + FRAME).max(Instant::now()); // After a hitch go on from here, and do not catch up.
        thread::sleep(next_frame.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

#[derive(Default)]
struct World {
    players: BTreeMap<u64, (i32, i32)>,
}

const WIDTH: i32 = 80;
const HEIGHT: i32 = 24;

fn update(world: &mut World, frame: u64, events: &[Event]) {
    for event in events {
        match *event {
            Event::Joined(player) => {
                world.players.insert(player, (WIDTH / 2, HEIGHT / 2));
            }
            Event::Moved(player, key) => {
                if let Some((x, y)) = world.players.get_mut(&player) {
                    let (right, down) = match key {
                        b'w' => (0, -1),
                        b'a' => (-1, 0),
                        b's' => (0, 1),
                        b'd' => (1, 0),
                        _ => continue,
                    };
                    *x = (*x + right).clamp(0, WIDTH - 1);
                    *y = (*y + down).clamp(0, HEIGHT - 1);
                }
            }
            Event::Left(player) => {
                world.players.remove(&player);
            }
        }
    }
    if !events.is_empty() {
        say!("frame {frame}: {:?}", world.players);
    }
}

/// What happened on the network, for the next frame to take in.
type Events = Rc<RefCell<Vec<Event>>>;

enum Event {
    Joined(u64),
    Moved(u64, u8),
    Left(u64),
}

fn accept(acceptor: Acceptor, player: u64, events: Events) {
    acceptor.clone().async_accept(move |accepted| {
        match accepted {
            Ok((socket, _peer)) => {
                events.borrow_mut().push(Event::Joined(player));
                read(socket, vec![0; 64], player, Rc::clone(&events));
            }
            Err(error) if error::is_aborted(&error) => return,
            Err(error) => log::warn!("accept: {error}"),
        }
        accept(acceptor, player + 1, events);
    });
}

fn read(socket: Socket, buffer: Vec<u8>, player: u64, events: Events) {
    socket.clone().async_read_some(buffer, move |(read_some, buffer)| match read_some {
        Ok(0) | Err(_) => events.borrow_mut().push(Event::Left(player)),
        Ok(n) => {
            events.borrow_mut().extend(buffer[..n].iter().map(|key| Event::Moved(player, *key)));
            read(socket, buffer, player, events);
        }
    });
}

struct Options {
    address: SocketAddr,
    frames: u64,
}

impl Options {
    fn parse(mut arguments: lexopt::Parser) -> Result<Options, Failure> {
        use lexopt::prelude::*;
        let mut options = Options { address: ([127, 0, 0, 1], 7000).into(), frames: u64::MAX };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("frames") => options.frames = arguments.value()?.parse()?,
                Value(address) => options.address = address.parse()?,
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}
