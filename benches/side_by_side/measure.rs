//! One measurement: a peer and a workload, once; or, of servers, piece by piece.

use crate::lab::Lab;
use crate::peers::Peer;
use crate::process::{Outcome, Running, Trouble, failed};
use crate::processors::{Place, SPIN};
use crate::workloads::{Sleeps, Task, WARM_UP, Workload};

/// Figures by name, as they were printed.
pub type Figures = Vec<(String, f64)>;

/// What one operation took in one repetition. A round has several of these.
pub const NANOSECONDS: &str = "ns";

/// So long a server of ours spins that is told to sleep at once.
const MICROSECONDS: &str = "0";

pub fn measure(lab: &Lab, workload: &Workload, peer: &'static Peer, seconds: f64) -> Outcome<Figures> {
    match &workload.task {
        Task::Served { .. } => served(lab, workload, peer, |server| server.measure(lab, seconds)),
        Task::ServedOnce { .. } => served(lab, workload, peer, |server| server.load(lab, &[])),
        Task::Client { arguments } => client(lab, peer, arguments),
        Task::Alone { arguments, processors } => {
            let place = if *processors == 1 { Place::Server } else { Place::Both };
            results(&lab.alone(lab.peer(place, peer, arguments), peer.title)?)
        }
        Task::Counted => failed("this is counted, not measured"),
    }
}

fn served(
    lab: &Lab,
    workload: &Workload,
    peer: &'static Peer,
    measure: impl FnOnce(&Server) -> Outcome<Figures>,
) -> Outcome<Figures> {
    let server = Server::start(lab, workload, peer)?;
    let figures = measure(&server)?;
    server.end()?;
    Ok(figures)
}

/// A peer's server that waits for the load generator.
pub struct Server<'a> {
    pub peer: &'static Peer,
    process: Running,
    port: u16,
    load: &'a [String],
    /// Where the load generator runs.
    place: Place,
    /// So many seconds it is loaded before its warm-up.
    settles: f64,
}

impl<'a> Server<'a> {
    pub fn start(lab: &Lab, workload: &'a Workload, peer: &'static Peer) -> Outcome<Self> {
        let (workload, load, place, sleeps, settles) = match &workload.task {
            Task::Served { workload, load, place, sleeps, settles } => (*workload, load, *place, *sleeps, *settles),
            Task::ServedOnce { load } => ("echo", load, Place::Load, Sleeps::AsByDefault, 0.0),
            _ => return failed("no server is measured in this"),
        };
        if place == Place::Server && !lab.processors.pinned() {
            return Err(Trouble::Absent("nothing can be pinned to one processor here".into()));
        }
        let mut command = lab.peer(Place::Server, peer, &[workload.into()]);
        if sleeps == Sleeps::AtOnce {
            command.env(SPIN, MICROSECONDS); // The others do not look at it.
        }
        let mut process = Running::start(command, peer.title, &lab.scratch)?;
        let port = process.port()?;
        Ok(Server { peer, process, port, load, place, settles })
    }

    /// Loads it for so long, with connections of its own each time.
    pub fn measure(&self, lab: &Lab, seconds: f64) -> Outcome<Figures> {
        let warm_up = self.settles + WARM_UP * seconds;
        self.load(lab, &["--seconds".into(), seconds.to_string(), "--warm-up".into(), warm_up.to_string()])
    }

    fn load(&self, lab: &Lab, options: &[String]) -> Outcome<Figures> {
        let pid = ["--pid".into(), self.process.pid().to_string()];
        named(&lab.load(self.place, self.port, &[self.load, options, &pid].concat())?)
    }

    pub fn end(mut self) -> Outcome<()> {
        self.process.terminate()
    }
}

fn client(lab: &Lab, peer: &Peer, arguments: &[String]) -> Outcome<Figures> {
    let numbers: Option<Vec<u64>> = arguments.iter().map(|number| number.parse().ok()).collect();
    let bytes = numbers.map_or(0, |numbers| numbers.iter().product()); // So many writes of this size.
    let mut sink = lab.sink(bytes)?;
    let mut all = vec!["write-batch".to_string(), sink.port()?.to_string()];
    all.extend_from_slice(arguments);
    let printed = lab.alone(lab.peer(Place::Server, peer, &all), peer.title)?;
    sink.terminate()?;
    results(&printed)
}

/// Lines `name=value`.
fn named(printed: &str) -> Outcome<Figures> {
    let figure = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.into(), value.parse().ok()?))
    };
    match printed.lines().map(figure).collect::<Option<Figures>>() {
        Some(figures) if !figures.is_empty() => Ok(figures),
        _ => failed("the load generator printed something else than figures"),
    }
}

/// Lines `result OPERATIONS NANOSECONDS`, as nanoseconds for one operation.
fn results(printed: &str) -> Outcome<Figures> {
    let figure = |line: &str| {
        let mut numbers = line.strip_prefix("result ")?.split(' ').map(|number| number.parse::<f64>().ok());
        let (operations, nanoseconds) = (numbers.next()??, numbers.next()??);
        (operations > 0.0 && numbers.next().is_none()).then(|| (NANOSECONDS.into(), nanoseconds / operations))
    };
    match printed.lines().map(figure).collect::<Option<Figures>>() {
        Some(figures) if !figures.is_empty() => Ok(figures),
        _ => failed("it printed something else than results"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let figures = named("messages=100\nseconds=0.5\n").unwrap();
        assert_eq!(figures, [("messages".to_string(), 100.0), ("seconds".to_string(), 0.5)]);
        assert!(named("").is_err());
        assert!(named("messages=many\n").is_err());
    }

    #[test]
    fn results_are_per_operation() {
        let figures = results("result 1000 5000\nresult 10 25\n").unwrap();
        assert_eq!(figures, [("ns".to_string(), 5.0), ("ns".to_string(), 2.5)]);
        for wrong in ["", "result 0 7\n", "result 1\n", "result 1 2 3\n", "done\n"] {
            assert!(results(wrong).is_err(), "{wrong}");
        }
    }
}
