//! A thread with a context: how it starts, together with others or not at all, and how it ends.

use crate::config::Config;
use crate::handle::Handle;
use crate::io_context::IoContext;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;

/// A thread of a pool; it ends with what `run` returned.
pub(super) type Thread = thread::JoinHandle<io::Result<usize>>;

/// What is done on a thread when its loop has ended, before its context is dropped.
pub(super) type Epilogue = Box<dyn FnOnce()>;

/// Threads that have been started, and do not run their loops before all of them are [let go](Start::go). Dropped
/// instead, it ends them, and returns when they have ended.
pub(super) struct Start {
    threads: Vec<Waiting>,
}

struct Waiting {
    thread: Thread,
    go: mpsc::Sender<()>,
}

/// What a thread says of itself when it is set up: an error is the end of it.
pub(super) struct Report<T> {
    report: mpsc::Receiver<io::Result<T>>,
    /// Its index among the threads of the start.
    thread: usize,
}

impl Start {
    pub(super) fn new() -> Start {
        Start { threads: Vec::new() }
    }

    /// Starts a thread, which makes a context and calls `setup` with it. What that returns comes back as the report;
    /// the epilogue stays.
    pub(super) fn launch<T: Send + 'static>(
        &mut self,
        name: String,
        config: Config,
        setup: impl FnOnce(&Handle) -> io::Result<(T, Epilogue)> + Send + 'static,
    ) -> io::Result<Report<T>> {
        let (reports, report) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let builder = thread::Builder::new().name(name);
        let thread = builder.spawn(move || live(config, setup, reports, &may_go))?;
        self.threads.push(Waiting { thread, go });
        Ok(Report { report, thread: self.threads.len() - 1 })
    }

    /// What the thread has set up.
    ///
    /// # Panics
    ///
    /// Its `setup` has panicked: with the same.
    pub(super) fn wait<T>(&mut self, report: Report<T>) -> io::Result<T> {
        if let Ok(report) = report.report.recv() {
            return report;
        }
        let panicked = self.threads.swap_remove(report.thread).thread;
        match panicked.join() {
            Err(payload) => resume_unwind(payload),
            Ok(_) => Err(io::Error::other("a thread has ended too early")), // It reports before it ends.
        }
    }

    /// Lets all of them run their loops.
    pub(super) fn go(mut self) -> Vec<Thread> {
        let threads = std::mem::take(&mut self.threads);
        let let_go = |waiting: Waiting| {
            let _ = waiting.go.send(()); // It waits for nothing else.
            waiting.thread
        };
        threads.into_iter().map(let_go).collect()
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        for Waiting { thread, go } in self.threads.drain(..) {
            drop(go);
            let _ = thread.join(); // What is told already is why they are called off.
        }
    }
}

/// All that a thread does.
fn live<T>(
    config: Config,
    setup: impl FnOnce(&Handle) -> io::Result<(T, Epilogue)>,
    reports: mpsc::Sender<io::Result<T>>,
    may_go: &mpsc::Receiver<()>,
) -> io::Result<usize> {
    let ready = IoContext::with_config(config).and_then(|io| {
        let (report, epilogue) = setup(&io)?;
        Ok((io, report, epilogue))
    });
    let (mut io, report, epilogue) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            let _ = reports.send(Err(error)); // Without anybody who waits for it, it is of no use.
            return Ok(0);
        }
    };
    let _ = reports.send(Ok(report));
    drop(reports);
    if may_go.recv().is_err() {
        return Ok(0); // Another thread of the pool could not start.
    }
    // Caught only to be passed on once the context is dropped. That runs destructors, and if one of them panicked while
    // the first panic unwinds, the process would abort.
    let ran = catch_unwind(AssertUnwindSafe(|| io.run()));
    epilogue();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(io)));
    match ran.and_then(|ran| dropped.map(|()| ran)) {
        Ok(ran) => ran,
        Err(payload) => resume_unwind(payload),
    }
}
