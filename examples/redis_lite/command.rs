//! Carries out commands: from their arguments to a reply, without a connection.

use crate::reply::Reply;
use crate::request::number;
use crate::store::{Life, Store};
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// Carries out a command with these arguments, the first of which is its name.
pub fn execute<'a>(store: &mut Store, name: &[u8], arguments: &[&'a [u8]]) -> Reply<'a> {
    let lower = name.to_ascii_lowercase();
    match (&*lower, arguments) {
        (b"get", [key]) => store.get(key).map_or(Reply::Nil, |value| Reply::Value(value.clone())),
        (b"set", [key, value, options @ ..]) => set(store, key, value, options),
        (b"incr", [key]) => increment(store, key),
        (b"del", [_, ..]) => Reply::count(arguments.iter().filter(|key| store.remove(key)).count()),
        (b"exists", [_, ..]) => Reply::count(arguments.iter().filter(|key| store.get(key).is_some()).count()),
        (b"expire", [key, seconds]) => expire(store, key, seconds),
        (b"ttl", [key]) => time_to_live(store, key),
        (b"ping", []) => Reply::Simple("PONG"),
        (b"ping" | b"echo", [message]) => Reply::Echo(message),
        (b"dbsize", []) => Reply::count(store.len()),
        (b"flushall", []) => {
            store.clear();
            Reply::Simple("OK")
        }
        (b"config", [what, _, ..]) if what.eq_ignore_ascii_case(b"get") => Reply::EmptyArray,
        (b"command", _) => Reply::EmptyArray,
        (b"hello", _) => Reply::error("NOPROTO unsupported protocol version"),
        (b"quit", _) => Reply::Simple("OK"),
        (
            b"get" | b"set" | b"incr" | b"del" | b"exists" | b"expire" | b"ttl" | b"ping" | b"echo" | b"dbsize"
            | b"flushall",
            _,
        ) => Reply::Error(format!("ERR wrong number of arguments for '{}' command", quoted(&lower))),
        _ => unknown(name, arguments),
    }
}

fn unknown<'a>(name: &[u8], arguments: &[&[u8]]) -> Reply<'a> {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", quoted(name));
    for argument in arguments.iter().take(8) {
        text += &format!("'{}' ", quoted(argument));
    }
    Reply::Error(text)
}

fn quoted(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(128)])
}

fn set<'a>(store: &mut Store, key: &[u8], value: &[u8], options: &[&[u8]]) -> Reply<'a> {
    let options = match SetOptions::parse(store, options) {
        Ok(options) => options,
        Err(error) => return error,
    };
    if options.if_exists.is_some_and(|wanted| wanted != store.get(key).is_some()) {
        return Reply::Nil;
    }
    store.set(key, value, options.deadline);
    Reply::Simple("OK")
}

#[derive(Default)]
struct SetOptions {
    deadline: Option<Instant>,
    /// Only if there is a value already, or only if there is none.
    if_exists: Option<bool>,
}

impl SetOptions {
    fn parse<'a>(store: &Store, mut words: &[&[u8]]) -> Result<SetOptions, Reply<'a>> {
        let mut options = SetOptions::default();
        while let [word, rest @ ..] = words {
            words = rest;
            match &*word.to_ascii_lowercase() {
                b"nx" if options.if_exists != Some(true) => options.if_exists = Some(false),
                b"xx" if options.if_exists != Some(false) => options.if_exists = Some(true),
                unit @ (b"ex" | b"px") if options.deadline.is_none() => {
                    let [amount, rest @ ..] = words else {
                        return Err(Reply::error("ERR syntax error"));
                    };
                    words = rest;
                    options.deadline = Some(deadline(store, amount, unit == b"px")?);
                }
                _ => return Err(Reply::error("ERR syntax error")),
            }
        }
        Ok(options)
    }
}

fn deadline<'a>(store: &Store, amount: &[u8], in_milliseconds: bool) -> Result<Instant, Reply<'a>> {
    let amount = number(amount).ok_or_else(not_an_integer)?;
    let life = match u64::try_from(amount) {
        Ok(1..) if in_milliseconds => Some(Duration::from_millis(amount.unsigned_abs())),
        Ok(1..) => Some(Duration::from_secs(amount.unsigned_abs())),
        _ => None,
    };
    life.and_then(|life| store.after(life)).ok_or_else(|| Reply::error("ERR invalid expire time in 'set' command"))
}

fn increment<'a>(store: &mut Store, key: &[u8]) -> Reply<'a> {
    let Some(former) = store.get(key).map_or(Some(0), |value| number(value)) else {
        return not_an_integer();
    };
    let Some(next) = former.checked_add(1) else {
        return Reply::error("ERR increment or decrement would overflow");
    };
    store.replace(key, next.to_string().as_bytes());
    Reply::Integer(next)
}

/// A key whose time is over already is removed.
fn expire<'a>(store: &mut Store, key: &[u8], seconds: &[u8]) -> Reply<'a> {
    let Some(seconds) = number(seconds) else {
        return not_an_integer();
    };
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    match store.after(life) {
        Some(deadline) => Reply::count(usize::from(store.expire(key, deadline))),
        None => Reply::error("ERR invalid expire time in 'expire' command"),
    }
}

/// In seconds, rounded.
fn time_to_live<'a>(store: &mut Store, key: &[u8]) -> Reply<'a> {
    match store.life(key) {
        Life::Missing => Reply::Integer(-2),
        Life::Endless => Reply::Integer(-1),
        Life::Left(left) => Reply::Integer(i64::try_from((left.as_millis() + 500) / 1000).unwrap_or(i64::MAX)),
    }
}

fn not_an_integer<'a>() -> Reply<'a> {
    Reply::error("ERR value is not an integer or out of range")
}
