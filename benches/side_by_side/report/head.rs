//! The block `run`: where, when and with what.

use super::{Section, View};
use crate::environment::VERSION_OF;
use crate::records::BUILD;
use crate::table::Table;

pub fn section(view: &View) -> Section {
    let mut table = Table::new(2, ["what", "in this run"]);
    for (name, value) in &view.records.facts {
        table.row([name.strip_prefix(VERSION_OF).unwrap_or(name), value]);
    }
    let mut text = table.text();
    let left_out = view.records.notes.iter().filter(|note| note.workload == BUILD);
    let left_out: Vec<_> = left_out.map(|note| format!("- {}\n", note.why)).collect();
    if !left_out.is_empty() {
        text += &format!("\nLeft out:\n\n{}", left_out.concat());
    }
    Section { name: "run".into(), title: "The run".into(), text }
}
