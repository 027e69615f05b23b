//! ioctx, as a user of one of its layers would write it: `peer_ioctx LAYER WORKLOAD [NUMBER...]`.
//!
//! One file for each layer. What belongs to no layer (posting) is in `loop.rs`, and answers as `session`.
#![forbid(unsafe_code)]

#[path = "../common.rs"]
mod common;
#[path = "loop.rs"]
mod no_layer;
mod operation;
mod readiness;
mod session;
mod types;

use common::{Failure, Outcome, Workload};
use ioctx::{Config, IoContext};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// A server's context. `IOCTX_SPIN=MICROSECONDS` lets it spin before it sleeps.
fn context(config: Config) -> io::Result<IoContext> {
    let spin = std::env::var("IOCTX_SPIN").ok().and_then(|spin| spin.parse().ok());
    IoContext::with_config(config.spin_before_sleep(Duration::from_micros(spin.unwrap_or_default())))
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let layer = arguments.next().unwrap_or_default();
    let peer: fn(Workload) -> Outcome = match layer.as_str() {
        "session" => session::run,
        "operation" => operation::run,
        "readiness" => readiness::run,
        "types" => types::run,
        _ => {
            return common::finish(Err(Failure::Usage("usage: session|operation|readiness|types WORKLOAD ...".into())));
        }
    };
    common::run_layer("ioctx", &format!(", {layer}"), arguments, peer)
}

/// The delays of timers that stand while others are cancelled: one a minute, for an hour.
fn standing_delays() -> impl Iterator<Item = Duration> {
    (1..=60).map(|minutes| Duration::from_secs(60 * minutes))
}
