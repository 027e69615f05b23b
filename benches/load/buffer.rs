//! What everything is received into: memory that begins with a page.
//!
//! glibc's malloc has large pieces begin sixteen bytes after one, to where some processors copy slowly (see the library's
//! `engine/buffers.rs`): of streams the generator would then be the slower side.

use crate::pattern::LONGEST;
use std::ops::{Deref, DerefMut};

const PAGE: usize = 4096;

pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Room for the longest piece that is received at once.
    pub fn new() -> Self {
        let memory = vec![0; LONGEST + PAGE];
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Buffer { memory, start }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + LONGEST]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + LONGEST]
    }
}
