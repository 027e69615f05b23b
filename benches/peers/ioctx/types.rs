//! Handlers of sixteen types, one of them at random each time, to be measured by hand: `peer_ioctx_types WORKLOAD NUMBER`.
//!
//! ioctx keeps handlers of one type side by side. In a layer's program all are of one type, which suits that better than
//! most programs do. This is a program of its own, because what is there for one type only is compiled into one piece.
#![forbid(unsafe_code)]
#![allow(dead_code)] // It needs only parts of the modules.

#[path = "../common.rs"]
mod common;
#[path = "loop.rs"]
mod no_layer;
mod operation;
mod shared;

use common::{Failure, Outcome, Workload};
use ioctx::{Handle, Operation, Remote};
use no_layer::{post_from_afar, post_remote};
use operation::{timers_cancel, timers_fire, wait};
use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

type Post = fn(&Remote) -> bool;
type Wait = fn(&Handle, Instant, &Rc<Cell<u64>>) -> Operation;

const TYPES: usize = 16;

/// The same function for each type.
macro_rules! of_each_type {
    ($function:ident $(, $more:literal)?) => {
        [
            $function::<0 $(, $more)?>,
            $function::<1 $(, $more)?>,
            $function::<2 $(, $more)?>,
            $function::<3 $(, $more)?>,
            $function::<4 $(, $more)?>,
            $function::<5 $(, $more)?>,
            $function::<6 $(, $more)?>,
            $function::<7 $(, $more)?>,
            $function::<8 $(, $more)?>,
            $function::<9 $(, $more)?>,
            $function::<10 $(, $more)?>,
            $function::<11 $(, $more)?>,
            $function::<12 $(, $more)?>,
            $function::<13 $(, $more)?>,
            $function::<14 $(, $more)?>,
            $function::<15 $(, $more)?>,
        ]
    };
}

const POSTS: [Post; TYPES] = of_each_type!(post_from_afar);
const CANCELLED: [Wait; TYPES] = of_each_type!(wait, false);
const FIRED: [Wait; TYPES] = of_each_type!(wait, true);

fn main() -> ExitCode {
    common::run("ioctx", run)
}

fn run(workload: Workload) -> Outcome {
    match workload {
        Workload::PostRemote(count) => post_remote(count, |remote| any(&POSTS)(remote)),
        Workload::TimersCancel(cancels) => {
            timers_cancel(cancels, |handle, at, count| any(&CANCELLED)(handle, at, count))
        }
        Workload::TimersFire(count) => timers_fire(count, |handle, at, count| any(&FIRED)(handle, at, count)),
        _ => Err(Failure::Nothing("of many types there are only timers, and posts from another thread")),
    }
}

fn any<F: Copy>(functions: &[F; TYPES]) -> F {
    functions[fastrand::usize(..TYPES)]
}
