//! All connections, and what they share: the pattern and the buffer that everything is received into.

use crate::buffer::Buffer;
use crate::doors::Doors;
use crate::failure::Failure;
use crate::link::Link;
use crate::options::Job;
use crate::pattern::Pattern;
use std::ops::Range;

/// How many connections are opened before each has had a message echoed: fewer than any server's backlog, and after the
/// message the server has surely accepted them.
const BATCH: usize = 256;

/// The message of a connection that only shows that it is there.
const GREETING: u64 = 64;

pub struct Wire {
    pub doors: Doors,
    pub pattern: Pattern,
    pub buffer: Buffer,
    pub links: Vec<Link>,
}

impl Wire {
    /// Without any connection yet.
    pub fn new(job: &Job) -> Result<Self, Failure> {
        let connections = job.connections + job.idle;
        let doors = Doors::new(job.port, connections, job.patience())?;
        Ok(Wire { doors, pattern: Pattern::new(), buffer: Buffer::new(), links: Vec::with_capacity(connections) })
    }

    /// Opens connections of these numbers.
    pub fn connect(&mut self, numbers: Range<usize>) -> Result<(), Failure> {
        for number in numbers {
            let socket = self.doors.open(number)?;
            self.links.push(Link::new(number, socket));
        }
        Ok(())
    }

    /// Opens connections, and has a message of this size echoed on each.
    pub fn open(&mut self, connections: usize, size: u64) -> Result<(), Failure> {
        let end = self.links.len() + connections;
        while self.links.len() < end {
            let begin = self.links.len();
            self.connect(begin..end.min(begin + BATCH))?;
            self.exchange(begin, size)?;
        }
        Ok(())
    }

    /// The same with a message that is as short as the measured ones, but never long.
    pub fn open_and_greet(&mut self, connections: usize, size: u64) -> Result<(), Failure> {
        self.open(connections, size.min(GREETING))
    }

    /// Sends a message on each connection from this one on, then reads them back, in the same order.
    pub fn exchange(&mut self, begin: usize, size: u64) -> Result<(), Failure> {
        let links = &mut self.links[begin..];
        for link in &mut *links {
            link.add(size);
            link.send(&self.pattern)?;
        }
        for link in links {
            link.finish(&self.pattern, &mut self.buffer, self.doors.patience())?;
        }
        Ok(())
    }

    /// Ends the connections from this one on, and sees the server close each.
    pub fn leave(&mut self, begin: usize) -> Result<(), Failure> {
        for link in &self.links[begin..] {
            link.end()?;
        }
        for link in self.links.drain(begin..) {
            link.await_end(&mut self.buffer, self.doors.patience())?;
        }
        Ok(())
    }
}
