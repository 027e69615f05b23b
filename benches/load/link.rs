//! One connection: how far its stream is sent, and how far it has come back.

use crate::failure::{Failure, failed};
use crate::pattern::{Pattern, Place};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, getsockname, recv, send, shutdown};
use std::time::Duration;

pub struct Link {
    pub socket: OwnedFd,
    number: usize,
    sent: u64,
    send_place: Place,
    received: u64,
    receive_place: Place,
    /// Up to where it shall be sent, and come back.
    goal: u64,
    /// When the message on its way was sent.
    pub started: u64,
    /// Something is on its way, or being waited for.
    pub busy: bool,
    /// The poller watches for room to send.
    pub wants_room: bool,
}

/// What a call to receive found.
pub enum Found {
    Bytes(usize),
    Nothing,
    End,
}

impl Link {
    pub fn new(number: usize, socket: OwnedFd) -> Self {
        let origin = Place::origin(number);
        Link {
            socket,
            number,
            sent: 0,
            send_place: origin,
            received: 0,
            receive_place: origin,
            goal: 0,
            started: 0,
            busy: false,
            wants_room: false,
        }
    }

    /// Connections are counted from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Adds a message to the stream. `send` sends it.
    #[inline]
    pub fn add(&mut self, bytes: u64) {
        self.goal += bytes;
    }

    /// All has come back.
    #[inline]
    pub fn complete(&self) -> bool {
        self.received == self.goal
    }

    #[inline]
    pub fn all_sent(&self) -> bool {
        self.sent == self.goal
    }

    /// Grows as long as anything moves.
    pub fn progress(&self) -> u64 {
        self.sent + self.received
    }

    /// Sends as much as there is room for.
    #[inline]
    pub fn send(&mut self, pattern: &Pattern) -> Result<(), Failure> {
        while self.sent < self.goal {
            let piece = pattern.piece(self.send_place, self.goal - self.sent);
            match send(&self.socket, piece, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.sent += sent as u64;
                    self.send_place.advance(sent);
                    if sent < piece.len() {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(())
    }

    /// Receives what is there. With `RecvFlags::empty()` it waits for something, but not longer than the door's patience.
    #[inline]
    pub fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> Result<Found, Failure> {
        match retry_on_intr(|| recv(&self.socket, &mut *buffer, flags)) {
            Ok((_, 0)) => Ok(Found::End),
            Ok((_, received)) => Ok(Found::Bytes(received)),
            Err(Errno::AGAIN) => Ok(Found::Nothing),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Compares what was received with what was sent.
    #[inline]
    pub fn check(&mut self, bytes: &[u8], pattern: &Pattern) -> Result<(), Failure> {
        let length = bytes.len() as u64;
        let due = self.sent - self.received;
        if length > due {
            return Err(self.failure(format_args!("{length} bytes came where {due} were due")));
        }
        if *bytes != *pattern.piece(self.receive_place, length) {
            return Err(self.mismatch(bytes, pattern));
        }
        self.received += length;
        self.receive_place.advance(bytes.len());
        Ok(())
    }

    #[cold]
    fn mismatch(&self, bytes: &[u8], pattern: &Pattern) -> Failure {
        let expected = pattern.piece(self.receive_place, bytes.len() as u64);
        let wrong = bytes.iter().zip(expected).position(|(got, sent)| got != sent).unwrap_or_default();
        let position = self.received + wrong as u64;
        let (got, sent) = (bytes[wrong], expected[wrong]);
        self.failure(format_args!("byte {position} was sent as {sent:#04x} and came back as {got:#04x}"))
    }

    /// Waits until all has come back; it is sent meanwhile where there was no room for all of it.
    pub fn finish(&mut self, pattern: &Pattern, buffer: &mut [u8], patience: Duration) -> Result<(), Failure> {
        while !self.complete() {
            let flags = if self.all_sent() { RecvFlags::empty() } else { self.wait_for_room(pattern, patience)? };
            match self.receive(buffer, flags)? {
                Found::Bytes(received) => self.check(&buffer[..received], pattern)?,
                Found::Nothing if flags.is_empty() => return Err(self.stalled(patience)),
                Found::Nothing => {}
                Found::End => return Err(self.closed()),
            }
        }
        Ok(())
    }

    /// Returns how to receive afterwards: without waiting.
    fn wait_for_room(&mut self, pattern: &Pattern, patience: Duration) -> Result<RecvFlags, Failure> {
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
        let mut watched = [PollFd::new(&self.socket, PollFlags::IN | PollFlags::OUT)];
        if retry_on_intr(|| poll(&mut watched, Some(&timeout))).map_err(failed("poll"))? == 0 {
            return Err(self.stalled(patience));
        }
        self.send(pattern)?;
        Ok(RecvFlags::DONTWAIT)
    }

    /// Goes on with the stream on another connection.
    pub fn reopen(&mut self, socket: OwnedFd) {
        self.socket = socket;
    }

    /// Ends the own side.
    pub fn end(&self) -> Result<(), Failure> {
        shutdown(&self.socket, Shutdown::Write).map_err(|error| self.failure(error))
    }

    /// Waits for the server's end, after the own one.
    pub fn await_end(&self, buffer: &mut [u8], patience: Duration) -> Result<(), Failure> {
        match self.receive(buffer, RecvFlags::empty())? {
            Found::End => Ok(()),
            Found::Bytes(received) => {
                Err(self.failure(format_args!("{received} bytes too many, after all had come back")))
            }
            Found::Nothing => {
                Err(self.failure(format_args!("not closed by the server {patience:?} after the client's end")))
            }
        }
    }

    pub fn closed(&self) -> Failure {
        self.failure("closed by the server")
    }

    pub fn stalled(&self, patience: Duration) -> Failure {
        self.failure(format_args!("no progress for {patience:?}"))
    }

    /// Names the connection and how far it was.
    #[cold]
    pub fn failure(&self, why: impl std::fmt::Display) -> Failure {
        let address = match getsockname(&self.socket).map(std::net::SocketAddr::try_from) {
            Ok(Ok(address)) => format!(" from {address}"),
            _ => String::new(),
        };
        let (sent, received) = (self.sent, self.received);
        Failure::Failed(format!("connection {}{address}, {sent} bytes sent, {received} back: {why}", self.number))
    }
}
