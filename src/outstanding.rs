//! The answer to "what keeps my loop alive?".

use crate::key::Origin;
use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Everything that is outstanding on a context, as told by [`Handle::outstanding`](crate::Handle::outstanding).
///
/// A snapshot, for people and tests: it allocates. Displays as one line per piece of work.
#[derive(Clone, Debug, Default)]
pub struct Outstanding {
    work: Vec<Work>,
}

impl Outstanding {
    pub(crate) fn push(&mut self, work: Work) {
        self.work.push(work);
    }

    /// How many pieces of work there are.
    pub fn len(&self) -> usize {
        self.work.len()
    }

    /// Whether nothing is outstanding, so that `run` would return.
    pub fn is_empty(&self) -> bool {
        self.work.is_empty()
    }

    /// The pieces of work, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Work> {
        self.work.iter()
    }
}

impl fmt::Display for Outstanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for work in &self.work {
            write!(f, "{separator}{work}")?;
            separator = "\n";
        }
        Ok(())
    }
}

/// One piece of outstanding work.
#[derive(Clone)]
pub struct Work {
    kind: &'static str,
    object: &'static str,
    endpoint: Option<String>,
    origin: Origin,
}

impl Work {
    pub(crate) fn new(kind: &'static str, object: &'static str, endpoint: Option<String>, origin: Origin) -> Self {
        Work { kind, object, endpoint, origin }
    }

    /// What is outstanding: `async_read_some`, `async_wait`, `registration`, `work_guard`, `post` ...
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The kind of object it belongs to: `tcp::Socket`, `Timer` ...
    pub fn object(&self) -> &'static str {
        self.object
    }

    /// The endpoint of that object, where it has one: the peer of a stream, the own address of a listener.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// How long ago it was started. Work started inside a turn counts from that turn's reading of the clock; work
    /// from other threads from when the first of it came that the loop had not seen.
    pub fn age(&self) -> Duration {
        Instant::now().saturating_duration_since(self.origin.started)
    }

    /// The file and line that started it.
    pub fn location(&self) -> &'static Location<'static> {
        self.origin.location
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.object)?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, " {endpoint}")?;
        }
        write!(f, ", {:.3?} old, from {}", self.age(), self.origin.location)
    }
}

/// The same line as `Display`: this is what shows in `{:#?}` of a context.
impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
