//! Carries out commands: from a name and its arguments to a reply, without a connection.

use crate::reply::Reply;
use crate::request::number;
use crate::store::{Life, Store};
use std::borrow::Cow;
use std::time::{Duration, Instant};

const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const OVERFLOW: &str = "ERR increment or decrement would overflow";
const SYNTAX: &str = "ERR syntax error";

pub fn execute<'a>(store: &mut Store, name: &[u8], arguments: &[&'a [u8]]) -> Reply<'a> {
    attempt(store, name, arguments).unwrap_or_else(Reply::Error)
}

fn attempt<'a>(store: &mut Store, name: &[u8], arguments: &[&'a [u8]]) -> Result<Reply<'a>, String> {
    let lower = name.to_ascii_lowercase();
    Ok(match (&*lower, arguments) {
        (b"get", [key]) => store.get(key).map_or(Reply::Nil, |value| Reply::Value(value.clone())),
        (b"set", [key, value, options @ ..]) => set(store, key, value, options)?,
        (b"incr", [key]) => Reply::Integer(increment(store, key)?),
        (b"del", [_, ..]) => Reply::count(arguments.iter().filter(|key| store.remove(key)).count()),
        (b"exists", [_, ..]) => Reply::count(arguments.iter().filter(|key| store.get(key).is_some()).count()),
        (b"expire", [key, seconds]) => Reply::count(usize::from(expire(store, key, seconds)?)),
        (b"ttl", [key]) => Reply::Integer(time_to_live(store, key)),
        (b"ping", []) => Reply::Simple("PONG"),
        (b"ping" | b"echo", [message]) => Reply::Echo(message),
        (b"dbsize", []) => Reply::count(store.len()),
        (b"flushall", []) => {
            store.clear();
            Reply::Simple("OK")
        }
        (b"config", [what, _, ..]) if what.eq_ignore_ascii_case(b"get") => Reply::EmptyArray,
        (b"command", _) => Reply::EmptyArray,
        (b"hello", _) => return Err("NOPROTO unsupported protocol version".into()),
        (b"quit", _) => Reply::Simple("OK"),
        (b"get" | b"set" | b"incr" | b"del" | b"exists" | b"expire" | b"ttl", _)
        | (b"ping" | b"echo" | b"dbsize" | b"flushall", _) => {
            return Err(format!("ERR wrong number of arguments for '{}' command", quoted(&lower)));
        }
        _ => return Err(unknown(name, arguments)),
    })
}

fn unknown(name: &[u8], arguments: &[&[u8]]) -> String {
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", quoted(name));
    for argument in arguments.iter().take(8) {
        text += &format!("'{}' ", quoted(argument));
    }
    text
}

/// What a client has sent, fit for an error.
fn quoted(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(128)])
}

fn set(store: &mut Store, key: &[u8], value: &[u8], options: &[&[u8]]) -> Result<Reply<'static>, String> {
    let options = SetOptions::parse(store, options)?;
    if options.if_exists.is_some_and(|wanted| wanted != store.get(key).is_some()) {
        return Ok(Reply::Nil);
    }
    store.set(key, value, options.deadline);
    Ok(Reply::Simple("OK"))
}

#[derive(Default)]
struct SetOptions {
    deadline: Option<Instant>,
    /// Only if there is a value already, or only if there is none.
    if_exists: Option<bool>,
}

impl SetOptions {
    fn parse(store: &Store, mut words: &[&[u8]]) -> Result<SetOptions, String> {
        let mut options = SetOptions::default();
        while let [word, rest @ ..] = words {
            words = rest;
            match &*word.to_ascii_lowercase() {
                b"nx" if options.if_exists != Some(true) => options.if_exists = Some(false),
                b"xx" if options.if_exists != Some(false) => options.if_exists = Some(true),
                unit @ (b"ex" | b"px") if options.deadline.is_none() => {
                    let (amount, rest) = words.split_first().ok_or(SYNTAX)?;
                    words = rest;
                    let of = if unit == b"ex" { Duration::from_secs } else { Duration::from_millis };
                    options.deadline = Some(deadline(store, amount, of)?);
                }
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(options)
    }
}

fn deadline(store: &Store, amount: &[u8], of: fn(u64) -> Duration) -> Result<Instant, String> {
    let amount = number(amount).ok_or(NOT_AN_INTEGER)?;
    let amount = u64::try_from(amount).ok().filter(|amount| *amount > 0);
    Ok(amount.and_then(|amount| store.after(of(amount))).ok_or("ERR invalid expire time in 'set' command")?)
}

fn increment(store: &mut Store, key: &[u8]) -> Result<i64, String> {
    let former = store.get(key).map_or(Some(0), |value| number(value)).ok_or(NOT_AN_INTEGER)?;
    let next = former.checked_add(1).ok_or(OVERFLOW)?;
    store.replace(key, next.to_string().as_bytes());
    Ok(next)
}

/// Whether there is such a key. With no time left it is as good as removed.
fn expire(store: &mut Store, key: &[u8], seconds: &[u8]) -> Result<bool, String> {
    let seconds = number(seconds).ok_or(NOT_AN_INTEGER)?;
    let left = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let deadline = store.after(left).ok_or("ERR invalid expire time in 'expire' command")?;
    Ok(store.expire(key, deadline))
}

/// In seconds, rounded.
fn time_to_live(store: &mut Store, key: &[u8]) -> i64 {
    match store.life(key) {
        Life::Missing => -2,
        Life::Endless => -1,
        Life::Left(left) => i64::try_from((left.as_millis() + 500) / 1000).unwrap_or(i64::MAX),
    }
}
