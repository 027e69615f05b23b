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
mod shared;

use common::{Failure, Outcome, Workload};
use std::process::ExitCode;

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
