//! The command: builds the peers it finds, runs every workload on each in interleaved rounds, prints the tables.
//!
//! What is measured becomes records (`run.rs`, `records.rs`); what is told is worked out from records alone (`report/`).
#![forbid(unsafe_code)]

mod blocks;
mod building;
mod counts;
mod environment;
mod lab;
mod limits;
mod measure;
mod options;
mod peers;
mod process;
mod processors;
mod records;
mod report;
mod run;
mod say;
mod statistics;
mod summaries;
mod table;
mod tools;
mod workloads;

use building::Places;
use lab::Lab;
use lexopt::Parser;
use options::{HELP, Mode, Options};
use peers::{FLOOR, LAYERS, PEERS, Peer};
use process::Scratch;
use processors::Processors;
use records::{Record, Records};
use report::Report;
use run::Run;
use say::{print, tell};
use std::path::Path;
use std::process::ExitCode;
use tools::Tools;
use workloads::all;

/// What the workloads with the most connections need, in each process.
const DESCRIPTORS: u64 = 20_000;

/// Where every run appends its measurements, in the target directory.
const MEASUREMENTS: &str = "side_by_side.tsv";

fn main() -> ExitCode {
    let options = match Options::parse(Parser::from_env()) {
        Ok(options) => options,
        Err(why) => {
            tell(&format!("side_by_side: {why}"));
            return ExitCode::from(2);
        }
    };
    match carry_out(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell(&format!("side_by_side: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(options: &Options) -> Result<(), String> {
    match (options.mode, &options.from) {
        (Mode::Help, _) => print(HELP),
        (Mode::List, _) => print(&list()),
        (Mode::Check, _) => check(),
        (Mode::Measure, None) => tell_all(options, &measured(options)?),
        (Mode::Measure, Some(file)) => tell_all(options, &read(file, options)?),
    }
}

fn read(file: &Path, options: &Options) -> Result<Records, String> {
    let told = |why: &str| format!("{}: {why}", file.display());
    let mut records = Records::read(file).map_err(|why| told(&why))?;
    let workloads = options.workloads();
    records.keep(|name| workloads.iter().any(|workload| workload.name == name));
    let is_of_a_peer = |record: &Record| options.peers.iter().any(|peer| peer.name == record.peer);
    if records.records.iter().any(is_of_a_peer) {
        Ok(records)
    } else {
        Err(told("nothing was measured of what is asked for"))
    }
}

fn list() -> String {
    let peers = PEERS.iter().map(|peer| format!("  {:<10} {}\n", peer.name, peer.title));
    let workloads = all().into_iter().map(|workload| format!("  {}\n", workload.name));
    format!("peers:\n{}workloads:\n{}", peers.collect::<String>(), workloads.collect::<String>())
}

fn measured(options: &Options) -> Result<Records, String> {
    let (lab, tools) = prepare()?;
    let file = lab.places.target.join(MEASUREMENTS);
    let unwritten = |error| format!("{}: {error}", file.display());
    let mut records = Records::kept_in(&file).map_err(unwritten)?;
    environment::begin(&mut records).map_err(unwritten)?;
    let mut run = Run { lab: &lab, tools: &tools, records, random: run::random() };
    let workloads = options.workloads();
    run.announce(options, &workloads);
    let peers = run.build(&options.peers)?;
    run.build_without_log(&workloads, &peers)?;
    environment::note_down(&lab, options, &peers, &mut run.records).map_err(unwritten)?;
    run.workloads(options, &workloads, &peers)?;
    if run.records.records.is_empty() {
        return Err("nothing could be measured; why is told above".into());
    }
    tell(&format!("the measurements are in {}", file.display()));
    Ok(run.records)
}

fn tell_all(options: &Options, records: &Records) -> Result<(), String> {
    let report = Report::new(records, &options.peers, &options.workloads());
    let places = Places::find()?;
    print(&report.text())?;
    if options.write {
        return report.write_into(&places.repository().join("docs"));
    }
    let plots = places.target.join("side_by_side");
    report.draw(&plots)?;
    tell(&format!("the plots are in {}", plots.display()));
    Ok(())
}

/// Counts ours and the floor, and compares them with their limits.
fn check() -> Result<(), String> {
    let (lab, tools) = prepare()?;
    let peers: Vec<&'static Peer> =
        PEERS.iter().filter(|peer| peer.name == FLOOR || LAYERS.contains(&peer.name)).collect();
    let mut run = Run { lab: &lab, tools: &tools, records: Records::default(), random: run::random() };
    let built = run.build(&peers)?;
    run.counts(&built)?;
    let checked = limits::check(&run.records);
    print(&checked.table)?;
    match (checked.exceeded, checked.uncounted) {
        (0, 0) => Ok(()),
        (0, uncounted) => Err(format!("{uncounted} counts are missing; why is told above")),
        (exceeded, 0) => Err(format!("{exceeded} counts are above their limits")),
        (exceeded, uncounted) => Err(format!("{exceeded} counts are above their limits, {uncounted} are missing")),
    }
}

fn prepare() -> Result<(Lab, Tools), String> {
    let tools = Tools::find();
    let processors = Processors::find(&tools);
    if !processors.pinned() {
        tell("warning: nothing is pinned to a processor, the speeds of server and load depend on each other");
    }
    if !tools.chrt {
        tell("warning: server and load cannot be told to take turns (chrt --batch), so instructions may be one more");
    }
    if let Some(limit) = environment::descriptors().filter(|&limit| limit < DESCRIPTORS) {
        tell(&format!(
            "warning: no more than {limit} descriptors are allowed, where some workloads need {DESCRIPTORS}"
        ));
    }
    let places = Places::find()?;
    let scratch = Scratch::new(&places.target)?;
    Ok((Lab { places, processors, scratch }, tools))
}
