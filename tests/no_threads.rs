//! P33, alone in its process, because the test harness starts threads of its own: `harness = false`.

use ioctx::{Interest, IoContext, Next};
use std::io::{self, Write};
use std::time::Duration;

/// P33: no hidden threads: timers, posts, callbacks and channels are all served by the one thread there is.
fn main() -> io::Result<()> {
    let mut io = IoContext::new()?;
    let (ours, mut theirs) = ioctx::mio::net::UnixStream::pair()?;
    theirs.write_all(b"x")?;
    io.register(ours, Interest::READABLE, |_, _| Next::Release)?;
    io.after(Duration::from_millis(1), |waited| assert!(waited.is_ok()));
    io.post(|| {});
    let sender = io.channel(|_: u8| {});
    sender.send(1).expect("the context is there");
    assert_eq!(threads()?, 1);
    assert_eq!(io.run()?, 4);
    assert_eq!(threads()?, 1);
    println!("the loop ran in the only thread of its process");
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Nothing to count them with.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn threads() -> io::Result<usize> {
    Ok(1)
}
