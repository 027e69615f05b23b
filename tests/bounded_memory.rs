//! P17: re-arming and cancelling for ever grows nothing. Alone in its process, because it looks at the whole of it.
#![cfg(target_os = "linux")]

mod util;

use ioctx::{Handle, Interest, Next, Timer};
use std::io;
use std::time::Duration;
use util::{context, unix_pair};

const LONG: Duration = Duration::from_secs(3600);

/// KiB that the process has in memory.
fn resident() -> io::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    Ok(line.trim().trim_end_matches(" kB").parse().expect("a number"))
}

/// P17: the memory of timers, queues and registrations is that of what is outstanding, not of what ever was.
/// Method: each kind a hundred thousand times; one word kept for each would be a megabyte or more.
#[test]
fn what_has_ended_takes_no_memory() -> io::Result<()> {
    type Act = fn(&Handle, &Timer);
    let acts: [(&str, Act); 7] = [
        ("re-armed with a wait", |_, timer| {
            timer.expires_after(LONG);
            timer.async_wait(|_| {});
        }),
        ("cancelled by key", |io, _| {
            io.cancel(io.after(LONG, |_| {}));
        }),
        ("wait cancelled by key, timer kept", |io, timer| {
            io.cancel(timer.async_wait(|_| {}));
        }),
        ("alarms set, moved and dropped", |io, _| {
            let alarm = io.alarm(|| None);
            alarm.set(LONG);
            alarm.set(2 * LONG);
            alarm.unset();
        }),
        ("repetition", |io, _| {
            io.cancel(io.every(LONG, || {}));
        }),
        ("pause of a registration that is released", |io, _| {
            let (ours, _theirs) = unix_pair();
            let registration = io.register(ours, Interest::WRITABLE, |_, _| Next::Pause(LONG)).expect("registered");
            io.post(move || registration.release());
        }),
        ("channel", |io, _| {
            let sender = io.channel(|_: u8| {});
            sender.send(1).expect("the context is there");
        }),
    ];
    let mut io = context();
    let timer = Timer::new(&io);
    timer.expires_after(LONG);
    for (what, act) in acts {
        let mut many = |times: usize| -> io::Result<()> {
            for _ in 0..times {
                act(&io, &timer);
                io.poll()?;
            }
            Ok(())
        };
        many(1_000)?; // Queues find their size.
        let before = resident()?;
        many(100_000)?;
        let grown = resident()?.saturating_sub(before);
        assert!(grown < 512, "{what}: {grown} KiB more");
    }
    Ok(())
}
