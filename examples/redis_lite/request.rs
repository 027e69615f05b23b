//! Reads requests: an array of strings each, or a line of words that somebody has typed.

use std::ops::Range;

/// The longest request, and the most arguments of one.
pub const REQUEST_MAX: usize = 16 * 1024 * 1024;
const ARGUMENTS_MAX: usize = 1024 * 1024;

/// A client with more arguments pays for the memory again each time, instead of holding it for ever.
const ARGUMENTS_KEPT: usize = 64;

/// The longest line: an inline request, or a length.
pub const LINE_MAX: usize = 64 * 1024;

/// Reads one request after the other from the front of the bytes that it is shown.
///
/// A request that is not there as a whole is shown again, with more behind it; reading goes on where it had stopped, so
/// no byte is looked at twice, however many pieces it comes in. Nothing is copied: the arguments are ranges of the
/// request.
#[derive(Default)]
pub struct Reader {
    arguments: Vec<Range<usize>>,
    /// Where to go on.
    at: usize,
    /// No line ends before here.
    seen: usize,
    want: Want,
}

#[derive(Clone, Copy, Default)]
enum Want {
    /// The line that a request begins with.
    #[default]
    First,
    /// The line with the length of the next argument; so many arguments are missing.
    Length { missing: usize },
    /// The argument itself.
    Argument { missing: usize, length: usize },
}

/// What is wrong with the bytes. Where the next request begins is not known then.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    ArrayLength,
    StringLength,
    /// Neither a string nor anything else is to be found where an argument should begin.
    NoString(u8),
    LongLine,
}

impl Reader {
    /// Returns the length of the request at the front of `bytes` if all of it is there.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            let is_there = match self.want {
                Want::First => self.first_line(bytes)?,
                Want::Length { missing } => self.length(bytes, missing)?,
                Want::Argument { missing, length } => self.argument(bytes, missing, length),
            };
            if !is_there {
                return Ok(None);
            }
            if matches!(self.want, Want::First) {
                self.seen = 0;
                return Ok(Some(std::mem::take(&mut self.at)));
            }
        }
    }

    /// The arguments of the request that was just read, of which these are the bytes. None for an empty request.
    pub fn arguments<'a>(&self, request: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.arguments.iter().map(move |range| &request[range.clone()])
    }

    fn first_line(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        let Some(line) = self.line(bytes)? else {
            return Ok(false);
        };
        self.arguments.clear();
        self.arguments.shrink_to(ARGUMENTS_KEPT);
        match bytes[line.clone()].split_first() {
            Some((b'*', digits)) => {
                let missing = number(digits).filter(|n| *n <= ARGUMENTS_MAX as i64).ok_or(Malformed::ArrayLength)?;
                self.want_length(usize::try_from(missing).unwrap_or(0)); // A negative one is an empty request, too.
            }
            _ => self.words(bytes, line),
        }
        Ok(true)
    }

    fn length(&mut self, bytes: &[u8], missing: usize) -> Result<bool, Malformed> {
        match bytes.get(self.at) {
            Some(b'$') | None => {}
            Some(other) => return Err(Malformed::NoString(*other)),
        }
        let Some(line) = self.line(bytes)? else {
            return Ok(false);
        };
        let length = number(&bytes[line.start + 1..line.end]).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= REQUEST_MAX - self.at.min(REQUEST_MAX));
        self.want = Want::Argument { missing, length: length.ok_or(Malformed::StringLength)? };
        Ok(true)
    }

    fn argument(&mut self, bytes: &[u8], missing: usize, length: usize) -> bool {
        let end = self.at + length;
        if bytes.len() < end + 2 {
            return false;
        }
        self.arguments.push(self.at..end);
        self.at = end + 2; // What the two bytes are, redis does not ask either.
        self.seen = self.at;
        self.want_length(missing - 1);
        true
    }

    fn want_length(&mut self, missing: usize) {
        self.want = if missing == 0 { Want::First } else { Want::Length { missing } };
    }

    /// The next line, without its end, if all of it is there.
    fn line(&mut self, bytes: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
        let found = bytes[self.seen..].iter().position(|byte| *byte == b'\n').map(|length| self.seen + length);
        self.seen = found.map_or(bytes.len(), |end| end + 1);
        if found.unwrap_or(bytes.len()) - self.at > LINE_MAX {
            return Err(Malformed::LongLine);
        }
        let Some(end) = found else {
            return Ok(None);
        };
        let start = std::mem::replace(&mut self.at, end + 1);
        let has_return = end > start && bytes[end - 1] == b'\r';
        Ok(Some(start..end - usize::from(has_return)))
    }

    fn words(&mut self, bytes: &[u8], line: Range<usize>) {
        let mut start = line.start;
        for word in bytes[line].split(u8::is_ascii_whitespace) {
            if !word.is_empty() {
                self.arguments.push(start..start + word.len());
            }
            start += word.len() + 1;
        }
    }
}

/// A decimal number as redis takes it: `+1` is none, nor is `01`.
pub fn number(digits: &[u8]) -> Option<i64> {
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let is_plain = matches!(unsigned, [b'0'] | [b'1'..=b'9', ..]);
    std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}
