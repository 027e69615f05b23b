//! The engine: one turn, and what it stands on. Knows no network type. Read in this order.

pub(crate) mod clock;
pub(crate) mod places;
pub(crate) mod timer_bins;
pub(crate) mod timer_queue;
pub(crate) mod inbox;
pub(crate) mod per_type;
pub(crate) mod bag;
pub(crate) mod buffers;
pub(crate) mod scheduler;
pub(crate) mod token;
pub(crate) mod ready_state;
pub(crate) mod reactor;
pub(crate) mod dispatch;
pub(crate) mod poller;
pub(crate) mod progress;
pub(crate) mod trace;
pub(crate) mod state;
pub(crate) mod turn;
pub(crate) mod posted;
pub(crate) mod waits;
pub(crate) mod mail;
