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

use common::{Failure, Outcome, Workload};
use ioctx::{Config, IoContext};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// A server's context, as a user gets it. With `IOCTX_SPIN=0` it never spins: how often it does depends on time, and so
/// would what is counted.
fn context(config: Config) -> io::Result<IoContext> {
    let never_spins = std::env::var_os("IOCTX_SPIN").is_some_and(|spin| spin == "0");
    IoContext::with_config(if never_spins { config.spin_before_sleep(Duration::ZERO) } else { config })
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let layer = arguments.next().unwrap_or_default();
    let peer: fn(Workload) -> Outcome = match layer.as_str() {
        "session" => session::run,
        "operation" => operation::run,
        "readiness" => readiness::run,
        _ => return common::finish(Err(Failure::Usage("usage: session|operation|readiness WORKLOAD ...".into()))),
    };
    common::run_layer("ioctx", &format!(", {layer}"), arguments, peer)
}
